"""What is said of a judged run and of all runs: the page, the workbook,
the lines and the feed tell what the tables say, safely.
"""

import base64
import io
import json
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import feedparser
import numpy as np
import openpyxl
import pyarrow as pa
import pytest
from lxml import html
from PIL import Image

from wearalike.commands import app
from wearalike.feeds.articles import ArticleEvidence
from wearalike.pipeline import publish_tables, report_quality
from wearalike.quality import drift, funnel, metrics
from wearalike.quality.thresholds import GateVerdict, Thresholds, judge_metrics
from wearalike.reports import figure_lists, run_feed, run_page, workbook
from wearalike.storage import run_tables
from wearalike.tables import (
    IMAGES,
    OFFERS,
    PRODUCTS,
    QUALITY,
    REFUSED,
    SIMILAR_LISTS,
    SIMILAR_PRODUCTS,
)

HOSTILE = (
    "=1+1",
    '=HYPERLINK("http://127.0.0.1:9/","x")',
    "+cmd|' /C calc'!A0",
    "@SUM(1)",
    "http://127.0.0.1:9/",
    "\x00\x08<b>",
)


@pytest.fixture(scope="module")
def root(night, tmp_path_factory) -> Path:
    """The night's tables, to write beside; its pictures are not copied."""
    copy = tmp_path_factory.mktemp("reports") / "root"
    shutil.copytree(night / "root", copy, ignore=shutil.ignore_patterns("cache"))
    return copy


def opened(root: Path, run: str = "day-1", **other: pa.Table):
    tables = {t.name: run_tables.read_table(root, t, run) for t in report_quality.INPUT_TABLES} | {
        "refused": run_tables.read_refused(root, run)
    }
    tables |= {
        f"last_{t.name}": t.arrow_schema.empty_table() for t in report_quality.COMPARED_TABLES
    }
    return metrics.open_run_tables(tables | other)


# Drift


def test_psi_is_that_of_the_textbook_and_silent_where_chance_would_speak() -> None:
    now, last = [3000, 5000, 2000], [4000, 4000, 2000]
    p, q = (np.array(n) / 10_000 for n in (now, last))
    assert drift.psi(now, last) == pytest.approx(((p - q) * np.log(p / q)).sum(), rel=1e-3)
    assert drift.psi(now, last) == pytest.approx(drift.psi(last, now))
    assert drift.psi(now, now) == 0
    assert 5 < drift.psi([10_000, 0], [0, 10_000]) < np.inf
    assert drift.psi([*now, 0, 0], [*last, 0, 0]) == drift.psi(now, last)
    assert (
        drift.psi([20, 30, 20], [30, 20, 20]) is None
        and drift.psi([], []) is None
        and drift.psi(now, [0, 0, 0]) is None
    )


def test_scores_that_moved_warn_and_categories_that_grew_are_named(root: Path) -> None:
    found, products = (
        run_tables.read_table(root, SIMILAR_PRODUCTS, "day-1"),
        run_tables.read_table(root, PRODUCTS, "day-1"),
    )
    at = found.schema.get_field_index("score")
    lower = found.set_column(at, found.schema.field(at), pa.array(np.asarray(found["score"]) * 0.5))
    gone = products["category"][0].as_py()
    fewer = products.filter(pa.compute.equal(products["category"], gone)).slice(1)
    rest = products.filter(pa.compute.not_equal(products["category"], gone))
    with opened(
        root,
        last_products=products,
        last_similar_products=lower,
        products=pa.concat_tables([fewer, rest]),
    ) as con:
        [grown] = [g for g in drift.category_growths(con) if g.growth]
        assert (grown.category, grown.growth, grown.last_count) == (
            gone,
            -1,
            len(products) - len(rest),
        )
    with opened(root, last_products=products, last_similar_products=lower) as con:
        moved = drift.drift_metrics(con)
        histogram = drift.score_histograms(con)["all"]
    counts = [
        np.bincount(np.minimum(np.floor(np.asarray(t["score"]) * 20), 19).astype(int), minlength=20)
        for t in (found, lower)
    ]
    assert [histogram.now.tolist(), histogram.last.tolist()] == [c.tolist() for c in counts]
    [psi] = [
        m
        for m in judge_metrics(moved, Thresholds().as_list())
        if (m.metric, m.scope) == ("score_psi", "all")
    ]
    assert psi.value > 0.25 and psi.verdict == GateVerdict.WARN and psi.unit == "psi"


