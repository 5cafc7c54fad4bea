"""A shopper's photo as it comes in: a bounded queue before it, its bytes out of the request, and nothing else believed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

# Photos being received, waiting or looked at. Each holds its bytes, and takes its time of the same processors.
PLACES = 16
# Looked at at a time: while the networks see one, another is decoded and searched.
AT_ONCE = 2
UPLOAD_S = 20.0
WAIT_S = 20.0
RETRY_S = 2
FIELD = "photo"
RAW = ("image/", "application/octet-stream")
MULTIPART = "multipart/form-data"
_FILE = {"type": "string", "format": "binary", "minLength": 1}
# How OpenAPI describes the body.
BODY = {
    "requestBody": {
        "required": True,
        "description": "a picture (JPEG, PNG, WEBP, GIF, BMP, TIFF): the file itself, or the form field `photo`",
        "content": {
            MULTIPART: {
                "schema": {"type": "object", "required": [FIELD], "properties": {FIELD: _FILE}}
            },
            **{
                kind: {"schema": _FILE}
                for kind in ("image/jpeg", "image/png", "image/webp", "application/octet-stream")
            },
        },
    }
}


class Queue:
    """Belongs to one event loop."""

    def __init__(self) -> None:
        self._taken = 0
        self._turn = asyncio.Semaphore(AT_ONCE)

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """A place in the queue. Raises HTTPException 503 where there is none."""
        if self._taken >= PLACES:
            raise _busy(f"{PLACES} photos are being looked at")
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """The time to be looked at. Raises HTTPException 503 where it does not come soon."""
        try:
            async with asyncio.timeout(WAIT_S):
                await self._turn.acquire()
        except TimeoutError:
            raise _busy(f"no turn came in {WAIT_S:.0f} s") from None
        try:
            yield
        finally:
            self._turn.release()


async def content(request: Request) -> bytes:
    """The photo's bytes: the body itself, or the file of the form field `photo`.

    Raises HTTPException 415 for another kind of body, 422 for a form without the file, 408 for one that takes too long.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != MULTIPART and not kind.startswith(RAW):
        raise HTTPException(
            415,
            f"content-type {kind!r}: wanted {MULTIPART} with the field {FIELD!r}, or the file itself as image/*",
        )
    try:
        async with asyncio.timeout(UPLOAD_S):
            return await (_of_form(request) if kind == MULTIPART else request.body())
    except TimeoutError:
        raise HTTPException(
            408, f"the photo did not arrive in {UPLOAD_S:.0f} s", {"Connection": "close"}
        ) from None


async def _of_form(request: Request) -> bytes:
    async with request.form(max_files=1, max_fields=8) as form:
        file = form.get(FIELD)
        if not isinstance(file, UploadFile):
            raise HTTPException(
                422, f"body.{FIELD}: wanted a file, got {'a text' if file else 'none'}"
            )
        return await file.read()


def _busy(why: str) -> HTTPException:
    return HTTPException(503, f"{why}; ask again in a moment", {"Retry-After": str(RETRY_S)})
