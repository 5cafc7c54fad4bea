"""Precision of recommendations by category, against that of a random draw."""

from __future__ import annotations

import duckdb

from wearalike.metrics.bootstrap import bootstrap_difference, bootstrap_mean
from wearalike.quality.metrics import K, Metric, estimate_metric, split_by_scope

# Each indexed product up to three times: with the shop's category, with our leaf, and with the
# first colour word of its feed.
# realm: labels of different realms cannot be compared.
# model: the product and its siblings, which are never its alternatives.
JUDGED_PRODUCTS_SQL = """
CREATE OR REPLACE TEMP TABLE asked AS
WITH found AS (
    SELECT product_id, shop_id, super_category, category, age_group, gender,
        availability = 'in_stock' AS can_answer, category_paths[1] AS path,
        lower(colours[1]) AS colour_word,
        coalesce(model_key(article_id, shop_id, group_id), product_id) AS model
    FROM products WHERE product_id IN (SELECT product_id FROM indexes))
SELECT 'precision' AS kind, shop_id AS realm, path AS label, * EXCLUDE (path, colour_word)
FROM found WHERE path IS NOT NULL
UNION ALL SELECT 'leaf_precision', '', category, * EXCLUDE (path, colour_word) FROM found
UNION ALL SELECT 'colour_precision', shop_id, colour_word, * EXCLUDE (path, colour_word)
FROM found WHERE colour_word IS NOT NULL
"""

# Precision of each product's first k, and the expected precision of a random draw of eligible
# products that fills the same places.
# home: eligible products of the product's own realm; alike: those with its label.
PRECISION_SQL = """
WITH answered AS (
    SELECT q.kind, q.product_id, count(*) FILTER (a.realm <> q.realm
            OR q.kind = 'colour_precision' AND a.label IS NULL AND s.rank IS NOT NULL
        ) AS foreign_count,
        count(s.rank) AS found_count,
        count(*) FILTER (a.realm = q.realm AND a.label = q.label) AS relevant_count
    FROM asked q LEFT JOIN similar_products s ON s.product_id = q.product_id AND s.rank <= $k
    LEFT JOIN asked a ON a.kind = q.kind AND a.product_id = s.similar_product_id
    GROUP BY ALL),
reach AS (
    SELECT kind, super_category, age_group, g.gender, realm, label,
        count(*) FILTER (can_answer) AS alike
    FROM asked JOIN (SELECT DISTINCT gender FROM asked) g ON genders_fit(asked.gender, g.gender)
    GROUP BY ALL),
pools AS (
    SELECT *, sum(alike) OVER (PARTITION BY kind, super_category, age_group, gender, realm) AS home
    FROM reach),
-- Counted by label: a model in hundreds of sizes and colours has tens of thousands of pairs.
members AS (
    SELECT kind, model, super_category, age_group, gender, label,
        count(*) FILTER (can_answer) AS n
    FROM asked GROUP BY ALL),
siblings AS (
    SELECT q.kind, q.model, q.super_category, q.age_group, q.gender, q.label, sum(a.n) AS pool,
        coalesce(sum(a.n) FILTER (a.label = q.label), 0) AS alike
    FROM members q JOIN members a ON a.kind = q.kind AND a.model = q.model
        AND a.super_category = q.super_category
        AND a.age_group = q.age_group AND genders_fit(a.gender, q.gender)
    GROUP BY ALL),
drawn AS (
    SELECT q.*, foreign_count, relevant_count, found_count,
        p.home - s.pool AS home, p.alike - s.alike AS alike
    FROM asked q JOIN answered USING (kind, product_id)
    JOIN siblings s USING (kind, model, super_category, age_group, gender, label)
    JOIN pools p USING (kind, super_category, age_group, gender, realm, label))
SELECT kind, shop_id, super_category, category,
    relevant_count / nullif($k - foreign_count, 0) AS precision,
    coalesce(alike / nullif(home, 0), 0) * (found_count - foreign_count)
        / nullif($k - foreign_count, 0) AS chance,
    relevant_count / nullif(found_count - foreign_count, 0) AS found_precision,
    alike / nullif(home, 0) AS found_chance
FROM drawn ORDER BY kind DESC, product_id
"""

