"""Pictures of strangers are first decoded by processes that may crash: each under a limit of memory and of time.

Decoders are large programs in C that read hostile bytes. One that crashes, hangs or grows here costs one picture and one
process, not the night; what has passed here once is decoded in the jobs' own processes afterwards.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import resource
import signal
import subprocess
import sys
import threading
import time
from types import TracebackType
from typing import BinaryIO

from wearalike.imaging import decode

# Of addresses, not of memory in use: 40 million pixels in four channels thrice over, and the libraries.
MAX_MEMORY_BYTES = 2 << 30
# Of processor time, so that a picture is not refused for the other work of a machine.
MAX_CPU_S = 30
# Without an answer: of a worker that works at all, on any machine, the limit of processor time comes first.
TIMEOUT_S = 600.0


class DecoderDied(decode.BadPixels):
    """The worker ended or stood still without an answer: by the picture, or by whoever else ends and stops processes."""


class DecoderPool:
    """A few processes that try pictures; started when they are needed, one for each core. Use as `with Decoders() as decoders`."""

    def __init__(
        self,
        memory_bytes: int = MAX_MEMORY_BYTES,
        cpu_s: int = MAX_CPU_S,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._memory_bytes, self._cpu_s, self._timeout_s = memory_bytes, cpu_s, timeout_s
        self._idle: queue.LifoQueue[subprocess.Popen[bytes] | None] = queue.LifoQueue()
        for _ in os.sched_getaffinity(0):
            self._idle.put(None)

    def __enter__(self) -> DecoderPool:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        while not self._idle.empty():
            if worker := self._idle.get():
                _kill_worker(worker)

    def check_image(self, content: bytes, max_side_px: int) -> None:
        """Decodes a picture to its end, at that size, and keeps nothing. May be called from any thread. Raises BadPixels.

        Where the worker ended or stood still, another one tries once more: a picture ends both, whoever killed the first does not.
        """
        try:
            told = self._decode_in_worker(content, max_side_px)
        except DecoderDied:
            told = self._decode_in_worker(content, max_side_px)
        if told:
            raise decode.BadPixels(decode.PixelReason(told[0]), told[1])

    def _decode_in_worker(self, content: bytes, max_side_px: int) -> list[str]:
        """What a worker answers. Raises as _ask."""
        worker = self._idle.get() or self._start_worker()
        try:
            told = self._send_image(worker, content, max_side_px)
        except BaseException:
            _kill_worker(worker)
            self._idle.put(None)
            raise
        self._idle.put(worker)
        return told

    def _start_worker(self) -> subprocess.Popen[bytes]:
        # Threads of a linear algebra that nothing here uses would each reserve addresses.
        env = {
            **os.environ,
            "OPENBLAS_NUM_THREADS": "1",
            "OMP_NUM_THREADS": "1",
            "MKL_NUM_THREADS": "1",
        }
        command = [
            sys.executable,
            "-m",
            "wearalike.imaging.sandbox",
            str(self._memory_bytes),
            str(self._cpu_s),
        ]
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=env,
        )

    def _send_image(
        self, worker: subprocess.Popen[bytes], content: bytes, max_side_px: int
    ) -> list[str]:
        """[] for a picture, [reason, detail] for none. Raises BadPixels where the worker did not answer."""
        if worker.stdin is None or worker.stdout is None:
            raise ValueError("a worker without pipes")
        over, is_late = f"{len(content):,} bytes", threading.Event()

        def end() -> None:
            is_late.set()
            worker.kill()

        # Around the giving too: a worker that stands still does not empty its pipe, and a large picture fills it.
        limit = threading.Timer(self._timeout_s, end)
        limit.start()
        try:
            with contextlib.suppress(
                BrokenPipeError
            ):  # it has ended already, and says nothing below
                worker.stdin.write(
                    len(content).to_bytes(8, "little") + max_side_px.to_bytes(8, "little")
                )
                worker.stdin.write(content)
                worker.stdin.flush()
            line = worker.stdout.readline()
        finally:
            limit.cancel()
        if line:
            return json.loads(line)
        if is_late.is_set():
            raise DecoderDied(
                decode.PixelReason.UNDECODABLE,
                f"the decoder did not answer within {self._timeout_s:g} s over {over}",
            )
        if (code := worker.wait()) == -signal.SIGXCPU:
            told = f"the decoder took more than {self._cpu_s} s of processor time over {over}"
            raise decode.BadPixels(decode.PixelReason.UNDECODABLE, told)
        raise DecoderDied(
            decode.PixelReason.UNDECODABLE, f"the decoder ended over {over}: exit code {code}"
        )


def _kill_worker(worker: subprocess.Popen[bytes]) -> None:
    worker.kill()
    worker.wait()
    for pipe in (worker.stdin, worker.stdout):
        with contextlib.suppress(BrokenPipeError):
            if pipe:
                pipe.close()


def run_worker(memory_bytes: int, cpu_s: int, requests: BinaryIO, replies: BinaryIO) -> None:
    """A worker: tries pictures from `asked` until it ends. No file may be written, no core dumped. The kernel ends it (SIGXCPU) over a
    picture that takes more than `cpu_s` whole seconds and what is left of one."""
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    while len(head := requests.read(16)) == 16:
        content = requests.read(int.from_bytes(head[:8], "little"))
        answer: list[str] = []
        resource.setrlimit(
            resource.RLIMIT_CPU, (int(time.process_time()) + 1 + cpu_s, resource.RLIM_INFINITY)
        )
        try:
            decode.decode_image(content, int.from_bytes(head[8:], "little"))
        except decode.BadPixels as error:
            answer = [str(error.reason), error.detail]
        except MemoryError:
            answer = [
                str(decode.PixelReason.UNDECODABLE),
                f"wanted more than {memory_bytes:,} bytes of memory",
            ]
        replies.write(json.dumps(answer).encode() + b"\n")
        replies.flush()


if __name__ == "__main__":
    run_worker(int(sys.argv[1]), int(sys.argv[2]), sys.stdin.buffer, sys.stdout.buffer)
