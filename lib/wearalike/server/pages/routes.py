"""The pages as routes of the server's app, its files, and what goes wrong, said in words."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, FastAPI, Request
from fastapi import Path as InPath
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from wearalike.imaging.decode import BadPixels
from wearalike.server.live_search import RunNotSearchable
from wearalike.server.pages import base, compare, judging, photo, products, quality
from wearalike.server.snapshot import NotPublished
from wearalike.server.thumbnails import ProductImageIndex, ThumbnailNotFound, thumbnail
from wearalike.warehouse.base import Unreachable

router = APIRouter()
_RUN_COMMAND = "wearalike run --run $(date +%F)"


def add_pages(app: FastAPI) -> None:
    """Gives the app the pages. It has state.place and state.published, and its errors are handled already."""
    app.state.pictures = ProductImageIndex(app.state.place.data_dir)
    app.state.desk = judging.AnnotationQueue(app.state.place)
    for part in (
        router,
        products.router,
        compare.router,
        photo.router,
        quality.router,
        judging.router,
    ):
        app.include_router(part, include_in_schema=False)
    for kind in (
        HTTPException,
        RequestValidationError,
        NotPublished,
        RunNotSearchable,
        Unreachable,
        BadPixels,
        Exception,
    ):
        _add_error_page(app, kind)


@router.get("/static/{version}/{name}")
def static_file(name: str) -> Response:
    """A style sheet or a script; its address holds its hash, so it may be kept for ever."""
    try:
        content, _ = base.read_static(name)
    except LookupError:
        raise HTTPException(404, "there is no such file") from None
    return base.immutable_response(content, base.STATIC_MEDIA_TYPES[name[name.rindex(".") :]])


@router.get("/thumbnails/{side_px}/{image_id}.jpg")
def thumbnail_file(
    request: Request, side_px: int, image_id: Annotated[str, InPath(max_length=64)]
) -> Response:
    """A small copy of a kept image; its address says which bytes it was made of."""
    try:
        return base.immutable_response(
            thumbnail(request.app.state.place.data_dir, image_id, side_px), "image/jpeg"
        )
    except ThumbnailNotFound:
        raise HTTPException(404, "there is no such picture") from None


def _add_error_page(app: FastAPI, kind: type[Exception]) -> None:
    """Errors of that kind as a page, but for the API's, which stay as they are."""
    as_json = app.exception_handlers[kind]

    async def handler(request: Request, error: Exception) -> Response:
        path = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
        answer = as_json(request, error)
        response: Response = answer if isinstance(answer, Response) else await answer
        if path == "/v1" or path.startswith("/v1/") or response.status_code < 400:
            return response
        said = base.render_page(
            request,
            "problem.html",
            status=response.status_code,
            run=None,
            **_error_context(error, response.status_code),
        )
        said.headers.update(
            {
                name: value
                for name, value in response.headers.items()
                if name in ("retry-after", "allow")
            }
        )
        return said

    app.add_exception_handler(kind, handler)


def _error_context(error: Exception, status: int) -> dict[str, str | None]:
    if isinstance(error, NotPublished):
        return {
            "heading": "Nothing is published yet",
            "told": "Once a night has run and passed its gate, its products stand here. Run one:",
            "command": _RUN_COMMAND,
        }
    if isinstance(error, RunNotSearchable):
        return {"heading": "This cannot be searched here", "told": f"{error}.", "command": None}
    if isinstance(error, Unreachable):
        return {
            "heading": "The warehouse does not answer",
            "told": "Try again in a moment; the server’s log says why.",
            "command": None,
        }
    told = (
        str(error.detail)
        if isinstance(error, HTTPException) and error.detail != HTTPStatus(status).phrase
        else None
    )
    if status == HTTPStatus.NOT_FOUND:
        return {
            "heading": "There is nothing here",
            "told": told or "No page has this address.",
            "command": None,
        }
    usual = (
        "The server’s log says what." if status >= HTTPStatus.INTERNAL_SERVER_ERROR else str(error)
    )
    return {"heading": HTTPStatus(status).phrase, "told": told or usual, "command": None}
