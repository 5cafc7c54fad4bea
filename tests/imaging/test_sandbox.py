"""Decoders that crash, hang or grow cost one picture, not the job."""

import contextlib
import io
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psutil
import pytest
from PIL import Image
from tests.support.pictures import progressive_jpeg, transparent_png

from wearalike.imaging import decode
from wearalike.imaging.decode import BadPixels, PixelReason
from wearalike.imaging.sandbox import DecoderPool


def png(side: int) -> bytes:
    """Half black and half white."""
    rgb = np.zeros((side, side, 3), np.uint8)
    rgb[: side // 2] = 255
    out = io.BytesIO()
    Image.fromarray(rgb).save(out, "PNG", compress_level=1)
    return out.getvalue()


SMALL, LARGE = png(40), png(6300)


def workers() -> list[psutil.Process]:
    return [p for p in psutil.Process().children() if "wearalike.imaging.sandbox" in p.cmdline()]


def test_a_picture_passes_and_half_of_one_does_not():
    with DecoderPool() as decoders:
        decoders.check_image(SMALL, 32)
        with pytest.raises(BadPixels) as bad:
            decoders.check_image(SMALL[: len(SMALL) // 2], 32)
        assert bad.value.reason is PixelReason.TRUNCATED
        decoders.check_image(SMALL, 32)
        assert len(workers()) == 1, "one worker did it all, one after the other"
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda _: decoders.check_image(SMALL, 32), range(40)))
        assert 1 <= len(workers()) <= len(os.sched_getaffinity(0))
    assert workers() == []


def test_a_picture_that_ends_every_decoder_costs_that_picture_and_nothing_else():
    """Each worker is killed while it has the image, as if the image crashed it."""
    is_over = threading.Event()

    def end_all() -> None:
        while not is_over.wait(0.01):
            for worker in workers():
                with contextlib.suppress(psutil.NoSuchProcess):
                    worker.send_signal(signal.SIGSEGV)

    with DecoderPool() as decoders:
        decoders.check_image(SMALL, 32)
        ending = threading.Thread(target=end_all)
        ending.start()
        with pytest.raises(BadPixels, match=r"the decoder ended over .* bytes: exit code -11"):
            decoders.check_image(LARGE, 32)
        is_over.set()
        ending.join()
        decoders.check_image(SMALL, 32)


def test_a_decoder_killed_by_somebody_else_costs_no_picture():
    with DecoderPool() as decoders:
        decoders.check_image(SMALL, 32)
        (worker,) = workers()
        worker.suspend()  # so that it has the picture and is not done when it is hit
        killer = threading.Timer(0.3, worker.kill)
        killer.start()
        decoders.check_image(LARGE, 32)
        assert [p.pid for p in workers()] != [worker.pid]


@pytest.mark.parametrize(
    ("ends", "said"),
    [
        ([signal.SIGKILL] * 2, None),
        ([signal.SIGKILL] * 3, "code -9"),
        ([signal.SIGKILL, signal.SIGKILL, signal.SIGSEGV], "code -11"),
        ([signal.SIGKILL, signal.SIGSEGV], "code -11"),
    ],
)
def test_a_picture_survives_two_kills_of_its_decoders(ends, said):
    """A kill hits a decoder that starts for a killed one with the same picture, too."""
    seen: list[int] = []

    def end_each_once():
        while len(seen) < len(ends):
            # One that has just ended has no command line.
            with contextlib.suppress(psutil.NoSuchProcess):
                for worker in workers():
                    if worker.pid not in seen and len(seen) < len(ends):
                        worker.send_signal(ends[len(seen)])
                        seen.append(worker.pid)
            time.sleep(0.01)

    with DecoderPool(max_workers=1) as decoders:
        ending = threading.Thread(target=end_each_once)
        ending.start()
        with pytest.raises(BadPixels, match=said) if said else contextlib.nullcontext():
            decoders.check_image(LARGE, 32)
        ending.join()


def test_a_picture_that_takes_too_long_is_ended_by_the_time_it_takes():
    """Only processor time counts, not the other work of the machine: the worker may be slow."""
    with DecoderPool(cpu_s=0) as decoders:
        decoders.check_image(SMALL, 32)
        (worker,) = workers()
        worker.suspend()
        threading.Timer(2, worker.resume).start()
        decoders.check_image(SMALL, 32)
        with pytest.raises(BadPixels, match="took more than 0 s of processor time over") as bad:
            for _ in range(100):  # one of them is at it when the worker's second is over
                decoders.check_image(LARGE, 32)
        assert bad.value.reason is PixelReason.UNDECODABLE
        decoders.check_image(SMALL, 32)


def test_a_decoder_that_stands_still_is_ended():
    """So is the second worker that tries the image: both are suspended as soon as they start."""
    is_over = threading.Event()

    def stop_all() -> None:
        while not is_over.wait(0.01):
            for worker in workers():
                with contextlib.suppress(psutil.NoSuchProcess):
                    worker.suspend()

    with DecoderPool(timeout_s=0.5) as decoders:
        stopping = threading.Thread(target=stop_all)
        stopping.start()
        try:
            began = time.monotonic()
            with pytest.raises(BadPixels, match=r"did not answer within 0\.5 s"):
                decoders.check_image(LARGE, 32)
            assert workers() == [] and 1 <= time.monotonic() - began < 30
        finally:
            is_over.set()
            stopping.join()


def test_a_decoder_that_grows_is_held():
    """An image of 40 million pixels exceeds a limit that leaves little beside the libraries."""
    with DecoderPool(memory_bytes=300 << 20) as decoders:
        decoders.check_image(SMALL, 32)
        with pytest.raises(BadPixels) as bad:
            decoders.check_image(LARGE, 32)
        assert bad.value.reason is PixelReason.UNDECODABLE
        decoders.check_image(SMALL, 32)
    with DecoderPool() as decoders:
        decoders.check_image(LARGE, 32)


@pytest.mark.parametrize("more_scans", [0, 30, 60, 2700])
def test_a_jpeg_of_thousands_of_scans_is_refused_before_it_is_decoded(more_scans):
    content = progressive_jpeg(1000, more_scans)
    with DecoderPool(cpu_s=10) as decoders:
        if more_scans < 60:
            assert decoders.check_image(content, 32).width_px == 1000
            return
        began = time.process_time()
        with pytest.raises(BadPixels, match="wanted at most 64 scans") as bad:
            decoders.check_image(content, 32)
        assert bad.value.reason is PixelReason.TOO_MANY_SCANS
        assert time.process_time() - began < 1


def test_previews_and_what_follows_the_picture_are_no_scans_of_it():
    content = progressive_jpeg(200)
    (length,) = ((len(inner := content[:30000]) + 2).to_bytes(2, "big"),)
    comment = b"\xff\xfe" + length + inner
    preview = content[:2] + comment * 12 + content[2:] + b"\xff\xda" * 5000
    with DecoderPool() as decoders:
        assert decoders.check_image(preview, 32).width_px == 200


def test_pixels_come_back_as_they_are_decoded_here():
    for content in (SMALL, progressive_jpeg(1000), transparent_png(500)):
        with DecoderPool() as decoders:
            header, rgb = decoders.decode_image(content, 300)
        assert np.array_equal(rgb, decode.decode_image(content, 300))
        assert header == decode.read_header(content)
    with DecoderPool() as decoders, pytest.raises(BadPixels, match="truncated"):
        decoders.decode_image(SMALL[: len(SMALL) // 2], 300)


def test_the_largest_picture_that_is_taken_fits_a_decoder():
    """64 million pixels with transparency, which need most memory."""
    rgba = np.full((8000, 8000, 4), 255, np.uint8)
    rgba[:4000, :, 1] = 0
    out = io.BytesIO()
    Image.fromarray(rgba).save(out, "PNG", compress_level=1)
    with DecoderPool() as decoders:
        header = decoders.check_image(out.getvalue(), 32)
    assert (header.format, header.width_px, header.height_px) == ("PNG", 8000, 8000)


@pytest.mark.parametrize("colour", [(255, 255, 255), (254, 255, 253), (0, 0, 0), (10, 90, 200)])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF"])
def test_a_picture_of_one_colour_is_refused_as_blank(colour, kind):
    with DecoderPool() as decoders:
        for has_mark in (False, True):
            image = Image.new("RGB", (300, 200), colour)
            if has_mark:
                image.paste((200, 40, 40), (100, 60, 180, 150))
            out = io.BytesIO()
            image.save(out, kind)
            if has_mark:
                assert decoders.check_image(out.getvalue(), 32).width_px == 300
            else:
                with pytest.raises(BadPixels, match="one colour only") as bad:
                    decoders.check_image(out.getvalue(), 32)
                assert bad.value.reason is PixelReason.BLANK