# The funnel


def test_every_step_of_the_funnel_says_what_it_lost_and_why(root: Path) -> None:
    with opened(root) as con:
        sound = {s.name: s for s in funnel.funnel_steps(con)}
    assert (
        list(sound) == list(funnel.STEP_NAMES)
        and sound["offers"].count > sound["products"].count > sound["with 5 matches"].count > 200
    )
    images, lists = (
        run_tables.read_table(root, IMAGES, "day-1"),
        run_tables.read_table(root, SIMILAR_LISTS, "day-1"),
    )
    lost = next(
        p
        for p, n in zip(
            lists["product_id"].to_pylist(), lists["similar_count"].to_pylist(), strict=True
        )
        if n >= 5
    )
    without = images.filter(pa.compute.not_equal(images["product_id"], lost))
    why = {
        "stage": "images",
        "shop_id": lost.split(":")[0],
        "kind": "image",
        "key": f"{lost}#0",
        "reason": "http_410",
        "detail": None,
    }
    refused = pa.concat_tables(
        [run_tables.read_refused(root, "day-1"), pa.Table.from_pylist([why], REFUSED.arrow_schema)]
    )
    with opened(root, images=without, refused=refused) as con:
        steps = funnel.funnel_steps(con)
    for before, after in pairwise(steps):
        assert before.count - sum(n for _, n in before.reasons) == after.count
    by_name = {s.name: s for s in steps}
    assert by_name["products"].lost[why["shop_id"]]["http_410"] == 1
    assert (
        by_name["with image"].count == sound["with image"].count - 1
        and by_name["products"].counts == sound["products"].counts
    )


# The page


def test_the_page_is_one_file_with_a_sheet_for_every_category(night: Path, root: Path) -> None:
    path = run_tables.table_dir(night / "root", QUALITY, "day-1") / "quality.html"
    assert path.stat().st_size < 8_000_000
    seen = html.fromstring(path.read_text(encoding="utf-8"))
    categories = set(run_tables.read_table(root, PRODUCTS, "day-1")["category"].to_pylist())
    strips = {
        s.text_content().split(" · ")[0].strip() for s in seen.xpath("//section[@class='strip']/h3")
    }
    assert strips == categories and len(categories) > 10
    pictures = seen.xpath("//img/@src")
    assert len(pictures) > 5 * len(categories) and all(
        p.startswith("data:image/jpeg;base64,") for p in pictures
    )
    sizes = {
        Image.open(io.BytesIO(base64.b64decode(p.partition(",")[2]))).size for p in pictures[:20]
    }
    assert all(max(size) <= run_page.CONTACT_SHEET_OPTIONS["thumbnail_px"] for size in sizes)
    assert not seen.xpath(
        "//script | //link | //*[starts-with(@src, 'http')] | //a[contains(@href, '://')]"
    )
    plots = seen.xpath("//figure[@class='plot']/svg")
    assert len(plots) > 3 and all(
        p.get("role") == "img" and "% from" in p.get("aria-label") for p in plots
    )
    bars = [len(p.xpath(".//rect")) for p in plots]
    assert set(bars) == {drift.SCORE_BINS}
    funnel_rows = [
        r.text_content() for r in seen.xpath("//h2[@id='funnel']/following-sibling::div[1]//tr")
    ]
    assert any(r.startswith("products") and "http 404" in r for r in funnel_rows) and funnel_rows[
        -1
    ].startswith("to be published")


def section_of(page: html.HtmlElement, anchor: str) -> tuple[int, list[str]]:
    """How many products a section of a list tells, and those that it shows."""
    (heading,) = page.xpath(f"//h2[@id='{anchor}']")
    told = heading.xpath("following-sibling::p[1]")[0].text_content()
    table = heading.xpath("following-sibling::*[2][self::div]")
    shown = [code.text for code in table[0].xpath(".//tr/td[1]/code")] if table else []
    return int(told.split(" in all")[0].replace(",", "")), shown


