"""Descriptors of a run's items: kept by content, and how far they are from each other."""

import json
import shutil

import numpy as np
import pytest

from wearalike.commands import app
from wearalike.evaluation.descriptors import base, cache, fitted
from wearalike.models.files import BadModel
from wearalike.pipeline import item_codes
from wearalike.storage import content_cache, run_tables
from wearalike.tables import INDEXES, ITEMS

RUN = "day-1"


@pytest.fixture(scope="module")
def root(night, tmp_path_factory):
    """The night's root, copied: the job writes into it."""
    copy = tmp_path_factory.mktemp("described") / "root"
    shutil.copytree(night / "root", copy, symlinks=True)
    return copy


def job(root, *options: str) -> int:
    return app.main(["describe-items", "--run", RUN, "--data-dir", str(root), *options])


def test_a_run_s_items_are_described_once(root, caplog):
    caplog.set_level("INFO")
    item_ids = run_tables.read_table(root, INDEXES, RUN)["item_id"].to_pylist()
    assert (
        cache.cached_versions(root) == []
        and len(cache.read_cached_descriptors(root, "hsv-1", item_ids).item_ids) == 0
    )
    assert job(root, "--encoder", "hsv", "--encoder", "phash", "--shard", "1/2") == 0
    half = cache.read_cached_descriptors(root, "hsv-1", item_ids)
    assert 0 < len(half.item_ids) < len(item_ids)
    caplog.clear()
    assert job(root, "--encoder", "hsv", "--encoder", "phash") == 0
    assert f"hsv-1: {len(item_ids)} items, {len(item_ids) - len(half.item_ids)} new" in caplog.text
    assert (
        job(root, "--encoder", "hsv") == 0 and f"hsv-1: {len(item_ids)} items, 0 new" in caplog.text
    )

    assert cache.cached_versions(root) == ["hsv-1", "phash-1"]
    found = cache.read_cached_descriptors(root, "hsv-1", item_ids)
    assert found.item_ids == sorted(item_ids) and found.rows.shape == (len(item_ids), 192)
    items = run_tables.read_table(root, ITEMS, RUN).sort_by("item_id")
    one = items.filter(np.isin(items["item_id"].to_pylist(), found.item_ids[:5]))
    assert np.array_equal(
        found.rows[:5],
        base.load_descriptor("hsv").describe(item_codes.read_item_crops(root, one)),
    )
    bits = cache.read_cached_descriptors(root, "phash-1", item_ids)
    assert (bits.rows.dtype, bits.rows.shape[1], bits.distances) == (np.uint8, 8, ("hamming",))


def test_what_would_have_to_be_fitted_is_refused(root, caplog):
    assert job(root, "--encoder", "autoencoder") == 1
    assert "encoder autoencoder: has to be fitted first" in caplog.text
    assert job(root, "--encoder", "nobody") == 1 and "known are" in caplog.text


def test_a_run_is_described_by_the_encoders_of_the_settings(root, tmp_path, caplog):
    caplog.set_level("INFO")
    config = tmp_path / "wearalike.toml"
    named = ["describe-items", "--if-set", "--config", str(config)]
    config.write_text(f'data_dir = "{root}"\n', encoding="utf-8")
    assert app.main(named) == 0 and "the settings name no compared_encoders" in caplog.text
    config.write_text(
        f'data_dir = "{root}"\ncompared_encoders = ["nobody", "corners"]\n', encoding="utf-8"
    )
    # A run does not need them: the one that is not known is told, and the next one describes.
    assert app.main([*named, "--run", RUN]) == 0
    assert "the items are not described: encoder 'nobody': known are" in caplog.text
    item_ids = run_tables.read_table(root, INDEXES, RUN)["item_id"].to_pylist()
    found = cache.read_cached_descriptors(root, "corners-1", item_ids)
    assert len(found.item_ids) == len(item_ids) and found.rows.shape[1] == 16
    assert job(root, "--encoder", "hsv", "--weights", "vgg16=nothing.pth") == 1
    assert "--weights vgg16: not among --encoder hsv" in caplog.text
    assert job(root, "--encoder", "vgg16", "--weights", "vgg16=nothing.pth") == 1
    assert "nothing.pth: no such weights" in caplog.text


