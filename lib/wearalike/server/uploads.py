"""A shopper's photo as it comes in: a bounded queue before it, its bytes out of the request, and nothing else believed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

# Photos being received, waiting or looked at. Each holds its bytes, and takes its time of the same processors.
MAX_PENDING_PHOTOS = 16
# Looked at at a time: while the networks see one, another is decoded and searched.
MAX_CONCURRENT_SEARCHES = 2
UPLOAD_TIMEOUT_S = 20.0
QUEUE_TIMEOUT_S = 20.0
RETRY_AFTER_S = 2
FORM_FIELD = "photo"
RAW_CONTENT_TYPES = ("image/", "application/octet-stream")
MULTIPART_CONTENT_TYPE = "multipart/form-data"
_FILE_SCHEMA = {"type": "string", "format": "binary", "minLength": 1}
# How OpenAPI describes the body.
OPENAPI_REQUEST_BODY = {
    "requestBody": {
        "required": True,
        "description": "a picture (JPEG, PNG, WEBP, GIF, BMP, TIFF): the file itself, or the form field `photo`",
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
    """Belongs to one event loop."""

    def __init__(self) -> None:
        self._pending_count = 0
        self._search_slots = asyncio.Semaphore(MAX_CONCURRENT_SEARCHES)

    @asynccontextmanager
    async def reserve_place(self) -> AsyncIterator[None]:
        """A place in the queue. Raises HTTPException 503 where there is none."""
        if self._pending_count >= MAX_PENDING_PHOTOS:
            raise _busy_error(f"{MAX_PENDING_PHOTOS} photos are being looked at")
        self._pending_count += 1
        try:
            yield
        finally:
            self._pending_count -= 1

    @asynccontextmanager
    async def wait_for_turn(self) -> AsyncIterator[None]:
        """The time to be looked at. Raises HTTPException 503 where it does not come soon."""
        try:
            async with asyncio.timeout(QUEUE_TIMEOUT_S):
                await self._search_slots.acquire()
        except TimeoutError:
            raise _busy_error(f"no turn came in {QUEUE_TIMEOUT_S:.0f} s") from None
        try:
            yield
        finally:
            self._search_slots.release()


async def read_photo(request: Request) -> bytes:
    """The photo's bytes: the body itself, or the file of the form field `photo`.

    Raises HTTPException 415 for another kind of body, 422 for a form without the file, 408 for one that takes too long.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != MULTIPART_CONTENT_TYPE and not kind.startswith(RAW_CONTENT_TYPES):
        raise HTTPException(
            415,
            f"content-type {kind!r}: wanted {MULTIPART_CONTENT_TYPE} with the field {FORM_FIELD!r}, or the file itself as image/*",
        )
    try:
        async with asyncio.timeout(UPLOAD_TIMEOUT_S):
            return await (
                _read_form_file(request) if kind == MULTIPART_CONTENT_TYPE else request.body()
            )
    except TimeoutError:
        raise HTTPException(
            408, f"the photo did not arrive in {UPLOAD_TIMEOUT_S:.0f} s", {"Connection": "close"}
        ) from None


async def _read_form_file(request: Request) -> bytes:
    async with request.form(max_files=1, max_fields=8) as form:
        file = form.get(FORM_FIELD)
        if not isinstance(file, UploadFile):
            raise HTTPException(
                422, f"body.{FORM_FIELD}: wanted a file, got {'a text' if file else 'none'}"
            )
        return await file.read()


def _busy_error(reason: str) -> HTTPException:
    return HTTPException(
        503, f"{reason}; ask again in a moment", {"Retry-After": str(RETRY_AFTER_S)}
    )
