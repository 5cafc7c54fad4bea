"""The item that represents a product, and index files that name their codes' owners."""

from pathlib import Path

import faiss
import numpy as np
import pyarrow as pa
import pytest

from wearalike.search import index
from wearalike.tables import CODES, IMAGES, INDEXES, ITEMS, PRODUCTS


def rows(table, *rows):
    filled = {pa.string(): "", pa.int32(): 0, pa.int64(): 0, pa.float32(): 0.0}
    full = [
        {
            c.name: r.get(
                c.name,
                None
                if c.nullable
                else filled.get(c.type, [] if pa.types.is_list(c.type) else b"0" * 16),
            )
            for c in table.columns
        }
        for r in rows
    ]
    return pa.Table.from_pylist(full, table.arrow_schema)


def product(i, super_category="bags"):
    return {"product_id": f"s:{i}", "shop_id": "s", "super_category": super_category}


def image(i, position, image_id):
    return {"product_id": f"s:{i}", "position": position, "image_id": image_id}


def item(item_id, image_id, super_category=None, confidence=1.0, side_px=100):
    seen = {
        "item_id": item_id,
        "image_id": image_id,
        "super_category": super_category,
        "confidence": confidence,
    }
    return seen | {"x1": side_px, "y1": side_px}


def code(item_id, byte=0):
    return {"item_id": item_id, "shape": bytes([byte] * 16), "colour": bytes([255 - byte] * 16)}


def test_codes_of_two_encoders_are_never_compared():
    tables = [
        rows(PRODUCTS, product(1), product(2)),
        rows(IMAGES, image(1, 0, "a"), image(2, 0, "b")),
        rows(ITEMS, item("a1", "a"), item("b1", "b")),
    ]
    of_one = rows(CODES, code("a1") | {"encoder": "old-1"}, code("b1") | {"encoder": "old-1"})
    assert index.select_entries(*tables, of_one)[0].num_rows == 2
    of_two = rows(CODES, code("a1") | {"encoder": "old-1"}, code("b1") | {"encoder": "new-1"})
    with pytest.raises(
        index.BadIndex, match="codes of new-1, old-1: only codes of one encoder can be"
    ):
        index.select_entries(*tables, of_two)


def test_the_best_fitting_item_of_the_first_usable_image_represents_a_product():
    found, left_out = index.select_entries(
        rows(
            PRODUCTS,
            product(3, "foot_wear"),
            product(1),
            product(2),
            product(4),
            product(5),
            product(6),
        ),
        rows(
            IMAGES,
            image(1, 1, "b"),
            image(1, 0, "a"),
            image(2, 0, "x"),
            image(2, 1, "b"),
            image(3, 0, "a"),
            image(5, 0, "x"),
            image(6, 0, "uncoded"),
        ),
        rows(
            ITEMS,
            item("a-bag", "a", "bags", 0.5),
            item("a-bag-2", "a", "bags", 0.9),
            item("a-shoe", "a", "foot_wear", 0.8),
            item("b-any", "b", None, 0.1),
            item("u", "uncoded", "bags"),
        ),
        rows(CODES, *(code(i, n) for n, i in enumerate(["a-bag", "a-bag-2", "a-shoe", "b-any"]))),
    )
    assert found.schema == INDEXES.arrow_schema
    assert [
        (r["product_id"], r["super_category"], r["entry_id"], r["item_id"], r["image_id"])
        for r in found.to_pylist()
    ] == [
        ("s:1", "bags", 0, "a-bag-2", "a"),
        ("s:2", "bags", 1, "b-any", "b"),
        ("s:3", "foot_wear", 0, "a-shoe", "a"),
    ]
    assert found["shape"][0].as_py() == bytes([1] * 16) and found["colour"][0].as_py() == bytes(
        [254] * 16
    )
    assert [(r["key"], r["reason"], r["kind"], r["shop_id"]) for r in left_out.to_pylist()] == [
        ("s:4", "no_image", "product", "s"),
        ("s:5", "no_item", "product", "s"),
        ("s:6", "no_code", "product", "s"),
    ]


def test_sure_and_large_items_come_first_and_classified_before_unclassified():
    found, _ = index.select_entries(
        rows(PRODUCTS, product(1), product(2), product(3)),
        rows(
            IMAGES,
            image(1, 0, "a"),
            image(2, 0, "b"),
            image(2, 1, "c"),
            image(3, 0, "d"),
            image(3, 1, "e"),
        ),
        rows(
            ITEMS,
            item("charm", "a", "bags", 0.9, side_px=20),
            item("bag", "a", "bags", 0.6, side_px=80),
            item("all-of-a", "a", None, 1.0, side_px=200),
            item("all-of-b", "b", None, 1.0, side_px=200),
            item("bag-in-c", "c", "bags", 0.3),
            item("shoe-in-d", "d", "foot_wear", 1.0),
            item("all-of-d", "d", None, 0.4),
            item("all-of-e", "e", None, 1.0),
        ),
        rows(
            CODES,
            *(
                code(i)
                for i in (
                    "charm",
                    "bag",
                    "all-of-a",
                    "all-of-b",
                    "bag-in-c",
                    "shoe-in-d",
                    "all-of-d",
                    "all-of-e",
                )
            ),
        ),
    )
    assert [(r["product_id"], r["item_id"], r["image_id"]) for r in found.to_pylist()] == [
        ("s:1", "bag", "a"),
        ("s:2", "bag-in-c", "c"),
        ("s:3", "all-of-d", "d"),
    ]


