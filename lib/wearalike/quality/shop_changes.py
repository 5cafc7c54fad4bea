"""Changes of a shop since the last run: its prices, pictures, codes and kinds of products."""

from __future__ import annotations

import duckdb

from wearalike.quality.metrics import Metric
from wearalike.quality.shop_shares import MIN_PRODUCTS
from wearalike.tables import CODE_BITS

# A price that changes by this factor overnight is a mistake more often than a sale.
JUMP_FACTOR = 4
# Bits of a half by which a product that looks as before may differ: a quarter.
MAX_KEPT_BITS = CODE_BITS // 4

_KEPT = "products n JOIN last_products l USING (product_id, shop_id)"
_PRICE_JUMPS_SQL = f"""
WITH kept AS (
    SELECT shop_id, n.price_cents / l.price_cents AS factor, n.currency <> l.currency AS is_other,
        n.price_cents / 100 AS price, l.price_cents / 100 AS last_price
    FROM {_KEPT} WHERE n.price_cents > 0 AND l.price_cents > 0)
SELECT shop_id,
    avg((NOT is_other AND (factor >= {JUMP_FACTOR} OR factor <= 1 / {JUMP_FACTOR}))::INT),
    median(last_price), median(price)
FROM kept GROUP BY ALL HAVING count(*) >= {MIN_PRODUCTS} ORDER BY shop_id
"""
# A picture has moved if it stood for another article the last time, and for this one not.
_MOVED_PICTURES_SQL = f"""
WITH models AS (
    SELECT product_id, coalesce(model_key(article_id, shop_id, group_id), product_id) AS model
    FROM last_products),
known AS (SELECT DISTINCT image_id, model FROM last_images JOIN models USING (product_id)),
shown AS (
    SELECT n.shop_id, product_id, image_id, m.model
    FROM {_KEPT} JOIN indexes USING (product_id) JOIN models m USING (product_id)),
judged AS (
    SELECT shop_id, product_id, image_id IN (SELECT image_id FROM known)
        AND (image_id, model) NOT IN (SELECT (image_id, model) FROM known) AS is_moved
    FROM shown)
SELECT shop_id, avg(is_moved::INT), count(*) FILTER (is_moved), min(product_id) FILTER (is_moved)
FROM judged GROUP BY ALL HAVING count(*) >= {MIN_PRODUCTS} ORDER BY shop_id
"""
_CHANGED_LOOKS_SQL = f"""
WITH kept AS (
    SELECT n.shop_id,
        bit_count(xor(e.shape::BIT, o.shape::BIT)) > {MAX_KEPT_BITS}
        OR bit_count(xor(e.colour::BIT, o.colour::BIT)) > {MAX_KEPT_BITS} AS is_changed
    FROM {_KEPT} JOIN indexes e USING (product_id) JOIN last_indexes o USING (product_id))
SELECT shop_id, avg(is_changed::INT), count(*) FROM kept
GROUP BY ALL HAVING count(*) >= {MIN_PRODUCTS} ORDER BY shop_id
"""
# Total variation distance: the share of products that would have to change their value.
_MIX_CHANGE_SQL = f"""
WITH now AS (
    SELECT shop_id, {{column}} AS value, count(*) AS n,
        count(*) / sum(count(*)) OVER (PARTITION BY shop_id) AS share
    FROM products GROUP BY shop_id, {{column}}),
before AS (
    SELECT shop_id, {{column}} AS value, count(*) AS n,
        count(*) / sum(count(*)) OVER (PARTITION BY shop_id) AS share
    FROM last_products GROUP BY shop_id, {{column}}),
joined AS (
    SELECT shop_id, value, coalesce(now.n, 0) AS n, coalesce(before.n, 0) AS last_n,
        coalesce(now.share, 0) AS share, coalesce(before.share, 0) AS last_share
    FROM now FULL JOIN before USING (shop_id, value))
SELECT shop_id, sum(abs(share - last_share)) / 2,
    arg_max({{{{value: value, share: share, last: last_share}}}}, (abs(share - last_share), value))
FROM joined GROUP BY ALL
HAVING sum(n) >= {MIN_PRODUCTS} AND sum(last_n) >= {MIN_PRODUCTS} ORDER BY shop_id
"""
_CHANGED_VALUES_SQL = f"""
SELECT n.shop_id, avg((n.{{column}} <> l.{{column}})::INT),
    mode({{{{now: n.{{column}}, last: l.{{column}}}}}}) FILTER (n.{{column}} <> l.{{column}})
FROM {_KEPT} GROUP BY n.shop_id HAVING count(*) >= {MIN_PRODUCTS} ORDER BY n.shop_id
"""
_MIXED_COLUMNS = ("gender", "age_group", "category", "currency")


def change_metrics(
    con: duckdb.DuckDBPyConnection, last: str, *, are_models_of_last_run: bool = True
) -> list[Metric]:
    """Compare each shop with its last run.

    Args:
        con: The run's tables, opened by metrics.open_run_tables.
        last: The last run, for the notes.
        are_models_of_last_run: If false, codes are not compared.

    Returns:
        Metrics of shops with MIN_PRODUCTS products in both runs:
        - price_jump_ratio: products whose price changed by JUMP_FACTOR or more.
        - moved_pictures_ratio: products that show another article's picture of the last run.
        - changed_looks_ratio: products whose code differs by more than a quarter of its bits.
        - mix_change_ratio: the share, in all, that is of another gender, age group, category or
          currency than the last run's products.
        - changed_values_ratio: products of both runs with another of these.
    """
    metrics = []
    for shop, share, before, now in con.execute(_PRICE_JUMPS_SQL).fetchall():
        note = (
            f"{shop}: {share:.0%} of the prices changed {JUMP_FACTOR}-fold or more since run"
            f" {last}; their median was {before:,.2f} and is {now:,.2f}"
        )
        metrics.append(Metric("price_jump_ratio", f"shop={shop}", share, "ratio", note=note))
    for shop, share, count, example in con.execute(_MOVED_PICTURES_SQL).fetchall():
        note = (
            f"{shop}: {share:.0%} of the products ({count:,}) show a picture that was another"
            f" article's in run {last}" + (f", e.g. {example}" if example else "")
        )
        metrics.append(Metric("moved_pictures_ratio", f"shop={shop}", share, "ratio", note=note))
    if are_models_of_last_run:
        for shop, share, count in con.execute(_CHANGED_LOOKS_SQL).fetchall():
            note = f"{shop}: {share:.0%} of {count:,} products look unlike themselves in run {last}"
            metrics.append(Metric("changed_looks_ratio", f"shop={shop}", share, "ratio", note=note))
    for column in _MIXED_COLUMNS:
        for shop, share, most in con.execute(_MIX_CHANGE_SQL.format(column=column)).fetchall():
            note = (
                f"{shop}: {column} {most['value']} was {most['last']:.0%} of the products in run"
                f" {last} and is {most['share']:.0%}"
            )
            scope = f"column={column},shop={shop}"
            metrics.append(Metric("mix_change_ratio", scope, share, "ratio", note=note))
        for shop, share, most in con.execute(_CHANGED_VALUES_SQL.format(column=column)).fetchall():
            note = f"{shop}: {share:.0%} of the products have another {column} than in run {last}"
            if most:
                note += f", e.g. {most['last']} became {most['now']}"
            scope = f"column={column},shop={shop}"
            metrics.append(Metric("changed_values_ratio", scope, share, "ratio", note=note))
    return metrics
