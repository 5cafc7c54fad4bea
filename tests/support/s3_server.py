"""A real S3 server on loopback: moto's, which honours If-None-Match and If-Match of a PUT."""

from __future__ import annotations

import contextlib
import logging
import threading
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

BUCKET = "wearalike"
KEY_ID, SECRET_KEY = "AKIAEXAMPLEKEYID", "example/secret/key"


@dataclass
class S3Server:
    """A running server.

    Attributes:
        endpoint: Its address.
        on_request: Called with method and path before each request is answered; what it returns
            is an HTTP status to refuse with, None to answer.
        requests: Method and path of every request.
        ignores_conditions: It writes whatever the request's condition says, as older servers do.
    """

    endpoint: str = ""
    on_request: Callable[[str, str], int | None] = lambda method, path: None
    requests: list[tuple[str, str]] = field(default_factory=list)
    ignores_conditions: bool = False

    def url(self, prefix: str) -> str:
        """Return the address of a prefix in the bucket."""
        return f"s3://{BUCKET}/{prefix}"


@contextlib.contextmanager
def serve_s3() -> Iterator[S3Server]:
    """Run the server with one bucket, and put credentials for it into the environment."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = S3Server()
    backend: Any = DomainDispatcherApplication(create_backend_app)
    # moto looks and writes in two steps. S3 does both in one, and so does this server.
    one_at_a_time = threading.Lock()

    def answer(environ: dict[str, Any], start_response: Any) -> Any:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        server.requests.append((method, path))
        if refused := server.on_request(method, path):
            start_response(f"{refused} Refused", [("Content-Length", "0")])
            return [b""]
        if server.ignores_conditions:
            for name in ("HTTP_IF_NONE_MATCH", "HTTP_IF_MATCH"):
                environ.pop(name, None)
        with one_at_a_time:
            return list(backend(environ, start_response))

    http = make_server("127.0.0.1", 0, answer, threaded=True)
    server.endpoint = f"http://127.0.0.1:{http.server_port}"
    threading.Thread(target=http.serve_forever, name="S3", daemon=True).start()
    credentials = {
        "AWS_ACCESS_KEY_ID": KEY_ID,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_REGION": "us-east-1",
    }
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in credentials.items():
                patch.setenv(name, value)
            request = urllib.request.Request(f"{server.endpoint}/{BUCKET}", method="PUT")
            urllib.request.urlopen(request, timeout=30).close()
            yield server
    finally:
        http.shutdown()