def test_what_stands_out_comes_first_where_nobody_wears_the_product_and_only_there():
    found, _ = index.select_entries(
        rows(PRODUCTS, *(product(i, "upper_wear") for i in range(1, 6))),
        rows(
            IMAGES,
            image(1, 0, "worn"),
            image(2, 0, "flat"),
            image(3, 0, "on-bed"),
            image(4, 0, "unknown"),
            image(5, 0, "worn-unnamed"),
            image(5, 1, "flat"),
        ),
        rows(
            ITEMS,
            *(
                item(f"{image_id}-{name}", image_id, super_category, confidence)
                for image_id, plain in (("worn", 1), ("flat", 1), ("on-bed", 0), ("unknown", 1))
                for name, super_category, confidence in (
                    ("top", "upper_wear", 0.6),
                    ("all", None, 0.9 * plain),
                )
            ),
            item("worn-unnamed-all", "worn-unnamed"),
        ),
        rows(
            CODES,
            *(code(f"{i}-top") for i in ("worn", "flat", "on-bed", "unknown")),
            code("worn-all") | {"view": "figure"},
            code("flat-all") | {"view": "flat"},
            code("on-bed-all") | {"view": "flat"},
            code("unknown-all"),
            code("worn-unnamed-all") | {"view": "front"},
        ),
    )
    assert [(r["product_id"], r["item_id"]) for r in found.to_pylist()] == [
        ("s:1", "worn-top"),
        ("s:2", "flat-all"),
        ("s:3", "on-bed-top"),
        ("s:4", "unknown-top"),
        # A later image that shows the product alone is better than a person among other things.
        ("s:5", "flat-all"),
    ]


def test_an_image_of_a_detail_or_a_back_comes_after_all_others():
    found, _ = index.select_entries(
        rows(PRODUCTS, product(1), product(2), product(3)),
        rows(
            IMAGES,
            image(1, 0, "near"),
            image(1, 1, "whole"),
            image(2, 0, "back"),
            image(2, 1, "near"),
            image(3, 0, "bag"),
            image(3, 1, "whole"),
        ),
        rows(
            ITEMS,
            item("n", "near"),
            item("w", "whole"),
            item("b", "back"),
            item("bag-named", "bag", "bags"),
            item("bag-all", "bag"),
        ),
        rows(
            CODES,
            code("n") | {"view": "detail"},
            code("w") | {"view": "flat"},
            code("b") | {"view": "back"},
            # The view of an item describes its crop, not the whole image.
            code("bag-named") | {"view": "detail"},
            code("bag-all") | {"view": None},
        ),
    )
    assert [(r["product_id"], r["image_id"]) for r in found.to_pylist()] == [
        ("s:1", "whole"),
        ("s:2", "back"),
        ("s:3", "bag"),
    ]


def test_no_products_give_no_entries():
    found, left_out = index.select_entries(*(rows(t) for t in (PRODUCTS, IMAGES, ITEMS, CODES)))
    assert found.num_rows == left_out.num_rows == 0 and found.schema == INDEXES.arrow_schema


def test_an_index_reads_back_and_faiss_finds_in_it(tmp_path):
    codes = np.random.default_rng(0).integers(0, 256, (50, 32), dtype=np.uint8)
    ids = np.arange(50)[::-1].copy()
    index.write_index(tmp_path / "bags.faiss", ids, codes)
    read_ids, read_codes = index.read_codes(tmp_path / "bags.faiss")
    assert (read_ids == ids).all() and (read_codes == codes).all() and read_codes.dtype == np.uint8
    distance, found = faiss.read_index_binary(str(tmp_path / "bags.faiss")).search(codes[7:8], 1)
    assert (found[0, 0], distance[0, 0]) == (ids[7], 0)


def test_codes_are_mapped_from_the_file_and_the_file_stays(tmp_path):
    path = tmp_path / "bags.faiss"
    for count in (1, 50, 5000):
        codes = np.random.default_rng(count).integers(0, 256, (count, 32), dtype=np.uint8)
        index.write_index(path, np.arange(count), codes)
        written, (ids, held) = path.read_bytes(), index.read_codes_mmap(path)
        assert (ids == np.arange(count)).all() and (held == codes).all() and held.base is not None
        assert str(path) in Path("/proc/self/maps").read_text()
        held[0] ^= 255
        assert path.read_bytes() == written and (index.read_codes(path)[1] == codes).all()
    del held
    with path.open("ab") as file:
        file.write(bytes(8))
    with pytest.raises(index.BadIndex, match="its codes are not where Faiss"):
        index.read_codes_mmap(path)


def test_another_kind_of_index_is_refused(tmp_path):
    faiss.write_index_binary(faiss.IndexBinaryFlat(128), str(tmp_path / "x.faiss"))
    with pytest.raises(
        index.BadIndex,
        match="wanted a binary index of 256 bits with ids, got IndexBinaryFlat of 128",
    ):
        index.read_codes(tmp_path / "x.faiss")


def test_codes_are_laid_out_shape_first():
    array = index.code_array(
        pa.chunked_array([[b"s" * 16], [b"t" * 16]], pa.binary(16)),
        pa.chunked_array([[b"c" * 16, b"d" * 16]], pa.binary(16)),
    )
    assert array.tobytes() == b"s" * 16 + b"c" * 16 + b"t" * 16 + b"d" * 16
