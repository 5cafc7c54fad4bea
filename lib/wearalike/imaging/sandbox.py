"""Decode unknown images in worker processes that may crash, with limits of memory and time.

Decoders are large C programs that read hostile bytes. One that crashes, hangs or grows here costs
one image and one process, not the run. An image of a run that has passed here once is decoded in
the jobs' own processes afterwards. A server takes the pixels themselves from here.
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
from typing import IO, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wearalike.imaging import decode, frames

_ERROR_FIELDS_COUNT = 2
# Address space, not memory in use: 64 million pixels in four channels five times, and libraries.
MAX_MEMORY_BYTES = 3 << 30
# Processor time, so that other work on the machine refuses no image.
MAX_CPU_S = 30
# Wall-clock limit. Only a hung worker reaches it; a busy one reaches the CPU limit first.
TIMEOUT_S = 600.0
# A request begins with three little-endian numbers: the length of the image, its largest side, and
# 1 if its pixels are wanted.
_NUMBER_BYTES = 8
_HEAD_BYTES = 3 * _NUMBER_BYTES
# A worker that a hostile image has taken over may answer anything.
_MAX_ANSWER_BYTES = 10_000
# Workers that try an image before it is refused. One that starts for a killed one holds the same
# image for a second, and may be hit as well.
_TRIES, _TRIES_OF_KILLED = 2, 3


class DecoderDied(decode.BadPixels):
    """The worker ended or hung without an answer.

    Either the image caused it, or somebody else killed or stopped the process.

    Attributes:
        is_killed: By SIGKILL, which comes from outside: an image that is at fault crashes.
    """

    is_killed = False


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
        max_workers: int | None = None,
    ) -> None:
        """Make a pool without workers.

        Args:
            memory_bytes: The address space of a worker.
            cpu_s: Processor time for one image, whole seconds.
            timeout_s: Wall-clock time for one image.
            max_workers: Most workers, if fewer than the cores of this machine.
        """
        self._memory_bytes = memory_bytes
        self._cpu_s = cpu_s
        self._timeout_s = timeout_s
        # None stands for a worker that is not started. The last one used comes first.
        self._idle: queue.LifoQueue[subprocess.Popen[bytes] | None] = queue.LifoQueue()
        cores_count = len(os.sched_getaffinity(0))
        for _ in range(min(max_workers or cores_count, cores_count)):
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
        self.close()

    def close(self) -> None:
        """Kill the idle workers; another image starts new ones."""
        places = [self._idle.get() for _ in range(self._idle.qsize())]
        for worker in places:
            if worker:
                _kill_worker(worker)
            self._idle.put(None)

    def check_image(self, content: bytes, max_side_px: int) -> decode.ImageHeader:
        """Decode an image to its end, discard the pixels, and return its header.

        Any thread may call this. A picture of one colour is refused, too: it shows no product.

        If the worker dies, a new one tries the image, and a third if both were killed by SIGKILL.
        An image that kills decoders kills them all; whoever else killed the first does not.

        Args:
            content: The bytes.
            max_side_px: The size to decode to, as in `decode.decode_image`.

        Raises:
            BadPixels: The bytes are no image we accept.
        """
        return self._try_workers(content, max_side_px, wants_pixels=False)[0]

    def decode_image(
        self, content: bytes, max_side_px: int
    ) -> tuple[decode.ImageHeader, NDArray[np.uint8]]:
        """Decode an image as `decode.decode_image` does, and return its header and pixels.

        Any thread may call this. An image that kills decoders is refused as by `check_image`.

        Args:
            content: The bytes.
            max_side_px: The longest side of the pixels that come back.

        Returns:
            The header, and uint8 (height, width, 3): RGB, upright.

        Raises:
            BadPixels: The bytes are no image we accept.
        """
        return self._try_workers(content, max_side_px, wants_pixels=True)

    def _try_workers(
        self, content: bytes, max_side_px: int, *, wants_pixels: bool
    ) -> tuple[decode.ImageHeader, NDArray[np.uint8]]:
        """Return header and pixels (none if not wanted); a new worker follows a dead one."""
        tries = 0
        while True:
            try:
                return self._decode_in_worker(content, max_side_px, wants_pixels, tries > 0)
            except DecoderDied as error:
                tries += 1
                if tries >= (_TRIES_OF_KILLED if error.is_killed else _TRIES):
                    raise

    def _decode_in_worker(
        self, content: bytes, max_side_px: int, wants_pixels: bool, is_new: bool = False
    ) -> tuple[decode.ImageHeader, NDArray[np.uint8]]:
        """Return what an idle worker answers, or a new one in its place. Raise BadPixels."""
        worker = self._idle.get()
        try:
            # Whoever killed the last worker may have killed the idle ones, too.
            if worker and is_new:
                _kill_worker(worker)
                worker = None
            worker = worker or self._start_worker()
            answer, pixels = self._send_image(worker, content, max_side_px, wants_pixels)
        except BaseException:
            if worker:
                _kill_worker(worker)
            self._idle.put(None)
            raise
        self._idle.put(worker)
        if len(answer) == _ERROR_FIELDS_COUNT:
            reason, detail = answer
            raise decode.BadPixels(decode.PixelReason(reason), detail)
        image_format, width_px, height_px, *_ = answer
        return decode.ImageHeader(image_format, int(width_px), int(height_px)), pixels

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
        self, worker: subprocess.Popen[bytes], content: bytes, max_side_px: int, wants_pixels: bool
    ) -> tuple[list[Any], NDArray[np.uint8]]:
        """Return [format, width, height] of an accepted image with its pixels, or else
        [reason, detail].

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
                worker.stdin.write(int(wants_pixels).to_bytes(_NUMBER_BYTES, "little"))
                worker.stdin.write(content)
                worker.stdin.flush()
            answer = json.loads(worker.stdout.readline(_MAX_ANSWER_BYTES) or "null")
            if answer is not None:
                return answer, _read_pixels(worker.stdout, answer, max_side_px, wants_pixels)
        except ValueError as error:
            raise DecoderDied(
                decode.PixelReason.UNDECODABLE, f"the decoder answered nonsense: {error}"
            ) from error
        finally:
            limit.cancel()
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
        died = DecoderDied(
            decode.PixelReason.UNDECODABLE, f"the decoder ended over {size}: exit code {code}"
        )
        died.is_killed = code == -signal.SIGKILL
        raise died


