"""The photo page: a photo with its items, and the products most similar to each."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse

from wearalike.imaging import decode
from wearalike.search import photo_annotation, photo_query
from wearalike.search.photo_query import PhotoQuery
from wearalike.server import middleware, uploads
from wearalike.server.api import limit_searches
from wearalike.server.live_search import RunNotSearchable
from wearalike.server.pages.base import app_repository_and_images, render_page, require_same_origin
from wearalike.server.photos import DecodedPhoto
from wearalike.tables import Gender

router = APIRouter()
RESULTS_PER_ITEM = 12
# The largest body, less 1 MB for the form around the photo.
MAX_PHOTO_MB = middleware.MAX_BODY_BYTES // 1_000_000 - 1
_FORM_FIELDS = ("weights", "gender")


@router.get("/photo")
def photo_form(request: Request) -> HTMLResponse:
    """Show the empty form."""
    published, _ = app_repository_and_images(request)
    with published.snapshot() as s:
        return _render_photo_page(request, s.run)


@router.post("/photo")
async def photo_results(request: Request) -> HTMLResponse:
    """Show the photo with its items numbered, and the products most similar to each.

    The photo is not stored.
    """
    require_same_origin(request)
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
            request.form(max_files=1, max_fields=8) as form,
        ):
            photo = form.get(uploads.FORM_FIELD)
            content = await photo.read() if isinstance(photo, UploadFile) else b""
            return content, {name: str(form.get(name) or "")[:20] for name in _FORM_FIELDS}
    except TimeoutError:
        raise HTTPException(
            408,
            f"The photo did not arrive in {uploads.UPLOAD_TIMEOUT_S:.0f} s.",
            {"Connection": "close"},
        ) from None


def _search_and_render(request: Request, content: bytes, asked: dict[str, str]) -> HTMLResponse:
    """Search by the photo and render the results, or the form with an error."""
    published, pictures = app_repository_and_images(request)
    with published.snapshot() as s:
        if not content:
            return _render_photo_page(
                request, s.run, asked, error="No photo was sent. Please choose one.", status=422
            )
        try:
            gender = Gender(asked["gender"]) if asked["gender"] else None
            weights = photo_query.parse_weights(asked["weights"]) if asked["weights"] else None
            wanted = PhotoQuery(RESULTS_PER_ITEM, weights, gender)
            search = request.app.state.live_search.photo_search(s)
            decoded = DecodedPhoto(content, request.app.state.photo_decoders)
            result = decoded.search(search, wanted)
            annotated = photo_annotation.annotate_photo(decoded.picture, result)
        except decode.BadPixels as error:
            return _render_photo_page(
                request,
                s.run,
                asked,
                error=f"This file cannot be read as a photo ({error.detail}).",
                status=422,
            )
        except ValueError as error:
            return _render_photo_page(request, s.run, asked, error=str(error), status=422)
        except RunNotSearchable as error:
            return _render_photo_page(request, s.run, asked, error=str(error), status=503)
        shown = {row.product_id for item in result.items for row in item.results}
        item_numbers = range(1, len(result.items) + 1)
        return _render_photo_page(
            request,
            s.run,
            asked,
            result=result,
            annotated=f"data:image/jpeg;base64,{base64.b64encode(annotated).decode()}",
            pictures=pictures.find_images(s.run, shown),
            colours=[photo_annotation.outline_colour(number) for number in item_numbers],
        )


def _render_photo_page(
    request: Request, run: str, asked: dict[str, str] | None = None, status: int = 200, **more: Any
) -> HTMLResponse:
    """Render the page; without a result it is the form, with or without an error."""
    context = {"error": None, "result": None, **more}
    return render_page(
        request,
        "photo.html",
        status=status,
        run=run,
        asked=asked or dict.fromkeys(_FORM_FIELDS, ""),
        max_mb=MAX_PHOTO_MB,
        **context,
    )
