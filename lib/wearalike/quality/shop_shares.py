"""Shares of a shop's products, of which a bad feed or a bad join changes many at once.

All are known on the first night too. normal_week compares them with earlier runs.
"""

from __future__ import annotations

import duckdb

from wearalike.quality.metrics import Metric

# A shop with fewer products is not judged by shares.
MIN_PRODUCTS = 20
# Columns of products that a shop fills or leaves empty, and how an operator reads them.
FILLED_COLUMNS = {
    "brand": "a brand",
    "group_id": "a group",
    "url": "a link",
    "colours": "a colour word",
    "sizes": "a size",
    "description": "a description",
}
# Columns in which many products with one value are suspicious.
_EQUAL_COLUMNS = {"title": "one title", "url": "one link", "price_cents": "one price"}
_MIXED_COLUMNS = ("gender", "age_group", "super_category")

_LARGE_SHOPS = f"SELECT shop_id FROM products GROUP BY ALL HAVING count(*) >= {MIN_PRODUCTS}"
_FILLED_SQL = f"""
SELECT shop_id, avg((availability = 'in_stock')::INT) AS in_stock,
    {
    ", ".join(
        f"avg((coalesce({c}::VARCHAR, '') NOT IN ('', '[]'))::INT) AS {c}" for c in FILLED_COLUMNS
    )
}
FROM products SEMI JOIN ({_LARGE_SHOPS}) USING (shop_id) GROUP BY ALL ORDER BY shop_id
"""
_EQUAL_SQL = f"""
WITH counts AS (
    SELECT shop_id, {{column}} AS value, count(*) AS n
    FROM products SEMI JOIN ({_LARGE_SHOPS}) USING (shop_id) WHERE {{column}} IS NOT NULL
    GROUP BY ALL)
SELECT shop_id, max(n) / sum(n), arg_max(value, (n, value))::VARCHAR FROM counts
GROUP BY ALL HAVING sum(n) >= {MIN_PRODUCTS} ORDER BY shop_id
"""
# By picture: variants of one article may show the same one.
_EQUAL_CODES_SQL = f"""
WITH pictures AS (
    SELECT DISTINCT shop_id, image_id, {{code}} AS code
    FROM indexes JOIN products USING (product_id)),
counts AS (SELECT shop_id, code, count(*) AS n FROM pictures GROUP BY ALL)
SELECT shop_id, max(n) / sum(n) FROM counts
GROUP BY ALL HAVING sum(n) >= {MIN_PRODUCTS} ORDER BY shop_id
"""
# Products with codes that show one picture.
_EQUAL_PICTURES_SQL = f"""
WITH counts AS (
    SELECT shop_id, image_id, count(*) AS n, count(DISTINCT
        coalesce(model_key(article_id, shop_id, group_id), product_id)) AS models
    FROM indexes JOIN products USING (product_id) GROUP BY ALL)
SELECT shop_id, max(models) / sum(models) FROM counts
GROUP BY ALL HAVING sum(models) >= {MIN_PRODUCTS} ORDER BY shop_id
"""
_MIX_SQL = f"""
SELECT shop_id, {{column}} AS value, count(*) / sum(count(*)) OVER (PARTITION BY shop_id)
FROM products SEMI JOIN ({_LARGE_SHOPS}) USING (shop_id)
GROUP BY shop_id, {{column}} ORDER BY shop_id, value
"""
# A leaf of men's or women's things names its wearer.
_GENDERS_SQL = f"""
WITH known AS (
    SELECT shop_id, gender, CASE split_part(category, '.', 1)
        WHEN 'women' THEN 'female' WHEN 'men' THEN 'male' END AS of_leaf
    FROM products SEMI JOIN ({_LARGE_SHOPS}) USING (shop_id))
SELECT shop_id, avg((gender NOT IN (of_leaf, 'unisex'))::INT)
FROM known WHERE of_leaf IS NOT NULL GROUP BY ALL HAVING count(*) >= {MIN_PRODUCTS} ORDER BY shop_id
"""
_ONE_CATEGORY_SQL = f"""
WITH counts AS (
    SELECT shop_id, category, count(*) AS n, count(DISTINCT category_paths[1]) AS paths
    FROM products SEMI JOIN ({_LARGE_SHOPS}) USING (shop_id) GROUP BY ALL)
SELECT shop_id, max(n) / sum(n), arg_max(category, (n, category)), arg_max(paths, (n, category))
FROM counts GROUP BY ALL ORDER BY shop_id
"""
# A category in which so many of the shop's own categories end is suspicious.
_MIN_PATHS = 4
_ONE_SIDED_SQL = """
SELECT avg((shape_weight = 0 OR colour_weight = 0)::INT) FROM products HAVING count(*) > 0
"""
# A shop's median price, over the median of the other shops' medians, by super-category.
_PRICE_LEVEL_SQL = f"""
WITH medians AS (
    SELECT shop_id, super_category, currency, median(price_cents) AS price, count(*) AS n
    FROM products GROUP BY ALL HAVING count(*) >= {MIN_PRODUCTS}),
others AS (
    SELECT m.shop_id, m.super_category, m.n, m.price, median(o.price) AS usual
    FROM medians m JOIN medians o ON o.super_category = m.super_category
        AND o.currency = m.currency AND o.shop_id <> m.shop_id
    GROUP BY ALL)
SELECT shop_id, exp(abs(sum(n * ln(price / usual)) / sum(n))), sum(n * price) / sum(n) / 100,
    sum(n * usual) / sum(n) / 100
FROM others WHERE price > 0 AND usual > 0 GROUP BY ALL ORDER BY shop_id
"""
_MEDIAN_PRICE_SQL = f"""
SELECT shop_id, currency, median(price_cents) / 100
FROM products GROUP BY ALL HAVING count(*) >= {MIN_PRODUCTS} ORDER BY shop_id, currency
"""


