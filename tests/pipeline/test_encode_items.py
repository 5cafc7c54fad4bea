"""The night encodes with the promoted model; what another has made is kept beside,
and never mixed with it.
"""

import hashlib
import io
import re
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from PIL import Image
from tests.support import processors
from tests.support.leaf_models import promote_leaf_classifier

from wearalike.encoding import encoders
from wearalike.models import pose_weights, precision, promotion, registry
from wearalike.models.files import ModelKind
from wearalike.models.precision import bfloat16_versions
from wearalike.pipeline import build_indexes, detect_items, encode_items, picture_poses
from wearalike.search import photo_items
from wearalike.settings import Settings
from wearalike.storage import content_cache, run_tables
from wearalike.tables import (
    CODES,
    CODES_VARIANTS,
    IMAGES,
    INDEXES,
    INDEXES_VARIANTS,
    ITEMS,
    PRODUCT_LEAVES,
    PRODUCTS,
)

RUN = "2026-11-24"
SHIRT, TROUSERS, BAG = (digit * 32 for digit in "abc")
NOW = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)


def filled(schema) -> dict:
    """A row of nothing: what must be there is 0, empty or no entries."""
    nothing = {pa.string(): "", pa.int32(): 0, pa.int64(): 0}
    return {c.name: nothing.get(c.type, []) for c in schema.columns if not c.nullable}


@pytest.fixture
def root(tmp_path):
    """A root whose run has three items, each a picture of its own."""
    rows = []
    for number in range(3):
        picture = (
            np.random.default_rng(number)
            .integers(0, 256, (4, 3, 3), dtype=np.uint8)
            .repeat(20, axis=0)
            .repeat(20, axis=1)
        )
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "PNG")
        image_id = hashlib.sha256(file.getvalue()).hexdigest()
        content_cache.write_atomic(content_cache.image_path(tmp_path, image_id), file.getvalue())
        box = {
            "x0": 0,
            "y0": 0,
            "x1": 60,
            "y1": 80,
            "confidence": 1.0,
            "detector": "whole-1",
            "super_category": None,
        }
        rows.append({"item_id": f"{number:032x}", "image_id": image_id, **box})
    # The first picture shows a shirt with trousers and a bag, and two products are the shirt.
    worn = [(SHIRT, "upper_wear"), (TROUSERS, "lower_wear"), (BAG, "bags")]
    rows += [rows[0] | {"item_id": name, "super_category": s} for name, s in worn]
    products = [
        {"product_id": f"s:{n}", "shop_id": "s", "super_category": s}
        for n, s in enumerate(("upper_wear", "lower_wear", "bags", "upper_wear"))
    ]
    images = [
        {"product_id": f"s:{n}", "position": 0, "image_id": rows[n % 3]["image_id"]}
        for n in range(4)
    ]
    for schema, made in ((PRODUCTS, products), (IMAGES, images), (ITEMS, rows)):
        with run_tables.write_table(tmp_path, schema, RUN, "sign") as table:
            full = [filled(schema) | row for row in made]
            table.write(pa.Table.from_pylist(full, schema.arrow_schema))
            table.manifest_extras["detector"] = "whole-1"
    return tmp_path


def retrained(root, version: str) -> registry.Model:
    """The packaged encoder with its bits in another order, promoted."""
    known = registry.packaged_model(ModelKind.ENCODER, registry.DEFAULT_ENCODER).read()
    last = re.compile(r"turn\.|(shape|colour)\.3\.|heads\.(shape|colour)\.(linear|output)\.")
    arrays = {n: a[::-1] if last.match(n) else a for n, a in known.arrays.items()}
    path = root / f"{version}.safetensors"
    path.write_bytes(
        registry.model_bytes(ModelKind.ENCODER, known.architecture, version, {}, arrays)
    )
    model = registry.read_model(path)
    promotion.promote(root, model, path.read_bytes(), "for this test", NOW, expected_version=None)
    return model


