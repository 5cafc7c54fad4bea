"""Variants of an experiment: matched exactly, judged as the control is, published with it."""

from __future__ import annotations

import itertools
import json
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import openpyxl
import pandas as pd
import psycopg
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from lxml import html
from tests.support.drawn_deployment import DrawnDeployment
from tests.support.http_server import site_client
from tests.support.postgres_server import create_database, start_server

from wearalike import catalog, search
from wearalike.commands import app
from wearalike.metrics.agreement import wilson_interval
from wearalike.metrics.interleaving import draft_teams, sign_test
from wearalike.metrics.visitor_buckets import visitor_bucket
from wearalike.models import registry
from wearalike.pipeline import match_variants, report_quality
from wearalike.pipeline.job import JobRejected
from wearalike.pipeline.match_plan import MatchPlan
from wearalike.pipeline.stage_command import StageOptions
from wearalike.quality import event_rates, experiment_rates
from wearalike.quality.gate import Gate, GateVerdict
from wearalike.quality.variant_checks import check_variants
from wearalike.server.app import create_app
from wearalike.settings import BadSettings, Settings
from wearalike.storage import run_tables
from wearalike.tables import (
    CODES_VARIANTS,
    EXPERIMENT_TABLES,
    LIST_VARIANTS,
    MATCHES_VARIANTS,
    SIMILAR_LISTS,
    SIMILAR_LISTS_VARIANTS,
    SIMILAR_PRODUCTS,
    SIMILAR_PRODUCTS_VARIANTS,
)
from wearalike.warehouse import export, publish
from wearalike.warehouse.base import open_warehouse

MAPPINGS = Path(__file__).resolve().parents[2] / "mappings"
WEIGHTS = (2, 9, 4)
OTHER_ENCODER = registry.ENCODERS["fashion"].version
HIDDEN = "brand 3"
SQL = MAPPINGS.with_name("sql")


class WeightedDeployment(DrawnDeployment):
    """The same nights, whose products have the variant's weights."""

    def _draw(self, count: int) -> pd.DataFrame:
        drawn = super()._draw(count)
        names = ("shape_weight", "colour_weight", "kind_weight")
        return drawn.assign(**dict(zip(names, WEIGHTS, strict=True)))


class OtherCodesDeployment(DrawnDeployment):
    """The same nights, whose items have the codes of the variant's encoder."""

    def _codes(self, frame: pd.DataFrame) -> pa.Table:
        return other_codes(super()._codes(frame))


class ExperimentDeployment(DrawnDeployment):
    """The same nights, whose items are encoded by the encoder of variant `other`, too."""

    def _write_tables(self) -> None:
        super()._write_tables()
        parameters = {"encoders": {"other": OTHER_ENCODER}}
        codes = other_codes(self._codes(self.frame))
        with run_tables.write_table(
            self.root, CODES_VARIANTS, self.run, f"drawn {self.run}", parameters
        ) as table:
            table.write(codes)


def other_codes(codes: pa.Table) -> pa.Table:
    """Codes of another encoder: shape and colour change places."""
    swapped = {"shape": codes["colour"], "colour": codes["shape"]}
    swapped["encoder"] = pa.repeat(pa.scalar(OTHER_ENCODER), codes.num_rows)
    for name, values in swapped.items():
        codes = codes.set_column(codes.schema.get_field_index(name), name, values)
    return codes


@dataclass
class Nights:
    """Two nights of a deployment with an experiment, the second one published."""

    made: DrawnDeployment
    weighted: DrawnDeployment
    other: DrawnDeployment
    settings: Settings

    def rows(self, table: Any, variant: str | None = None) -> pa.Table:
        rows = run_tables.read_table(self.made.root, table, self.made.run)
        if variant is None:
            return rows
        return rows.filter(pc.equal(rows["variant"], variant)).drop_columns(["variant"])


def match(made: DrawnDeployment, settings: Settings, *, force: bool = False) -> None:
    options = StageOptions(
        run=made.run, settings=settings, force=force, config=None, data_dir=None, spark_master=None
    )
    plan = MatchPlan(made.root, made.run, "cpu", search.ListRules(k=20), [])
    taxonomy = catalog.read_taxonomy(settings.mappings / "taxonomy.xml")
    match_variants.write_experiment(options, settings, plan, taxonomy)


