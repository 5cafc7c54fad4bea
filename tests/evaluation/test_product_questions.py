"""Questions about products: who asks, what is right, what is left out, what floats know more."""

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageDraw

from wearalike.commands import app, evaluated_sets
from wearalike.datasets.labelled_photos import LabelledDataset, LabelledPhoto
from wearalike.encoding.codes import FloatCodes
from wearalike.evaluation import (
    compare_encoders,
    distances,
    distinct_codes,
    made_views,
    product_questions,
    rank,
    strangers,
    summary,
)
from wearalike.evaluation.compare_encoders import EncoderUnderTest
from wearalike.evaluation.extract import ExtractedFeatures
from wearalike.evaluation.strangers import SetOrigin, TrainingSets
from wearalike.models import registry


def photos(*facts: tuple[str, str, str, str], split: str = "test") -> LabelledDataset:
    """Return photos of (group, product, colour, pattern)."""
    made = [
        LabelledPhoto(
            f"{number:03}",
            Path(f"{number}"),
            split,
            {n: v for n, v in (("colour", colour), ("pattern", pattern)) if v},
            None,
            group,
            product,
        )
        for number, (group, product, colour, pattern) in enumerate(facts)
    ]
    return LabelledDataset("few", tuple(made), ("colour", "pattern"))


def places(*xs: float) -> tuple[np.ndarray, FloatCodes]:
    """Return float rows on a line, whose Euclidean distance is that of the numbers."""
    rows = np.array(xs, np.float32)[:, None]
    return rows, FloatCodes(rows, rows)


def answers_of(labelled: LabelledDataset, rows: np.ndarray, distance: str = "euclidean"):
    split = rank.split_query_gallery(labelled, "all")
    return {
        question.measure: (
            question.queries.tolist(),
            product_questions.measure_question(question, rows, None, distance, [2]),
        )
        for question in product_questions.list_questions(split)
    }


def test_the_same_product_is_another_picture_of_it():
    labelled = photos(
        ("a", "a/1", "red", ""),
        ("a", "a/1", "red", ""),
        ("a", "a/2", "blue", ""),
        ("b", "b/1", "red", ""),
        ("", "", "red", ""),
    )
    rows, _ = places(0, 3, 1, 2, 9)
    asked, answers = answers_of(labelled, rows)["recall product"]
    # Row 0 finds 2 and 3 first, and so does row 1.
    assert asked == [0, 1] and answers.ranks.tolist() == [2, 2]
    assert {key: v.tolist() for key, v in answers.values.items()} == {
        ("recall product", 1): [0, 0],
        ("recall product", 10): [1, 1],
        ("recall product", 20): [1, 1],
    }


def test_siblings_are_asked_without_pictures_of_the_own_colour():
    labelled = photos(
        ("a", "a/1", "red", ""),
        ("a", "a/2", "blue", ""),
        ("b", "b/1", "red", ""),
        ("b", "b/2", "", ""),
        ("c", "c/1", "green", ""),
    )
    rows, _ = places(0, 4, 1, 3, 2)
    asked, answers = answers_of(labelled, rows)["recall sibling"]
    # Row 0 does not meet the red row 2: only 3 and 4 are before its sibling 1.
    assert asked == [0, 1, 2, 3] and answers.ranks.tolist() == [2, 3, 1, 2]


def test_patterns_are_asked_outside_of_the_article_and_plain_ones_are_not():
    labelled = photos(
        ("a", "", "red", "Striped"),
        ("a", "", "blue", "Striped"),
        ("b", "", "red", "Striped"),
        ("c", "", "red", "Solid"),
        ("d", "", "red", ""),
    )
    rows, _ = places(0, 1, 5, 3, 2)
    asked, answers = answers_of(labelled, rows)["pattern"]
    assert asked == [0, 1, 2] and answers.ranks is None
    # Row 0 finds the plain row 3 and row 2; row 4, of no known pattern, is not met.
    np.testing.assert_allclose(answers.values["pattern", 2], [1 / 2, 1 / 2, 1 / 2])


