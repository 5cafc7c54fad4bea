"""Bytes to pixels: every format and mode comes out as upright RGB, and nothing else comes out."""

from __future__ import annotations

import contextlib
import io
import struct
import time
import zlib
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from wearalike.imaging import decode
from wearalike.imaging.decode import BadPixels, PixelReason

RED, WHITE = (220, 20, 40), (255, 255, 255)


def picture(width: int = 60, height: int = 40) -> NDArray[np.uint8]:
    """Smooth, with four corners that tell any turn: red, green, blue, grey."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    y, x = y / (height - 1), x / (width - 1)
    corners = np.array([[230, 20, 20], [20, 230, 20], [20, 20, 230], [120, 120, 120]], np.float32)
    weights = np.stack([(1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y], -1)
    return (weights @ corners).astype(np.uint8)


def encoded(image: Image.Image | NDArray[Any], kind: str = "PNG", **more: Any) -> bytes:
    out = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(out, kind, **more)
    return out.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that says to be this large and is a few bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n"
        + head
        + chunk(b"IDAT", zlib.compress(bytes(10**6)))
        + chunk(b"IEND", b"")
    )


def reason(content: bytes) -> PixelReason:
    with pytest.raises(BadPixels) as bad:
        decode.decode_image(content)
    return bad.value.reason


@pytest.mark.parametrize("kind", decode.ALLOWED_FORMATS)
def test_every_format_decodes_to_its_picture(kind: str) -> None:
    content = encoded(
        picture(), kind, **({"quality": 95} if kind in ("JPEG", "WEBP", "AVIF") else {})
    )
    assert decode.read_header(content) == decode.ImageHeader(kind, 60, 40)
    rgb = decode.decode_image(content)
    assert rgb.dtype == np.uint8 and rgb.shape == (40, 60, 3)
    exact = kind in ("PNG", "BMP", "TIFF")
    assert np.abs(rgb.astype(int) - picture()).mean() <= (0 if exact else 12)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_upright(kind: str, orientation: int) -> None:
    turns = {
        1: lambda p: p,
        2: lambda p: p[:, ::-1],
        3: lambda p: p[::-1, ::-1],
        4: lambda p: p[::-1],
        5: lambda p: p.transpose(1, 0, 2),
        6: lambda p: np.rot90(p, 1),
        7: lambda p: p.transpose(1, 0, 2)[::-1, ::-1],
        8: lambda p: np.rot90(p, -1),
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    quality = {"quality": 95} if kind in ("JPEG", "WEBP") else {}
    content = encoded(
        np.ascontiguousarray(turns[orientation](picture())), kind, exif=exif, **quality
    )
    header, rgb = decode.read_header(content), decode.decode_image(content)
    assert (header.height_px, header.width_px) == rgb.shape[:2] == (40, 60)
    assert np.abs(rgb.astype(int) - picture()).mean() < 6
    assert decode.decode_image(content, max_side_px=30).shape == (20, 30, 3)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_broken_exif_is_no_reason_to_refuse() -> None:
    content = encoded(picture(), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\xff" * 40)
    assert decode.decode_image(content).shape == (40, 60, 3)


def test_transparent_parts_are_white() -> None:
    half = np.dstack(
        [
            np.full((20, 20, 3), RED, np.uint8),
            np.repeat([[255] * 10 + [0] * 10], 20, 0).astype(np.uint8),
        ]
    )
    palette = Image.new("P", (20, 20), 0)
    palette.putpalette([*RED, 0, 0, 255])
    palette.paste(1, (10, 0, 20, 20))
    grey = Image.fromarray(half).convert("LA")
    for content in (
        encoded(half),
        encoded(half, "WEBP", lossless=True),
        encoded(palette, "GIF", transparency=1),
        encoded(palette, "PNG", transparency=1),
        encoded(palette, "PNG", transparency=bytes([255, 0])),
        encoded(Image.fromarray(half[..., :3]), "PNG", transparency=(1, 2, 3)),
        encoded(grey),
    ):
        rgb = decode.decode_image(content)
        is_opaque = b"\x00\x01\x00\x02\x00\x03" in content
        assert tuple(rgb[5, 15]) == (RED if is_opaque else WHITE)
        assert rgb[5, 5, 0] < 255 and (content == encoded(grey) or tuple(rgb[5, 5]) == RED)


def test_more_than_eight_bits_keep_the_upper_eight() -> None:
    deep = (np.linspace(0, 65535, 400).reshape(20, 20)).astype(np.uint16)
    for kind in ("PNG", "TIFF"):
        rgb = decode.decode_image(encoded(deep, kind))
        assert np.array_equal(rgb[..., 1], (deep >> 8).astype(np.uint8)) and rgb.shape == (
            20,
            20,
            3,
        )
    assert reason(encoded(deep.astype(np.float32), "TIFF")) is PixelReason.UNSUPPORTED


def test_print_and_grey_and_one_bit() -> None:
    cmyk = decode.decode_image(
        encoded(Image.new("RGB", (20, 20), RED).convert("CMYK"), "JPEG", quality=95)
    )
    assert np.abs(cmyk.astype(int) - RED).max() < 12
    assert np.array_equal(
        decode.decode_image(encoded(Image.new("L", (20, 20), 77))), np.full((20, 20, 3), 77)
    )
    assert np.array_equal(
        decode.decode_image(encoded(Image.new("1", (20, 20), 1))), np.full((20, 20, 3), 255)
    )


def test_an_animation_shows_its_first_frame_and_an_mpo_is_a_jpeg() -> None:
    frames = [Image.new("RGB", (20, 20), c) for c in (RED, (0, 0, 255), (0, 255, 0))]
    for kind in ("GIF", "WEBP", "PNG"):
        content = encoded(
            frames[0],
            kind,
            save_all=True,
            append_images=frames[1:],
            **({"lossless": True} if kind == "WEBP" else {}),
        )
        assert tuple(decode.decode_image(content)[3, 3]) == RED
    content = encoded(frames[0], "MPO", save_all=True, append_images=frames[1:])
    assert (
        decode.read_header(content).format == "JPEG"
        and np.abs(decode.decode_image(content).astype(int) - RED).max() < 6
    )


@pytest.mark.parametrize("kind", decode.ALLOWED_FORMATS)
def test_half_a_picture_is_refused(kind: str) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (64, 64, 3), np.uint8)
    content = encoded(noise, kind)
    found = {reason(content[: len(content) * part // 10]) for part in (5, 7, 9)}
    assert found <= {PixelReason.TRUNCATED, PixelReason.UNDECODABLE, PixelReason.NOT_A_PICTURE}
    assert kind not in ("JPEG", "PNG", "BMP") or found == {PixelReason.TRUNCATED}
    if kind == "JPEG":
        with pytest.raises(BadPixels, match="truncated"):
            decode.decode_image(content[: len(content) // 2], max_side_px=32)


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        (b"", PixelReason.NOT_A_PICTURE),
        (b"<html><body>Please log in</body></html>", PixelReason.NOT_A_PICTURE),
        (
            b'<svg xmlns="http://www.w3.org/2000/svg" width="99" height="99"/>',
            PixelReason.UNSUPPORTED,
        ),
        (encoded(picture(), "ICO"), PixelReason.UNSUPPORTED),
        (encoded(picture(), "EPS"), PixelReason.UNSUPPORTED),
        (encoded(picture(), "PDF"), PixelReason.UNSUPPORTED),
        (encoded(picture(), "PPM"), PixelReason.NOT_A_PICTURE),
        (encoded(picture(1 + 1, 2)), PixelReason.TOO_SMALL),
        (encoded(picture(15, 100)), PixelReason.TOO_SMALL),
        (encoded(picture(20, 401)), PixelReason.TOO_NARROW),
        (encoded(picture(6000, 20)), PixelReason.TOO_NARROW),
        (png_header(30_000, 30_000), PixelReason.TOO_MANY_PIXELS),
        (png_header(8000, 8001), PixelReason.TOO_MANY_PIXELS),
        (png_header(10_000, 10_000), PixelReason.TOO_MANY_PIXELS),
    ],
)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_what_is_no_picture_of_ours_is_refused_by_its_header(
    content: bytes, wanted: PixelReason
) -> None:
    start = time.monotonic()
    with pytest.raises(BadPixels) as bad:
        decode.read_header(content)
    assert bad.value.reason is wanted and str(bad.value).startswith(wanted)
    assert reason(content) is wanted
    assert time.monotonic() - start < 0.5


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0heix", "HEIC"),
        (b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41", "a video"),
        (b"\xff\x0a\xfa\x1f", "JPEG XL"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
        (encoded(picture(), "JPEG2000"), "JPEG 2000"),
        (b'<?xml version="1.0"?>\n<!-- made by -->\n<svg width="9"/>', "SVG"),
        (encoded(picture(), "PDF"), "PDF"),
        (b"8BPS\0\1", "PSD"),
    ],
)
def test_a_format_that_is_not_taken_is_named(content: bytes, name: str) -> None:
    with pytest.raises(BadPixels, match=f"^unsupported: {name}, wanted JPEG, PNG") as bad:
        decode.decode_image(content)
    assert bad.value.reason is PixelReason.UNSUPPORTED


@pytest.mark.parametrize("is_progressive", [False, True])
@pytest.mark.parametrize("kept_of_end", [0, 1])
def test_a_jpeg_without_its_last_bytes_is_a_picture_and_a_cut_one_is_none(
    is_progressive: bool, kept_of_end: int
) -> None:
    noise = np.random.default_rng(3).integers(0, 255, (64, 96, 3), np.uint8)
    for source in (noise, picture(900, 600)):
        whole = encoded(source, "JPEG", progressive=is_progressive, quality=90)
        for side in (None, 32):
            wanted = decode.decode_image(whole, side)
            found = decode.decode_image(whole[: len(whole) - 2 + kept_of_end], side)
            assert np.array_equal(found, wanted)
            for lost in (20, 100, len(whole) // 2):
                with pytest.raises(BadPixels) as bad:
                    decode.decode_image(whole[:-lost], side)
                assert bad.value.reason is PixelReason.TRUNCATED
            # The last bytes may hold next to nothing; then nothing that can be seen is lost.
            for lost in (3, 4, 5, 6, 8):
                with contextlib.suppress(BadPixels):
                    found = decode.decode_image(whole[:-lost], side)
                    assert (found != wanted).sum() <= 200
        assert decode.complete_jpeg(whole[: len(whole) - 2 + kept_of_end]) == whole
        assert decode.complete_jpeg(whole) == whole
    assert decode.complete_jpeg(encoded(picture())) == encoded(picture())


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "AVIF"])
def test_an_animation_that_begins_blank_shows_a_later_frame(kind: str) -> None:
    shown = Image.fromarray(picture())
    white = Image.new("RGB", shown.size, WHITE)
    fading = [Image.blend(white, shown, ratio) for ratio in (0, 0.1, 0.4, 0.7, 1.0, 1.0)]
    more = {"lossless": True} if kind == "WEBP" else {}
    content = encoded(fading[0], kind, save_all=True, append_images=fading[1:], **more)
    rgb = decode.decode_image(content)
    assert np.abs(rgb.astype(int) - picture()).mean() < 12
    assert np.array_equal(decode.crop_boxes(content, [(0, 0, 60, 40)])[0], rgb)
    blank = encoded(white, kind, save_all=True, append_images=[white.copy(), white], **more)
    assert decode.decode_image(blank).min() > 250


def test_a_later_frame_is_cut_to_the_picture() -> None:
    white = Image.new("RGB", (60, 40), WHITE)
    later = [Image.fromarray(picture())]
    content = bytearray(encoded(white, "GIF", save_all=True, append_images=later))
    screen = content.index(struct.pack("<HH", 60, 40))
    first = content.index(b"\x2c\x00\x00\x00\x00" + struct.pack("<HH", 60, 40))
    content[screen : screen + 4] = struct.pack("<HH", 50, 30)
    content[first + 5 : first + 9] = struct.pack("<HH", 50, 30)
    assert decode.decode_image(bytes(content)).shape == (30, 50, 3)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [9000, 12000, 40000])
def test_a_later_frame_of_too_many_pixels_is_refused(side: int) -> None:
    white = Image.new("RGB", (60, 40), WHITE)
    later = [Image.fromarray(picture())]
    content = bytearray(encoded(white, "GIF", save_all=True, append_images=later))
    second = content.rindex(b"\x2c\x00\x00\x00\x00" + struct.pack("<HH", 60, 40))
    content[second + 5 : second + 9] = struct.pack("<HH", side, side)
    with pytest.raises(decode.BadPixels) as refused:
        decode.decode_image(bytes(content))
    assert refused.value.reason == PixelReason.TOO_MANY_PIXELS


def test_a_jpeg_of_the_most_pixels_is_decoded_at_a_coarser_scale() -> None:
    content = encoded(Image.new("RGB", (8000, 8000), RED), "JPEG")
    assert decode.decode_image(content, 500).shape == (500, 500, 3)


def test_the_least_and_the_longest_that_are_taken() -> None:
    for width, height in ((16, 16), (16, 320), (400, 20)):
        assert decode.decode_image(encoded(picture(width, height))).shape == (height, width, 3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_side_is_held_to_its_most_and_never_grown(kind: str) -> None:
    content = encoded(picture(900, 300), kind)
    for side, shape in (
        (128, (43, 128, 3)),
        (899, (300, 899, 3)),
        (900, (300, 900, 3)),
        (2000, (300, 900, 3)),
    ):
        small = decode.decode_image(content, max_side_px=side)
        assert small.shape == shape
        assert np.abs(small.astype(int) - picture(shape[1], shape[0])).mean() < 4


@lru_cache
def samples() -> list[bytes]:
    return [encoded(picture(), kind) for kind in decode.ALLOWED_FORMATS] + [
        encoded(picture(), "JPEG", progressive=True, exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0"),
        encoded(Image.fromarray(picture()).convert("P"), "PNG"),
        encoded(picture(), "TIFF", compression="tiff_lzw"),
    ]


@given(
    st.integers(0, 8),
    st.lists(
        st.tuples(st.floats(0, 0.999), st.binary(min_size=1, max_size=8)), min_size=1, max_size=6
    ),
    st.floats(0, 1),
)
@settings(max_examples=400, deadline=None)
@pytest.mark.filterwarnings("ignore")
def test_damaged_bytes_give_a_picture_or_a_reason(
    which: int, damage: list[tuple[float, bytes]], cut: float
) -> None:
    content = bytearray(samples()[which])
    for at, patch in damage:
        start = int(at * len(content))
        content[start : start + len(patch)] = patch
    for piece in (bytes(content), bytes(content[: int(cut * len(content))])):
        try:
            header, rgb = decode.read_header(piece), decode.decode_image(piece)
        except BadPixels as bad:
            assert bad.reason in PixelReason and bad.detail
        else:
            assert rgb.shape == (header.height_px, header.width_px, 3) and rgb.dtype == np.uint8


# Cutting and scaling


def test_crop_is_cut_at_the_rim() -> None:
    rgb = picture()
    assert np.array_equal(decode.crop(rgb, (10, 5, 30, 25)), rgb[5:25, 10:30])
    assert np.array_equal(decode.crop(rgb, (-5, -5, 600, 400)), rgb)
    for box in ((10, 10, 10, 20), (60, 0, 70, 10), (30, 10, 20, 20)):
        with pytest.raises(ValueError, match="nothing of it is inside a picture of 60 x 40 px"):
            decode.crop(rgb, box)


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_large_crop_of_a_jpeg_comes_from_a_coarser_scale_and_is_the_same_thing(
    orientation: int,
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    # Rough, so that a coarser scale or a shift by a pixel would show; stored turned, told by EXIF.
    rough = (
        np.random.default_rng(7)
        .integers(60, 200, (45, 60, 1), dtype=np.uint8)
        .repeat(20, axis=0)
        .repeat(20, axis=1)
    )
    upright = np.clip(rough.astype(int) + picture(1200, 900) // 4, 0, 255).astype(np.uint8)
    stored = np.rot90(upright, 1) if orientation == 6 else upright
    content = encoded(np.ascontiguousarray(stored), "JPEG", exif=exif, quality=95)
    boxes = [(100, 40, 1100, 860), (301, 200, 401, 283)]
    large, small = decode.crop_boxes(content, boxes, 100)
    assert large.shape == (205, 250, 3) and small.shape == (83, 100, 3)
    whole = decode.decode_image(content)
    assert np.array_equal(small, decode.crop(whole, boxes[1]))
    assert (
        np.abs(
            decode.letterbox(large, 100).astype(int)
            - decode.letterbox(decode.crop(whole, boxes[0]), 100)
        ).mean()
        < 1
    )
    # A box that ends inside a coarse pixel is grown by the rest of it.
    assert decode.crop_boxes(content, [(103, 40, 1100, 861)], 100)[0].shape == (206, 250, 3)
    # Alone it is what it was beside the other, and without a side nothing is coarser.
    assert np.array_equal(decode.crop_boxes(content, boxes[:1], 100)[0], large)
    assert all(
        np.array_equal(c, decode.crop(whole, b))
        for c, b in zip(decode.crop_boxes(content, boxes), boxes, strict=True)
    )
    plain = encoded(upright)
    assert np.array_equal(decode.crop_boxes(plain, boxes[:1], 100)[0], upright[40:860, 100:1100])


def test_resize_is_antialiased() -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    small = decode.resize(stripes, 16, 8)
    assert small.shape == (8, 16, 3) and small.dtype == np.uint8
    assert np.abs(small[:, 1:-1].astype(int) - 127).max() <= 3


def test_fit_centres_the_whole_on_white() -> None:
    square = decode.letterbox(np.full((20, 60, 3), RED, np.uint8), 30)
    assert square.shape == (30, 30, 3) and square.dtype == np.uint8
    assert (
        np.all(square[10:20] == RED) and np.all(square[:10] == 255) and np.all(square[20:] == 255)
    )
    assert np.array_equal(
        decode.letterbox(np.full((3, 3, 3), RED, np.uint8), 9), np.full((9, 9, 3), RED, np.uint8)
    )
    assert decode.letterbox(np.full((1, 200, 3), RED, np.uint8), 32).min(axis=(0, 2)).max() < 255