def share_metrics(con: duckdb.DuckDBPyConnection) -> list[Metric]:
    """Compute the shares of each shop's products.

    Args:
        con: The run's tables, opened by metrics.open_run_tables.

    Returns:
        Metrics of shops with MIN_PRODUCTS products:
        - in_stock_ratio, and filled_ratio of columns that may be empty.
        - equal_values_ratio: the most common title, link or price.
        - equal_codes_ratio and equal_pictures_ratio: the most common code and picture.
        - mix_ratio: products of a gender, age group or super-category.
        - contradicted_genders_ratio: products whose leaf names another wearer.
        - one_category_ratio: the largest leaf, if several of the shop's categories end there.
        - one_sided_weights_ratio: products compared by shape or colour alone.
        - price_level_factor: the shop's prices over other shops'; median_price: its own.
    """
    return [
        *_filled_metrics(con),
        *_equal_metrics(con),
        *_mix_metrics(con),
        *_contradiction_metrics(con),
        *_price_metrics(con),
    ]


def _filled_metrics(con: duckdb.DuckDBPyConnection) -> list[Metric]:
    metrics = []
    for shop, in_stock, *filled in con.execute(_FILLED_SQL).fetchall():
        note = f"{shop}: {in_stock:.0%} of the products are in stock"
        metrics.append(Metric("in_stock_ratio", f"shop={shop}", in_stock, "ratio", note=note))
        for column, share in zip(FILLED_COLUMNS, filled, strict=True):
            scope = f"column={column},shop={shop}"
            note = f"{shop}: {share:.0%} of the products have {FILLED_COLUMNS[column]}"
            metrics.append(Metric("filled_ratio", scope, share, "ratio", note=note))
    return metrics


def _equal_metrics(con: duckdb.DuckDBPyConnection) -> list[Metric]:
    metrics = []
    for column, words in _EQUAL_COLUMNS.items():
        for shop, share, value in con.execute(_EQUAL_SQL.format(column=column)).fetchall():
            note = f"{shop}: {share:.0%} of the products have {words}, {value[:60]!r}"
            scope = f"column={column},shop={shop}"
            metrics.append(Metric("equal_values_ratio", scope, share, "ratio", note=note))
    for code in ("shape", "colour"):
        for shop, share in con.execute(_EQUAL_CODES_SQL.format(code=code)).fetchall():
            note = f"{shop}: {share:.0%} of the pictures have one code of {code}"
            scope = f"code={code},shop={shop}"
            metrics.append(Metric("equal_codes_ratio", scope, share, "ratio", note=note))
    for shop, share in con.execute(_EQUAL_PICTURES_SQL).fetchall():
        note = f"{shop}: {share:.0%} of the articles show one picture"
        metrics.append(Metric("equal_pictures_ratio", f"shop={shop}", share, "ratio", note=note))
    return metrics


def _mix_metrics(con: duckdb.DuckDBPyConnection) -> list[Metric]:
    metrics = []
    for column in _MIXED_COLUMNS:
        for shop, value, share in con.execute(_MIX_SQL.format(column=column)).fetchall():
            scope = f"column={column},value={value},shop={shop}"
            note = f"{shop}: {share:.0%} of the products are of {column} {value}"
            metrics.append(Metric("mix_ratio", scope, share, "ratio", note=note))
    return metrics


def _contradiction_metrics(con: duckdb.DuckDBPyConnection) -> list[Metric]:
    metrics = []
    for shop, share in con.execute(_GENDERS_SQL).fetchall():
        note = f"{shop}: {share:.0%} of the products in women's and men's categories are for others"
        metrics.append(
            Metric("contradicted_genders_ratio", f"shop={shop}", share, "ratio", note=note)
        )
    for shop, share, category, paths in con.execute(_ONE_CATEGORY_SQL).fetchall():
        if paths >= _MIN_PATHS:
            note = f"{shop}: {share:.0%} of the products are in {category}, from {paths} categories"
            metrics.append(Metric("one_category_ratio", f"shop={shop}", share, "ratio", note=note))
    for (share,) in con.execute(_ONE_SIDED_SQL).fetchall():
        note = f"{share:.0%} of the products are compared by shape alone or by colour alone"
        metrics.append(Metric("one_sided_weights_ratio", "all", share, "ratio", note=note))
    return metrics


def _price_metrics(con: duckdb.DuckDBPyConnection) -> list[Metric]:
    metrics = []
    for shop, factor, own, usual in con.execute(_PRICE_LEVEL_SQL).fetchall():
        note = (
            f"{shop}: its prices are about {own:,.2f}, of the same things in other shops"
            f" {usual:,.2f}"
        )
        metrics.append(Metric("price_level_factor", f"shop={shop}", factor, "factor", note=note))
    for shop, currency, price in con.execute(_MEDIAN_PRICE_SQL).fetchall():
        scope = f"currency={currency},shop={shop}"
        metrics.append(Metric("median_price", scope, price, "price"))
    return metrics