def _kill_worker(worker: subprocess.Popen[bytes]) -> None:
    """End a worker and close its pipes."""
    worker.kill()
    worker.wait()
    for pipe in (worker.stdin, worker.stdout):
        with contextlib.suppress(BrokenPipeError):
            if pipe:
                pipe.close()


def _read_pixels(
    replies: IO[bytes], answer: list[Any], max_side_px: int, wants_pixels: bool
) -> NDArray[np.uint8]:
    """Return the pixels that follow an answer; none if it has none. Raise ValueError."""
    if not wants_pixels or len(answer) == _ERROR_FIELDS_COUNT:
        return np.empty((0, 0, 3), np.uint8)
    width, height = (int(side) for side in answer[3:5])
    if not 0 < width <= max_side_px or not 0 < height <= max_side_px:
        raise ValueError(f"{width} x {height} px, wanted at most {max_side_px} a side")
    content = replies.read(width * height * 3)
    return np.frombuffer(content, np.uint8).reshape(height, width, 3)


def _decode_shown(content: bytes, max_side_px: int) -> tuple[list[str], NDArray[np.uint8]]:
    """Return [format, width, height] of an image, and its pixels. Raise BadPixels."""
    header = decode.read_header(content)
    rgb = decode.decode_image(content, max_side_px)
    height, width = rgb.shape[:2]
    sides = (header.width_px, header.height_px, width, height)
    return [header.format, *map(str, sides)], rgb


def _refuse_blank(rgb: NDArray[np.uint8]) -> None:
    """Raise BadPixels for pixels of one colour."""
    image = Image.fromarray(rgb)
    if frames.is_blank(image):
        raise decode.BadPixels(
            decode.PixelReason.BLANK,
            f"one colour only: {image.getpixel((0, 0))}; wanted a picture that shows something",
        )


def run_worker(memory_bytes: int, cpu_s: int, requests: BinaryIO, replies: BinaryIO) -> None:
    """Try images from a pipe until it ends.

    The process can write no file and dump no core. The kernel ends it (SIGXCPU) if an image takes
    more than `cpu_s` seconds, rounded up to the end of the current second.

    Args:
        memory_bytes: The address space of this process.
        cpu_s: Processor time for one image, whole seconds.
        requests: For each image its length, its largest side and 1 if its pixels are wanted
            (8 bytes each), then its bytes.
        replies: For each image a line of JSON: [format, width, height, width and height of the
            pixels] or [reason, detail]. The pixels follow if they are wanted.
    """
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    while len(head := requests.read(_HEAD_BYTES)) == _HEAD_BYTES:
        length, max_side_px, wants_pixels = (
            int.from_bytes(head[at : at + _NUMBER_BYTES], "little")
            for at in range(0, _HEAD_BYTES, _NUMBER_BYTES)
        )
        content = requests.read(length)
        cpu_limit_s = int(time.process_time()) + 1 + cpu_s
        resource.setrlimit(resource.RLIMIT_CPU, (cpu_limit_s, resource.RLIM_INFINITY))
        pixels = b""
        try:
            answer, rgb = _decode_shown(content, max_side_px)
            if wants_pixels:
                pixels = rgb.tobytes()
            else:
                _refuse_blank(rgb)
        except decode.BadPixels as error:
            answer = [str(error.reason), error.detail]
        except MemoryError:
            answer = [
                str(decode.PixelReason.UNDECODABLE),
                f"wanted more than {memory_bytes:,} bytes of memory",
            ]
        replies.write(json.dumps(answer).encode() + b"\n" + pixels)
        replies.flush()


if __name__ == "__main__":
    run_worker(int(sys.argv[1]), int(sys.argv[2]), sys.stdin.buffer, sys.stdout.buffer)