def variant_of(bucket: int) -> str:
    """The variant whose lists the visitors of a bucket see."""
    ends = {"colour": 3000, "fewer": 5000, "other": 6000, "control": 10_000}
    return next(name for name, end in ends.items() if bucket < end)


@pytest.fixture(scope="module")
def nights(tmp_path_factory) -> Nights:
    folder = tmp_path_factory.mktemp("experiment")
    shutil.copytree(MAPPINGS, folder / "mappings")
    (folder / "mappings" / "rules-b.xml").write_text(
        f'<rules><hide id="no3" brand="{HIDDEN}"/></rules>', encoding="utf-8"
    )
    variants = {
        "colour": {"share": 0.3, "weights": ":".join(map(str, WEIGHTS))},
        "fewer": {"share": 0.2, "rules": "rules-b.xml"},
        "other": {"share": 0.1, "encoder": "fashion"},
    }
    settings = Settings(
        data_dir=folder / "root",
        mappings=folder / "mappings",
        experiment={"name": "winter", "variants": variants},
    )
    small = {"picture_bytes": 50, "metrics_count": 3}
    made = ExperimentDeployment(settings, 90, 0.1, **small)
    weighted, other = (
        kind(Settings(data_dir=folder / kind.__name__), 90, 0.1, **small)
        for kind in (WeightedDeployment, OtherCodesDeployment)
    )
    for _ in range(2):
        weighted.add_night()
        other.add_night()
        made.add_night()
        match(made, settings)
    publish.publish_run(made.root, made.run, open_warehouse(settings.warehouse), redo=True)
    return Nights(made, weighted, other, settings)


def test_a_variant_has_the_lists_that_its_weights_give(nights):
    rows = run_tables.read_table(nights.weighted.root, SIMILAR_PRODUCTS, nights.weighted.run)
    order = [("product_id", "ascending"), ("rank", "ascending")]
    assert nights.rows(SIMILAR_PRODUCTS_VARIANTS, "colour").sort_by(order) == rows.sort_by(order)
    control = nights.rows(SIMILAR_PRODUCTS)
    assert not control.sort_by(order).equals(rows.sort_by(order))
    lists = run_tables.read_table(nights.weighted.root, SIMILAR_LISTS, nights.weighted.run)
    assert nights.rows(SIMILAR_LISTS_VARIANTS, "colour").sort_by("product_id") == lists.sort_by(
        "product_id"
    )


def test_a_variant_has_the_lists_that_its_encoder_gives(nights):
    root, run = nights.other.root, nights.other.run
    for table, of_variants in (
        (SIMILAR_PRODUCTS, SIMILAR_PRODUCTS_VARIANTS),
        (SIMILAR_LISTS, SIMILAR_LISTS_VARIANTS),
    ):
        order = [(key, "ascending") for key in table.key]
        found = nights.rows(of_variants, "other").sort_by(order)
        wanted = run_tables.read_table(root, table, run).sort_by(order)
        if "encoder" in wanted.column_names:
            assert pc.unique(found["encoder"]).to_pylist() == [OTHER_ENCODER]
            found, wanted = (rows.drop_columns(["encoder"]) for rows in (found, wanted))
        assert found == wanted
    assert not nights.rows(SIMILAR_PRODUCTS).sort_by(order).equals(wanted)


def test_a_variant_without_indexes_of_its_encoder_is_refused(nights):
    values = {"data_dir": nights.made.root, "mappings": nights.settings.mappings}
    experiment = {"name": "winter", "variants": {"other": {"encoder": "imagenet-itq"}}}
    with pytest.raises(JobRejected, match=r"'other' .* has no indexes of imagenet-itq-1 .* again"):
        match(nights.made, Settings(**values, experiment=experiment))


