"""wearalike inside Airflow's web UI: the API and the pages under /wearalike, and a link to them.

Airflow finds this module by the entry point `airflow.plugins`, in every process that it starts. So
nothing is loaded before the first request. Only users who are logged in to Airflow get an answer.
The settings are those of the nightly runs: $WEARALIKE_CONFIG.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, ClassVar
from urllib.parse import urlsplit

from airflow.configuration import conf
from airflow.plugins_manager import AirflowPlugin

log = logging.getLogger("wearalike.airflow")
URL_PREFIX = "/wearalike"


class AirflowAuthMiddleware:
    """The ASGI app that Airflow mounts: passes requests of logged-in users to wearalike's app."""

    def __init__(self) -> None:
        """Load nothing yet."""
        self._app: Any = None
        self._app_lock: asyncio.Lock | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request, of HTTP only."""
        if scope["type"] != "http":
            return
        if (refused := await _auth_error_response(scope)) is not None:
            return await refused(scope, receive, send)

        async def send_as_private(message: Any) -> None:
            # Pages that other deployments may cache publicly are for logged-in users here.
            if message["type"] == "http.response.start":
                headers = [
                    (
                        name,
                        value.replace(b"public", b"private") if name == b"cache-control" else value,
                    )
                    for name, value in message["headers"]
                ]
                message = {**message, "headers": headers}
            await send(message)

        app = await self._load_app()
        await app(scope, receive, send_as_private)

    async def _load_app(self) -> Any:
        """Return wearalike's app, created at the first request.

        Where the settings cannot be read, return a response that says so.
        """
        if self._app_lock is None:
            self._app_lock = asyncio.Lock()
        async with self._app_lock:
            if self._app is None:
                try:
                    self._app = await asyncio.to_thread(_create_app)
                except ValueError as error:
                    log.error("%s", error)
                    return _problem_response(
                        503, "wearalike's settings cannot be used; the api-server's log says why"
                    )
            return self._app


async def _auth_error_response(scope: Any) -> Any:
    """Return the response to a user who is not logged in to Airflow; None if the user is."""
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.models.resource_details import AccessView
    from airflow.api_fastapi.core_api.security import bearer_scheme, get_user
    from fastapi import HTTPException, Request

    request = Request(scope)
    try:
        user = await get_user(request, None, await bearer_scheme(request))
    except HTTPException as error:
        return _problem_response(
            error.status_code,
            f"{error.detail}: log in to Airflow first, or send its token as Bearer",
        )
    if not get_auth_manager().is_authorized_view(access_view=AccessView.WEBSITE, user=user):
        return _problem_response(403, "this user may not see Airflow's website, nor this")
    return None


def _create_app() -> Any:
    """Create wearalike's app from the settings."""
    from wearalike import settings
    from wearalike.server import app
    from wearalike.storage import mirror

    found = settings.read_settings(needs_feeds=False)
    mirror.open_cache(found.data_dir, found.storage)
    return app.create_app(found)


def _problem_response(status: int, detail: str) -> Any:
    """Return a response of application/problem+json."""
    from http import HTTPStatus

    from fastapi.responses import JSONResponse

    content = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
    }
    return JSONResponse(content, status, {"Cache-Control": "no-store"}, "application/problem+json")


class WearalikePlugin(AirflowPlugin):
    """The app under URL_PREFIX, and a link to it under Browse."""

    name = "wearalike"
    fastapi_apps: ClassVar[list[Any]] = [  # type: ignore[misc]
        {"app": AirflowAuthMiddleware(), "url_prefix": URL_PREFIX, "name": "wearalike"}
    ]
    external_views: ClassVar[list[Any]] = [  # type: ignore[misc]
        {
            "name": "Similar products",
            "href": urlsplit(conf.get("api", "base_url", fallback="/")).path.rstrip("/")
            + f"{URL_PREFIX}/",
            "destination": "nav",
            "category": "browse",
            "url_route": "similar-products",
        }
    ]
