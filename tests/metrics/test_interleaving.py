"""Visitors' buckets and team drafts: stable, even and fair, whatever the visitors and lists are."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wearalike.experiment_settings import BUCKETS_COUNT
from wearalike.metrics.interleaving import draft_teams, sign_test
from wearalike.metrics.visitor_buckets import visitor_bucket

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = REPOSITORY / "docs" / "how-to" / "compare-lists.md"
SQL = REPOSITORY / "sql"
VISITORS = ["visitor-7", "", "a:b", "Юлия", "𝒳", "with\nline", "'quoted'", "x" * 300]
lists = st.lists(st.integers(0, 30), unique=True, max_size=20)


def test_visitors_are_split_evenly_and_anew_in_each_experiment():
    buckets = [visitor_bucket("winter", f"v{i}") for i in range(20_000)]
    parts = [sum(b // 1000 == part for b in buckets) for part in range(10)]
    # Chi-squared of 9 degrees of freedom: 27.9 is exceeded once in a thousand.
    assert sum((n - 2000) ** 2 / 2000 for n in parts) < 27.9
    assert buckets == [visitor_bucket("winter", f"v{i}") for i in range(20_000)]
    other = [visitor_bucket("spring", f"v{i}") for i in range(20_000)]
    both = sum(a < 5000 and b < 5000 for a, b in zip(buckets, other, strict=True))
    assert 4750 < both < 5250
    assert visitor_bucket("winter", "visitor-7") == 1829


def test_sql_and_javascript_give_the_same_buckets():
    expected = [visitor_bucket("winter", visitor) for visitor in VISITORS]
    assert all(0 <= bucket < BUCKETS_COUNT for bucket in expected)
    with duckdb.connect() as con:
        con.execute("CREATE TABLE current_list_variants AS SELECT 'winter' AS experiment")
        con.execute("ALTER TABLE current_list_variants ADD variant VARCHAR DEFAULT 'control'")
        sql = (SQL / "duckdb_visitor_bucket.sql").read_text(encoding="utf-8")
        found = [con.execute(sql, [visitor]).fetchall()[0][1] for visitor in VISITORS]
    assert found == expected
    if not shutil.which("node"):
        pytest.skip("no node here to run the page's JavaScript")
    (script,) = re.findall(r"^const visitorBucket = .*?^};\n", PAGE.read_text(), re.M | re.S)
    script += (
        "for (const visitor of JSON.parse(process.argv[1]))"
        " console.log(await visitorBucket('winter', visitor));"
    )
    command = ["node", "--input-type=module", "-e", script, json.dumps(VISITORS)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert [int(line) for line in said.split()] == expected


@settings(max_examples=200, deadline=None)
@given(lists, lists, st.integers(0, 25), st.text(max_size=20))
def test_a_draft_repeats_nothing_and_keeps_the_order_of_each_team(first, second, k, seed):
    both = (first, second)
    picks = draft_teams(first, second, k, seed)
    assert picks == draft_teams(first, second, k, seed)
    values = [both[pick.list_number][pick.position] for pick in picks]
    assert len(set(values)) == len(values) == min(k, len({*first, *second}))
    for number in (0, 1):
        indexes = [pick.position for pick in picks if pick.list_number == number]
        assert indexes == sorted(indexes)
    # After each round both teams have picked as often, until a list has no more.
    teams = [pick.team for pick in picks if pick.team is not None]
    assert all({*teams[i : i + 2]} == {0, 1} for i in range(0, len(teams) - 1, 2))
    assert [pick.team for pick in picks][len(teams) :] == [None] * (len(picks) - len(teams))
    # Each picks the best of its list that is left.
    for place, pick in enumerate(picks):
        ahead = both[pick.list_number][: pick.position]
        assert set(ahead) <= set(values[:place])


def test_each_team_is_first_half_of_the_time():
    drafts = [draft_teams("abc", "abd", 3, f"v{i} moda:1") for i in range(2000)]
    for place in (0, 2):
        heads = sum(draft[place].team == 0 for draft in drafts)
        assert 900 < heads < 1100
    # The coin of a later round is another one.
    same = sum(draft[0].team == draft[2].team for draft in drafts)
    assert 900 < same < 1100
    # Equal lists give no list an advantage: both are shown as they are.
    assert [pick.position for pick in draft_teams("abc", "abc", 3, "x")] == [0, 1, 2]


def test_the_sign_test_is_the_exact_binomial_one():
    assert sign_test(0, 0) == sign_test(5, 5) == 1
    assert sign_test(0, 5) == sign_test(5, 0) == pytest.approx(2 / 32)
    assert sign_test(1, 7) == pytest.approx(2 * 9 / 256)
