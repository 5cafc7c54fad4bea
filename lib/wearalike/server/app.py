"""The server: the API under /v1 and what stands before it. `wearalike serve` runs it; Airflow mounts it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

import wearalike
from wearalike.server import api, api_docs, errors, middleware, pages, uploads
from wearalike.server.live_search import Live
from wearalike.server.snapshot import Published
from wearalike.settings import Settings


def create(place: Settings) -> FastAPI:
    """The app over what the place's warehouse holds. Opens nothing before it is asked; mounted, it honours root_path.

    state: place (the settings), published (viewer.published.Published), live (viewer.live.Live), queue (uploads.Queue, for photos),
    searches (doors.Limit).
    """
    published = Published(place)

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
    app.state.place, app.state.published, app.state.live = place, published, Live(place)
    app.state.queue, app.state.searches = (
        uploads.Queue(),
        middleware.Limit(place.serve.searches_a_minute, "searches"),
    )
    app.include_router(api.router, prefix="/v1")
    app.include_router(api_docs.router, prefix="/v1", include_in_schema=False)
    errors.add_handlers(app)
    pages.add(app)
    # The last one added is the first that a request meets.
    app.add_middleware(middleware.Segments)
    app.add_middleware(middleware.Head)
    app.add_middleware(middleware.BodyLimit)
    app.add_middleware(
        middleware.RateLimit, limit=middleware.Limit(place.serve.requests_a_minute, "requests")
    )
    if place.serve.allow_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=place.serve.allow_origins,
            allow_methods=["GET", "HEAD", "POST"],
        )
    app.add_middleware(middleware.SafeHeaders)
    return app
