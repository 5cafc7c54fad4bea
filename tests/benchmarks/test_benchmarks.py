"""make bench: what it tells adds up, and what it measures of ours is the peer's work too."""

import json
from dataclasses import replace

import pytest
from tests.benchmarks import __main__ as bench
from tests.benchmarks import (
    backbones,
    card,
    encoding,
    measure,
    night,
    pictures,
    publish,
    report,
    site,
    stages,
)

from wearalike.imaging import decode
from wearalike.models.files import ModelKind
from wearalike.models.registry import packaged_model
from wearalike.tables import PRODUCTS, SIMILAR_PRODUCTS

REACHED = measure.BenchResult(
    "match", 4.0, 2.0, "G pairs/s", 2.0, "≥ 2.0", True, 5, "faiss 1", 0.98, "a note"
)
MISSED = measure.BenchResult("match, day two", 2.0, 10.0, "s", 0.2, "≤ 0.04", False, 5, "itself")
SKIPPED = measure.SkippedBench("encode, GPU", "≥ 0.7", "no GPU here")


def test_lines_are_told_in_a_table_in_json_and_as_a_plot(tmp_path):
    lines = [REACHED, MISSED, SKIPPED]
    head, _, *rows = report.results_table(lines).splitlines()
    assert [cell.strip() for cell in head.split("|")][:7] == [
        "bench",
        "ours",
        "peer",
        "unit",
        "ratio",
        "target",
        "reached",
    ]
    assert [[cell.strip() for cell in row.split("|")][6] for row in rows[:3]] == [
        "yes",
        "no",
        "skipped",
    ]
    assert (
        "encode, GPU: no GPU here" in rows
        and "match: faiss 1; a note" in rows
        and "n^0.98" in rows[0]
    )
    path = tmp_path / "bench.json"
    path.write_text(report.as_json(lines), encoding="utf-8")
    assert report.read_results(path) == lines
    wanted = {"bench", "ours", "peer", "unit", "ratio", "target", "reached", "runs"}
    assert all(wanted <= line.keys() for line in json.loads(path.read_text(encoding="utf-8")))
    report.plot_ratios(lines, tmp_path / "bench.png")
    shown = decode.decode_image((tmp_path / "bench.png").read_bytes())
    assert shown.shape[1] > 900 and shown.std() > 10


def test_lines_measured_again_take_their_places():
    again = measure.BenchResult(
        **{
            **{f: getattr(MISSED, f) for f in MISSED.__dataclass_fields__},
            "ratio": 0.03,
            "reached": True,
        }
    )
    assert report.merge_results([REACHED, MISSED], [again, SKIPPED]) == [REACHED, again, SKIPPED]


def test_benches_are_found_by_parts_of_their_names():
    names = [name for name, _ in bench.select_benches(None)]
    assert len(set(names)) == len(names) >= 12
    assert [name for name, _ in bench.select_benches(["matching.memory", "feeds"])] == [
        "matching.memory",
        "feeds.rate",
        "feeds.memory",
    ]


def test_works_take_turns_and_growth_is_an_exponent():
    calls = []
    medians = measure.median_seconds(
        [lambda: calls.append("ours"), lambda: calls.append("peer")], runs=3
    )
    assert calls == ["ours", "peer"] * 4 and all(0 <= s < 1 for s in medians)
    assert measure.exponent([10, 20, 40], [3.0, 12.0, 48.0]) == pytest.approx(2)


def test_the_encoding_that_is_measured_gives_the_notebooks_codes(tmp_path):
    contents = pictures.load_pictures(measure.BenchOptions(), 4)
    assert len({decode.decode_image(c).tobytes() for c in contents}) == 4
    work = encoding.EncodingWork(tmp_path, contents)
    assert work.equal_bits_ratio() > 0.98
    of_item = stages.encoding_stages(contents, work.boxes, work.encoder, work.forward)
    assert min(of_item.values()) > 0 and max(of_item, key=of_item.get) == "network"


def test_encoding_is_held_against_the_slower_of_its_limits():
    """As on a GPU, whose line it is; the CPU takes its place."""
    line = encoding.compare_with_limits(
        pictures.load_pictures(measure.BenchOptions(), 8), "cpu", "a card", "8 pictures"
    )
    assert (
        line.bench == "encode, GPU"
        and line.ours > 0
        and line.peer > 0
        and line.ratio == pytest.approx(line.ours / line.peer)
    )


def test_a_card_is_proved_and_measured_line_by_line(tmp_path):
    """The CPU takes the card's place; torch's kernel is held against ours on both."""
    work = card.CardWork("cpu", measure.BenchOptions(), 3000, 4000, 16, 3, 4, 4)
    path = tmp_path / "bench-gpu.json"
    # Lines that the file has are kept. They are the slow ones, of code that every bench shares.
    names = ["encode, GPU", "detect, GPU"]
    kept = [replace(REACHED, bench=name) for name in names]
    path.write_text(report.as_json(kept), encoding="utf-8")
    told = card.measure(work, path)
    assert told[:2] == kept and report.read_results(path) == told
    lines = told[2:]
    assert [line.bench for line in lines] == [name for name in work.steps if name not in names]
    assert [line.ratio for line in lines if "same" in line.bench] == [1, 1, 1]
    assert lines[1].note == "the answer of the CPU"
    assert all(line.ours > 0 and line.peer > 0 for line in lines)


