"""Bytes of each extra on disk, as installed here: python -m tests.benchmarks.package_sizes

A package counts with the files that its wheel lists. An extra has the packages that a plain
installation lacks. Packages that a platform does not want, or that are not installed, are named.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

EXTRAS = ("airflow", "spark", "postgres", "server", "evaluation", "yolo", "openlineage", "statsd")
# Dockerfile's two stages, with what their base image and Debian packages weigh beside them.
IMAGES = {
    "server": ("server", "postgres"),
    "airflow": ("airflow", "spark", "postgres", "server"),
}
# Only a card needs these: PyTorch from PyPI brings them on every Linux.
CUDA_PREFIXES = ("nvidia-", "cuda-", "triton")


def main() -> int:
    """Print the table of the extras, then a line for each image."""
    plain = find_closure(set())
    print("| installation | packages | MB | of them CUDA's | more than plain, MB |")
    print("|---|---:|---:|---:|---:|")
    print(format_row("plain", plain, plain))
    for extra in EXTRAS:
        print(format_row(extra, find_closure({extra}), plain))
    print()
    for image, extras in IMAGES.items():
        print(format_row(f"packages of the image {image}", find_closure(set(extras)), plain))
    return 0


def find_closure(extras: set[str]) -> dict[str, int]:
    """Return the bytes of each package that wearalike needs with extras, its own among them."""
    found: dict[str, int] = {}
    done: set[tuple[str, frozenset[str]]] = set()
    open_ones = [("wearalike", frozenset(extras))]
    while open_ones:
        name, wanted = open_ones.pop()
        if (name, wanted) in done:
            continue
        done.add((name, wanted))
        try:
            installed = distribution(name)
        except PackageNotFoundError:
            print(f"not installed here, and not counted: {name}", file=sys.stderr)
            continue
        found[name] = measure_package(installed)
        open_ones += required_by(installed, wanted)
    return found


def required_by(
    installed: Distribution, extras: frozenset[str]
) -> Iterator[tuple[str, frozenset[str]]]:
    """Yield the packages that one requires on this platform, each with the extras of it."""
    for text in installed.requires or ():
        requirement = Requirement(text)
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": e}) for e in (*extras, "")):
            yield canonicalize_name(requirement.name), frozenset(requirement.extras)


def measure_package(installed: Distribution) -> int:
    """Return the bytes of a package's files; an editable one is measured where it lies."""
    if installed.name == "wearalike":
        package = Path(__file__).resolve().parents[2] / "lib" / "wearalike"
        return sum(
            path.stat().st_size
            for path in package.rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        )
    return sum(
        path.stat().st_size
        for file in installed.files or ()
        if file.suffix != ".pyc" and (path := Path(str(file.locate()))).is_file()
    )


def format_row(name: str, packages: dict[str, int], plain: dict[str, int]) -> str:
    """Return a row of the table."""
    cuda = sum(size for key, size in packages.items() if key.startswith(CUDA_PREFIXES))
    more = sum(size for key, size in packages.items() if key not in plain)
    cells = [
        len(packages),
        *(f"{size / 1e6:,.0f}" for size in (sum(packages.values()), cuda, more)),
    ]
    return f"| {name} | {' | '.join(map(str, cells))} |"


if __name__ == "__main__":
    sys.exit(main())