def test_a_variant_obeys_its_own_rules_alone(nights):
    brands = dict(zip(nights.made.frame["product_id"], nights.made.frame["brand"], strict=True))
    shown = {
        name: {brands[i] for i in rows["similar_product_id"].to_pylist()}
        for name, rows in (
            ("control", nights.rows(SIMILAR_PRODUCTS)),
            ("fewer", nights.rows(SIMILAR_PRODUCTS_VARIANTS, "fewer")),
        )
    }
    assert shown["control"] - shown["fewer"] == {HIDDEN}


def test_the_next_night_searches_what_changed_and_a_rule_searches_nothing(nights):
    root, run = nights.made.root, nights.made.run
    searched = run_tables.read_manifest(root, MATCHES_VARIANTS, run)["searched_anew"]
    assert searched["fewer"] == 0 and 0 < searched["colour"] < 60 and 0 < searched["other"] < 60
    before = {t: nights.rows(t) for t in (MATCHES_VARIANTS, *EXPERIMENT_TABLES)}
    match(nights.made, nights.settings, force=True)
    assert run_tables.read_manifest(root, MATCHES_VARIANTS, run)["searched_anew"]["fewer"] == 90
    assert {t: nights.rows(t) for t in before} == before


def test_the_gate_judges_every_variant_as_the_control(nights, tmp_path):
    parameters = run_tables.read_manifest(nights.made.root, MATCHES_VARIANTS, nights.made.run)
    opened = report_quality.open_inputs(nights.made.root, nights.made.run, None)
    wrong = opened[SIMILAR_PRODUCTS_VARIANTS.name].to_table().to_pylist()
    hidden = next(
        i
        for i, brand in zip(
            nights.made.frame["product_id"], nights.made.frame["brand"], strict=True
        )
        if brand == HIDDEN
    )
    outcomes, shares = check_variants(Gate("r", tmp_path / "a"), opened, parameters["parameters"])
    bad = {o.name for o in outcomes if o.verdict is not GateVerdict.OK}
    assert bad == set()
    assert [(m.scope, m.value > 0.5) for m in shares] == [
        ("variant=colour", True),
        ("variant=fewer", True),
        ("variant=other", True),
    ]
    assert any(o.name.startswith("indexes_variant_other.") for o in outcomes)
    (row,) = [r for r in wrong if r["variant"] == "fewer" and r["rank"] == 1][:1]
    row["similar_product_id"] = hidden
    (other,) = [r for r in wrong if r["variant"] == "colour" and r["rank"] == 1][:1]
    other["colour_weight"] = 1
    (far,) = [r for r in wrong if r["variant"] == "other" and r["rank"] == 1][:1]
    far["shape_distance"] += 1
    schema = SIMILAR_PRODUCTS_VARIANTS.arrow_schema
    broken = opened | {SIMILAR_PRODUCTS_VARIANTS.name: pa.Table.from_pylist(wrong, schema)}
    outcomes, _ = check_variants(Gate("r", tmp_path / "b"), broken, parameters["parameters"])
    bad = {o.name for o in outcomes if o.verdict is GateVerdict.FAIL}
    prefix = "similar_products_variant_"
    assert f"{prefix}fewer.expect_column_values_to_be_null(broken_rule)" in bad
    assert f"{prefix}colour.expect_column_values_to_be_in_set(is_weighted_as_product)" in bad
    assert any(name.startswith(f"{prefix}other.") and "shape_bits" in name for name in bad)


