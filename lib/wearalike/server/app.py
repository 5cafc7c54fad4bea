"""The server: pages and the API under /v1. `wearalike serve` runs it; Airflow mounts it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

import wearalike
from wearalike.evaluation.descriptors.versions import DescriberPool
from wearalike.server import (
    api,
    api_docs,
    errors,
    list_api,
    middleware,
    neighbour_api,
    pages,
    photos,
    status,
    thumbnails,
    uploads,
    warm_up,
)
from wearalike.server.fair_queue import FairQueue
from wearalike.server.live_search import LiveSearch
from wearalike.server.snapshot import PublishedRepository
from wearalike.settings import Settings


def create_app(settings: Settings) -> FastAPI:
    """Create the app that shows what the warehouse has published.

    The app opens nothing before the first request. Mounted in another app, it honours root_path.
    Its `state` holds what requests share:

    * settings: Settings.
    * published: PublishedRepository.
    * live_search: LiveSearch.
    * photo_queue: FairQueue of photos.
    * photo_decoders: sandbox.DecoderPool of photos.
    * thumbnails: thumbnails.ThumbnailMaker.
    * thumbnail_queue: FairQueue of thumbnails.
    * search_limiter: middleware.ClientRateLimiter of live searches.
    * describers: versions.DescriberPool, which describes photos by other models.
    * warmer: warm_up.SearchWarmer; whoever runs the app may start it.

    Args:
        settings: Names the warehouse, the data folder and the limits of `serve`.

    Returns:
        The ASGI app.
    """
    published = PublishedRepository(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        app.state.warmer.stop()
        app.state.live_search.close()
        published.close()
        app.state.photo_decoders.close()
        app.state.thumbnails.close()

    no_default_pages: dict[str, Any] = {
        "openapi_url": None,
        "docs_url": None,
        "redoc_url": None,
        "redirect_slashes": False,
    }
    app = FastAPI(
        title="wearalike", version=wearalike.__version__, lifespan=lifespan, **no_default_pages
    )
    app.state.settings = settings
    app.state.published = published
    app.state.live_search = LiveSearch(settings)
    app.state.photo_queue = FairQueue(uploads.PHOTO_LIMITS)
    app.state.photo_decoders = photos.build_decoders()
    app.state.thumbnail_queue = FairQueue(thumbnails.THUMBNAIL_LIMITS)
    app.state.thumbnails = thumbnails.ThumbnailMaker(settings.data_dir)
    app.state.search_limiter = middleware.ClientRateLimiter(
        settings.serve.searches_a_minute, "searches"
    )
    app.state.describers = DescriberPool(settings)
    app.state.warmer = warm_up.SearchWarmer(
        settings.data_dir, published, app.state.live_search, app.state.photo_decoders
    )
    app.include_router(api.router, prefix="/v1")
    app.include_router(list_api.router, prefix="/v1")
    app.include_router(neighbour_api.router, prefix="/v1")
    app.include_router(status.api_router, prefix="/v1")
    app.include_router(status.metrics_router)
    app.include_router(api_docs.router, prefix="/v1", include_in_schema=False)
    errors.add_exception_handlers(app)
    pages.add_pages(app)
    _add_middleware(app, settings)
    return app


def _add_middleware(app: FastAPI, settings: Settings) -> None:
    """Add the middleware; a request meets the last one added first."""
    app.add_middleware(middleware.EncodedSlashMiddleware)
    app.add_middleware(middleware.HeadMiddleware)
    app.add_middleware(middleware.BodySizeMiddleware)
    app.add_middleware(
        middleware.RateLimitMiddleware,
        limiter=middleware.ClientRateLimiter(settings.serve.requests_a_minute, "requests"),
    )
    if settings.serve.allowed_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.serve.allowed_origins,
            allow_methods=["GET", "HEAD", "POST"],
        )
    app.add_middleware(middleware.AllowedHostMiddleware, allowed_hosts=settings.serve.allowed_hosts)
    app.add_middleware(middleware.SecurityHeadersMiddleware)
    app.add_middleware(
        ProxyHeadersMiddleware,
        trusted_hosts=list(settings.serve.trusted_proxies),
    )
