"""End a command on Ctrl-C or SIGTERM: its blocks unwind, its children end, and one line tells."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import click

log = logging.getLogger("wearalike")
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# A shell adds the number of the signal to this.
_SIGNAL_EXIT_CODE = 128
# A thread that does not end, e.g. in a request, is left behind after this time.
UNWIND_LIMIT_S = 60.0


class StopRequested(KeyboardInterrupt):
    """The process was asked to stop.

    Attributes:
        number: The signal's number.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


@dataclass(frozen=True, slots=True)
class LiveProcess:
    """A process that lives, as /proc shows it.

    Attributes:
        pid: Its id.
        parent_pid: The id of its parent.
        session_id: The id of the process that began its session.
    """

    pid: int
    parent_pid: int
    session_id: int


def list_processes() -> list[LiveProcess]:
    """Return the processes of this machine that live."""
    found = []
    for path in Path("/proc").iterdir():
        if path.name.isdecimal():
            with contextlib.suppress(OSError):
                # After the name, which may hold anything: state, parent, group, session.
                fields = (path / "stat").read_text(errors="replace").rpartition(")")[2].split()
                if fields[0] != "Z":
                    found.append(LiveProcess(int(path.name), int(fields[1]), int(fields[3])))
    return found


class _StopState:
    """The signal that this process was asked to stop by; 0 for none."""

    number = 0


def run_until_stopped(work: Callable[[], int]) -> int:
    """Do the work of a process, and return its exit code.

    The first signal raises StopRequested in the main thread; later ones are ignored. Within the
    work of another call, or of another thread, the work is done as it is.

    Args:
        work: Returns the exit code.

    Returns:
        The work's code; 130 after SIGINT, 143 after SIGTERM.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGTERM) is _raise_stop:
        return work()
    # A background job of a shell ignores SIGINT, and goes on to do so.
    former = {
        number: signal.signal(number, _raise_stop)
        for number in STOP_SIGNALS
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    _StopState.number = 0
    try:
        code = work()
    except (KeyboardInterrupt, click.Abort):
        # A library may have set a handler of its own for SIGINT.
        _StopState.number = _StopState.number or signal.SIGINT
    except BaseException:
        # A block that was being left may fail over what has ended: its error tells nothing.
        if not _StopState.number:
            raise
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
        logging.disable(logging.NOTSET)
    if not _StopState.number:
        return code
    name = signal.Signals(_StopState.number).name
    log.warning("stopped by %s; the same command starts again", name)
    return _SIGNAL_EXIT_CODE + _StopState.number


def _raise_stop(number: int, _: FrameType | None) -> None:
    """Raise StopRequested once, and end the process if it has not unwound in time."""
    for one in STOP_SIGNALS:
        signal.signal(one, signal.SIG_IGN)
    _StopState.number = number
    limit = threading.Timer(UNWIND_LIMIT_S, os._exit, [_SIGNAL_EXIT_CODE + number])
    limit.daemon = True
    limit.start()
    # Spark's and others' words about their own ending.
    logging.disable(logging.CRITICAL)
    _kill_children()
    raise StopRequested(number)


def _kill_children() -> None:
    """Kill what this process has started in its own session, such as Spark's workers.

    Nothing of ours needs to be told: tables are whole or not there.
    """
    processes = list_processes()
    session_id = os.getsid(0)
    parents = {os.getpid()}
    while found := [p for p in processes if p.parent_pid in parents and p.pid not in parents]:
        parents |= {p.pid for p in found}
        for process in found:
            if process.session_id == session_id:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL)