def test_every_figure_leads_to_the_products_behind_it(night: Path) -> None:
    folder = run_tables.table_dir(night / "root", QUALITY, "day-1")
    page = html.fromstring((folder / "quality.html").read_text(encoding="utf-8"))
    links = {href for href in page.xpath("//a/@href") if href.startswith("figures/")}
    lists = {
        path.name: html.fromstring(path.read_text(encoding="utf-8"))
        for path in (folder / "figures").iterdir()
    }
    assert len(links) > 50
    for link in links:
        name, _, anchor = link.removeprefix("figures/").partition("#")
        assert not anchor or len(lists[name].xpath(f"//h2[@id='{anchor}']")) == 1, link
    rows = run_tables.read_table(night / "root", SIMILAR_LISTS, "day-1").to_pylist()
    for name, is_listed in (
        ("five_matches", lambda count: count >= 5),
        ("fewer_matches", lambda count: count < 5),
        ("with_list", lambda count: count > 0),
    ):
        for shop in ("lipa", "harbour", "verano"):
            wanted = {
                row["product_id"]
                for row in rows
                if row["product_id"].startswith(f"{shop}:") and is_listed(row["similar_count"])
            }
            total, shown = section_of(lists[f"{name}.html"], f"shop={shop}")
            assert total == len(wanted) and set(shown) <= wanted
            assert len(shown) == min(total, figure_lists.ROWS_PER_SECTION)
    # The tile of a ratio leads to the list of all.
    (tile,) = page.xpath("//div[@class='tile'][contains(., 'have 5 or more matches')]//a/@href")
    assert tile == "figures/five_matches.html#all"
    (offers,) = page.xpath("//h2[@id='funnel']/following-sibling::div[1]//tr[2]//a/@href")
    assert offers == "figures/refused.html"
    refused = run_tables.read_refused(night / "root", "day-1").to_pylist()
    wanted = {row["key"] for row in refused if row["reason"] == "unmapped_category"}
    total, shown = section_of(lists["refused.html"], "products-unmapped_category")
    assert total == len(wanted) and set(shown) == wanted


def test_lists_are_safe_and_lead_to_the_viewer(root: Path, tmp_path: Path) -> None:
    products = run_tables.read_table(root, PRODUCTS, "day-1").to_pylist()
    products[0] |= {"title": "<script>1</script>", "url": "javascript:1"}
    table = pa.Table.from_pylist(products, schema=PRODUCTS.arrow_schema)
    found = [
        metrics.Metric(**row) for row in run_tables.read_table(root, QUALITY, "day-1").to_pylist()
    ]
    similar = run_tables.read_table(root, SIMILAR_PRODUCTS, "day-1")
    with opened(root, products=table, last_similar_products=similar) as con:
        figure_lists.write_figure_lists(
            con, tmp_path, "day-1", "day-0", found, "https://similar.example/at/"
        )
    page = html.fromstring((tmp_path / "figures" / "products.html").read_text(encoding="utf-8"))
    assert not page.xpath("//script | //link | //img | //a[starts-with(@href, 'javascript')]")
    assert "<script>1</script>" in page.text_content()
    (leading,) = page.xpath("//h2[@id='shop=lipa']/following-sibling::p[1]/a/@href")
    assert leading == (
        "https://similar.example/at/quality/products?figure=products&run=day-1&shop=lipa"
    )
    # Nothing changed since the run before, whose lists are the same.
    changed = html.fromstring((tmp_path / "figures" / "changed.html").read_text(encoding="utf-8"))
    assert section_of(changed, "all") == (0, [])


def rows_below(page: html.HtmlElement, heading: str) -> list[list[str]]:
    """The texts of the cells of the table below a heading, without its head line."""
    table = page.xpath(f"//h2[text()='{heading}']/following-sibling::div[1]//tr")
    return [[cell.text_content().strip() for cell in row] for row in table[1:]]


