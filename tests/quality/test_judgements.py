"""What people say of pairs: which they are shown, how precise that makes the lists,
how far judges agree.
"""

import shutil
from collections import Counter, defaultdict
from datetime import UTC, datetime

import pytest
from tests.support.change_settings import change
from tests.support.postgres_server import create_database, start_server

from wearalike import settings
from wearalike.metrics.agreement import wilson_interval
from wearalike.pipeline import report_quality
from wearalike.quality import judgement_metrics, judgements
from wearalike.quality.judgements import Judgement, LookVerdict, RelevanceVerdict, SamplingPlan
from wearalike.server.snapshot import PublishedRepository
from wearalike.storage import run_tables
from wearalike.tables import LOOK_PRODUCTS, PRODUCTS, QUALITY, SIMILAR_LISTS, SIMILAR_PRODUCTS
from wearalike.warehouse import publish
from wearalike.warehouse.base import open_warehouse
from wearalike.warehouse.duckdb.load import DuckDBWarehouse

RUN = "day-1"
YES, NO, WRONG, UNSURE = (
    RelevanceVerdict.ALIKE,
    RelevanceVerdict.NOT_ALIKE,
    RelevanceVerdict.WRONG_CATEGORY,
    RelevanceVerdict.UNSURE,
)


@pytest.fixture(scope="module")
def place(night):
    return settings.read_settings(night / "wearalike.toml")


def judgement_of(
    judge: str, number: int, verdict: RelevanceVerdict, category: str = "bags"
) -> Judgement:
    return Judgement(judge, f"moda:{number}", f"moda:{number + 1000}", verdict, category)


def test_the_sample_is_fixed_and_spread_over_categories_and_ranks(place):
    warehouse = open_warehouse(place.warehouse)
    pairs = judgements.sample_pairs(warehouse, RUN, SamplingPlan(per_category=8, ranks=4))
    assert pairs == judgements.sample_pairs(warehouse, RUN, SamplingPlan(per_category=8, ranks=4))
    other = judgements.sample_pairs(warehouse, RUN, SamplingPlan(per_category=8, ranks=4, seed=1))
    assert {p.product_id for p in pairs} != {p.product_id for p in other}
    assert len({p.product_id for p in pairs}) == len(pairs), "a product is asked about once"

    categories = {
        r["product_id"]: r["category"]
        for r in run_tables.read_table(place.data_dir, PRODUCTS, RUN).to_pylist()
    }
    counts = {
        r["product_id"]: r["similar_count"]
        for r in run_tables.read_table(place.data_dir, SIMILAR_LISTS, RUN).to_pylist()
    }
    rows = {
        (r["product_id"], r["similar_product_id"]): r
        for r in run_tables.read_table(place.data_dir, SIMILAR_PRODUCTS, RUN).to_pylist()
    }
    for pair in pairs:
        row = rows[pair.product_id, pair.similar_product_id]
        assert (pair.category, pair.rank, pair.score) == (
            categories[pair.product_id],
            row["rank"],
            row["score"],
        )
    sizes = Counter(categories[i] for i, count in counts.items() if count)
    assert Counter(p.category for p in pairs) == {c: min(8, n) for c, n in sizes.items()}
    ranks = defaultdict(list)
    for pair in pairs:
        if counts[pair.product_id] >= 4:
            ranks[pair.category].append(pair.rank)
    full = [sorted(found) for category, found in ranks.items() if len(found) == 8]
    assert full and all(found == [1, 1, 2, 2, 3, 3, 4, 4] for found in full)
    # In the order shown neither categories nor ranks stand in blocks.
    assert [p.category for p in pairs] != sorted(p.category for p in pairs) and [
        p.rank for p in pairs
    ] != sorted(p.rank for p in pairs)


def test_the_sample_of_looks_is_spread_over_sources_and_kinds_of_products(place):
    warehouse = open_warehouse(place.warehouse)
    plan = SamplingPlan(per_category=3)
    pairs = judgements.sample_look_pairs(warehouse, RUN, plan)
    assert pairs == judgements.sample_look_pairs(warehouse, RUN, plan)
    rows = {
        (r["product_id"], r["look_product_id"]): r
        for r in run_tables.read_table(place.data_dir, LOOK_PRODUCTS, RUN).to_pylist()
    }
    products = run_tables.read_table(place.data_dir, PRODUCTS, RUN).to_pylist()
    kinds = {p["product_id"]: p["super_category"] for p in products}
    drawn = Counter()
    asked = {(p.product_id, rows[p.product_id, p.similar_product_id]["source"]) for p in pairs}
    assert len(asked) == len(pairs), "a source of a product is asked about once"
    for pair in pairs:
        row = rows[pair.product_id, pair.similar_product_id]
        assert (pair.rank, pair.score) == (row["rank"], row["score"] or 0)
        drawn[row["source"], kinds[pair.product_id]] += 1
    assert {source for source, _ in drawn} == {"worn", "feed", "alike"}
    assert max(drawn.values()) == 3 and len(drawn) > 6