def test_both_engines_publish_the_variants_with_the_run(nights, tmp_path):
    held = open_warehouse(nights.settings.warehouse)
    with start_server() as server:
        address = create_database(server, "shop")
        other = open_warehouse(address)
        publish.publish_run(nights.made.root, nights.made.run, other)
        for warehouse in (held, other):
            for table in EXPERIMENT_TABLES:
                key = ", ".join(table.key)
                found = warehouse.query(f"SELECT * FROM current_{table.name} ORDER BY {key}")
                wanted = nights.rows(table).sort_by([(k, "ascending") for k in table.key])
                assert [{k: v for k, v in r.items() if k != "run"} for r in found] == (
                    wanted.to_pylist()
                ), table.name
        _assert_site_sees_variants(held, other, address, nights)
    lines = tmp_path / "lists.jsonl"
    assert export.write_jsonl(nights.settings, lines) == 90
    values = {row["key"]: row["value"] for row in map(json.loads, lines.open(encoding="utf-8"))}
    kinds = Counter(key.partition(":")[0] for key in values)
    assert kinds == {"similar": 90, "variant": 270, "look": 90, "meta": 1}
    fewer = nights.rows(SIMILAR_PRODUCTS_VARIANTS, "fewer")
    product_id = fewer["product_id"][0].as_py()
    exported = values[f"variant:fewer:{product_id}"]["results"]
    assert [one["product_id"] for one in exported] == ids_by_rank(fewer, product_id)
    meta = {v["variant"]: (v["first_bucket"], v["end_bucket"]) for v in values["meta"]["variants"]}
    buckets = {r["variant"]: (r["first_bucket"], r["end_bucket"]) for r in found}
    assert meta == buckets
    assert buckets == {"colour": (0, 3000), "fewer": (3000, 5000)} | {
        "other": (5000, 6000),
        "control": (6000, 10000),
    }
    assert visitor_bucket("winter", "visitor-7") == 1829  # sees colour


def _assert_site_sees_variants(held, other, address: str, nights: Nights) -> None:
    """A visitor sees one variant in both engines, by their statements and by the site's views."""
    product_id = nights.rows(SIMILAR_PRODUCTS_VARIANTS, "fewer")["product_id"][0].as_py()
    lists = (SQL / "site_similar_products_variants.sql").read_text(encoding="utf-8")
    visitors = ["visitor-7", "Юлия", "'x'", *(f"v{i}" for i in range(20))]
    with psycopg.connect(address, autocommit=True) as con:
        con.execute("SET search_path TO wearalike; CREATE ROLE wearalike_site")
        con.execute((SQL / "views" / "site.sql").read_text(encoding="utf-8").encode())
        shown = set()
        for visitor in visitors:
            bucket = visitor_bucket("winter", visitor)
            variant = variant_of(bucket)
            shown.add(variant)
            answers = []
            for warehouse, engine in ((held, "duckdb"), (other, "postgres")):
                hashed = (SQL / f"{engine}_visitor_bucket.sql").read_text(encoding="utf-8")
                found = warehouse.query(hashed, [visitor])
                assert found == [{"experiment": "winter", "bucket": bucket}]
                answers.append(warehouse.query(lists, [product_id, bucket]))
            assert answers[0] == answers[1] and {r["variant"] for r in answers[0]} == {variant}
            rows = con.execute(
                "SELECT similar_product_id FROM site_similar_products_variants"
                " WHERE product_id = %s AND variant = site_visitor_variant(%s) ORDER BY rank",
                [product_id, visitor],
            ).fetchall()
            assert [i for (i,) in rows] == [r["product_id"] for r in answers[0]]
        assert shown == {"colour", "fewer", "other", "control"}


def test_the_status_counts_what_is_published_of_variants(nights, tmp_path, capsys):
    config = tmp_path / "wearalike.toml"
    config.write_text(f"data_dir = '{nights.made.root}'\n")
    assert app.main(["status", "--config", str(config)]) == 0
    count = nights.rows(SIMILAR_PRODUCTS_VARIANTS).num_rows
    assert f"{count:,} recommendations of 3 variants\n" in capsys.readouterr().out


def test_a_run_without_an_experiment_has_no_table_of_one(nights, tmp_path):
    shutil.copytree(nights.made.root, tmp_path / "root", symlinks=True)
    plain = Settings(data_dir=tmp_path / "root", mappings=nights.settings.mappings)
    made = DrawnDeployment(plain, 90, number=nights.made.number)
    with_variants = publish.run_signature(made.root, made.run)
    match(made, plain)
    assert not any(
        run_tables.is_complete(made.root, table, made.run)
        for table in (MATCHES_VARIANTS, *EXPERIMENT_TABLES)
    )
    assert report_quality.list_inputs(made.root, made.run) == report_quality.INPUT_TABLES
    assert publish.run_signature(made.root, made.run) != with_variants
    warehouse = open_warehouse(plain.warehouse)
    load = publish.publish_run(made.root, made.run, warehouse, redo=True).load
    assert set(load.counts) == {t.name for t in publish.PUBLISHED_TABLES}
    assert warehouse.query(f"SELECT * FROM current_{LIST_VARIANTS.name}") == []


