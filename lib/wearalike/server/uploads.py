"""Uploaded photos: a bounded queue, and the photo's bytes out of a request.

Nothing that the client claims about the photo is trusted, such as its name or size.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

# Photos being received, waiting or searched. Each holds its bytes in memory.
MAX_PENDING_PHOTOS = 16
# Photos searched at a time: while the networks run on one, the other is decoded or searched.
MAX_CONCURRENT_SEARCHES = 2
UPLOAD_TIMEOUT_S = 20.0
QUEUE_TIMEOUT_S = 20.0
RETRY_AFTER_S = 2
FORM_FIELD = "photo"
RAW_CONTENT_TYPES = ("image/", "application/octet-stream")
MULTIPART_CONTENT_TYPE = "multipart/form-data"
_FILE_SCHEMA = {"type": "string", "format": "binary", "minLength": 1}
# OpenAPI's description of the request body.
OPENAPI_REQUEST_BODY = {
    "requestBody": {
        "required": True,
        "description": (
            "a picture (JPEG, PNG, WEBP, GIF, BMP, TIFF): "
            "the file itself, or the form field `photo`"
        ),
        "content": {
            MULTIPART_CONTENT_TYPE: {
                "schema": {
                    "type": "object",
                    "required": [FORM_FIELD],
                    "properties": {FORM_FIELD: _FILE_SCHEMA},
                }
            },
            **{
                kind: {"schema": _FILE_SCHEMA}
                for kind in ("image/jpeg", "image/png", "image/webp", "application/octet-stream")
            },
        },
    }
}


class PhotoQueue:
    """Bound how many photos are received and searched at a time, in one event loop."""

    def __init__(self) -> None:
        self._pending_count = 0
        self._search_slots = asyncio.Semaphore(MAX_CONCURRENT_SEARCHES)

    @asynccontextmanager
    async def reserve_place(self) -> AsyncIterator[None]:
        """Hold a place in the queue for the duration of the block.

        Raises:
            HTTPException: 503; MAX_PENDING_PHOTOS photos are in the queue.
        """
        if self._pending_count >= MAX_PENDING_PHOTOS:
            raise _busy_error(f"{MAX_PENDING_PHOTOS} photos are being searched")
        self._pending_count += 1
        try:
            yield
        finally:
            self._pending_count -= 1

    @asynccontextmanager
    async def wait_for_turn(self) -> AsyncIterator[None]:
        """Wait for a free search slot and hold it for the duration of the block.

        Raises:
            HTTPException: 503; no slot became free in QUEUE_TIMEOUT_S.
        """
        try:
            async with asyncio.timeout(QUEUE_TIMEOUT_S):
                await self._search_slots.acquire()
        except TimeoutError:
            raise _busy_error(
                f"the photo waited {QUEUE_TIMEOUT_S:.0f} s without being searched"
            ) from None
        try:
            yield
        finally:
            self._search_slots.release()


async def read_photo(request: Request) -> bytes:
    """Read the photo's bytes: the body itself, or the file in the form field `photo`.

    Args:
        request: A POST request.

    Returns:
        The bytes, undecoded.

    Raises:
        HTTPException: 415 for another content type, 422 for a form without the file, 408 if the
            photo does not arrive in UPLOAD_TIMEOUT_S.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != MULTIPART_CONTENT_TYPE and not kind.startswith(RAW_CONTENT_TYPES):
        raise HTTPException(
            415,
            f"content-type {kind!r}: wanted {MULTIPART_CONTENT_TYPE} with the field "
            f"{FORM_FIELD!r}, or the file itself as image/*",
        )
    try:
        async with asyncio.timeout(UPLOAD_TIMEOUT_S):
            return await (
                _read_form_file(request) if kind == MULTIPART_CONTENT_TYPE else request.body()
            )
    except TimeoutError:
        detail = f"the photo did not arrive in {UPLOAD_TIMEOUT_S:.0f} s"
        raise HTTPException(408, detail, {"Connection": "close"}) from None


async def _read_form_file(request: Request) -> bytes:
    async with request.form(max_files=1, max_fields=8) as form:
        file = form.get(FORM_FIELD)
        if not isinstance(file, UploadFile):
            got = "a text" if file else "none"
            raise HTTPException(422, f"body.{FORM_FIELD}: wanted a file, got {got}")
        return await file.read()


def _busy_error(reason: str) -> HTTPException:
    detail = f"{reason}; try again in a moment"
    return HTTPException(503, detail, {"Retry-After": str(RETRY_AFTER_S)})
