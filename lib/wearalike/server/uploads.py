"""Uploaded photos: the limits of their queue, and the photo's bytes out of a request.

Nothing that the client claims about the photo is trusted, such as its name or size.
"""

from __future__ import annotations

import asyncio

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from wearalike.server.fair_queue import QueueLimits

# Photos being received, waiting or searched hold their bytes in memory. Two are searched at a time:
# while the networks run on one, the other is decoded or searched.
PHOTO_LIMITS = QueueLimits(
    "photos", max_pending=16, max_pending_a_client=4, max_running=2, wait_s=20.0
)
UPLOAD_TIMEOUT_S = 20.0
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


async def refuse_disconnected(request: Request) -> None:
    """Raise ClientDisconnect if the client has gone; nobody would read the answer.

    Args:
        request: A request whose body has been read.
    """
    if await request.is_disconnected():
        raise ClientDisconnect
