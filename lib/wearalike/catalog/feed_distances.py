"""The kinds and colours of a run, in files beside its products.

They stand beside the table, so that a run is matched and searched by the files that mapped it. The
hashes of the files are part of what the later stages are made from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from wearalike.catalog import colour_names
from wearalike.catalog.kinds import CategoryKinds
from wearalike.storage import run_tables
from wearalike.tables import PRODUCTS

# Readers of a folder of Parquet files pass over names that begin with "_".
KINDS_FILE = "_kinds.json"
COLOURS_FILE = "_colours.json"


@dataclass(frozen=True, slots=True)
class FeedDistances:
    """How unlike products are by what their feeds say.

    Attributes:
        kinds: The kinds of the categories; None: all categories are one kind.
        colours: How each named colour looks, as `colour_names.ColourNames.hex_by_id`; empty: names
            of colours do not count.
    """

    kinds: CategoryKinds | None
    colours: Mapping[str, str | None]


def write_category_kinds(folder: Path, kinds: CategoryKinds) -> None:
    """Write the kinds into the folder of the table `products`."""
    (folder / KINDS_FILE).write_text(kinds.to_json(), encoding="utf-8")


def write_colours(folder: Path, hex_by_id: Mapping[str, str | None]) -> None:
    """Write how the named colours look into the folder of the table `products`."""
    (folder / COLOURS_FILE).write_text(colour_names.to_json(hex_by_id), encoding="utf-8")


def read_feed_distances(root: Path, run: str) -> FeedDistances:
    """Return the distances of a run; one of an earlier version may lack either.

    Raises:
        TableNotFound: The run has no table `products`.
    """
    kinds = _read_beside(root, run, KINDS_FILE)
    colours = _read_beside(root, run, COLOURS_FILE)
    return FeedDistances(
        CategoryKinds.from_json(kinds) if kinds else None,
        colour_names.from_json(colours) if colours else {},
    )


def _read_beside(root: Path, run: str, name: str) -> str | None:
    """Return the text of a file beside the products; earlier versions named it without the "_"."""
    files = run_tables.read_manifest(root, PRODUCTS, run)["files"]
    found = next((one for one in (name, name.removeprefix("_")) if one in files), None)
    if found is None:
        return None
    folder = run_tables.fetch_files(root, PRODUCTS, run, found.__eq__)
    return (folder / found).read_text(encoding="utf-8")