def encoded(root, *options) -> dict:
    assert (
        encode_items.main(["--run", RUN, "--data-dir", str(root), "--device", "cpu", *options]) == 0
    )
    table = run_tables.read_table(root, CODES, RUN)
    (encoder,) = pc.unique(table["encoder"]).to_pylist()
    assert encoder == run_tables.read_manifest(root, CODES, RUN)["encoder"] and table.num_rows == 4
    return {encoder: [np.frombuffer(s, np.uint8) for s in table["shape"].to_pylist()]}


def kept(root) -> dict[str, int]:
    return {p.name: len(list(p.glob("*.parquet"))) for p in (root / "cache" / "codes").iterdir()}


def test_after_a_promotion_the_night_encodes_again_under_the_new_version(root):
    before, default = encoded(root), registry.ENCODERS[registry.DEFAULT_ENCODER].version
    retrained(root, "shops-1")
    after = encoded(root)
    assert list(before) == [default] and list(after) == ["shops-1"]
    for old, new in zip(before[default], after["shops-1"], strict=True):
        assert (np.unpackbits(old)[::-1] == np.unpackbits(new)).all() and (old != new).any()
    assert kept(root) == {default: 1, "shops-1": 1}
    # A rollback finds the former codes where they were.
    promotion.rollback(root, ModelKind.ENCODER, "for this test", NOW)
    again = encoded(root)
    assert list(again) == [default] and kept(root) == {default: 1, "shops-1": 1}
    assert list(encoded(root, "--encoder", "shops-1")) == ["shops-1"]


@pytest.mark.skipif(not processors.has_bfloat16(), reason="needs a processor with bfloat16")
def test_codes_of_two_precisions_are_kept_apart(root, monkeypatch):
    """Photos are encoded as the run was, whatever the settings say now."""
    map_products(root, ["women.tops.polos"] * 4)
    promote_leaf_classifier(root, "shops-1", {"t-shirts": 0.97, "sneakers": 0.03})
    before, [default] = encoded(root), kept(root)
    codes = run_tables.read_table(root, CODES, RUN)
    monkeypatch.setenv("WEARALIKE_MODELS_ENCODER_PRECISION", "bfloat16")
    [version] = encoded(root)
    assert version in bfloat16_versions(default) and kept(root) == {default: 1, version: 1}
    suffix = version.removeprefix(default)
    leaves = run_tables.read_table(root, PRODUCT_LEAVES, RUN)
    assert set(leaves["classifier"].to_pylist()) == {f"shops-1{suffix}"}
    assert {p.name for p in (root / "cache" / "leaves").iterdir()} == {
        "shops-1",
        f"shops-1{suffix}",
    }
    photos = photo_items.load_photo_networks(Settings(data_dir=root), RUN, "outfit", None)
    assert photos.encoder.version == version
    again = photo_items.load_photo_networks(Settings(data_dir=root), RUN, "outfit", photos)
    assert again.encoder is photos.encoder and again.detector is photos.detector
    # Its option goes before the environment, and finds the codes of float32 as they were.
    assert list(encoded(root, "--precision", "float32")) == list(before)
    assert run_tables.read_table(root, CODES, RUN).equals(codes)
    assert kept(root) == {default: 1, version: 1}
    back = photo_items.load_photo_networks(Settings(data_dir=root), RUN, "outfit", photos)
    assert back.encoder.version == default and back.detector is photos.detector


def test_a_processor_without_bfloat16_says_so_and_encodes_nothing(
    root, tmp_path, monkeypatch, caplog
):
    (tmp_path / "cpuinfo").write_text(processors.OLDER, encoding="utf-8")
    monkeypatch.setattr(precision, "CPU_INFO_PATH", tmp_path / "cpuinfo")
    options = ["--run", RUN, "--data-dir", str(root), "--precision"]
    assert encode_items.main([*options, "bfloat16"]) == 1
    assert "precision bfloat16: this processor has neither AMX-BF16 nor" in caplog.text
    assert not run_tables.is_complete(root, CODES, RUN) and not (root / "cache" / "codes").exists()


