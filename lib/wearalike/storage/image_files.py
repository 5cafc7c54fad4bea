"""The place of an image's file in a data folder."""

from __future__ import annotations

from pathlib import Path

from wearalike.storage.checked_files import hash_file


def image_path(root: Path, image_id: str) -> Path:
    """Return the path of the image with this SHA-256, which need not exist."""
    return root / "cache" / "images" / image_id[:2] / image_id


def is_stored_image(root: Path, image_id: str) -> bool:
    """Return True if the image is stored, and its bytes are those of its name."""
    try:
        return hash_file(image_path(root, image_id)) == image_id
    except FileNotFoundError:
        return False
