"""Real HTTP servers for tests: `wearalike serve` in a process of its own, and a folder's files."""

from __future__ import annotations

import contextlib
import functools
import http.server
import re
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient


def site_client(app: object, **options: Any) -> TestClient:
    """A client in this process, of a host that every server allows."""
    return TestClient(app, base_url="http://localhost", **options)


@contextlib.contextmanager
def serve_folder(folder: Path) -> Iterator[str]:
    """Serve a folder's files over HTTP on loopback; yield the address."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@contextlib.contextmanager
def serve_site(
    config: Path, max_files: int | None = None, before: str = ""
) -> Iterator[tuple[str, subprocess.Popen]]:
    """Yield (address, process) of a server; end it with the block; check that nothing failed.

    max_files: the most files that the process may open. before: Python that it runs at first.
    """
    program = f"{before}\nimport sys; from wearalike.commands.app import main; sys.exit(main())"
    command = [sys.executable, "-c", program, "serve", "--config", str(config), "--port", "0"]
    if max_files:
        command = ["prlimit", f"--nofile={max_files}:{max_files}", *command]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    log_lines: list[str] = []
    try:
        for line in process.stderr:
            log_lines.append(line)
            if found := re.search(r"serving at (http://\S+),", line):
                break
        else:
            raise AssertionError("".join(log_lines))
        reader = threading.Thread(target=log_lines.extend, args=(process.stderr,))
        reader.start()
        yield found[1], process
    finally:
        process.terminate()
        process.wait(90)
        with contextlib.suppress(UnboundLocalError):
            reader.join(10)
    assert "Traceback" not in "".join(log_lines), "".join(log_lines)


def wait_until_ready(address: str, limit_s: float = 240.0) -> None:
    """Wait until a server has loaded networks and codes."""
    ends_at_s = time.monotonic() + limit_s
    while time.monotonic() < ends_at_s:
        try:
            urllib.request.urlopen(f"{address}/v1/ready", timeout=20).close()
            return
        except urllib.error.HTTPError as error:
            assert error.code == 503, error
        time.sleep(0.1)
    raise AssertionError(f"{address} is not ready after {limit_s:.0f} s")