def test_the_page_counts_articles_by_their_evidence(night: Path) -> None:
    path = run_tables.table_dir(night / "root", QUALITY, "day-1") / "quality.html"
    page = html.fromstring(path.read_text(encoding="utf-8"))
    products = run_tables.read_table(night / "root", PRODUCTS, "day-1").to_pylist()
    shops: dict[str, set[str]] = {}
    for row in products:
        if row["article_id"]:
            shops.setdefault(row["article_id"], set()).add(row["shop_id"])
    wanted = []
    for shop in sorted({row["shop_id"] for row in products}):
        joined = [row for row in products if row["shop_id"] == shop and row["article_id"]]
        counts = [
            len({row["article_id"] for row in joined}),
            len(joined),
            sum(len(shops[row["article_id"]]) > 1 for row in joined),
            *(sum(kind in row["article_evidence"] for row in joined) for kind in ArticleEvidence),
        ]
        if joined:
            wanted.append([shop, *(f"{count:,}" for count in counts)])
    assert wanted and rows_below(page, "Products that are one article") == wanted


def test_the_page_lists_words_and_repairs_most_frequent_first(root: Path) -> None:
    words = {f"word {n}": 100 - n for n in range(run_page.MAX_UNKNOWN_WORDS + 2)}
    manifest = {
        "rows": {"written": 1, "refused": {}},
        "unknown_words": {"moda": {"param": words, "availability": {"<b>maybe</b>": 1200}}},
        "repairs": {"moda": {"ampersand": 2, "bad_sale_price": 1300}, "lipa": {}},
    }
    manifests = {
        table.name: run_tables.read_manifest(root, table, "day-1")
        for table in report_quality.INPUT_TABLES
    } | {OFFERS.name: manifest}
    judged = run_page.JudgedRun("day-1", None, (), (), (), manifests)
    with opened(root) as con:
        page = html.fromstring(run_page.render_run_page(con, judged))
    (shop, kind, shown), unknown_stock = rows_below(page, "Words that were not understood")
    assert (shop, kind) == ("moda", "param")
    assert shown.startswith("word 0 100, word 1 99, ") and shown.endswith("and 2 rarer ones")
    assert unknown_stock == ["moda", "availability", "<b>maybe</b> 1,200"]
    assert rows_below(page, "Faults of feeds that were repaired") == [
        ["moda", "bad sale price 1,300, ampersand 2"]
    ]


# The workbook


@pytest.fixture(scope="module")
def book(root: Path) -> Path:
    """Of day-1 and of two runs of hostile words, one with a name that a sheet cannot have."""
    rows = run_tables.read_table(root, QUALITY, "day-1").to_pylist()[:40]
    odd = [
        {
            **rows[0],
            "metric": text,
            "scope": text,
            "unit": text[:9],
            "verdict": "fail",
            "threshold": text,
        }
        for text in HOSTILE
    ]
    for run, factor in (
        ("day-1.with-a-name-longer-than-a-sheet-has", 2),
        ("day-1.with-a-name-longer-than-a-sheet-can", 3),
    ):
        with run_tables.write_table(root, QUALITY, run, "sign", {"last_run": None}) as table:
            table.manifest_extras = {"verdict": "fail", "failed": list(HOSTILE)}
            table.write(
                pa.Table.from_pylist(
                    [r | {"value": r["value"] * factor} for r in rows] + odd, QUALITY.arrow_schema
                )
            )
    path = root / "reports" / workbook.WORKBOOK_NAME
    workbook.write_workbook(root, path)
    return path


def test_no_word_of_the_data_is_a_formula_or_a_link(book: Path) -> None:
    opened = openpyxl.load_workbook(book)
    names = opened.sheetnames
    assert (
        names[:3] == ["compare", "runs", "measures"]
        and len(names) == 6
        and len({n.casefold() for n in names}) == 6
    )
    assert "day-1" in names and all(len(n) <= 31 for n in names)
    texts = 0
    for sheet in opened.worksheets:
        for cell in (c for row in sheet.iter_rows() for c in row if c.value is not None):
            assert cell.data_type != "f" or (
                sheet.title == "compare" and (cell.row >= 7 or cell.column == 1)
            ), cell
            assert cell.hyperlink is None or (
                cell.hyperlink.target is None
                and cell.hyperlink.location.strip("'").split("'!")[0] in names
            )
            texts += cell.value in HOSTILE
    assert texts > 10