@pytest.fixture(scope="module")
def interleaved(nights, tmp_path_factory) -> Nights:
    """The same run, whose variant `colour` takes turns with the control for most visitors."""
    folder = tmp_path_factory.mktemp("interleaved")
    shutil.copytree(nights.made.root, folder / "root", symlinks=True)
    variants = {"colour": {"share": 0.8, "weights": ":".join(map(str, WEIGHTS))}}
    settings = Settings(
        data_dir=folder / "root",
        mappings=nights.settings.mappings,
        experiment={"name": "turns", "assignment": "interleave", "variants": variants},
    )
    made = DrawnDeployment(settings, 90, number=nights.made.number, frame=nights.made.frame)
    match(made, settings)
    publish.publish_run(made.root, made.run, open_warehouse(settings.warehouse), redo=True)
    return Nights(made, nights.weighted, nights.other, settings)


def ids_by_rank(rows: pa.Table, product_id: str) -> list[str]:
    own = rows.filter(pc.equal(rows["product_id"], product_id)).sort_by("rank")
    return own["similar_product_id"].to_pylist()


def test_the_api_shows_each_visitor_the_lists_of_one_variant(nights):
    lists = {
        "control": nights.rows(SIMILAR_PRODUCTS),
        **{n: nights.rows(SIMILAR_PRODUCTS_VARIANTS, n) for n in ("colour", "fewer", "other")},
    }
    product_id, other = lists["fewer"]["product_id"].unique().to_pylist()[:2]
    wanted = {name: ids_by_rank(rows, product_id) for name, rows in lists.items()}
    path = f"/v1/products/{product_id}/similar"
    with site_client(create_app(nights.settings)) as client:

        def ask(path: str = path, **parameters: Any) -> dict[str, Any]:
            return client.get(path, params=parameters).json()

        seen = set()
        for number in range(12):
            bucket = visitor_bucket("winter", f"v{number}")
            variant = variant_of(bucket)
            body = ask(visitor=f"v{number}")
            assert (body["experiment"], body["variant"]) == ("winter", variant)
            found = [row["similar_product_id"] for row in body["results"]]
            assert found == wanted[variant] and not any("team" in r for r in body["results"])
            several = ask("/v1/similar", id=[product_id, other], visitor=f"v{number}")["lists"]
            assert [one["variant"] for one in several] == [variant, variant]
            assert several[0]["results"] == body["results"]
            seen.add(variant)
        assert seen == {"colour", "fewer", "other", "control"}
        body = ask()
        assert not {"experiment", "variant"} & body.keys()
        assert [row["similar_product_id"] for row in body["results"]] == wanted["control"]
        body = ask(variant="colour", visitor="v0")
        assert body["variant"] == "colour"
        assert [row["similar_product_id"] for row in body["results"]] == wanted["colour"]
        assert "variant" not in ask(visitor="v1", weights="1:1")
        for name in ("green", "interleaved"):
            body = ask(variant=name)
            assert body["status"] == 422
            assert body["detail"] == (
                f"variant: no variant '{name}'; it has colour, control, fewer, other"
            )