def test_what_has_to_be_fitted_is_fitted_once_and_kept(root, tmp_path, caplog):
    caplog.set_level("INFO")
    item_ids = run_tables.read_table(root, INDEXES, RUN)["item_id"].to_pylist()
    config = tmp_path / "wearalike.toml"
    config.write_text(f'data_dir = "{root}"\ncompared_encoders = ["sift-bag"]\n', encoding="utf-8")
    night = ["describe-items", "--if-set", "--config", str(config), "--run", RUN]
    assert app.main(night) == 0
    version = fitted.kept_version(root, "sift-bag")
    path = fitted.fitted_path(root, "sift-bag")
    kept = path.read_bytes()
    assert version.startswith("sift-bag-1-") and f"{version}: kept as {path}" in caplog.text
    rows = cache.read_cached_descriptors(root, version, item_ids).rows
    assert rows.shape == (len(item_ids), 256)

    # The next night takes the kept one, also where it is asked for by hand.
    caplog.clear()
    assert app.main(night) == 0 and job(root, "--encoder", "sift-bag") == 0
    assert "fitting" not in caplog.text and path.read_bytes() == kept
    assert caplog.text.count(f"{version}: {len(item_ids)} items, 0 new") == 2

    # Fitted again on request alone: the same items give the same words, other items others.
    assert job(root, "--encoder", "sift-bag", "--fit") == 0 and path.read_bytes() == kept
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 256, (90, 90, 3), np.uint8) for _ in range(9)]
    other = fitted.fit_and_keep(root, "sift-bag", "cpu", noise, {"items": 9})
    assert other.version == fitted.kept_version(root, "sift-bag") != version
    np.testing.assert_array_equal(cache.read_cached_descriptors(root, version, item_ids).rows, rows)

    # A damaged file is told, and neither used nor replaced.
    path.write_bytes(kept[:-8])
    caplog.clear()
    assert app.main(night) == 0 and path.read_bytes() == kept[:-8]
    assert "the items are not described" in caplog.text and str(path) in caplog.text


def test_fitting_says_what_it_cannot_do(root, caplog):
    assert job(root, "--encoder", "hsv", "--fit") == 1
    assert "--fit: none of --encoder hsv has to be fitted" in caplog.text
    assert job(root, "--encoder", "sift-bag", "--fit", "--shard", "1/2") == 1
    assert "a shard would be fitted on its part" in caplog.text
    named = ["--encoder", "autoencoder", "--weights", "autoencoder=mine.safetensors"]
    assert job(root, *named, "--fit") == 1
    assert "--fit and --weights autoencoder: wanted one of the two" in caplog.text


def test_weights_of_compared_encoders_are_files_beside_the_settings(root, tmp_path, caplog):
    config = tmp_path / "wearalike.toml"
    config.write_text(
        f'data_dir = "{root}"\ncompared_encoders = ["vgg16=nets/mine.pth"]\n', encoding="utf-8"
    )
    assert app.main(["describe-items", "--if-set", "--config", str(config), "--run", RUN]) == 0
    assert f"{tmp_path}/nets/mine.pth: no such weights" in caplog.text


def test_indexes_are_measured_in_a_table(root, tmp_path, capsys, caplog):
    named = ["--data-dir", str(root), "--run", RUN]
    empty = tmp_path / "no runs"
    assert app.main(["compare-indexes", "--data-dir", str(empty)]) == 1
    assert "no run has indexes yet" in caplog.text
    assert job(root, "--encoder", "hsv", "--encoder", "phash") == 0
    capsys.readouterr()
    assert app.main(["compare-indexes", *named, "--descriptor", "hsv-1"]) == 0
    table = capsys.readouterr().out
    head, _, flat, small = (
        [cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()
    )
    assert head[3:] == ["bytes an item", "recall@1", "recall@5", "recall@10"]
    assert flat[2:] == ["IndexFlatL2", "768", "1.000", "1.000", "1.000"]
    assert small[2] == "IndexIVFPQ" and int(small[3]) <= 48
    assert all(0.6 < float(cell) <= 1 for cell in small[4:])
    assert app.main(["compare-indexes", *named, "--descriptor", "hsv-1"]) == 0
    assert capsys.readouterr().out == table
    # Bits have no such index.
    assert app.main(["compare-indexes", *named, "--descriptor", "phash-1"]) == 1
    assert "no descriptor has described it by floats" in caplog.text


def test_a_photo_is_compared_by_a_descriptor(root, capsys, caplog):
    named = ["compare-photo", "--data-dir", str(root), "--run", RUN]
    assert job(root, "--encoder", "hsv") == 0
    entries = run_tables.read_table(root, INDEXES, RUN).to_pylist()
    entry = next(e for e in entries if e["product_id"] == "harbour:1001")
    photo = str(content_cache.image_path(root, entry["image_id"]))
    capsys.readouterr()
    options = ["--descriptor", "hsv-1", "--index", "flat_l2", "--k", "3", "--json"]
    assert app.main([*named, photo, *options]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["distance"], result["bytes_per_item"]) == ("euclidean", 768)
    (item,) = result["items"]
    assert item["super_category"] == "upper_wear" and item["recall"] == 1
    assert item["results"][0]["product_id"] == "harbour:1001" and len(item["results"]) == 3
    options = ["--descriptor", "hsv-1", "--index", "ivfpq", "--distance", "cosine"]
    assert app.main([*named, photo, *options]) == 1
    assert "distance cosine: an index is euclidean" in caplog.text


def test_corners_are_counted_where_they_are():
    crop = np.full((128, 128, 3), 255, np.uint8)
    crop[16:48, 80:112] = 0
    counts = base.load_descriptor("corners").describe([crop, np.zeros_like(crop)])
    # A black square has a corner in each of four cells; a plain crop has none.
    assert counts[0].reshape(4, 4).tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [0] * 4, [0] * 4]
    assert not counts[1].any()


