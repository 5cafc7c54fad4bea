"""A real PostgreSQL server for tests: `with server() as address`, then `database(address, name)`
for one of its own.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest


@contextlib.contextmanager
def start_server() -> Iterator[str]:
    """The superuser's address of a fresh server on a free port of 127.0.0.1, gone with all its data
    when the block ends.

    Where psycopg or a server is not installed the test is skipped. The server refuses to run as
    root: it then runs as the user postgres. Nothing is synced to disk.
    """
    with start_restartable_server() as made:
        yield made.address


@dataclass
class PostgresServer:
    """A running server. start: its command. log: the file of what it says."""

    address: str
    command: list[str]
    log: Path
    process: subprocess.Popen | None = None

    def launch(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command, cwd="/", stdout=log, stderr=log)
        _wait_until_ready(self.address, self.process, self.log)

    def stop(self, stop_signal: signal.Signals = signal.SIGQUIT) -> None:
        """At once (SIGQUIT), or as an administrator ends it, breaking off every session
        (SIGINT).
        """
        if self.process is not None:
            self.process.send_signal(stop_signal)
            self.process.wait(timeout=30)
            self.process = None


@contextlib.contextmanager
def start_restartable_server() -> Iterator[PostgresServer]:
    """As `server`, to be ended and begun again."""
    pytest.importorskip("psycopg", reason="psycopg is not installed (the extra `postgres`)")
    folder_of_programs = programs_dir()
    folder = Path(tempfile.mkdtemp(prefix="wearalike-postgres-"))
    # A server must not outlive tests that are killed.
    user = ["setpriv", "--pdeathsig", "QUIT"]
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
        user += ["--reuid=postgres", "--regid=postgres", "--init-groups"]
    data, port = folder / "data", _free_port()
    settings = {"listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": folder}
    settings |= dict.fromkeys(("fsync", "synchronous_commit", "full_page_writes"), "off")
    options = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
    start = [*user, str(folder_of_programs / "postgres"), "-D", str(data), *options]
    made = PostgresServer(f"postgresql://postgres@127.0.0.1:{port}/postgres", start, folder / "log")
    try:
        initdb = [
            *user,
            str(folder_of_programs / "initdb"),
            "-D",
            str(data),
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C.UTF-8",
        ]
        subprocess.run(
            [*initdb, "--no-sync"], cwd="/", check=True, stdout=subprocess.DEVNULL, timeout=60
        )
        made.launch()
        yield made
    finally:
        made.stop()
        shutil.rmtree(folder, ignore_errors=True)


def create_database(address: str, name: str) -> str:
    """The address of a new, empty database of the server."""
    import psycopg

    with psycopg.connect(address, autocommit=True) as con:
        con.execute(psycopg.sql.SQL("CREATE DATABASE {}").format(psycopg.sql.Identifier(name)))
    return f"{address.rpartition('/')[0]}/{name}"


@contextlib.contextmanager
def create_database_in(address: str, name: str, folder: Path) -> Iterator[str]:
    """As `database`, its files in a folder that the server's user can come to; gone with the
    block.
    """
    import psycopg

    made = psycopg.sql.Identifier(name)
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
    with psycopg.connect(address, autocommit=True) as con:
        con.execute(
            psycopg.sql.SQL("CREATE TABLESPACE {} LOCATION {}").format(
                made, psycopg.sql.Literal(str(folder))
            )
        )
        con.execute(psycopg.sql.SQL("CREATE DATABASE {} TABLESPACE {}").format(made, made))
    try:
        yield f"{address.rpartition('/')[0]}/{name}"
    finally:
        with psycopg.connect(address, autocommit=True) as con:
            con.execute(psycopg.sql.SQL("DROP DATABASE {} WITH (FORCE)").format(made))
            con.execute(psycopg.sql.SQL("DROP TABLESPACE {}").format(made))


def drop_warehouse(address: str) -> str:
    """The same address, once the warehouse that an earlier test made there is dropped."""
    import psycopg

    with psycopg.connect(address) as con:
        con.execute("DROP SCHEMA IF EXISTS wearalike CASCADE")
    return address


def programs_dir() -> Path:
    """The folder of the newest server installed: on the PATH, or where Debian keeps it."""
    on_path = shutil.which("postgres")
    debian = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: float(path.parts[-3])
    )
    found = [Path(on_path).resolve()] if on_path else debian[-1:]
    if not found or not shutil.which("setpriv"):
        pytest.skip("no PostgreSQL server is installed (Debian: apt-get install postgresql)")
    return found[0].parent


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def _wait_until_ready(address: str, process: subprocess.Popen, log: Path) -> None:
    import psycopg

    deadline = time.monotonic() + 30
    while True:
        try:
            psycopg.connect(address, connect_timeout=5).close()
            return
        except psycopg.OperationalError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(
                    f"PostgreSQL did not start: {log.read_text(errors='replace')}"
                ) from error
            time.sleep(0.05)
