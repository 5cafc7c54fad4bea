"""The server as a process: listens, says where, and ends when asked to, once it has answered what it was asked."""

from __future__ import annotations

import contextlib
import logging
import socket

import uvicorn

from wearalike.server import app
from wearalike.settings import Settings

log = logging.getLogger(__name__)
# How long answers that have begun may take when the server is told to stop.
SHUTDOWN_GRACE_S = 10


def serve(settings: Settings, host: str, port: int) -> None:
    """Serves until SIGINT or SIGTERM. Raises OSError where the address cannot be listened on."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family, backlog=512) as listening:
        bound = listening.getsockname()[1]
        log.info(
            "serving at http://%s:%d, the API's pages at /v1/docs",
            f"[{host}]" if ":" in host else host,
            bound,
        )
        config = uvicorn.Config(
            app.create_app(settings),
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=SHUTDOWN_GRACE_S,
            h11_max_incomplete_event_size=64_000,
        )
        with contextlib.suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[listening])