def test_labels_are_asked_outside_of_the_article():
    labelled = photos(
        ("a", "", "red", ""), ("a", "", "red", ""), ("b", "", "red", ""), ("c", "", "blue", "")
    )
    split = rank.split_query_gallery(labelled, "all")
    rows, _ = places(0, 1, 4, 2)
    ranking = rank.rank_gallery(rows, split, "euclidean", 2, skips_article=True)
    assert ranking.tolist() == [[3, 2], [3, 2], [3, 1], [1, 0]]
    found = rank.compute_retrieval_metrics(split, ranking, 2, skips_article=True)
    np.testing.assert_array_equal(found["colour"], [0.5, 0.5, 0.5, 0])
    # One right picture is there to be found by rows 0 and 1, two by row 2, none by row 3.
    np.testing.assert_array_equal(found["mAP colour"], [0.5, 0.5, 0.25, np.nan])


@pytest.mark.parametrize("distance", ["hamming 8:2", "asymmetric 8:2", "float 8:2", "float 0:1"])
def test_weighted_distances_are_those_of_the_definition(distance):
    rng = np.random.default_rng(0)
    floats = FloatCodes(*(rng.normal(size=(60, 128)).astype(np.float32) for _ in range(2)))
    codes = np.concatenate([np.packbits(part > 0, axis=1) for part in floats], axis=1)
    signs = [np.where(part > 0, 1.0, -1.0) for part in floats]
    kind, _, weights = distance.partition(" ")
    asks = signs if kind == "hamming" else floats
    answers = floats if kind == "float" else signs

    def cosines(q: np.ndarray, g: np.ndarray) -> np.ndarray:
        lengths = np.linalg.norm(q, axis=1)[:, None] * np.linalg.norm(g, axis=1)
        return q @ g.T / lengths

    wanted = sum(
        int(w) * -cosines(q, g) for w, q, g in zip(weights.split(":"), asks, answers, strict=True)
    )
    every = np.arange(60)
    found = np.concatenate(
        [block for _, block in distances.iterate_distances(codes, floats, distance, every, every)]
    )
    slope, offset = np.polyfit(wanted.ravel(), found.ravel(), 1)
    assert slope > 0
    np.testing.assert_allclose(wanted * slope + offset, found, atol=2e-5 * found.max())
    ranking = rank.rank_gallery(
        codes,
        rank.split_query_gallery(photos(*[("", "", "r", "")] * 60), "all"),
        distance,
        5,
        floats,
    )
    for row, results in enumerate(ranking.tolist()):
        order = sorted(set(range(60)) - {row}, key=lambda g, row=row: (found[row, g], g))
        assert results == order[:5]


def test_distances_that_need_floats_are_refused_without_them():
    codes = np.zeros((4, 32), np.uint8)
    assert not distances.is_suitable_distance("float 1:1", codes)
    assert not distances.is_suitable_distance("asymmetric 1:1", codes)
    floats = FloatCodes(np.ones((4, 5), np.float32), np.ones((4, 3), np.float32))
    assert distances.is_suitable_distance("float 1:1", np.ones((4, 8), np.float32), floats)
    assert not distances.is_suitable_distance("asymmetric 1:1", np.ones((4, 8), np.float32), floats)
    with pytest.raises(ValueError, match="distance 'float 1:1' is not for uint8 rows of 32"):
        rank.rank_gallery(
            codes, rank.split_query_gallery(photos(*[("", "", "r", "")] * 4), "all"), "float 1:1", 2
        )