def test_only_what_may_stand_for_a_product_is_encoded_and_the_rest_is_counted(root):
    encoded(root)
    assert set(run_tables.read_table(root, CODES, RUN)["item_id"].to_pylist()) == {
        *(f"{n:032x}" for n in range(3)),
        SHIRT,
    }
    manifest = run_tables.read_manifest(root, CODES, RUN)
    assert manifest["items_of_other_kinds"] == 2 and manifest["rows"]["taken"] == 4


def test_a_model_that_is_not_the_promoted_one_stops_the_night(root, caplog):
    retrained(root, "shops-1")
    path = registry.promoted_path(root, ModelKind.ENCODER, "shops-1")
    path.write_bytes(path.read_bytes()[:-4] + b"\0\0\0\0")
    assert encode_items.main(["--run", RUN, "--data-dir", str(root)]) == 1
    assert "shops-1.safetensors: sha256" in caplog.text and not run_tables.is_complete(
        root, CODES, RUN
    )
    assert encode_items.main(["--run", RUN, "--data-dir", str(root), "--encoder", "nosuch"]) == 1
    assert "encoder 'nosuch': known are" in caplog.text


def test_the_encoder_of_a_variant_encodes_the_same_items_beside(root, caplog):
    default, other = (registry.ENCODERS[n].version for n in (registry.DEFAULT_ENCODER, "fashion"))
    config = root / "wearalike.toml"
    plain = f"data_dir = '{root}'\n"
    variants = {"b": "fashion", "c": "fashion", "same": registry.DEFAULT_ENCODER}
    config.write_text(
        f"{plain}[experiment]\nname = 'winter'\n"
        + "".join(f"variants.{n} = {{encoder = '{e}', share = 0.1}}\n" for n, e in variants.items())
    )
    options = ["--run", RUN, "--config", str(config)]
    assert encode_items.main([*options, "--device", "cpu", "--shard", "1/2"]) == 0
    assert not run_tables.is_complete(root, CODES_VARIANTS, RUN)
    assert encode_items.main([*options, "--device", "cpu"]) == 0
    codes = run_tables.read_table(root, CODES_VARIANTS, RUN)
    assert set(codes["encoder"].to_pylist()) == {other} and codes.num_rows == 4
    manifest = run_tables.read_manifest(root, CODES_VARIANTS, RUN)
    assert manifest["parameters"]["encoders"] == {"b": other, "c": other}
    assert f"variant same: its encoder is that of the run, {default}" in caplog.text
    # The second try, and the next run, encode nothing again.
    files = kept(root)
    assert encode_items.main([*options, "--device", "cpu", "--force"]) == 0
    assert kept(root) == files and run_tables.read_table(root, CODES_VARIANTS, RUN) == codes
    assert build_indexes.main(options) == 0
    entries = run_tables.read_table(root, INDEXES_VARIANTS, RUN)
    of_run = run_tables.read_table(root, INDEXES, RUN)
    assert set(entries["encoder"].to_pylist()) == {other}
    assert entries["product_id"] == of_run["product_id"] and entries["shape"] != of_run["shape"]
    made = run_tables.read_manifest(root, INDEXES_VARIANTS, RUN)["files"]
    kinds = pc.unique(entries["super_category"]).to_pylist()
    assert {name for name in made if name.endswith(".faiss")} == {
        f"{other}/{kind}.faiss" for kind in kinds
    }
    config.write_text(plain)
    assert encode_items.main(options) == 0 and build_indexes.main(options) == 0
    assert not any(
        run_tables.is_complete(root, table, RUN) for table in (CODES_VARIANTS, INDEXES_VARIANTS)
    )
    alone = encoded(root, "--encoder", "fashion")
    shapes = [np.frombuffer(s, np.uint8) for s in codes["shape"].to_pylist()]
    assert all((a == b).all() for a, b in zip(alone[other], shapes, strict=True))


