"""The leaf that a product's pictures show, and what contradicts a mapping."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from wearalike.catalog.packaged import packaged_mapping_path
from wearalike.catalog.taxonomy import read_taxonomy
from wearalike.encoding.product_leaves import ItemKinds, build_product_leaves
from wearalike.tables import PRODUCT_LEAVES

KINDS = ("dresses", "sneakers", "t-shirts", "trousers")
DRESS, SNEAKER, SHIRT, TROUSERS = np.eye(4) * 0.97 + 0.01


@pytest.fixture(scope="module")
def taxonomy():
    return read_taxonomy(packaged_mapping_path("taxonomy.xml"))


def tell(taxonomy, products, items):
    """The rows of products (id, category, gender, age) shown by items (id, image, super, chances).

    Image `a` is product a's, image `a2` its second.
    """
    chances = np.array([item[3] for item in items], np.float16).reshape(len(items), len(KINDS))
    order = np.argsort([item[0] for item in items])
    columns = ("product_id", "category", "gender", "age_group")
    table = pa.table({n: [p[i] for p in products] for i, n in enumerate(columns)})
    supers = [str(taxonomy.leaves[p[1]].super_category) for p in products]
    made = build_product_leaves(
        table.append_column("super_category", pa.array(supers)),
        pa.table(
            [[i[1][0] for i in items], [i[1] for i in items]],
            pa.schema([("product_id", pa.string()), ("image_id", pa.string())]),
        )
        .group_by(["product_id", "image_id"])
        .aggregate([]),
        pa.table(
            [[i[n] for i in items] for n in range(3)],
            pa.schema([(n, pa.string()) for n in ("item_id", "image_id", "super_category")]),
        ),
        ItemKinds(
            pa.array([items[i][0] for i in order], pa.string()), chances[order], KINDS, "drawn-1"
        ),
        taxonomy,
    )
    assert made.schema == PRODUCT_LEAVES.arrow_schema
    return {row["product_id"]: row for row in made.to_pylist()}


def test_the_leaf_is_of_the_kind_for_the_products_audience(taxonomy):
    found = tell(
        taxonomy,
        [
            ("a", "women.dresses.midi", "female", "adult"),
            ("b", "men.tops.t-shirts", "male", "adult"),
            ("c", "kids.tops.t-shirts", "unisex", "kids"),
            ("d", "women.dresses.other", "female", "adult"),
            ("e", "men.tops.polos", "male", "adult"),
        ],
        [
            ("1", "a", None, DRESS),
            ("2", "b", None, SHIRT),
            ("3", "c", None, SHIRT),
            ("4", "d", None, TROUSERS),
            ("5", "e", "upper_wear", SHIRT),
        ],
    )
    leaves = {name: row["leaf"] for name, row in found.items()}
    assert leaves["b"] == "men.tops.t-shirts" and leaves["c"] == "kids.tops.t-shirts"
    assert leaves["e"] == "men.tops.t-shirts" and leaves["d"] == "women.trousers.other"
    assert leaves["a"] == "women.dresses.other", "a midi dress is no kind that was taught"
    assert [n for n, row in found.items() if row["contradicts"]] == ["d"]
    assert found["d"]["category_probability"] == pytest.approx(0.01, abs=1e-3)
    assert found["a"]["category_probability"] == pytest.approx(0.98, abs=1e-2), "near in kind"
    assert found["d"]["item_id"] == "4" and found["d"]["classifier"] == "drawn-1"


def test_one_picture_of_the_kind_is_enough_and_other_things_worn_do_not_count(taxonomy):
    found = tell(
        taxonomy,
        [
            ("a", "men.shoes.sneakers", "male", "adult"),
            ("b", "men.shoes.sneakers", "male", "adult"),
        ],
        [
            ("1", "a", None, TROUSERS),
            ("2", "a2", None, SNEAKER),
            ("3", "b", None, TROUSERS),
            ("4", "b", "full_body", SNEAKER),
        ],
    )
    assert not found["a"]["contradicts"] and found["a"]["category_probability"] > 0.9
    assert found["b"]["contradicts"], "an item of another super-category is not the product"


def test_a_kind_that_was_never_taught_is_never_contradicted(taxonomy):
    found = tell(
        taxonomy,
        [("a", "accessories.umbrellas", "unisex", "adult"), ("b", "bags.totes", "female", "adult")],
        [("1", "a", None, SHIRT), ("2", "b", None, (0.3, 0.2, 0.3, 0.2))],
    )
    assert found["a"]["category_probability"] is None and not found["a"]["contradicts"]
    assert not found["b"]["contradicts"]


def test_products_without_an_item_have_no_row(taxonomy):
    assert tell(taxonomy, [("a", "men.tops.polos", "male", "adult")], []) == {}
