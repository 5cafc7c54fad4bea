"""A small disk of one's own for tests: full when it is full, read-only when it is told to be."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True, slots=True)
class SmallDisk:
    path: Path

    def remount(self, options: str) -> None:
        """`size=1m`, `ro`, `rw`."""
        subprocess.run(
            ["mount", "-o", f"remount,{options}", str(self.path)], check=True, capture_output=True
        )


@contextlib.contextmanager
def mount_disk(path: Path, size: str) -> Iterator[SmallDisk]:
    """A disk of that size, e.g. 300k, in memory, gone with the block. The test is skipped where
    nothing may be mounted.
    """
    path.mkdir()
    with contextlib.suppress(FileNotFoundError):
        if (
            subprocess.run(
                ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)],
                capture_output=True,
            ).returncode
            == 0
        ):
            try:
                yield SmallDisk(path)
            finally:
                subprocess.run(["umount", "-l", str(path)], check=True, capture_output=True)
            return
    pytest.skip("no disk of one's own may be mounted here (mount -t tmpfs)")
