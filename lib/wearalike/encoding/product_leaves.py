"""The leaf that a product's pictures show, and products whose pictures contradict their mapping."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from wearalike.catalog.kinds import MAX_KIND_DISTANCE
from wearalike.catalog.taxonomy import Leaf, Taxonomy
from wearalike.tables import PRODUCT_LEAVES

# Pictures contradict a mapping if none of them shows a thing of its super-category, or a kind near
# it, with more than this probability. With one mapping in twenty made wrong, .94 to 1 of what is
# listed in shops left out of training is wrong; a seventh of the wrong ones are found, or fewer. In
# street photos .14 of what is listed is wrong: the list is for catalogue pictures.
MAX_CATEGORY_PROBABILITY = 0.02


@dataclass(frozen=True, slots=True)
class ItemKinds:
    """Which kinds the items of a run show.

    Attributes:
        item_ids: string (n,). The items.
        probabilities: float16 (n, kinds).
        kinds: Names of the kinds.
        classifier: Version of the leaf classifier.
    """

    item_ids: pa.Array
    probabilities: NDArray[np.float16]
    kinds: Sequence[str]
    classifier: str


def build_product_leaves(
    products: pa.Table, images: pa.Table, items: pa.Table, shown: ItemKinds, taxonomy: Taxonomy
) -> pa.Table:
    """Tell for each product the leaf that its pictures most likely show.

    The pictures of a product count the same. One picture of the mapped kind is enough to agree with
    the mapping, because others may show a detail or the whole outfit.

    Args:
        products: product_id, category, super_category, gender and age_group of tables.PRODUCTS.
        images: product_id and image_id of tables.IMAGES.
        items: item_id, image_id and super_category of tables.ITEMS.
        shown: Which kinds the items show.
        taxonomy: The taxonomy.

    Returns:
        Rows of tables.PRODUCT_LEAVES, by product_id. Products without an item are left out.
    """
    known = items.append_column(
        "row", pc.index_in(items["item_id"], shown.item_ids).cast(pa.int64())
    ).filter(pc.is_in(items["item_id"], shown.item_ids))
    pairs = (
        images.select(["product_id", "image_id"])
        .join(known.select(["image_id", "super_category", "row"]), "image_id", join_type="inner")
        .join(
            products.select(["product_id"]).append_column("wanted", products["super_category"]),
            "product_id",
            join_type="inner",
        )
    )
    fits = pc.or_kleene(
        pc.is_null(pairs["super_category"]), pc.equal(pairs["super_category"], pairs["wanted"])
    )
    pairs = pairs.filter(fits).sort_by([("product_id", "ascending"), ("row", "ascending")])
    if not pairs.num_rows:
        return PRODUCT_LEAVES.arrow_schema.empty_table()
    rows = pairs["row"].to_numpy()
    ids = pairs["product_id"].combine_chunks()
    is_first = np.r_[True, np.array(pc.not_equal(ids[1:], ids[:-1]))]
    starts = np.flatnonzero(is_first)
    mine = products.take(pc.index_in(ids.take(pa.array(starts)), products["product_id"]))
    return _describe_products(mine, rows, starts, shown, taxonomy)


def _describe_products(
    products: pa.Table,
    rows: NDArray[np.int64],
    starts: NDArray[np.int64],
    shown: ItemKinds,
    taxonomy: Taxonomy,
) -> pa.Table:
    """Return the rows of products.

    Args:
        products: Rows of tables.PRODUCTS.
        rows: int64 (m,). Rows of items, product by product.
        starts: int64 (n,). Where each product's rows start.
        shown: Which kinds the items show.
        taxonomy: The taxonomy.
    """
    categories = products["category"].to_pylist()
    fitting = _fitting_classes(shown.kinds, taxonomy)
    leaf_of = _LeafChooser(shown.kinds, taxonomy)
    ends = np.r_[starts[1:], len(rows)]
    columns: dict[str, list[object]] = {name: [] for name in PRODUCT_LEAVES.column_names}
    genders, ages = products["gender"].to_pylist(), products["age_group"].to_pylist()
    ids = products["product_id"].to_pylist()
    for number, category in enumerate(categories):
        own = rows[starts[number] : ends[number]]
        chances = shown.probabilities[own].astype(np.float64)
        mean = chances.mean(axis=0)
        best = int(mean.argmax())
        wanted = fitting.get(taxonomy.kinds.kind(category))
        agrees = None if wanted is None else float(chances[:, wanted].sum(axis=1).max())
        contradicts = agrees is not None and agrees <= MAX_CATEGORY_PROBABILITY
        values = {
            "product_id": ids[number],
            "leaf": leaf_of.choose(best, category, genders[number], ages[number]),
            "probability": float(mean[best]),
            "category_probability": None if agrees is None else min(agrees, 1.0),
            "contradicts": contradicts,
            "item_id": shown.item_ids[int(own[chances[:, best].argmax()])].as_py(),
            "classifier": shown.classifier,
        }
        for name, value in values.items():
            columns[name].append(value)
    return pa.table(columns, PRODUCT_LEAVES.arrow_schema)


def _fitting_classes(kinds: Sequence[str], taxonomy: Taxonomy) -> Mapping[str, NDArray[np.int64]]:
    """Return for each kind the classes near it or of its super-category; none if none is near."""
    table = taxonomy.kinds.table
    at = {name: i for i, name in enumerate(table.names)}
    classes = np.array([at.get(name, -1) for name in kinds], np.int64)
    super_of = {leaf.kind: leaf.super_category for leaf in taxonomy.leaves.values()}
    supers = np.array([super_of.get(name) for name in kinds], object)
    found = {}
    for name, row in at.items():
        is_near = (classes >= 0) & (table.distances[row, classes] < MAX_KIND_DISTANCE)
        if is_near.any():
            found[name] = np.flatnonzero(is_near | (supers == super_of[name]))
    return found


class _LeafChooser:
    """Chooses the leaf of a kind for an audience."""

    def __init__(self, kinds: Sequence[str], taxonomy: Taxonomy) -> None:
        self._kinds = kinds
        self._leaves = taxonomy.leaves
        self._of_kind: dict[str, list[Leaf]] = {}
        for leaf in taxonomy.leaves.values():
            self._of_kind.setdefault(leaf.kind, []).append(leaf)

    def choose(self, kind: int, category: str, gender: str, age_group: str) -> str:
        """Return the leaf of a kind: the mapped one if it is of it, else that of the audience."""
        name = self._kinds[kind]
        leaves = self._of_kind.get(name, [])
        if not leaves or any(leaf.id == category for leaf in leaves):
            return category if leaves else name
        return max(
            leaves,
            key=lambda leaf: (
                leaf.age_group in (None, age_group),
                leaf.gender in (None, gender),
            ),
        ).id
