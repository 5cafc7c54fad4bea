"""A photo, and what is alike each item in it."""

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
from wearalike.tables import Gender

router = APIRouter()
RESULTS_PER_ITEM = 12
# What the doors let through, but for the form's own lines.
MAX_PHOTO_MB = middleware.MAX_BODY_BYTES // 1_000_000 - 1
_FORM_FIELDS = ("weights", "gender")


@router.get("/photo")
def photo_form(request: Request) -> HTMLResponse:
    published, _ = app_repository_and_images(request)
    with published.snapshot() as s:
        return _render_photo_page(request, s.run)


@router.post("/photo")
async def photo_results(request: Request) -> HTMLResponse:
    """The photo with its items numbered, and what is alike each. Nothing of the photo is kept."""
    require_same_origin(request)
    limit_searches(request)
    queue = request.app.state.queue
    async with queue.place():
        content, asked = await _read_form(request)
        async with queue.turn():
            return await run_in_threadpool(_search_and_render, request, content, asked)


async def _read_form(request: Request) -> tuple[bytes, dict[str, str]]:
    """The photo's bytes, none where it was left out, and what else was chosen. Raises HTTPException 408."""
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
    published, pictures = app_repository_and_images(request)
    with published.snapshot() as s:
        if not content:
            return _render_photo_page(
                request, s.run, asked, told="No photo was sent: choose one first.", status=422
            )
        try:
            gender = Gender(asked["gender"]) if asked["gender"] else None
            wish = PhotoQuery(
                RESULTS_PER_ITEM,
                photo_query.parse_weights(asked["weights"]) if asked["weights"] else None,
                gender,
            )
            found = request.app.state.live.photo_search(s).find(content, wish)
            drawn = photo_annotation.annotate_photo(content, found)
        except decode.BadPixels as error:
            return _render_photo_page(
                request,
                s.run,
                asked,
                told=f"This is no photo that can be read ({error.detail}).",
                status=422,
            )
        except ValueError as error:
            return _render_photo_page(request, s.run, asked, told=str(error), status=422)
        except RunNotSearchable as error:
            return _render_photo_page(request, s.run, asked, told=str(error), status=503)
        shown = {row.product_id for item in found.items for row in item.results}
        return _render_photo_page(
            request,
            s.run,
            asked,
            answer=found,
            annotated=f"data:image/jpeg;base64,{base64.b64encode(drawn).decode()}",
            pictures=pictures.find_images(s.run, shown),
            colours=[
                photo_annotation.outline_colour(number) for number in range(1, len(found.items) + 1)
            ],
        )


def _render_photo_page(
    request: Request, run: str, asked: dict[str, str] | None = None, status: int = 200, **more: Any
) -> HTMLResponse:
    told = {"told": None, "answer": None, **more}
    return render_page(
        request,
        "photo.html",
        status=status,
        run=run,
        asked=asked or dict.fromkeys(_FORM_FIELDS, ""),
        max_mb=MAX_PHOTO_MB,
        **told,
    )