def test_items_of_a_card_are_compared_image_by_image():
    def item(number: int, x0: int, kind: str | None = "tops") -> dict[str, object]:
        corners = {"x0": x0, "y0": 5, "x1": 50, "y1": 60}
        return {"image_id": f"{number:064x}", "super_category": kind, **corners}

    here = [item(0, 10), item(1, 10), item(1, 30, None), item(2, 10), item(3, 10)]
    there = [item(0, 12), item(1, 30, None), item(1, 10), item(2, 13), item(3, 10, "bags")]
    assert card.share_of_equal_items(there, here, 5) == 3 / 5


def test_without_a_card_the_bench_says_so(tmp_path, monkeypatch, capsys):
    if card.torch.cuda.is_available():
        pytest.skip("there is a card")
    monkeypatch.setattr(card, "BUILD", tmp_path)
    assert card.main([]) == 2 and not list(tmp_path.iterdir())
    assert "no card: PyTorch" in capsys.readouterr().err


def test_photos_beyond_those_of_the_folder_differ_in_bytes_alone(tmp_path):
    for name, content in zip("ab", pictures.load_pictures(measure.BenchOptions(), 2), strict=True):
        (tmp_path / f"{name}.jpg").write_bytes(content)
    five = pictures.load_pictures(measure.BenchOptions(photos=tmp_path), 5)
    assert len(set(five)) == 5 and len({decode.decode_image(c).tobytes() for c in five}) == 2
    with pytest.raises(SystemExit, match=r"nowhere: no \*\.jpg"):
        pictures.load_pictures(measure.BenchOptions(photos=tmp_path / "nowhere"), 1)


def test_what_the_site_is_asked_for_is_what_a_night_writes():
    made, lists = site.products_table(102), publish.recommendations(40)
    assert made.schema.equals(PRODUCTS.arrow_schema) and lists.schema.equals(
        SIMILAR_PRODUCTS.arrow_schema
    )
    assert set(made["availability"].to_pylist()) == {"in_stock"}
    assert set(lists["product_id"].to_pylist() + lists["similar_product_id"].to_pylist()) <= set(
        made["product_id"].to_pylist()
    )


def test_seconds_of_jobs_are_read_from_what_a_night_says():
    jobs = [("ingest_feeds", 2.5), ("map_products", 0.4), ("match_products", 9.1)]
    said = "".join(
        f"2026-11-25 INFO wearalike: == {name}\n2026-11-25 INFO wearalike: done in {s} s\n"
        for name, s in jobs
    )
    assert night.stage_seconds(f"{said}2026-11-25 INFO wearalike: done in 12.0 s\n") == {
        "match_products": 9.1,
        "ingest_feeds": 2.5,
    }


def test_networks_are_told_in_a_table_with_their_own_weights(tmp_path):
    encoder = packaged_model(ModelKind.ENCODER, "likeness-1").path
    rows = [
        {
            "encoder": encoder.stem,
            "dataset": dataset,
            "measure": measure,
            "distance": "hamming 1:1",
            "k": k,
            "value": value,
            "low": value - 0.05,
            "high": value + 0.05,
        }
        for dataset, measure, k, value in (
            ("pairs", "recall product", 1, 0.25),
            ("pairs", "recall product", 10, 0.5),
            ("pairs, own crop", "recall product", 1, 0.125),
            ("pairs, own crop", "recall product", 10, 0.375),
            ("pairs", "type", 10, 0.9),
        )
    ]
    (tmp_path / "evaluation.json").write_text(json.dumps(rows), encoding="utf-8")
    table = backbones.build_table([encoder, encoder], [0.2, 0.4], tmp_path)
    first, second = table.splitlines()[2:]
    assert first.startswith(
        "| likeness | 0.250 (0.200-0.300) | 0.500 (0.450-0.550) "
        "| 0.125 (0.075-0.175) | 0.375 (0.325-0.425) | 1.00 |"
    )
    assert second.split("|")[6].strip() == "0.50"
    # The trunk is not in the file, and counts.
    assert float(first.split("|")[7]) * 1e6 > 2 * encoder.stat().st_size


def test_a_small_set_is_spread_over_the_train_split(tmp_path):
    (tmp_path / "shop" / "images").mkdir(parents=True)
    lines = [f"images/{n}.jpg,{'test' if n % 3 == 0 else 'train'},red" for n in range(30)]
    text = "\n".join(["image,split,colour", *lines])
    (tmp_path / "shop" / "labels.csv").write_text(text, encoding="utf-8")
    backbones.write_small_set(tmp_path / "shop", tmp_path / "small", "labels.csv", 5)
    head, *chosen = (tmp_path / "small" / "labels.csv").read_text(encoding="utf-8").split()
    assert head == "image,split,colour"
    assert chosen == [f"images/{n}.jpg,train,red" for n in (1, 7, 13, 19, 25)]
    assert (tmp_path / "small" / "images").resolve() == tmp_path / "shop" / "images"