def test_the_api_interleaves_by_team_draft(interleaved):
    lists = {
        "control": interleaved.rows(SIMILAR_PRODUCTS),
        "colour": interleaved.rows(SIMILAR_PRODUCTS_VARIANTS, "colour"),
    }
    product_id = lists["colour"]["product_id"][0].as_py()
    ids = {name: ids_by_rank(rows, product_id) for name, rows in lists.items()}
    variants, first = set(), set()
    with site_client(create_app(interleaved.settings)) as client:
        for number in range(16):
            asked = {"visitor": f"v{number}", "k": 10}
            body = client.get(f"/v1/products/{product_id}/similar", params=asked).json()
            rows = body["results"]
            variants.add(body["variant"])
            if body["variant"] == "control":
                assert visitor_bucket("turns", f"v{number}") >= 8000
                assert [r["similar_product_id"] for r in rows] == ids["control"][:10]
                continue
            seed = f"turns:v{number}:{product_id}"
            picks = draft_teams(ids["control"][:10], ids["colour"][:10], 10, seed)
            names = [("control", "colour")[p.list_number] for p in picks]
            assert [(r["rank"], r["team"], r["similar_product_id"]) for r in rows] == [
                (rank, name, ids[name][pick.position])
                for rank, (name, pick) in enumerate(zip(names, picks, strict=True), 1)
            ]
            assert len({r["similar_product_id"] for r in rows}) == len(rows) == 10
            first.add(rows[0]["team"])
        assert variants == {"control", "interleaved"} and first == {"control", "colour"}
        refused = client.get(
            f"/v1/products/{product_id}/similar", params={"variant": "interleaved"}
        )
        assert refused.status_code == 422 and "need a visitor" in refused.json()["detail"]


def event(kind: str, row: dict[str, Any], **values: Any) -> dict[str, Any]:
    pair = {name: row[name] for name in ("product_id", "similar_product_id")}
    return {"kind": kind, "occurred_at": datetime.now(UTC).isoformat(), **pair, **values}


