"""The photo page: a photo with its items, and the products most similar to each.

A shopper chooses a photo, drops or pastes it, takes one with the phone's camera, shares one with
the installed page, or tries a sample. Without scripts the page is a form.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, JSONResponse

from wearalike.imaging import decode
from wearalike.search import photo_annotation, photo_query
from wearalike.search.photo_query import DetectedItem, PhotoQuery
from wearalike.server import uploads
from wearalike.server.live_search import RunNotSearchable
from wearalike.server.pages import photo_form, photo_texts
from wearalike.server.pages.base import PageUrls, app_repository_and_images, render_page
from wearalike.server.photos import DecodedPhoto
from wearalike.server.snapshot import Snapshot
from wearalike.tables import AgeGroup, Gender

router = APIRouter()
RESULTS_PER_ITEM = 12
# A wish's texts by value; "" is the default.
WISHES = {
    "weights": {"": "as usual", "8:2": "shape above all", "1:1": "both", "2:8": "colour above all"},
    "gender": {
        "": "guess from the photo",
        "anybody": "everyone",
        **{
            str(gender): photo_texts.GENDER_WORDS[gender] for gender in (Gender.FEMALE, Gender.MALE)
        },
    },
    "age_group": {"": "any age", str(AgeGroup.ADULT): "adults", str(AgeGroup.KIDS): "children"},
}
_FORM_FIELDS = (*WISHES, photo_form.SAMPLE_FIELD)


@router.get("/photo")
def photo_page(request: Request) -> HTMLResponse:
    """Show the empty form."""
    published, _ = app_repository_and_images(request)
    with published.snapshot() as s:
        return _render_photo_page(request, s)


@router.get("/manifest.webmanifest")
def web_manifest(request: Request) -> JSONResponse:
    """Return what makes the photo page an app on a phone, to which photos can be shared."""
    at = PageUrls(request)
    manifest = {
        "name": "wearalike",
        "short_name": "wearalike",
        "description": "Find products like those in a photo.",
        "id": at("/photo"),
        "start_url": at("/photo"),
        "scope": at("/"),
        "display": "standalone",
        "background_color": "#ffffff",
        "theme_color": "#3457b1",
        "icons": [
            {"src": at.static("icon.svg"), "type": "image/svg+xml", "sizes": "any"},
            *(
                {
                    "src": at.static(f"icon-{side_px}.png"),
                    "type": "image/png",
                    "sizes": f"{side_px}x{side_px}",
                    "purpose": purpose,
                }
                for side_px in (192, 512)
                for purpose in ("any", "maskable")
            ),
        ],
        "share_target": {
            "action": at("/photo"),
            "method": "POST",
            "enctype": uploads.MULTIPART_CONTENT_TYPE,
            "params": {"files": [{"name": uploads.FORM_FIELD, "accept": ["image/*"]}]},
        },
    }
    headers = {"Cache-Control": "no-cache"}
    return JSONResponse(manifest, headers=headers, media_type="application/manifest+json")


@router.post("/photo")
async def photo_results(request: Request) -> HTMLResponse:
    """Show the photo with its items numbered, and the products most similar to each.

    The photo is not stored.
    """
    return await photo_form.answer_photo_form(
        request, _FORM_FIELDS, _search_and_render, may_be_shared=True
    )


def _search_and_render(request: Request, content: bytes, asked: dict[str, str]) -> HTMLResponse:
    """Search by the photo and render the results, or the form with an error."""
    published, pictures = app_repository_and_images(request)
    with published.snapshot() as s:
        content = content or photo_form.read_sample(request, asked[photo_form.SAMPLE_FIELD])
        if not content:
            return _render_photo_page(request, s, asked, error=photo_form.NO_PHOTO, status=422)
        try:
            wanted = _read_wishes(asked)
        except ValueError as error:
            return _render_photo_page(request, s, asked, error=str(error), status=422)
        try:
            loaded = request.app.state.live_search.photo_run(s)
            decoded = DecodedPhoto(content, request.app.state.photo_decoders)
            result = decoded.search(loaded.load_photo_search(), wanted)
        except (decode.BadPixels, RunNotSearchable) as error:
            text, status = photo_form.describe_failure(error, content)
            return _render_photo_page(request, s, asked, error=text, status=status)
        shown = {row.product_id for item in result.items for row in item.results}
        return _render_photo_page(
            request,
            s,
            asked,
            result=result,
            audience=photo_texts.describe_audience(result),
            preview=photo_form.preview_url(decoded),
            pictures=pictures.find_images(result.run, shown),
            items=[(number, item) for number, item in _number_items(result.items) if item.results],
            unsold=[item for item in result.items if not item.results],
            colours=[photo_annotation.outline_colour(n) for n, _ in _number_items(result.items)],
        )


def _number_items(items: tuple[DetectedItem, ...]) -> list[tuple[int, DetectedItem]]:
    """Return the items with their numbers on the page, from 1."""
    return list(enumerate(items, 1))


def _read_wishes(asked: dict[str, str]) -> PhotoQuery:
    """Return the query of a form. Raises ValueError for a wish that the form does not offer."""
    weights = photo_query.parse_weights(asked["weights"]) if asked["weights"] else None
    gender = None
    if asked["gender"] not in ("", "anybody"):
        gender = Gender(asked["gender"])
    age_group = AgeGroup(asked["age_group"]) if asked["age_group"] else None
    return PhotoQuery(
        RESULTS_PER_ITEM,
        weights,
        gender,
        age_group,
        guesses_gender=asked["gender"] == "",
        keeps_kind=True,
    )


def _render_photo_page(
    request: Request,
    s: Snapshot,
    asked: dict[str, str] | None = None,
    status: int = 200,
    **more: Any,
) -> HTMLResponse:
    """Render the page; without a result it is the form, with or without an error."""
    context = {"error": None, "result": None, **more}
    return render_page(
        request,
        "photo.html",
        status=status,
        run=s.run,
        asked=asked or dict.fromkeys(_FORM_FIELDS, ""),
        wishes=WISHES,
        sample=request.app.state.warmer.sample,
        max_mb=photo_form.MAX_PHOTO_MB,
        **context,
    )