def test_the_compared_figures_are_those_of_the_runs_chosen(book: Path, root: Path) -> None:
    opened = openpyxl.load_workbook(book)
    compare, every = opened["compare"], opened["measures"]
    runs = [row[0].value for row in opened["runs"].iter_rows(min_row=2)]
    assert runs == run_tables.list_runs(root, QUALITY) and [
        compare["C3"].value,
        compare["C4"].value,
    ] == [runs[-1], runs[-2]]
    assert [c.value for c in every[1]][3:] == runs
    values = {
        run: {
            (r["metric"], r["scope"]): r["value"]
            for r in run_tables.read_table(root, QUALITY, run).to_pylist()
        }
        for run in runs
    }
    judged = 0
    for row in compare.iter_rows(min_row=7):
        key, formula = (row[1].value, row[2].value), row[4].value
        first, last = re.search(
            r"INDEX\(measures!\$(\w+\$\d+):\$(\w+\$\d+),\$A\$3\)", formula
        ).groups()
        cells = every[first.replace("$", "") : last.replace("$", "")][0]
        assert (every.cell(cells[0].row, 1).value, every.cell(cells[0].row, 2).value) == key
        if key[0] not in HOSTILE and "\ufffd" not in key[0]:
            assert [c.value for c in cells] == [pytest.approx(values[run].get(key)) for run in runs]
            judged += 1
    assert judged > 500


@pytest.mark.skipif(not shutil.which("soffice"), reason="no LibreOffice to reckon the formulas")
def test_the_formulas_reckon_what_the_tables_say(book: Path, root: Path, tmp_path: Path) -> None:
    office = [
        "soffice",
        f"-env:UserInstallation=file://{tmp_path}/office",
        "--headless",
        "--convert-to",
        "xlsx",
    ]
    subprocess.run(
        [*office, "--outdir", tmp_path, book], check=True, capture_output=True, timeout=120
    )
    compare = openpyxl.load_workbook(tmp_path / book.name, data_only=True)["compare"]
    this, last = run_tables.list_runs(root, QUALITY)[:-3:-1]
    values = [
        {
            (r["metric"], r["scope"]): r["value"]
            for r in run_tables.read_table(root, QUALITY, run).to_pylist()
        }
        for run in (this, last)
    ]
    judged = [
        row
        for row in compare.iter_rows(min_row=7, values_only=True)
        if (row[1], row[2]) in values[0] and row[1] not in HOSTILE
    ]
    assert len(judged) == 40
    for row in judged:
        now, before = (of[row[1], row[2]] for of in values)
        assert [row[4], row[5], row[6]] == [
            pytest.approx(now),
            pytest.approx(before),
            pytest.approx(now - before),
        ]


def test_the_same_runs_give_the_same_workbook(book: Path, root: Path, tmp_path: Path) -> None:
    workbook.write_workbook(root, tmp_path / "again.xlsx")
    assert (tmp_path / "again.xlsx").read_bytes() == book.read_bytes()