def load_events(nights: Nights, path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = path.with_name("wearalike.toml")
    config.write_text(f'data_dir = "{nights.made.root}"\n')
    assert app.main(["load-events", str(path), "--config", str(config)]) == 0


def test_events_tell_the_rates_of_each_variant(nights, tmp_path, capsys):
    colour = nights.rows(SIMILAR_PRODUCTS_VARIANTS, "colour").to_pylist()
    control = nights.rows(SIMILAR_PRODUCTS).to_pylist()
    both = {(r["product_id"], r["similar_product_id"]) for r in control}
    (alone,) = [r for r in colour if (r["product_id"], r["similar_product_id"]) not in both][:1]
    rows = [event("impression", r, variant="colour") for r in colour[:200]]
    rows += [event("click", r, variant="colour") for r in (alone, *colour[:29])]
    rows += [event("impression", r, variant="control") for r in control[:100]]
    rows += [event("click", r, variant="control") for r in control[:10]]
    rows += [event("order", control[0], variant="control"), event("impression", control[0])]
    # Not in the control's list, no such variant, and a team where no list is interleaved.
    rows += [event("click", alone, variant="control"), event("click", alone, variant="green")]
    rows += [event("click", control[0], variant="colour", team="colour")]
    load_events(nights, tmp_path / "a.jsonl", rows)
    said = capsys.readouterr().out
    assert f"{len(rows) - 3} events, refused: 2 unknown_variant, 1 unknown_pair" in said
    assert "experiment winter, colour: 200 impressions, 30 clicks, 0 orders; 15.00% clicked" in said
    low, high = wilson_interval(0.15, 200)
    rates = {row["variant"]: row for row in experiment_rates.read_variant_rates(nights.made.root)}
    assert list(rates) == ["control", "colour"]
    assert (rates["colour"]["click_low"], rates["colour"]["click_high"]) == (low, high)
    assert rates["control"]["order_rate"] == 0.01 and rates["control"]["wins_count"] is None
    parts = {
        (row["dimension"], row["part"]): row["clicks_count"]
        for row in event_rates.read_rates(nights.made.root, nights.made.run)
    }
    assert (parts["variant", "colour"], parts["variant", "control"]) == (30, 10)
    assert parts["all", "all"] == 40 and not any(dimension == "team" for dimension, _ in parts)
    held = open_warehouse(nights.settings.warehouse).query(
        "SELECT variant, clicks_count FROM experiment_rates WHERE run = $1 ORDER BY clicks_count",
        [nights.made.run],
    )
    assert [(r["variant"], r["clicks_count"]) for r in held] == [("control", 10), ("colour", 30)]
    book = openpyxl.load_workbook(nights.made.root / "reports" / "quality.xlsx")
    sheet = [[cell.value for cell in row] for row in book["experiments"].iter_rows()]
    assert sheet[0] == experiment_rates.RATES_SCHEMA.names and len(sheet) == 3


def test_interleaved_lists_are_won_by_clicks(interleaved, tmp_path, capsys):
    product_id = interleaved.rows(SIMILAR_PRODUCTS)["product_id"][0].as_py()
    rows, won = [], {"colour": 0, "control": 0}
    with site_client(create_app(interleaved.settings)) as client:
        for number in range(60):
            asked = {"visitor": f"v{number}", "k": 8}
            body = client.get(f"/v1/products/{product_id}/similar", params=asked).json()
            shown = {"variant": body["variant"], "view_id": f"view-{number}", "run": body["run"]}
            results = [{**r, "product_id": product_id} for r in body["results"]]
            rows += [event("impression", r, **shown, team=r.get("team")) for r in results]
            if body["variant"] == "control":
                rows.append(event("click", results[0], **shown))
                continue
            # Three visitors of four click the variant's picks, twice; others one of each.
            teams = ["colour", "colour"] if number % 4 else ["colour", "control"]
            for team in teams:
                pick = next(r for r in results if r["team"] == team)
                rows.append(event("click", pick, **shown, team=team))
            won["colour"] += number % 4 != 0
        page = html.fromstring(client.get("/quality").text)
        assert not page.xpath("//h2[text()='Experiments']")
        load_events(interleaved, tmp_path / "b.jsonl", rows)
        page = html.fromstring(client.get("/quality").text)
    by_kind = {
        (row["assignment"], row["variant"]): row
        for row in experiment_rates.read_variant_rates(interleaved.made.root)
        if row["experiment"] == "turns"
    }
    assert set(by_kind) == {
        ("interleave", "control"),
        ("interleave", "colour"),
        ("split", "control"),
    }
    team = by_kind["interleave", "colour"]
    assert (team["wins_count"], team["losses_count"]) == (won["colour"], 0)
    assert team["ties_count"] > 0 and team["p_value"] == sign_test(won["colour"], 0)
    assert (team["win_low"], team["win_high"]) == wilson_interval(1.0, won["colour"])
    other = by_kind["interleave", "control"]
    assert (other["wins_count"], other["losses_count"]) == (0, won["colour"])
    assert by_kind["split", "control"]["win_share"] is None
    (table,) = page.xpath("//div[@aria-label='Experiments']/table")
    shown = [[c.text_content() for c in row.xpath("./th|./td")] for row in table.xpath(".//tr")]
    assert [row[:4] for row in shown[1:]][:2] == [
        ["turns", "control", "", "interleaved"],
        ["turns", "colour", "weights 2:9:4", "interleaved"],
    ]
    assert f"colour won {won['colour']}, 100 %" in page.text_content()
    # Products by a part's link have the control's lists.
    (clicks,) = page.xpath("//div[@aria-label='Clicks and orders']/table")
    linked = {row[1]: row[2] for row in _parts_with_links(clicks) if row[0] == "variant"}
    assert linked == {"control": True, "interleaved": False}
    levels = [
        int(h.tag[1]) for h in page.xpath("//main//*[starts-with(name(), 'h')]") if h.tag != "hr"
    ]
    assert all(later <= former + 1 for former, later in itertools.pairwise(levels))
    assert f"won {won['colour']} of {won['colour']} lists, 100%" in capsys.readouterr().out


def _parts_with_links(table: Any) -> Iterator[tuple[str, str, bool]]:
    """The dimension and part of each row, and whether the part leads to products."""
    for row in table.xpath("./tbody/tr"):
        part = row.find("th")
        yield row.find("td").text_content(), part.text_content(), part.find("a") is not None


@pytest.mark.parametrize(
    ("variant", "said"),
    [
        ({"weights": {"women.dress": "3:7:5"}}, "no such category 'women.dress'; did you mean"),
        ({"rules": "rules-c.xml"}, "rules-c.xml: no such file; variant 'b' of the experiment"),
    ],
)
def test_what_a_variant_names_must_be_there(nights, variant, said):
    experiment = {"name": "winter", "variants": {"b": variant}}
    values = {"data_dir": nights.made.root, "mappings": nights.settings.mappings}
    with pytest.raises(BadSettings, match=said):
        match(nights.made, Settings(**values, experiment=experiment))
