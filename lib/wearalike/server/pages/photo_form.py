"""A form with a photo: read within its limits, and answered when it is its turn."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Sequence
from typing import Any

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse

from wearalike.imaging import decode
from wearalike.server import middleware, uploads
from wearalike.server.api import limit_searches
from wearalike.server.live_search import RunNotSearchable
from wearalike.server.pages import photo_texts
from wearalike.server.pages.base import require_same_origin
from wearalike.server.photos import DecodedPhoto
from wearalike.server.thumbnails import IMAGE_ID_PATTERN
from wearalike.storage import content_cache

# The largest body, less 1 MB for the form around the photo.
MAX_PHOTO_MB = middleware.MAX_BODY_BYTES // 1_000_000 - 1
CAMERA_FIELD = "camera"
SAMPLE_FIELD = "sample"
NO_PHOTO = "No photo was sent. Please choose one."
_FILE_FIELDS = (uploads.FORM_FIELD, CAMERA_FIELD)
_MAX_FIELD_CHARACTERS = 64

# Renders a page of the photo's bytes (empty without one) and the other fields.
Renderer = Callable[[Request, bytes, dict[str, str]], HTMLResponse]


async def answer_photo_form(
    request: Request, text_fields: Sequence[str], render: Renderer, *, may_be_shared: bool = False
) -> HTMLResponse:
    """Answer a posted form with a photo. The photo is not stored.

    Args:
        request: The POST request.
        text_fields: The form's other fields.
        render: Searches and renders, in a thread.
        may_be_shared: As for `require_same_origin`.

    Raises:
        HTTPException: 403, 408, 413 or 429; the form is not of this site, late, large, or too
            often.
    """
    require_same_origin(request, may_be_shared=may_be_shared)
    limit_searches(request)
    queue = request.app.state.photo_queue
    client = middleware.scope_client_key(request.scope)
    async with queue.reserve_place(client):
        content, asked = await _read_form(request, text_fields)
        async with queue.wait_for_turn(client):
            await uploads.refuse_disconnected(request)
            return await run_in_threadpool(render, request, content, asked)


def read_sample(request: Request, image_id: str) -> bytes:
    """Return a stored image that is asked about as a sample; nothing if there is no such image."""
    if not IMAGE_ID_PATTERN.fullmatch(image_id):
        return b""
    root = request.app.state.settings.data_dir
    content_cache.fetch_images(root, [image_id])
    path = content_cache.image_path(root, image_id)
    return path.read_bytes() if path.is_file() else b""


def preview_url(decoded: DecodedPhoto) -> str:
    """Return a photo as a data: URL for a page."""
    return f"data:image/jpeg;base64,{base64.b64encode(decoded.preview()).decode()}"


def describe_failure(error: decode.BadPixels | RunNotSearchable, content: bytes) -> tuple[str, int]:
    """Return in plain words why a photo could not be searched, and the HTTP status.

    Args:
        error: The failure.
        content: The photo.
    """
    if isinstance(error, decode.BadPixels):
        return photo_texts.describe_unreadable(error, content), 422
    return str(error), 503


async def _read_form(request: Request, text_fields: Sequence[str]) -> tuple[bytes, dict[str, str]]:
    """Read the photo's bytes (empty if it was left out) and the other fields of the form.

    Raises HTTPException 408 if the photo does not arrive in UPLOAD_TIMEOUT_S.
    """
    try:
        async with (
            asyncio.timeout(uploads.UPLOAD_TIMEOUT_S),
            request.form(max_files=len(_FILE_FIELDS), max_fields=8) as form,
        ):
            return await _read_photo(form), {
                name: _read_text(form.get(name)) for name in text_fields
            }
    except TimeoutError:
        raise HTTPException(
            408,
            f"The photo did not arrive in {uploads.UPLOAD_TIMEOUT_S:.0f} s.",
            {"Connection": "close"},
        ) from None


def _read_text(value: Any) -> str:
    return str(value or "")[:_MAX_FIELD_CHARACTERS]


async def _read_photo(form: FormData) -> bytes:
    """Return the bytes of the file that the form has; a form sends an empty one for none."""
    for name in _FILE_FIELDS:
        photo = form.get(name)
        if isinstance(photo, UploadFile) and (content := await photo.read()):
            return content
    return b""