def rot(root, item_id: str):
    """Change the last byte of an item's image; return the file and its right bytes."""
    items = run_tables.read_table(root, ITEMS, RUN).to_pylist()
    (image_id,) = [item["image_id"] for item in items if item["item_id"] == item_id]
    path = content_cache.image_path(root, image_id)
    good = path.read_bytes()
    path.write_bytes(good[:-1] + b"!")
    return path, good


def test_an_image_that_has_rotted_is_refused_and_not_remembered(root, caplog):
    """Its items are encoded as soon as the right bytes are there again."""
    item_id = f"{1:032x}"
    path, good = rot(root, item_id)
    options = ["--run", RUN, "--data-dir", str(root), "--device", "cpu"]
    assert encode_items.main(options) == 0
    before = run_tables.read_table(root, CODES, RUN)["item_id"].to_pylist()
    assert "its bytes have changed" in caplog.text and not path.exists()
    (refused,) = run_tables.read_refused(root, RUN).to_pylist()
    assert (refused["key"], refused["reason"]) == (item_id, "lost") and item_id not in before
    content_cache.write_atomic(path, good)
    assert encode_items.main([*options, "--force"]) == 0
    after = run_tables.read_table(root, CODES, RUN)["item_id"].to_pylist()
    assert sorted(after) == sorted([*before, item_id])
    assert run_tables.read_refused(root, RUN).num_rows == 0


def test_an_image_that_has_rotted_is_looked_at_when_it_is_there_again(root):
    path, good = rot(root, f"{2:032x}")
    options = ["--run", RUN, "--data-dir", str(root), "--detector", "whole", "--force"]
    assert detect_items.main(options) == 0
    assert len(set(run_tables.read_table(root, ITEMS, RUN)["image_id"].to_pylist())) == 2
    (refused,) = run_tables.read_refused(root, RUN).to_pylist()
    assert (refused["key"], refused["reason"]) == (path.name, "lost")
    content_cache.write_atomic(path, good)
    assert detect_items.main(options) == 0
    assert len(set(run_tables.read_table(root, ITEMS, RUN)["image_id"].to_pylist())) == 3


def map_products(root, categories: list[str]) -> None:
    """Map the products of the run to leaves."""
    rows = run_tables.read_table(root, PRODUCTS, RUN).to_pylist()
    audience = {"gender": "female", "age_group": "adult"}
    rows = [r | audience | {"category": c} for r, c in zip(rows, categories, strict=True)]
    with run_tables.write_table(root, PRODUCTS, RUN, "mapped") as table:
        table.write(pa.Table.from_pylist(rows, PRODUCTS.arrow_schema))


def test_a_leaf_classifier_tells_what_products_show_and_no_code_changes(root):
    categories = ["women.tops.polos", "women.jeans.other", "bags.totes", "women.tops.t-shirts"]
    map_products(root, categories)
    before = encoded(root)
    codes = run_tables.read_table(root, CODES, RUN)
    promote_leaf_classifier(
        root, "shops-1", {"t-shirts": 0.97, "sneakers": 0.02, "bags.other": 0.01}
    )
    after = encoded(root)
    assert run_tables.read_table(root, CODES, RUN).equals(codes) and list(after) == list(before)
    assert kept(root) == {registry.ENCODERS[registry.DEFAULT_ENCODER].version: 1}
    rows = run_tables.read_table(root, PRODUCT_LEAVES, RUN).to_pylist()
    by_id = {row["product_id"]: row for row in rows}
    assert len(by_id) == 4 and {row["leaf"] for row in rows} == {"women.tops.t-shirts"}
    assert {row["classifier"] for row in rows} == {"shops-1"}
    assert by_id["s:0"]["probability"] == pytest.approx(0.97, abs=1e-3)
    # Polos are near T-shirts in kind, and totes near other bags; of jeans no kind is known.
    shown = [by_id[f"s:{n}"]["category_probability"] for n in range(4)]
    assert shown[0] == pytest.approx(0.97, abs=1e-3) and shown[1] is None
    assert shown[2] == pytest.approx(0.01, abs=1e-3) and shown[3] == pytest.approx(0.97, abs=1e-3)
    assert [name for name, row in sorted(by_id.items()) if row["contradicts"]] == ["s:2"]
    # Nothing is encoded again, and another mapping is another answer.
    map_products(root, ["bags.totes", *categories[1:]])
    files = sorted((root / "cache" / "leaves" / "shops-1").iterdir())
    encoded(root)
    assert sorted((root / "cache" / "leaves" / "shops-1").iterdir()) == files
    again = run_tables.read_table(root, PRODUCT_LEAVES, RUN).to_pylist()
    assert [r["product_id"] for r in again if r["contradicts"]] == ["s:0", "s:2"]