def test_rows_of_two_kinds_are_told(tmp_path):
    cache.cache_descriptors(tmp_path, "mine-1", ["a"], np.zeros((1, 4), np.float32))
    cache.cache_descriptors(tmp_path, "mine-1", ["b"], np.zeros((1, 6), np.float32))
    assert cache.read_cached_descriptors(tmp_path, "mine-1", ["a"]).rows.shape == (1, 4)
    with pytest.raises(BadModel, match="2 widths"):
        cache.read_cached_descriptors(tmp_path, "mine-1", ["a", "b"])


def test_distances_are_those_of_their_names():
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(cache._BLOCK_ROWS + 3, 5)).astype(np.float32)
    rows[7] = 0
    one = rows[3]
    wide = [[float(v) for v in row] for row in rows]
    some = [0, 3, 7, 4095, 4096, len(rows) - 1]
    for i in some:
        gaps = [a - float(b) for a, b in zip(wide[i], one, strict=True)]
        assert cache.compute_distances(one, rows, "manhattan")[i] == pytest.approx(
            sum(abs(g) for g in gaps), rel=1e-9
        )
        assert cache.compute_distances(one, rows, "euclidean")[i] == pytest.approx(
            sum(g * g for g in gaps) ** 0.5, rel=1e-9
        )
        lengths = (sum(v * v for v in wide[i]) * sum(float(v) ** 2 for v in one)) ** 0.5
        cosine = (
            sum(a * float(b) for a, b in zip(wide[i], one, strict=True)) / lengths if lengths else 0
        )
        assert cache.compute_distances(one, rows, "cosine")[i] == pytest.approx(
            1 - cosine, abs=1e-9
        )
    bits = rng.integers(0, 256, (9, 32), dtype=np.uint8)
    expected = [
        (int.from_bytes(row.tobytes()) ^ int.from_bytes(bits[0].tobytes())).bit_count()
        for row in bits
    ]
    assert cache.compute_distances(bits[0], bits, "hamming").tolist() == expected and expected[
        0
    ] == 0 < min(expected[1:])
    for numbers, distance in ((rows, "hamming"), (bits, "cosine"), (rows, "nobody's")):
        with pytest.raises(ValueError, match="is not for"):
            cache.compute_distances(numbers[0], numbers, distance)


def test_an_item_whose_picture_is_lost_keeps_no_other_from_being_described(root, tmp_path, caplog):
    items = run_tables.read_table(root, ITEMS, RUN)
    indexed = set(run_tables.read_table(root, INDEXES, RUN)["item_id"].to_pylist())
    lost = next(row for row in items.to_pylist() if row["item_id"] in indexed)
    of_picture = {r["item_id"] for r in items.to_pylist() if r["image_id"] == lost["image_id"]}
    path = content_cache.image_path(root, lost["image_id"])
    path.rename(tmp_path / "lost")
    config = tmp_path / "wearalike.toml"
    config.write_text(f'data_dir = "{root}"\ncompared_encoders = ["contour"]\n', encoding="utf-8")
    assert app.main(["describe-items", "--if-set", "--config", str(config), "--run", RUN]) == 0
    assert f"{path}: gone" in caplog.text
    found = cache.read_cached_descriptors(root, "contour-1", sorted(indexed))
    assert set(found.item_ids) == indexed - of_picture
    (tmp_path / "lost").rename(path)
    assert job(root, "--encoder", "contour") == 0
    found = cache.read_cached_descriptors(root, "contour-1", sorted(indexed))
    assert set(found.item_ids) == indexed
