"""The pages as routes of the app: routers, static files, thumbnails and error pages."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Request
from fastapi import Path as InPath
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from wearalike.imaging.decode import BadPixels
from wearalike.server import middleware
from wearalike.server.annotation_queue import AnnotationQueue
from wearalike.server.fair_queue import FairQueue
from wearalike.server.label_desk import LabelDesk
from wearalike.server.live_search import RunNotSearchable
from wearalike.server.pages import (
    base,
    compare,
    figure_products,
    history,
    judging,
    labelling,
    photo,
    products,
    quality,
    refusals,
    rules,
)
from wearalike.server.snapshot import NotPublished, PublishedRepository
from wearalike.server.thumbnails import ProductImageIndex, ThumbnailMaker, ThumbnailNotFound
from wearalike.storage.object_store import StoreFault
from wearalike.warehouse.base import Unreachable

log = logging.getLogger(__name__)
router = APIRouter()
_RUN_COMMAND = "wearalike run"


def add_pages(app: FastAPI) -> None:
    """Add the pages to the app.

    Args:
        app: An app with state.settings and state.published, and with exception handlers that
            answer problem details. Errors outside /v1 become pages.
    """
    app.state.product_images = ProductImageIndex(app.state.settings.data_dir)
    app.state.annotation_queue = AnnotationQueue(app.state.settings)
    app.state.label_desk = LabelDesk(app.state.settings)
    for part in (
        router,
        products.router,
        history.router,
        compare.router,
        photo.router,
        quality.router,
        figure_products.router,
        refusals.router,
        rules.router,
        judging.router,
        labelling.router,
    ):
        app.include_router(part, include_in_schema=False)
    for kind in (
        HTTPException,
        RequestValidationError,
        NotPublished,
        RunNotSearchable,
        Unreachable,
        StoreFault,
        BadPixels,
        Exception,
    ):
        _add_error_page(app, kind)


@router.get("/static/{version}/{name}")
def static_file(name: str) -> Response:
    """Return a style sheet or a script; its address has its hash, so caches keep it."""
    try:
        content, _ = base.read_static(name)
    except LookupError:
        raise HTTPException(404, "there is no such file") from None
    return base.immutable_response(content, base.STATIC_MEDIA_TYPES[name[name.rindex(".") :]])


@router.get("/thumbnails/{side_px}/{image_id}.jpg")
async def thumbnail_file(
    request: Request, side_px: int, image_id: Annotated[str, InPath(max_length=64)]
) -> Response:
    """Return a thumbnail; its address has the hash of the image, so caches keep it."""
    maker: ThumbnailMaker = request.app.state.thumbnails
    queue: FairQueue = request.app.state.thumbnail_queue
    client = middleware.scope_client_key(request.scope)
    try:
        content = maker.find_cached(image_id, side_px)
        if content is None:
            async with queue.reserve_place(client), queue.wait_for_turn(client):
                content = await run_in_threadpool(maker.make, image_id, side_px)
        return base.immutable_response(content, "image/jpeg")
    except ThumbnailNotFound:
        raise HTTPException(404, "there is no such picture") from None


def _add_error_page(app: FastAPI, kind: type[Exception]) -> None:
    """Show exceptions of a kind as a page, except those of the API."""
    as_json = app.exception_handlers[kind]

    async def handler(request: Request, error: Exception) -> Response:
        path = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
        result = as_json(request, error)
        response: Response = result if isinstance(result, Response) else await result
        if path == "/v1" or path.startswith("/v1/") or response.status_code < 400:
            return response
        is_lost = response.status_code == HTTPStatus.NOT_FOUND
        found = await run_in_threadpool(_read_published, request, with_shops=is_lost)
        page = base.render_page(
            request,
            "problem.html",
            status=response.status_code,
            **found,
            **_error_context(error, response.status_code),
        )
        for name in ("retry-after", "allow"):
            if name in response.headers:
                page.headers[name] = response.headers[name]
        return page

    app.add_exception_handler(kind, handler)


def _read_published(request: Request, *, with_shops: bool) -> dict[str, Any]:
    """Return the published run, and its shops and super-categories with their counts.

    Where that cannot be read, the run is None; an error page must be shown all the same.
    """
    found: dict[str, Any] = {"run": None, "shops": {}, "supers": {}}
    published: PublishedRepository = request.app.state.published
    try:
        with published.snapshot() as s:
            found["run"] = s.run
            for row in s.category_counts() if with_shops else []:
                for name, column in (("shops", "shop_id"), ("supers", "super_category")):
                    counts = found[name]
                    counts[row[column]] = counts.get(row[column], 0) + row["products_count"]
    except (NotPublished, Unreachable):
        pass
    except Exception:
        log.exception("an error page goes without the published run")
    return found


def _error_context(error: Exception, status: int) -> dict[str, str | None]:
    """Return heading, text and command of an error page."""
    if isinstance(error, NotPublished):
        return {
            "heading": "Nothing is published yet",
            "text": "Products appear here once a run has passed its checks. To start a run:",
            "command": _RUN_COMMAND,
        }
    if isinstance(error, RunNotSearchable):
        return {
            "heading": "This run cannot be searched here",
            "text": f"{error}.",
            "command": None,
        }
    if isinstance(error, Unreachable):
        return {
            "heading": "The warehouse does not answer",
            "text": "Please try again in a moment. The server’s log says why.",
            "command": None,
        }
    if isinstance(error, StoreFault):
        return {
            "heading": "The object store does not answer",
            "text": "Please try again in a moment. The server’s log says why.",
            "command": None,
        }
    detail = None
    if isinstance(error, HTTPException) and error.detail != HTTPStatus(status).phrase:
        detail = str(error.detail)
    if status == HTTPStatus.NOT_FOUND:
        text = detail or "No page has this address."
        return {"heading": "Page not found", "text": text, "command": None}
    if isinstance(error, RequestValidationError):
        detail = "This address has a value that the page does not take."
    if detail is None:
        is_server_error = status >= HTTPStatus.INTERNAL_SERVER_ERROR
        detail = "The server’s log says what failed." if is_server_error else str(error)
    return {"heading": HTTPStatus(status).phrase, "text": detail, "command": None}
