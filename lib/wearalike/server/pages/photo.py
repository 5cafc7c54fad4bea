"""The photo page: a photo with its items, and the products most similar to each.

A shopper chooses a photo, drops or pastes it, takes one with the phone's camera, shares one with
the installed page, or tries a sample. Without scripts the page is a form.
"""

from __future__ import annotations

import asyncio
import base64
from typing import Any

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, JSONResponse

from wearalike.imaging import decode
from wearalike.search import photo_annotation, photo_query
from wearalike.search.photo_query import DetectedItem, PhotoQuery
from wearalike.server import middleware, uploads
from wearalike.server.api import limit_searches
from wearalike.server.live_search import RunNotSearchable
from wearalike.server.pages import photo_texts
from wearalike.server.pages.base import (
    PageUrls,
    app_repository_and_images,
    render_page,
    require_same_origin,
)
from wearalike.server.photos import DecodedPhoto
from wearalike.server.snapshot import Snapshot
from wearalike.server.thumbnails import IMAGE_ID_PATTERN
from wearalike.storage import content_cache
from wearalike.tables import AgeGroup, Gender

router = APIRouter()
RESULTS_PER_ITEM = 12
# The largest body, less 1 MB for the form around the photo.
MAX_PHOTO_MB = middleware.MAX_BODY_BYTES // 1_000_000 - 1
CAMERA_FIELD = "camera"
_FILE_FIELDS = (uploads.FORM_FIELD, CAMERA_FIELD)
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
_SAMPLE_FIELD = "sample"
_FORM_FIELDS = (*WISHES, _SAMPLE_FIELD)
_MAX_FIELD_CHARACTERS = 64


@router.get("/photo")
def photo_form(request: Request) -> HTMLResponse:
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
    require_same_origin(request, may_be_shared=True)
    limit_searches(request)
    queue = request.app.state.photo_queue
    client = middleware.scope_client_key(request.scope)
    async with queue.reserve_place(client):
        content, asked = await _read_form(request)
        async with queue.wait_for_turn(client):
            await uploads.refuse_disconnected(request)
            return await run_in_threadpool(_search_and_render, request, content, asked)


async def _read_form(request: Request) -> tuple[bytes, dict[str, str]]:
    """Read the photo's bytes (empty if it was left out) and the other fields of the form.

    Raises HTTPException 408 if the photo does not arrive in UPLOAD_TIMEOUT_S.
    """
    try:
        async with (
            asyncio.timeout(uploads.UPLOAD_TIMEOUT_S),
            request.form(max_files=len(_FILE_FIELDS), max_fields=8) as form,
        ):
            return await _read_photo(form), {
                name: str(form.get(name) or "")[:_MAX_FIELD_CHARACTERS] for name in _FORM_FIELDS
            }
    except TimeoutError:
        raise HTTPException(
            408,
            f"The photo did not arrive in {uploads.UPLOAD_TIMEOUT_S:.0f} s.",
            {"Connection": "close"},
        ) from None


async def _read_photo(form: FormData) -> bytes:
    """Return the bytes of the file that the form has; a form sends an empty one for none."""
    for name in _FILE_FIELDS:
        photo = form.get(name)
        if isinstance(photo, UploadFile) and (content := await photo.read()):
            return content
    return b""


def _search_and_render(request: Request, content: bytes, asked: dict[str, str]) -> HTMLResponse:
    """Search by the photo and render the results, or the form with an error."""
    published, pictures = app_repository_and_images(request)
    with published.snapshot() as s:
        if not content:
            content = _read_sample(request, asked[_SAMPLE_FIELD])
        if not content:
            no_photo = "No photo was sent. Please choose one."
            return _render_photo_page(request, s, asked, error=no_photo, status=422)
        try:
            wanted = _read_wishes(asked)
        except ValueError as error:
            return _render_photo_page(request, s, asked, error=str(error), status=422)
        try:
            loaded = request.app.state.live_search.photo_run(s)
            decoded = DecodedPhoto(content, request.app.state.photo_decoders)
            result = decoded.search(loaded.load_photo_search(), wanted)
        except decode.BadPixels as error:
            text = photo_texts.describe_unreadable(error, content)
            return _render_photo_page(request, s, asked, error=text, status=422)
        except RunNotSearchable as error:
            return _render_photo_page(request, s, asked, error=str(error), status=503)
        shown = {row.product_id for item in result.items for row in item.results}
        return _render_photo_page(
            request,
            s,
            asked,
            result=result,
            audience=photo_texts.describe_audience(result),
            preview=f"data:image/jpeg;base64,{base64.b64encode(decoded.preview()).decode()}",
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
        RESULTS_PER_ITEM, weights, gender, age_group, guesses_gender=asked["gender"] == ""
    )


def _read_sample(request: Request, image_id: str) -> bytes:
    """Return a stored image that is asked about as a sample; nothing if there is no such image."""
    if not IMAGE_ID_PATTERN.fullmatch(image_id):
        return b""
    path = content_cache.image_path(request.app.state.settings.data_dir, image_id)
    return path.read_bytes() if path.is_file() else b""


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
        max_mb=MAX_PHOTO_MB,
        **context,
    )
