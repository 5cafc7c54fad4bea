"""The place of an image's file in a data folder."""

from __future__ import annotations

from pathlib import Path


def image_path(root: Path, image_id: str) -> Path:
    """Return the path of the image with this SHA-256, which need not exist."""
    return root / "cache" / "images" / image_id[:2] / image_id