def test_a_code_is_a_products_own_if_no_other_product_has_it():
    labelled = photos(
        ("a", "a/1", "", ""),
        ("a", "a/1", "", ""),
        ("b", "b/1", "", ""),
        ("", "", "", ""),
        ("c", "c/1", "", ""),
        ("d", "d/1", "", ""),
    )
    codes = np.zeros((6, 32), np.uint8)
    # Shape: rows 0 and 1 share one, 2 and 3 another. Colour: all the same.
    codes[:, 0] = [1, 1, 2, 2, 3, 3]
    ids = ["p0", "p1", "p2", "p3", "p4", "p4"]

    def values(weights: str) -> list[float]:
        weighted = distances.parse_weights(f"hamming {weights}")
        return distinct_codes.distinct_code_values(
            codes, weighted, labelled, ids, np.arange(6)
        ).tolist()

    # Row 5 is the picture of row 4 again, for another product: it is not counted.
    for weights in ("1:0", "1:1"):
        np.testing.assert_array_equal(values(weights), [1, 1, 0, 0, 1, np.nan])
    np.testing.assert_array_equal(values("0:1"), [0, 0, 0, 0, 0, np.nan])


def test_queries_beyond_the_limit_are_drawn_by_a_seed():
    labelled = photos(*[("", "", "red", "")] * 50)
    few = rank.split_query_gallery(labelled, "all", 10)
    assert len(few.queries) == 10 and len(few.gallery) == 50
    assert few.queries.tolist() == sorted(set(few.queries.tolist())) != list(range(10))
    again = rank.split_query_gallery(labelled, "all", 10)
    assert again.queries.tolist() == few.queries.tolist()