def test_an_encoder_with_descriptors_of_its_own_tells_no_leaves(root):
    map_products(root, ["women.tops.polos"] * 4)
    promote_leaf_classifier(root, "shops-1", {"t-shirts": 0.5, "sneakers": 0.5})
    assert list(encoded(root, "--encoder", "fashion")) == ["fashion-4"]
    assert run_tables.read_table(root, PRODUCT_LEAVES, RUN).num_rows == 0
    assert run_tables.read_manifest(root, PRODUCT_LEAVES, RUN)["parameters"]["classifier"] is None


def read_views(root) -> list[str | None]:
    """The views of the three whole pictures."""
    codes = run_tables.read_table(root, CODES, RUN).sort_by("item_id")
    return codes["view"].to_pylist()[:3]


def test_poses_tell_backs_and_those_of_former_nights_are_kept(root, monkeypatch):
    try:
        pose_weights.find_pose_weights()
    except pose_weights.MissingPoseWeights as error:
        pytest.skip(str(error))
    # The encoder has seen somebody in all three pictures, and a pose was sure of the first.
    version = registry.ENCODERS[registry.DEFAULT_ENCODER].version
    code = {"shape": b"\x01" * 16, "colour": b"\x02" * 16, "encoder": version, "reason": None}
    views = [(f"{n:032x}", "front") for n in range(3)] + [(SHIRT, None)]
    rows = [code | {"item_id": i, "view": v} for i, v in views]
    content_cache.cache_rows(
        root, "codes", version, pa.Table.from_pylist(rows, encoders.CODE_CACHE_SCHEMA)
    )
    sure = pa.table([[f"{0:032x}"], ["back"]], schema=picture_poses.POSE_CACHE_SCHEMA)
    content_cache.cache_rows(root, "poses", pose_weights.POSE_VERSION, sure)
    encoded(root)
    assert read_views(root) == ["back", "front", "front"]
    # Blocks of noise show nobody; that they were looked at is remembered.
    seen = content_cache.read_cached(
        root, "poses", pose_weights.POSE_VERSION, picture_poses.POSE_CACHE_SCHEMA
    )
    assert sorted(seen.to_pylist(), key=lambda row: row["item_id"]) == [
        {"item_id": f"{n:032x}", "facing": "back" if n == 0 else None} for n in range(3)
    ]
    monkeypatch.setenv("WEARALIKE_POSES", "off")
    encoded(root)
    assert read_views(root) == ["front"] * 3


def test_a_night_that_must_tell_poses_stops_without_their_weights(root, monkeypatch, caplog):
    monkeypatch.setattr(pose_weights, "_DISTRIBUTION", "no-such-package")
    encoded(root)
    monkeypatch.setenv("WEARALIKE_POSES", "on")
    assert encode_items.main(["--run", RUN, "--data-dir", str(root)]) == 1
    assert "no-such-package is not installed: pip install --no-deps mediapipe" in caplog.text
