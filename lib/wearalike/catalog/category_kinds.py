"""The kinds of a run's categories, in a file beside its products.

They stand beside the table, so that a run is matched and searched by the taxonomy that mapped it.
The hash of the file is part of what the later stages are made from.
"""

from __future__ import annotations

from pathlib import Path

from wearalike.catalog.kinds import CategoryKinds
from wearalike.storage import run_tables
from wearalike.tables import PRODUCTS

FILE_NAME = "kinds.json"


def write_category_kinds(folder: Path, kinds: CategoryKinds) -> None:
    """Write the kinds into the folder of the table `products`."""
    (folder / FILE_NAME).write_text(kinds.to_json(), encoding="utf-8")


def read_category_kinds(root: Path, run: str) -> CategoryKinds | None:
    """Return the kinds of a run; None for a run of a version that had none.

    Raises:
        TableNotFound: The run has no table `products`.
    """
    if FILE_NAME not in run_tables.read_manifest(root, PRODUCTS, run)["files"]:
        return None
    path = run_tables.table_dir(root, PRODUCTS, run) / FILE_NAME
    return CategoryKinds.from_json(path.read_text(encoding="utf-8"))