def test_a_comparison_asks_every_question_and_pairs_the_answers():
    labelled = photos(
        *[
            (
                f"g{i // 4}",
                f"g{i // 4}/{i % 4 // 2}",
                "rb"[i % 4 // 2],
                "striped" if i % 8 < 4 else "dotted",
            )
            for i in range(96)
        ]
    )
    rng = np.random.default_rng(0)
    group = np.repeat(rng.normal(size=(24, 128)), 4, axis=0)
    colour = np.tile(np.repeat(rng.normal(size=(2, 128)), 2, axis=0), (24, 1))
    contestants = []
    for version, noise in (("poor", 9.0), ("good", 0.1)):
        floats = FloatCodes(
            *(
                (part + noise * rng.normal(size=part.shape)).astype(np.float32)
                for part in (group, colour)
            )
        )
        codes = np.concatenate([np.packbits(part > 0, axis=1) for part in floats], axis=1)
        features = ExtractedFeatures(codes, np.ones(2), floats)
        names = [f"{kind} {w}" for kind in ("hamming", "float") for w in ("1:1", "1:0", "0:1")]
        contestants.append(EncoderUnderTest(version, features, names))
    split = rank.split_query_gallery(labelled, "all")
    found = compare_encoders.compare_encoders(split, contestants, [5])
    value = {(r["encoder"], r["distance"], r["measure"], r["k"]): r for r in found.rows}
    good = value["good", "hamming 1:1", "recall product", 1]
    assert good["value"] > 0.95 and good["queries"] == 96 and good["low"] <= good["value"]
    assert value["good", "hamming 1:0", "recall sibling", 10]["value"] == 1
    assert value["poor", "hamming 1:0", "recall sibling", 10]["value"] < 0.5
    assert value["good", "hamming 1:1", "pattern striped", 5]["queries"] == 48
    assert value["good", "hamming 1:0", "distinct codes", None]["queries"] == 96
    assert ("good", "hamming 8:2", "distinct codes", None) not in value
    assert value["poor", "float 1:1", "recall product", 10]["value"] > (
        value["poor", "hamming 1:1", "recall product", 10]["value"] - 0.1
    )
    gains = {(r["distance"], r["measure"], r["k"]): r for r in found.differences}
    assert gains["hamming 1:1", "recall product", 1]["low"] > 0.3
    queries = found.queries[0].to_pandas()
    assert set(queries["k"]) == {0, 1, 5, 10, 20}
    assert not queries.duplicated(["measure", "k", "query"]).any()
    shown = [e for e in found.examples if e.label == "same product" and e.encoder == "poor"]
    best, worst = shown[:3], shown[3:]
    assert [e.is_best for e in shown] == [True] * 3 + [False] * 3
    assert max(e.value for e in best) <= min(e.value for e in worst)
    assert best[0].note.startswith("first right one at rank ") and any(best[0].is_relevant)
    assert all(e.query not in e.results and len(e.results) == 10 for e in shown)
    siblings = [e for e in found.examples if e.label == "same article, other colour"]
    assert {e.distance for e in siblings} == {"hamming 1:0"} and len(siblings) == 12


def test_made_views_ask_for_their_pictures():
    labelled = photos(*[("", "", "red", "")] * 1200)
    made = made_views.add_made_views(labelled)
    assert made.name == "few, made views" and made.label_names == ()
    assert len(made.query_ids) == made_views.MAX_VIEWS
    assert len(made.photos) == made_views.MAX_VIEWS + made_views.MAX_PICTURES
    assert made == made_views.add_made_views(labelled)
    split = rank.split_query_gallery(made, "test")
    (question,) = product_questions.list_questions(split)
    assert question.measure == "recall product" and len(question.queries) == made_views.MAX_VIEWS
    assert len(question.gallery) == made_views.MAX_PICTURES


def test_a_made_view_shows_the_same_thing_otherwise():
    crop = np.full((120, 80, 3), 255, np.uint8)
    crop[30:90, 20:60] = (200, 30, 50)
    view = made_views.make_view(crop, "a")
    assert view.dtype == np.uint8 and view.shape != crop.shape
    red = (view[..., 0].astype(int) - view[..., 1]) > 80
    assert 0.2 < red.mean() < 0.9
    assert np.array_equal(view, made_views.make_view(crop, "a"))
    assert not np.array_equal(view, made_views.make_view(crop, "b"))
    tiny = made_views.make_view(np.zeros((3, 2, 3), np.uint8), "a")
    assert tiny.ndim == 3 and tiny.size


@pytest.mark.parametrize(
    ("card", "kind", "name", "origin"),
    [
        ({"data": {"shops": 9}}, "folder", "shops", SetOrigin.HOME),
        ({"data": {"shops": 9}}, "folder", "others", SetOrigin.NEVER_SEEN),
        ({"data": ["shops"]}, "folder", "shops", SetOrigin.HOME),
        ({"data": {"ccp": "train split"}}, "ccp", "photos", SetOrigin.HOME),
        ({"data": {"ccp": "train split"}}, "folder", "street", SetOrigin.HOME),
        ({"data": "photos of a friend"}, "folder", "shops", SetOrigin.UNKNOWN),
        ({}, "folder", "shops", SetOrigin.UNKNOWN),
        # The model that it began as counts, too.
        ({"data": {"x": 1}, "recipe": {"begin": "fashion-4"}}, "folder", "street", SetOrigin.HOME),
        ({"data": {"x": 1}, "recipe": {"begin": "fashion-4"}}, "ccp", "mine", SetOrigin.HOME),
        ({"data": {"x": 1}, "recipe": {"begin": "own-1"}}, "folder", "y", SetOrigin.UNKNOWN),
        ({"data": {"x": 1}, "recipe": {"begin": "own-1"}}, "folder", "x", SetOrigin.HOME),
        (
            {"data": {"x": 1}, "recipe": {"begin": registry.EFFICIENTNET_LITE0.name}},
            "folder",
            "y",
            SetOrigin.NEVER_SEEN,
        ),
    ],
)
def test_a_card_tells_home_from_strange(card, kind, name, origin):
    assert strangers.training_sets("mine-1", card).origin_of(kind, name) == origin


def test_every_packaged_encoder_says_what_it_learned_from():
    for name, encoder in registry.ENCODERS.items():
        card = registry.packaged_model(registry.ModelKind.ENCODER, name).read().card
        sets = strangers.training_sets(encoder.version, card)
        assert sets.is_complete and sets.names, name
        assert sets.origin_of("fashion-product-images", "catalogue") == SetOrigin.HOME
        assert sets.origin_of("folder", "a new shop") == SetOrigin.NEVER_SEEN
    assert TrainingSets().origin_of("folder", "any") == SetOrigin.NEVER_SEEN


def row(dataset: str, encoder: str, distance: str, measure: str, k: int | None, value: float):
    return {
        "dataset": dataset,
        "split": "test",
        "encoder": encoder,
        "distance": distance,
        "measure": measure,
        "k": k,
        "value": value,
        "low": value - 0.02,
        "high": value + 0.02,
        "queries": 1234,
    }


def test_the_summary_leads_with_sets_never_seen():
    rows = [
        row("own", "a-1", "hamming 1:1", "type", 10, 0.9),
        row("strange", "a-1", "hamming 1:1", "recall product", 10, 0.5),
        row("strange", "a-1", "asymmetric 1:1", "recall product", 10, 0.55),
        row("strange", "a-1", "float 1:1", "recall product", 10, 0.6),
        row("strange", "a-1", "hamming 0:1", "distinct codes", None, 1.0),
        row("strange", "hsv-1", "hellinger", "recall product", 10, 0.4),
        row("strange", "hsv-1", "", "images a second", None, 900.0),
    ]
    origins = {
        ("own", "a-1"): SetOrigin.HOME,
        ("strange", "a-1"): SetOrigin.NEVER_SEEN,
        ("strange", "hsv-1"): SetOrigin.NEVER_SEEN,
    }
    tables = summary.build_summary(rows, origins)
    assert [table.title for table in tables] == [
        "strange, test asks",
        "own, test asks",
        "What the bits cost: strange, test asks",
    ]
    text = summary.format_markdown(tables)
    assert "| encoder | same product, R@10, 1:1, 1,234 queries |" in text
    assert "| `a-1` (never seen) | .500 (.480 to .520) |" in text
    assert "| `hsv-1` (never seen) | .400 (.380 to .420) |" in text
    assert "| `a-1` (home) | .900 (.880 to .920) |" in text
    assert [(r.note, r.cells[0]["value"]) for r in tables[2].rows] == [
        ("floats", 0.6),
        ("floats ask, bits answer", 0.55),
        ("bits", 0.5),
    ]


COLOURS = {"01": (200, 30, 40), "02": (30, 60, 190)}


def garment(kind: int, colour: tuple[int, int, int], shift: int) -> Image.Image:
    """Draw one of some garments that differ in their outline."""
    image = Image.new("RGB", (96, 120), "white")
    draw = ImageDraw.Draw(image)
    width = 14 + 5 * kind
    draw.rectangle((48 - width, 20 + shift, 48 + width, 100 - 6 * kind + shift), fill=colour)
    draw.rectangle((20 - 2 * kind, 20 + shift, 76 + 2 * kind, 34 + shift), fill=colour)
    return image


@pytest.fixture(scope="module")
def shop(tmp_path_factory) -> Path:
    """Six articles in two colours, two views each."""
    made = tmp_path_factory.mktemp("photos") / "strange"
    made.mkdir()
    lines = ["image,split,type,colour,group,colour_number,view"]
    for kind in range(6):
        for number, colour in COLOURS.items():
            for shift, view in enumerate(("front", "flat")):
                name = f"{kind}-{number}-{view}.png"
                garment(kind, colour, 4 * shift).save(made / name)
                word = "red" if number == "01" else "blue"
                lines.append(f"{name},test,t{kind % 2},{word},{kind},{number},{view}")
    (made / "labels.csv").write_text("\n".join(lines) + "\n")
    return made


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> Path:
    """The same garments on a grey ground with a box, and flat."""
    made = tmp_path_factory.mktemp("photos") / "worn"
    made.mkdir()
    with (made / "pairs.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["group", "figure", "flat", "x0", "y0", "x1", "y1"])
        for kind in range(6):
            picture = garment(kind, COLOURS["01"], 0)
            figure = Image.new("RGB", (200, 240), (120, 130, 120))
            figure.paste(picture, (50, 60))
            figure.save(made / f"f{kind}.png")
            picture.save(made / f"g{kind}.png")
            table.writerow([kind, f"f{kind}.png", f"g{kind}.png", 50, 60, 146, 180])
    return made


def test_one_command_asks_for_products_and_says_what_the_bits_cost(shop, pairs, tmp_path, capsys):
    options = ["--encoder", "imagenet-itq", "--encoder", "hsv", "--out", str(tmp_path)]
    sets = ["--data", f"folder={shop}", "--data", f"pairs={pairs}"]
    assert app.main(["evaluate", *sets, *options]) == 0
    rows = json.loads((tmp_path / "evaluation.json").read_text())
    value = {
        (r["dataset"], r["encoder"], r["distance"], r["measure"], r["k"]): r["value"] for r in rows
    }
    assert {r["dataset"] for r in rows} == {"strange", "worn", "worn, own crop"}
    itq = "imagenet-itq-1"
    for distance in ("hamming 1:1", "asymmetric 1:1", "float 1:1"):
        assert value["strange", itq, distance, "recall product", 10] > 0.9
        assert value["worn", itq, distance, "recall product", 10] == 1
    assert value["strange", itq, "hamming 1:0", "recall sibling", 10] > 0.5
    assert value["strange", itq, "hamming 0:1", "colour", 10] > 0.9
    assert value["strange", "hsv-1", "hellinger", "recall product", 10] > 0.9
    assert 0 < value["strange", itq, "hamming 1:1", "distinct codes", None] <= 1
    printed = capsys.readouterr().out
    text = (tmp_path / "summary.md").read_text()
    assert text in printed and "| `imagenet-itq-1` (never seen) |" in text
    assert "### What the bits cost: strange, test asks" in text
    page = (tmp_path / "evaluation.html").read_text()
    assert "best by same article, other colour" in page and page.index('id="summary"') < page.index(
        'id="retrieval-1"'
    )
    queries = pq.read_table(tmp_path / "queries.parquet").to_pandas()
    assert {"recall product", "recall sibling", "distinct codes"} <= set(queries["measure"])


def test_a_set_without_products_is_asked_by_made_views(shop, tmp_path):
    plain = tmp_path / "plain"
    plain.mkdir()
    lines = ["image,split,type"]
    for path in sorted(shop.glob("*-01-front.png")):
        (plain / path.name).write_bytes(path.read_bytes())
        lines.append(f"{path.name},test,shirt")
    (plain / "labels.csv").write_text("\n".join(lines) + "\n")
    one = evaluated_sets.read_set("folder", plain, tmp_path)
    assert [each.labelled.name for each in evaluated_sets.expand_set(one)] == [
        "plain",
        "plain, made views",
    ]
    options = ["--encoder", "hsv", "--data", f"folder={plain}", "--out", str(tmp_path / "out")]
    assert app.main(["evaluate", *options]) == 0
    rows = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    (found,) = [
        r
        for r in rows
        if r["dataset"] == "plain, made views" and r["measure"] == "recall product" and r["k"] == 10
    ]
    assert found["queries"] == 6 and found["value"] == 1


def test_a_runs_own_pictures_are_measured(night, tmp_path):
    options = ["--encoder", "hsv", "--data", "run=day-1", "--split", "all", "--out", str(tmp_path)]
    assert app.main(["evaluate", *options, "--config", str(night / "wearalike.toml")]) == 0
    rows = json.loads((tmp_path / "evaluation.json").read_text())
    found = {(r["measure"], r["k"]): r for r in rows if r["dataset"] == "day-1"}
    assert found["type", 10]["queries"] > 100 and found["recall product", 10]["queries"] > 10


def test_detectors_are_not_measured_on_their_own_boxes(night, tmp_path, caplog):
    options = ["--detector", "foreground", "--data", "run=day-1", "--out", str(tmp_path)]
    assert app.main(["evaluate", *options, "--config", str(night / "wearalike.toml")]) == 1
    assert "--data run=: detectors are not measured on it" in caplog.text