def test_a_workbook_that_cannot_be_written_leaves_the_last_one(
    book: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = book.read_bytes()
    monkeypatch.setattr(
        "os.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "no space left"))
    )
    with pytest.raises(OSError, match="No space left"):
        workbook.write_workbook(root, book)
    monkeypatch.undo()
    assert book.read_bytes() == before and not list(book.parent.glob(".quality.xlsx.*"))
    with pytest.raises(ValueError, match="no run is judged"):
        workbook.write_workbook(root / "nowhere", book)


# The lines and the feed


def test_a_run_has_one_line_which_says_what_became_of_it(night: Path, tmp_path: Path) -> None:
    shutil.copytree(
        night, tmp_path / "night", symlinks=True, ignore=shutil.ignore_patterns("cache")
    )
    root, config = tmp_path / "night" / "root", tmp_path / "night" / "wearalike.toml"
    place = ["--data-dir", str(root), "--config", str(config), "--run"]
    toml = config.read_text().replace(str(night), str(tmp_path / "night"))
    config.write_text(toml)
    path = root / "reports" / "runs.jsonl"
    [line] = run_feed.read_run_log(path).values()
    rows = {
        (r["scope"], r["metric"]): r["value"]
        for r in run_tables.read_table(root, QUALITY, "day-1").to_pylist()
    }
    assert (line["run"], line["verdict"], line["is_published"], line["not_published"]) == (
        "day-1",
        "ok",
        True,
        None,
    )
    assert (
        line["products_count"] == rows["all", "products_count"]
        and line["precision@10"] == rows["all", "precision@10"]
    )
    assert {s: of["products_count"] for s, of in line["shops"].items()} == {
        s.removeprefix("shop="): v
        for (s, m), v in rows.items()
        if m == "products_count" and s.startswith("shop=")
    }
    assert (
        line["refused_count"]
        == run_tables.read_refused(root, "day-1").num_rows
        == sum(line["refused"].values())
    )
    first = path.read_bytes()
    assert report_quality.main([*place, "day-1"]) == publish_tables.main([*place, "day-1"]) == 0
    assert path.read_bytes() == first

    # A run that the gate stopped, another that an operator let through, and the way back.
    for name in report_quality.INPUT_TABLES:
        shutil.copytree(
            run_tables.table_dir(root, name, "day-1"), run_tables.table_dir(root, name, "day-2")
        )
    assert report_quality.main([*place, "day-2", "--threshold", "min_products_count=9999"]) == 1
    assert publish_tables.main([*place, "day-2"]) == 1
    stopped = run_feed.read_run_log(path)["day-2"]
    assert (stopped["verdict"], stopped["is_published"], stopped["published_at"]) == (
        "fail",
        False,
        None,
    )
    assert (
        "products_count of all" in stopped["not_published"]
        and "products_count" in stopped["failed"][0]
    )
    assert publish_tables.main([*place, "day-2", "--override", "anna: looked at it"]) == 0
    assert [line["is_published"] for line in run_feed.read_run_log(path).values()] == [False, True]
    assert app.main(["rollback", "--data-dir", str(root), "--config", str(config)]) == 0
    found = run_feed.read_run_log(path)
    assert [line["is_published"] for line in found.values()] == [True, False] and found["day-2"][
        "published_at"
    ]

    told = feedparser.parse((root / "reports" / "runs.atom").read_bytes())
    assert (
        not told.bozo
        and told.version == "atom10"
        and told.feed.updated == max(e.updated for e in told.entries)
    )
    titles = {e.title.partition(":")[0]: e for e in told.entries}
    assert "published" in titles["Run day-1"].title and "was published" in titles["Run day-2"].title
    assert (
        all((root / "reports" / e.link).resolve().is_file() for e in told.entries)
        and len({e.id for e in told.entries}) == 2
    )


def test_many_at_once_lose_no_line_and_hostile_words_stay_words(root: Path, tmp_path: Path) -> None:
    runs = [f"night-{n}" for n in range(8)]
    for run in runs:
        shutil.copytree(
            run_tables.table_dir(root, QUALITY, "day-1"),
            run_tables.table_dir(tmp_path, QUALITY, run),
        )
    made = run_tables.table_dir(tmp_path, QUALITY, "night-3") / "_manifest.json"
    made.write_text(
        json.dumps(json.loads(made.read_text()) | {"verdict": "fail", "failed": list(HOSTILE)})
    )
    with ThreadPoolExecutor(8) as workers:
        list(workers.map(lambda run: run_feed.record_verdict(tmp_path, run), runs))
    assert list(run_feed.read_run_log(tmp_path / "reports" / "runs.jsonl")) == runs
    told = feedparser.parse((tmp_path / "reports" / "runs.atom").read_bytes(), sanitize_html=False)
    [entry] = [e for e in told.entries if "night-3" in e.title]
    assert not told.bozo and len(told.entries) == 8
    assert (
        HOSTILE[0] in entry.content[0].value
        and "\ufffd\ufffd<b>" in entry.content[0].value
        and entry.content[0].type == "text/plain"
    )


def test_a_line_nobody_can_read_is_a_warning_and_stops_no_night(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = root / "reports" / "runs.jsonl"
    path.write_text('{"run": "a", "judged_at": "x", "published_at": null}\n<html>\n')
    with pytest.raises(
        run_feed.CorruptRunLog, match=r"runs.jsonl: line 2 is not the record of a run: '<html>'"
    ):
        run_feed.record_verdict(root, "day-1")
    with run_feed.warn_on_errors():
        run_feed.record_verdict(root, "day-1")
    assert "line 2" in caplog.text and "<html>" in path.read_text()