def test_both_engines_draw_the_same_pairs_and_hold_what_is_judged(place):
    ours = judgements.sample_pairs(open_warehouse(place.warehouse), RUN)
    look_pairs = judgements.sample_look_pairs(open_warehouse(place.warehouse), RUN)
    with start_server() as address:
        theirs = change(place, warehouse=create_database(address, "judged"))
        warehouse = open_warehouse(theirs.warehouse)
        publish.publish_run(place.data_dir, RUN, warehouse)
        assert judgements.sample_pairs(warehouse, RUN) == ours and len(ours) > 100
        assert judgements.sample_look_pairs(warehouse, RUN) == look_pairs
        assert judgements.read_judgements(warehouse) == []
        judgements.record_judgement(warehouse, RUN, "anna", ours[0], WRONG, datetime.now(UTC))
        assert judgements.read_judgements(warehouse) == [
            Judgement(
                "anna", ours[0].product_id, ours[0].similar_product_id, WRONG, ours[0].category
            )
        ]
        published = PublishedRepository(theirs)
        with published.snapshot() as s:
            kinds = s.category_counts()
        published.close()
    products = Counter(
        (r["shop_id"], r["super_category"], r["category"])
        for r in run_tables.read_table(place.data_dir, PRODUCTS, RUN).to_pylist()
    )
    assert {
        (k["shop_id"], k["super_category"], k["category"]): k["products_count"] for k in kinds
    } == products


def test_judged_again_the_last_verdict_counts(tmp_path):
    warehouse = DuckDBWarehouse(tmp_path)
    assert judgements.read_judgements(warehouse) == []
    pair = judgements.JudgementPair("moda:1", "moda:2", "bags", 3, 0.5)
    for run, second, verdict in (("r1", 1, YES), ("r1", 2, NO), ("r2", 3, WRONG)):
        judgements.record_judgement(
            warehouse,
            run,
            "  anna \n k ",
            pair,
            verdict,
            datetime(2026, 11, 21, 0, 0, second, tzinfo=UTC),
        )
    judgements.record_judgement(
        warehouse, "r2", "boris", pair, YES, datetime(2026, 11, 20, tzinfo=UTC)
    )
    found = {j.judge: j for j in judgements.read_judgements(warehouse)}
    assert found == {
        j.judge: j
        for j in (Judgement("anna k", *found["boris"].pair, WRONG, "bags"), found["boris"])
    }
    assert found["boris"] == Judgement("boris", "moda:1", "moda:2", YES, "bags")
    # r1 keeps what was last said under it.
    kept = warehouse.query(
        "SELECT run, verdict, rank, score FROM judgements WHERE judge = 'anna k' ORDER BY run"
    )
    assert kept == [
        {"run": r, "verdict": v, "rank": 3, "score": 0.5}
        for r, v in (("r1", "not_alike"), ("r2", "wrong_category"))
    ]


@pytest.mark.parametrize("name", ["", " \n\t", "x" * 41])
def test_a_judge_has_a_name(tmp_path, name):
    with pytest.raises(ValueError, match="wanted a name of 1 to 40 letters"):
        judgements.record_judgement(
            DuckDBWarehouse(tmp_path),
            "r1",
            name,
            judgements.JudgementPair("a:1", "a:2", "bags", 1, 0.5),
            YES,
            datetime.now(UTC),
        )
    assert not list(tmp_path.rglob("*.parquet"))


def test_precision_counts_a_pair_once_and_the_least_precise_category_first():
    told = [judgement_of("anna", n, YES) for n in range(8)] + [
        judgement_of("anna", 8, NO),
        judgement_of("anna", 9, WRONG),
    ]
    told += [
        judgement_of("boris", 0, NO),
        judgement_of("boris", 1, YES),
        judgement_of("boris", 20, UNSURE, "shoes"),
    ]
    told += [judgement_of("anna", 30, NO, "coats"), judgement_of("anna", 31, UNSURE, "coats")]
    everything, coats, bags = judgement_metrics.precision_by_category(told)
    assert (everything.category, coats.category, bags.category) == (None, "coats", "bags")
    assert (bags.value, bags.pairs) == (pytest.approx(7.5 / 10), 10)
    assert bags.verdicts == {YES: 9, NO: 2, WRONG: 1}
    assert (coats.value, coats.pairs, coats.verdicts[UNSURE]) == (0, 1, 1)
    assert everything.pairs == 11 and everything.value == pytest.approx(7.5 / 11)
    assert bags.low < 0.75 < bags.high < 1
    assert (
        judgement_metrics.precision_by_category([judgement_of("anna", 1, UNSURE)])
        == []
        == judgement_metrics.precision_by_category([])
    )


