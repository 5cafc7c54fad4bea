"""A real Spark standalone cluster for tests and benches: a master and workers of one core each,
on free ports of loopback.

Executors run a Python that has every dependency of wearalike installed, and not wearalike:
it has to come with the job.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pyspark

SPARK_HOME = Path(pyspark.__file__).parent
START_TIMEOUT_S = 300.0
# Java starts quicker, and runs slower, than it might.
_JAVA_OPTIONS = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"


@dataclass(frozen=True)
class SparkCluster:
    """master: its address. workers: their processes. folder: what they write.
    env: what a job's process is to have around it.
    """

    master: str
    workers: tuple[psutil.Process, ...]
    folder: Path
    env: dict[str, str]

    def busy_executors(self, worker: int) -> list[psutil.Process]:
        """Of the job that runs there, those in which a Python is at work."""
        return [process for process in self.workers[worker].children() if _python_workers(process)]

    def executor_ids(self, worker: int) -> list[str]:
        """Numbers that the last job's executors had there."""
        jobs = sorted((self.folder / f"work-{worker}").glob("app-*"))
        return sorted(path.name for path in jobs[-1].iterdir()) if jobs else []


def _python_workers(executor: psutil.Process) -> list[psutil.Process]:
    """The workers that pyspark's daemon has forked."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return [worker for daemon in executor.children() for worker in daemon.children()]
    return []


@contextlib.contextmanager
def start_cluster(
    folder: Path, workers: int = 2, executor_memory: str = "512m", numba_cache: Path | None = None
) -> Iterator[SparkCluster]:
    """folder: an empty one. numba_cache: where executors keep what they compile;
    default: in `folder`.
    """
    conf = folder / "conf"
    conf.mkdir(parents=True)
    defaults = {
        "spark.executor.memory": executor_memory,
        "spark.executor.cores": "1",
        "spark.executor.extraJavaOptions": _JAVA_OPTIONS,
    }
    (conf / "spark-defaults.conf").write_text(
        "".join(f"{key} {value}\n" for key, value in defaults.items())
    )
    port, page = _free_port(), _free_port()
    env = {
        **os.environ,
        "SPARK_HOME": str(SPARK_HOME),
        "SPARK_CONF_DIR": str(conf),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_DAEMON_MEMORY": "256m",
        "SPARK_DAEMON_JAVA_OPTS": _JAVA_OPTIONS,
        "PYSPARK_PYTHON": str(_write_bare_python(folder)),
        "NUMBA_CACHE_DIR": str(numba_cache or folder / "numba"),
    }
    started: list[subprocess.Popen[bytes]] = []
    seen: set[psutil.Process] = set()
    master = f"spark://127.0.0.1:{port}"

    def start(what: str, *arguments: str) -> psutil.Process:
        command = [
            str(SPARK_HOME / "bin" / "spark-class"),
            f"org.apache.spark.deploy.{what}",
            "--host",
            "127.0.0.1",
            *arguments,
        ]
        with (folder / f"log-{len(started)}").open("wb") as log:
            started.append(subprocess.Popen(command, env=env, stdout=log, stderr=log))
        return psutil.Process(started[-1].pid)

    try:
        start("master.Master", "--port", str(port), "--webui-port", str(page))
        running = tuple(
            start(
                "worker.Worker",
                "--cores",
                "1",
                "--memory",
                "4g",
                "--webui-port",
                "0",
                "--work-dir",
                str(folder / f"work-{i}"),
                master,
            )
            for i in range(workers)
        )
        _wait_for_workers(workers, f"http://127.0.0.1:{page}/json/")
        job_env = {
            k: v
            for k, v in env.items()
            if k not in ("NUMBA_CACHE_DIR", "SPARK_DAEMON_JAVA_OPTS", "SPARK_DAEMON_MEMORY")
        }
        yield SparkCluster(master, running, folder, job_env)
    finally:
        for process in started:
            with contextlib.suppress(psutil.NoSuchProcess):
                seen.update(psutil.Process(process.pid).children(recursive=True))
        for process in reversed(started):
            process.terminate()
        for process in started:
            process.wait(30)
        for left in psutil.wait_procs(list(seen), timeout=5)[1]:
            left.kill()


def _write_bare_python(folder: Path) -> Path:
    """An interpreter that sees the packages installed beside ours, and no .pth file,
    which is how a checkout is installed.
    """
    path = folder / "python"
    packages = shlex.quote(sysconfig.get_path("purelib"))
    path.write_text(
        f'#!/bin/sh\nPYTHONPATH="${{PYTHONPATH:+$PYTHONPATH:}}"{packages} exec '
        f'{shlex.quote(sys.executable)} -S "$@"\n',
        encoding="utf-8",
    )
    path.chmod(0o755)
    return path


def _wait_for_workers(workers: int, page: str) -> None:
    end = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < end:
        with contextlib.suppress(OSError), urllib.request.urlopen(page, timeout=5) as answer:
            if json.load(answer)["aliveworkers"] == workers:
                return
        time.sleep(0.2)
    raise TimeoutError(f"{page}: {workers} workers have not come")


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]
