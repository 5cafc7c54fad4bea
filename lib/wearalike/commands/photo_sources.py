"""The photos that a command is given: files, folders, addresses, and standard input."""

from __future__ import annotations

import asyncio
import base64
import sys
from pathlib import Path

from wearalike.imaging import decode
from wearalike.net import address_guard, http_client
from wearalike.settings import Settings

PHOTO_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"}
STANDARD_INPUT = "-"
# No camera writes a larger file, and a worker's memory is limited.
MAX_PHOTO_BYTES = 32_000_000


def is_remote(photo: str) -> bool:
    """Return whether a photo is no file: an address, or standard input."""
    return photo == STANDARD_INPUT or photo.lower().startswith(("http://", "https://"))


def read_photo(source: str | Path, settings: Settings) -> bytes:
    """Return the bytes of a photo.

    Args:
        source: a path, an address, or STANDARD_INPUT.
        settings: addresses may lie in the networks that its shops' may.

    Raises:
        BadPixels: the photo is too large, or its data: URL is none.
        FetchError: the address gave no bytes, or is not public.
    """
    if isinstance(source, Path):
        size = source.stat().st_size
        if size > MAX_PHOTO_BYTES:
            raise _too_large(size)
        return source.read_bytes()
    if source != STANDARD_INPUT:
        networks = {network for shop in settings.shops for network in shop.allowed_networks}
        return asyncio.run(_fetch_photo(source, tuple(sorted(networks))))
    # A data: URL is a third longer than its bytes.
    content = sys.stdin.buffer.read(2 * MAX_PHOTO_BYTES)
    if content[:5].lower() == b"data:":
        head, _, text = content.partition(b",")
        try:
            if not head.lower().endswith(b";base64"):
                raise ValueError
            content = base64.b64decode(text.strip(), validate=True)
        except ValueError:
            raise decode.BadPixels(
                decode.PixelReason.NOT_A_PICTURE, "a data: URL, wanted data:image/…;base64,…"
            ) from None
    if len(content) > MAX_PHOTO_BYTES:
        raise _too_large(len(content))
    return content


async def _fetch_photo(address: str, allowed_networks: tuple[str, ...]) -> bytes:
    """Fetch a photo from a public address, or one of these networks. Raises FetchError."""
    async with http_client.Client(address_guard.AddressGuard(allowed_networks)) as client:
        return (await client.fetch(address, MAX_PHOTO_BYTES)).content


def _too_large(size: int) -> decode.BadPixels:
    return decode.BadPixels(
        decode.PixelReason.TOO_MANY_PIXELS,
        f"{size:,} bytes, wanted at most {MAX_PHOTO_BYTES:,}",
    )


def photo_paths(given: list[Path]) -> list[Path]:
    """Return the files given, and the pictures in the folders given, sorted by name.

    Args:
        given: files and folders.

    Returns:
        Paths of files, in the order given.

    Raises:
        FileNotFoundError: a path does not exist.
        ValueError: a folder has no picture in it.
    """
    paths: list[Path] = []
    for path in given:
        if not path.exists():
            raise FileNotFoundError(f"{path}: no such file or folder")
        if not path.is_dir():
            paths.append(path)
            continue
        pictures = sorted(
            p for p in path.iterdir() if p.is_file() and p.suffix.lower() in PHOTO_SUFFIXES
        )
        if not pictures:
            suffixes = ", ".join(sorted(PHOTO_SUFFIXES))
            raise ValueError(f"{path}: no picture in it; looked for {suffixes}")
        paths += pictures
    return paths
