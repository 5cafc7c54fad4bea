"""Ctrl-C and SIGTERM end every command with one line and leave no process, on real processes."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from wearalike import sample
from wearalike.commands.child_session import list_session

REPOSITORY = Path(__file__).resolve().parents[2]
SIGNALS = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])


class Command:
    """A command in a session of its own, and the lines that it has said."""

    def __init__(self, *arguments: str, cwd: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=cwd,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            # Tests that a shell runs in the background ignore SIGINT, and so would their children.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self.lines.extend, args=(self.process.stdout,))
        self._reader.start()

    def wait_for(self, text: str) -> str:
        """The first line that has the text."""
        deadline = time.monotonic() + 200
        while time.monotonic() < deadline:
            for line in list(self.lines):
                if text in line:
                    return line
            assert self.process.poll() is None, self.lines
            time.sleep(0.05)
        raise AssertionError(self.lines)

    def stop(self, number: int) -> list[str]:
        """Send the signal; what the command says after it. Nothing that it started lives on."""
        family = psutil.Process(self.process.pid).children(recursive=True)
        said_count = len(self.lines)
        self.process.send_signal(number)
        assert self.process.wait(60) == 128 + number, self.lines
        _, left = psutil.wait_procs(family, timeout=20)
        assert not left, left
        self._reader.join(20)
        return [line for line in self.lines[said_count:] if line.strip()]


@contextlib.contextmanager
def started(*arguments: str, cwd: Path) -> Iterator[Command]:
    command = Command(*arguments, cwd=cwd)
    try:
        yield command
    finally:
        for pid in list_session(command.process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        command.process.wait()


@SIGNALS
@pytest.mark.parametrize(
    ("arguments", "ready"),
    [
        (("-m", "wearalike", "serve", "--port", "0"), "Application startup complete"),
        (("-m", "wearalike.sample"), "http://127.0.0.1"),
        (("-m", "wearalike", "run", "--run", "2026-11-21"), "== ingest_feeds"),
        (("-m", "wearalike.pipeline", "ingest_feeds", "--run", "2026-11-21"), "ingest_feeds"),
    ],
    ids=["serve", "sample", "run", "stage"],
)
def test_a_signal_ends_a_command_with_one_line(tmp_path, number, arguments, ready):
    with contextlib.ExitStack() as stack:
        # A shop that accepts and never answers.
        silent = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/feed.xml"
        (tmp_path / "wearalike.toml").write_text(
            f'data_dir = "data"\nmappings = "{REPOSITORY / "mappings"}"\n[[shops]]\nid = "lipa"\n'
            f'feed = "{address}"\nallowed_networks = ["127.0.0.0/8"]\n',
            encoding="utf-8",
        )
        command = stack.enter_context(started(*arguments, cwd=tmp_path))
        if "ingest_feeds" in ready:
            silent.settimeout(200)
            stack.enter_context(silent.accept()[0])  # it asks, and waits for the answer
        else:
            command.wait_for(ready)
        said = command.stop(number)
        told = [line for line in said if "uvicorn" not in line]
        assert len(told) == 1, said
        assert f"stopped by {signal.Signals(number).name}" in told[0]


def test_airflow_leaves_no_process_and_no_port(tmp_path):
    """`make airflow`, stopped as a service manager stops it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = ["-m", "wearalike", "demo", "--serve", "--folder", "demo", "--port", str(port)]
    with started(*arguments, cwd=tmp_path) as command:
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert command.process.poll() is None, command.lines
            time.sleep(0.2)
        said = command.stop(signal.SIGTERM)
        assert "stopped by SIGTERM" in said[-1], said
        assert not any(re.search("Traceback", line) for line in said), said
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()


def test_a_shell_s_background_job_goes_on_after_ctrl_c(tmp_path):
    """It begins with SIGINT ignored."""
    with sample.serve_shops():
        ignored = "import signal, runpy; signal.signal(signal.SIGINT, signal.SIG_IGN); "
        program = f"{ignored} runpy.run_module('wearalike.sample', run_name='__main__')"
        with started("-c", program, cwd=tmp_path) as command:
            command.wait_for("http://")
            command.process.send_signal(signal.SIGINT)
            with pytest.raises(subprocess.TimeoutExpired):
                command.process.wait(0.5)
            assert "stopped by SIGTERM" in command.stop(signal.SIGTERM)[0]