# A skill is told of scopes with so many queries, and with so much left by a random draw.
MIN_SKILL_QUERIES = 50
MAX_SKILL_RANDOM = 0.8
_RELEVANCE_WORDS = {
    "precision": "the shop's category",
    "leaf_precision": "the same category",
    "colour_precision": "the same colour word",
}


def precision_metrics(con: duckdb.DuckDBPyConnection) -> list[Metric]:
    """Compute precision@10 of indexed products, that of a random draw, and the difference.

    precision@10: a recommendation is relevant if the shop lists it in the same category, by the
    first category path of its feed. Labels of other shops cannot be compared, so results from
    other shops count neither way: relevant results are divided by 10 less these. Products whose
    ten results are all from other shops are left out; `_queries_count` says how many remain.

    leaf_precision@10: a recommendation is relevant if it has the same leaf category of ours,
    whatever the shop; divided by 10.

    colour_precision@10: a recommendation is relevant if its shop gives it the same colour word;
    results from other shops and those without a word count neither way.

    A missing place in a short list counts as not relevant, and the random draw misses it, too.

    `_random` is the expected precision of as many random eligible products as the list has:
    indexed, in stock, of the same super-category and age group and a compatible gender, without
    the product and its siblings. Lists that are right throughout are never worse than it.
    `_gain` is the mean of the paired differences: recommendations beat chance only if its interval
    lies above 0. `_lift` is precision divided by random. `_skill` is the gain as a part of what
    random leaves: 0 is a blind draw, 1 is perfect. It is not told of scopes with fewer than
    MIN_SKILL_QUERIES queries, nor where random is above MAX_SKILL_RANDOM.

    Args:
        con: The run's tables, opened by metrics.open_run_tables.

    Returns:
        Metrics by scope: all, shops, super-categories and leaf categories.
    """
    con.execute(JUDGED_PRODUCTS_SQL)
    frame = con.execute(PRECISION_SQL, {"k": K}).df().dropna(subset=["precision", "chance"])
    metrics = []
    for kind, judged in frame.groupby("kind", sort=False):
        name = f"{kind}@{K}"
        columns = ["shop_id", "super_category"]
        if kind != "colour_precision":
            columns.append("category")
        for scope, rows in split_by_scope(judged, *columns):
            ours = rows["precision"].to_numpy()
            chance = rows["chance"].to_numpy()
            metrics += [
                estimate_metric(name, scope, bootstrap_mean(ours)),
                estimate_metric(f"{name}_random", scope, bootstrap_mean(chance)),
                estimate_metric(f"{name}_gain", scope, bootstrap_difference(ours, chance)),
                Metric(f"{name}_queries_count", scope, len(rows), "count"),
            ]
            if chance.any():
                lift = ours.mean() / chance.mean()
                metrics.append(Metric(f"{name}_lift", scope, lift, "ratio"))
            if scope.startswith("category="):
                continue
            # Rules may make lists short; only what they hold is judged.
            told = rows.dropna(subset=["found_precision", "found_chance"])
            found, blind = told["found_precision"].mean(), told["found_chance"].mean()
            if len(told) >= MIN_SKILL_QUERIES and blind <= MAX_SKILL_RANDOM:
                note = (
                    f"{scope}: {found:.0%} of the first {K} recommendations have"
                    f" {_RELEVANCE_WORDS[str(kind)]}, of a blind draw {blind:.0%}"
                )
                skill = (found - blind) / (1 - blind)
                metrics.append(Metric(f"{name}_skill", scope, skill, "ratio", note=note))
    return metrics
