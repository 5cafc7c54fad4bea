"""Start a program with whatever it starts, and leave none of it behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from wearalike.stop_signals import list_processes

_POLL_INTERVAL_S = 0.1


@contextlib.contextmanager
def start_session(
    command: Sequence[str],
    env: Mapping[str, str],
    limits_s: tuple[float, float] = (15.0, 5.0),
    **options: Any,
) -> Iterator[subprocess.Popen[Any]]:
    """Start a program in a session of its own; at the end of the block no process of it is left.

    The program is asked by SIGINT; then what is left is told by SIGTERM, and killed.

    Args:
        command: The program and its arguments.
        env: Its environment.
        limits_s: How long to wait after SIGINT, and after SIGTERM, in seconds.
        **options: As of subprocess.Popen.

    Yields:
        The program's process.
    """
    process = subprocess.Popen(command, env=env, start_new_session=True, **options)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        _wait_for_end(process, limits_s[0])
        for number, limit_s in ((signal.SIGTERM, limits_s[1]), (signal.SIGKILL, limits_s[1])):
            for pid in list_session(process.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            _wait_for_end(process, limit_s)


def list_session(session_id: int) -> list[int]:
    """Return the ids of a session's processes that live.

    Args:
        session_id: Id of the process that began the session.
    """
    return [p.pid for p in list_processes() if p.session_id == session_id]


def _wait_for_end(process: subprocess.Popen[Any], limit_s: float) -> None:
    """Wait until no process of the session is left, or for `limit_s`."""
    deadline_s = time.monotonic() + limit_s
    while (process.poll() is None or list_session(process.pid)) and time.monotonic() < deadline_s:
        time.sleep(_POLL_INTERVAL_S)
