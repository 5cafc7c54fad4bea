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
from wearalike.search import photo_search
from wearalike.search.photo_search import Wish
from wearalike.server import middleware, uploads
from wearalike.server.api import limit_searches
from wearalike.server.live_search import NotHere
from wearalike.server.pages.base import page, same_origin, sources
from wearalike.tables import Gender

router = APIRouter()
RESULTS = 12
# What the doors let through, but for the form's own lines.
MAX_MB = middleware.MAX_BODY_BYTES // 1_000_000 - 1
_CHOICES = ("weights", "gender")


@router.get("/photo")
def ask(request: Request) -> HTMLResponse:
    published, _ = sources(request)
    with published.snapshot() as s:
        return _page(request, s.run)


@router.post("/photo")
async def answer(request: Request) -> HTMLResponse:
    """The photo with its items numbered, and what is alike each. Nothing of the photo is kept."""
    same_origin(request)
    limit_searches(request)
    queue = request.app.state.queue
    async with queue.place():
        content, asked = await _received(request)
        async with queue.turn():
            return await run_in_threadpool(_answer, request, content, asked)


async def _received(request: Request) -> tuple[bytes, dict[str, str]]:
    """The photo's bytes, none where it was left out, and what else was chosen. Raises HTTPException 408."""
    try:
        async with (
            asyncio.timeout(uploads.UPLOAD_S),
            request.form(max_files=1, max_fields=8) as form,
        ):
            photo = form.get(uploads.FIELD)
            content = await photo.read() if isinstance(photo, UploadFile) else b""
            return content, {name: str(form.get(name) or "")[:20] for name in _CHOICES}
    except TimeoutError:
        raise HTTPException(
            408, f"The photo did not arrive in {uploads.UPLOAD_S:.0f} s.", {"Connection": "close"}
        ) from None


def _answer(request: Request, content: bytes, asked: dict[str, str]) -> HTMLResponse:
    published, pictures = sources(request)
    with published.snapshot() as s:
        if not content:
            return _page(
                request, s.run, asked, told="No photo was sent: choose one first.", status=422
            )
        try:
            gender = Gender(asked["gender"]) if asked["gender"] else None
            wish = Wish(
                RESULTS,
                photo_search.weights(asked["weights"]) if asked["weights"] else None,
                gender,
            )
            found = request.app.state.live.photo_search(s).find(content, wish)
            drawn = photo_search.annotated(content, found)
        except decode.BadPixels as error:
            return _page(
                request,
                s.run,
                asked,
                told=f"This is no photo that can be read ({error.detail}).",
                status=422,
            )
        except ValueError as error:
            return _page(request, s.run, asked, told=str(error), status=422)
        except NotHere as error:
            return _page(request, s.run, asked, told=str(error), status=503)
        shown = {row.product_id for item in found.items for row in item.results}
        return _page(
            request,
            s.run,
            asked,
            answer=found,
            annotated=f"data:image/jpeg;base64,{base64.b64encode(drawn).decode()}",
            pictures=pictures.of(s.run, shown),
            colours=[photo_search.colour_of(number) for number in range(1, len(found.items) + 1)],
        )


def _page(
    request: Request, run: str, asked: dict[str, str] | None = None, status: int = 200, **more: Any
) -> HTMLResponse:
    told = {"told": None, "answer": None, **more}
    return page(
        request,
        "photo.html",
        status=status,
        run=run,
        asked=asked or dict.fromkeys(_CHOICES, ""),
        max_mb=MAX_MB,
        **told,
    )
