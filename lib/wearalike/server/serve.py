"""The server as a process: it listens, logs its address and ends on SIGINT or SIGTERM."""

from __future__ import annotations

import errno
import logging
import os
import socket

import uvicorn

from wearalike.server import app, connections
from wearalike.settings import Settings

log = logging.getLogger(__name__)
# Responses that have begun may take this long after the server is told to stop.
SHUTDOWN_GRACE_S = 10
# Connections that the kernel queues, and that the server accepts at once before it counts them.
LISTEN_BACKLOG = 64
# The longest request line with headers; product ids in addresses may be long.
MAX_HEAD_BYTES = 64_000


def serve(settings: Settings, host: str, port: int) -> None:
    """Serve pages and API until SIGINT or SIGTERM; open requests are answered first.

    Networks and codes for photos are loaded meanwhile; /v1/ready tells when that is done.

    Args:
        settings: Settings of the deployment.
        host: Address to listen on, IPv4 or IPv6.
        port: Port to listen on; 0 takes a free one, which the log names.

    Raises:
        OSError: The address cannot be listened on.
    """
    with _listen(host, port) as listening:
        shown_host = f"[{host}]" if ":" in host else host
        bound_port = listening.getsockname()[1]
        log.info("serving at http://%s:%d, API docs at /v1/docs", shown_host, bound_port)
        site = app.create_app(settings)
        if settings.serve.warm_photos:
            site.state.warmer.start()
        config = uvicorn.Config(
            site,
            http=connections.build_protocol(
                settings.serve.connections_a_client, settings.serve.trusted_proxies
            ),
            # The app reads them itself, as it does where another server mounts it.
            proxy_headers=False,
            ws="none",
            backlog=LISTEN_BACKLOG,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=SHUTDOWN_GRACE_S,
            h11_max_incomplete_event_size=MAX_HEAD_BYTES,
        )
        # Once all is answered uvicorn raises the signal again, for the caller.
        uvicorn.Server(config).run(sockets=[listening])


def _listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens. Raises OSError with the address and the remedy."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=LISTEN_BACKLOG)
    except OSError as error:
        # The numbers of a name that is not resolved are below 0.
        if (error.errno or 0) < 0:
            text = f"host {host}: no such name; wanted an address of this machine"
            raise OSError(text) from error
        remedy = "an address of this machine by --host"
        reason = "not an address of this machine"
        if error.errno in (errno.EADDRINUSE, errno.EACCES):
            reason = os.strerror(error.errno).lower()
            remedy = "another by --port; 0 takes a free one"
        raise OSError(f"port {port} of {host}: {reason}; name {remedy}") from error
