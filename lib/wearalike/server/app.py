"""The server: the API under /v1 and what stands before it. `wearalike serve` runs it; Airflow mounts it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

import wearalike
from wearalike.server import api, api_docs, errors, middleware, pages, uploads
from wearalike.server.live_search import LiveSearch
from wearalike.server.snapshot import PublishedRepository
from wearalike.settings import Settings


def create_app(settings: Settings) -> FastAPI:
    """The app over what the place's warehouse holds. Opens nothing before it is asked; mounted, it honours root_path.

    state: place (the settings), published (viewer.published.Published), live (viewer.live.Live), queue (uploads.PhotoQueue, for photos),
    searches (middleware.ClientRateLimiter).
    """
    published = PublishedRepository(settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        published.close()

    bare: dict[str, Any] = {
        "openapi_url": None,
        "docs_url": None,
        "redoc_url": None,
        "redirect_slashes": False,
    }
    app = FastAPI(title="wearalike", version=wearalike.__version__, lifespan=lifespan, **bare)
    app.state.place, app.state.published, app.state.live = settings, published, LiveSearch(settings)
    app.state.queue, app.state.searches = (
        uploads.PhotoQueue(),
        middleware.ClientRateLimiter(settings.serve.searches_a_minute, "searches"),
    )
    app.include_router(api.router, prefix="/v1")
    app.include_router(api_docs.router, prefix="/v1", include_in_schema=False)
    errors.add_exception_handlers(app)
    pages.add_pages(app)
    # The last one added is the first that a request meets.
    app.add_middleware(middleware.EncodedSlashMiddleware)
    app.add_middleware(middleware.HeadMiddleware)
    app.add_middleware(middleware.BodySizeMiddleware)
    app.add_middleware(
        middleware.RateLimitMiddleware,
        limit=middleware.ClientRateLimiter(settings.serve.requests_a_minute, "requests"),
    )
    if settings.serve.allowed_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.serve.allowed_origins,
            allow_methods=["GET", "HEAD", "POST"],
        )
    app.add_middleware(middleware.SecurityHeadersMiddleware)
    return app
