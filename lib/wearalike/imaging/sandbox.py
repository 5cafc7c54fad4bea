"""Try unknown images in worker processes that may crash, with limits of memory and time.

Decoders are large C programs that read hostile bytes. One that crashes, hangs or grows here costs
one image and one process, not the run. An image that has passed here once is decoded in the jobs'
own processes afterwards.
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

from PIL import Image

from wearalike.imaging import decode, frames

_ERROR_FIELDS = ("reason", "detail")
# Address space, not memory in use: 64 million pixels in four channels five times, and libraries.
MAX_MEMORY_BYTES = 3 << 30
# Processor time, so that other work on the machine refuses no image.
MAX_CPU_S = 30
# Wall-clock limit. Only a hung worker reaches it; a busy one reaches the CPU limit first.
TIMEOUT_S = 600.0
# A request begins with two little-endian numbers: the length of the image and its largest side.
_NUMBER_BYTES = 8


class DecoderDied(decode.BadPixels):
    """The worker ended or hung without an answer.

    Either the image caused it, or somebody else killed or stopped the process.
    """


class DecoderPool:
    """A few worker processes, at most one for each core, started when they are needed.

    with DecoderPool() as decoders:
        decoders.check_image(content, max_side_px=32)
    """

    def __init__(
        self,
        memory_bytes: int = MAX_MEMORY_BYTES,
        cpu_s: int = MAX_CPU_S,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        """Make a pool without workers.

        Args:
            memory_bytes: The address space of a worker.
            cpu_s: Processor time for one image, whole seconds.
            timeout_s: Wall-clock time for one image.
        """
        self._memory_bytes = memory_bytes
        self._cpu_s = cpu_s
        self._timeout_s = timeout_s
        # None stands for a worker that is not started. The last one used comes first.
        self._idle: queue.LifoQueue[subprocess.Popen[bytes] | None] = queue.LifoQueue()
        for _ in os.sched_getaffinity(0):
            self._idle.put(None)

    def __enter__(self) -> DecoderPool:
        """Return the pool."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Kill the workers."""
        while not self._idle.empty():
            if worker := self._idle.get():
                _kill_worker(worker)

    def check_image(self, content: bytes, max_side_px: int) -> decode.ImageHeader:
        """Decode an image to its end, discard the pixels, and return its header.

        Any thread may call this. A picture of one colour is refused, too: it shows no product.

        If the worker dies, a second one tries the image. An image that kills decoders kills both;
        whoever else killed the first one does not.

        Args:
            content: The bytes.
            max_side_px: The size to decode to, as in `decode.decode_image`.

        Raises:
            BadPixels: The bytes are no image we accept.
        """
        try:
            answer = self._decode_in_worker(content, max_side_px)
        except DecoderDied:
            answer = self._decode_in_worker(content, max_side_px)
        if len(answer) == len(_ERROR_FIELDS):
            reason, detail = answer
            raise decode.BadPixels(decode.PixelReason(reason), detail)
        image_format, width_px, height_px = answer
        return decode.ImageHeader(image_format, int(width_px), int(height_px))

    def _decode_in_worker(self, content: bytes, max_side_px: int) -> list[str]:
        """Return the answer of an idle worker, as `_send_image` does."""
        worker = self._idle.get() or self._start_worker()
        try:
            answer = self._send_image(worker, content, max_side_px)
        except BaseException:
            _kill_worker(worker)
            self._idle.put(None)
            raise
        self._idle.put(worker)
        return answer

    def _start_worker(self) -> subprocess.Popen[bytes]:
        """Start a worker process."""
        # No linear algebra is used here, but each of its threads would reserve addresses.
        one_thread = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
        command = [sys.executable, "-m", "wearalike.imaging.sandbox"]
        return subprocess.Popen(
            [*command, str(self._memory_bytes), str(self._cpu_s)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **dict.fromkeys(one_thread, "1")},
        )

    def _send_image(
        self, worker: subprocess.Popen[bytes], content: bytes, max_side_px: int
    ) -> list[str]:
        """Return [format, width, height] of an accepted image, else [reason, detail].

        Raise DecoderDied if the worker dies, and BadPixels if it exceeds its processor time.
        """
        if worker.stdin is None or worker.stdout is None:
            raise ValueError("a worker without pipes")
        is_late = threading.Event()

        def stop_worker() -> None:
            is_late.set()
            worker.kill()

        # The limit covers the writing: a hung worker does not empty its pipe, and a large image
        # fills it.
        limit = threading.Timer(self._timeout_s, stop_worker)
        limit.start()
        try:
            # A worker that has ended breaks the pipe; its empty answer tells so below.
            with contextlib.suppress(BrokenPipeError):
                worker.stdin.write(len(content).to_bytes(_NUMBER_BYTES, "little"))
                worker.stdin.write(max_side_px.to_bytes(_NUMBER_BYTES, "little"))
                worker.stdin.write(content)
                worker.stdin.flush()
            line = worker.stdout.readline()
        finally:
            limit.cancel()
        if line:
            return json.loads(line)
        size = f"{len(content):,} bytes"
        if is_late.is_set():
            raise DecoderDied(
                decode.PixelReason.UNDECODABLE,
                f"the decoder did not answer within {self._timeout_s:g} s over {size}",
            )
        code = worker.wait()
        if code == -signal.SIGXCPU:
            raise decode.BadPixels(
                decode.PixelReason.UNDECODABLE,
                f"the decoder took more than {self._cpu_s} s of processor time over {size}",
            )
        raise DecoderDied(
            decode.PixelReason.UNDECODABLE, f"the decoder ended over {size}: exit code {code}"
        )


def _kill_worker(worker: subprocess.Popen[bytes]) -> None:
    """End a worker and close its pipes."""
    worker.kill()
    worker.wait()
    for pipe in (worker.stdin, worker.stdout):
        with contextlib.suppress(BrokenPipeError):
            if pipe:
                pipe.close()


def _check_shown(content: bytes, max_side_px: int) -> list[str]:
    """Return [format, width, height] of an image that shows something. Raise BadPixels."""
    header = decode.read_header(content)
    rgb = Image.fromarray(decode.decode_image(content, max_side_px))
    if frames.is_blank(rgb):
        raise decode.BadPixels(
            decode.PixelReason.BLANK,
            f"one colour only: {rgb.getpixel((0, 0))}; wanted a picture that shows something",
        )
    return [header.format, str(header.width_px), str(header.height_px)]


def run_worker(memory_bytes: int, cpu_s: int, requests: BinaryIO, replies: BinaryIO) -> None:
    """Try images from a pipe until it ends.

    The process can write no file and dump no core. The kernel ends it (SIGXCPU) if an image takes
    more than `cpu_s` seconds, rounded up to the end of the current second.

    Args:
        memory_bytes: The address space of this process.
        cpu_s: Processor time for one image, whole seconds.
        requests: For each image its length and largest side (8 bytes each), then its bytes.
        replies: For each image a line of JSON: [format, width, height] or [reason, detail].
    """
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    while len(head := requests.read(2 * _NUMBER_BYTES)) == 2 * _NUMBER_BYTES:
        content = requests.read(int.from_bytes(head[:_NUMBER_BYTES], "little"))
        max_side_px = int.from_bytes(head[_NUMBER_BYTES:], "little")
        cpu_limit_s = int(time.process_time()) + 1 + cpu_s
        resource.setrlimit(resource.RLIMIT_CPU, (cpu_limit_s, resource.RLIM_INFINITY))
        try:
            answer = _check_shown(content, max_side_px)
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
