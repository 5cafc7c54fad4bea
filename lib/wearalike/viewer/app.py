"""The server: the API under /v1 and what stands before it. `wearalike serve` runs it; Airflow mounts it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

import wearalike
from wearalike.settings import Settings
from wearalike.viewer import api, doors, pages, problems, reference, uploads
from wearalike.viewer.live import Live
from wearalike.viewer.published import Published


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

    bare: dict[str, Any] = {"openapi_url": None, "docs_url": None, "redoc_url": None, "redirect_slashes": False}
    app = FastAPI(title="wearalike", version=wearalike.__version__, lifespan=lifespan, **bare)
    app.state.place, app.state.published, app.state.live = place, published, Live(place)
    app.state.queue, app.state.searches = uploads.Queue(), doors.Limit(place.serve.searches_a_minute, "searches")
    app.include_router(api.router, prefix="/v1")
    app.include_router(reference.router, prefix="/v1", include_in_schema=False)
    problems.add_handlers(app)
    pages.add(app)
    # The last one added is the first that a request meets.
    app.add_middleware(doors.Segments)
    app.add_middleware(doors.Head)
    app.add_middleware(doors.BodyLimit)
    app.add_middleware(doors.RateLimit, limit=doors.Limit(place.serve.requests_a_minute, "requests"))
    if place.serve.allow_origins:
        app.add_middleware(CORSMiddleware, allow_origins=place.serve.allow_origins, allow_methods=["GET", "HEAD", "POST"])
    app.add_middleware(doors.SafeHeaders)
    return app