def test_agreement_is_of_pairs_that_both_judged():
    told = [judgement_of("anna", n, v) for n, v in enumerate((YES, YES, NO, UNSURE, NO))]
    told += [judgement_of("boris", n, v) for n, v in enumerate((YES, NO, NO, NO))] + [
        judgement_of("carla", 99, YES)
    ]
    (found,) = judgement_metrics.judge_agreements(told)
    assert (found.judges, found.pairs) == (("anna", "boris"), 3)
    assert (found.agreed_ratio, found.kappa) == (
        pytest.approx(2 / 3),
        pytest.approx((2 / 3 - 4 / 9) / (5 / 9)),
    )


def test_the_next_quality_report_counts_what_was_judged_of_its_own_recommendations(night, tmp_path):
    shutil.copytree(night / "root", tmp_path / "root", symlinks=True)
    warehouse = open_warehouse(f"duckdb:{tmp_path / 'root' / 'warehouse'}")
    report = ["--run", RUN, "--data-dir", str(tmp_path / "root")]
    made = run_tables.read_manifest(tmp_path / "root", QUALITY, RUN)
    assert report_quality.main(report) == 0
    assert run_tables.read_manifest(tmp_path / "root", QUALITY, RUN) == made, (
        "nobody has judged: it stands"
    )
    pairs = judgements.sample_pairs(warehouse, RUN)[:4]
    for judge, verdicts in (("anna", (YES, YES, NO, YES)), ("boris", (YES, NO, NO, YES))):
        for pair, verdict in zip(pairs, verdicts, strict=True):
            judgements.record_judgement(warehouse, RUN, judge, pair, verdict, datetime.now(UTC))
    looks = {
        (r["product_id"], r["look_product_id"]): r["source"]
        for r in run_tables.read_table(tmp_path / "root", LOOK_PRODUCTS, RUN).to_pylist()
    }
    goes, not_goes, unsure = LookVerdict.GOES_WITH, LookVerdict.DOES_NOT_GO, LookVerdict.UNSURE
    all_looks = judgements.sample_look_pairs(warehouse, RUN)
    by_source = {
        source: [p for p in all_looks if looks[p.product_id, p.similar_product_id] == source][:2]
        for source in ("worn", "alike")
    }
    judged_looks = [*by_source["worn"], *by_source["alike"]]
    for judge, verdicts in (
        ("anna", (goes, goes, goes, not_goes)),
        ("boris", (goes, not_goes, unsure, not_goes)),
    ):
        for pair, verdict in zip(judged_looks, verdicts, strict=True):
            judgements.record_judgement(warehouse, RUN, judge, pair, verdict, datetime.now(UTC))
    assert len(judgements.read_judgements(warehouse)) == 8, "those of looks are another matter"
    gone = judgements.JudgementPair("moda:gone", "moda:too", "bags", 1, 0.5)
    judgements.record_judgement(warehouse, "day-0", "anna", gone, NO, datetime.now(UTC))
    assert report_quality.main(report) == 0
    rows = {
        (m["metric"], m["scope"]): m
        for m in run_tables.read_table(tmp_path / "root", QUALITY, RUN).to_pylist()
    }
    found = rows["judged_precision", "all"]
    assert (found["value"], (found["low"], found["high"])) == (
        pytest.approx(2.5 / 4),
        pytest.approx(wilson_interval(2.5 / 4, 4)),
    )
    assert rows["judged_pairs_count", "all"]["value"] == 4
    found = {s: m["value"] for (name, s), m in rows.items() if name == "judged_look_precision"}
    wanted = {"all": 2.5 / 4, "source=worn": 1.5 / 2, "source=alike": 1 / 2}
    assert found == pytest.approx(wanted)
    assert rows["judged_look_pairs_count", "source=alike"]["value"] == 2
    assert rows["judges_kappa", "judges=anna,boris"]["value"] == pytest.approx(
        (3 / 4 - 1 / 2) / (1 / 2)
    )
    assert {m["scope"] for (name, _), m in rows.items() if name == "judged_precision"} == {
        "all",
        *(f"category={p.category}" for p in pairs),
    }
