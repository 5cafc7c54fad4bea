"""Which products lists show, and how much of the same a list holds.

Exposure is judged over the products that could be shown: in stock, with an entry in an index. The
queries run on the tables that metrics.open_run_tables opens.
"""

# recommended_ratio: share of the products that could be shown that stand in any list.
# hub_share_ratio: share of all recommendations that go to the hundredth part of the products that
# is recommended most, at least one. most_recommended_count: lists that the first of them stands in.
# shown_share_ratio: a shop's share of all recommendations; could_be_shown_ratio: its share of the
# products that could be shown.
EXPOSURE_SQL = """
WITH shown AS (
        SELECT similar_product_id AS product_id, count(*) AS lists_count
        FROM similar_products GROUP BY ALL),
    facts AS (
        SELECT shop_id, super_category, coalesce(lists_count, 0) AS lists_count
        FROM products SEMI JOIN indexes USING (product_id) LEFT JOIN shown USING (product_id)
        WHERE availability = 'in_stock'),
    ranked AS (
        SELECT scope(shop_id, super_category) AS scope, any_value(shop_id) AS shop_id,
            grouping(shop_id) = 0 AS is_shop, count(*) AS products_count,
            sum(lists_count) AS rows_count, max(lists_count) AS most_recommended_count,
            avg((lists_count > 0)::INT) AS recommended_ratio,
            list_sum(list_sort(list(lists_count), 'DESC')[:greatest(1, count(*) // 100)])
                AS hub_rows_count
        FROM facts GROUP BY GROUPING SETS ((), (shop_id), (super_category))),
    whole AS (SELECT count(*) AS products_count, sum(lists_count) AS rows_count FROM facts)
SELECT scope, recommended_ratio, hub_rows_count / nullif(r.rows_count, 0) AS hub_share_ratio,
    most_recommended_count,
    CASE WHEN is_shop THEN r.rows_count / nullif(w.rows_count, 0) END AS shown_share_ratio,
    CASE WHEN is_shop THEN r.products_count / w.products_count END AS could_be_shown_ratio
FROM ranked r, whole w WHERE r.products_count > 0 ORDER BY scope
"""

# Lists that the spread is measured on, drawn by the hash of their product.
_MEASURED_LISTS = 2000
# spread@10: how unlike the first ten results of a list are each other, the mean share of bits that
# differ. Two random codes differ in half of them. The mean has an order, so that equal nights have
# equal figures to the last digit.
SPREAD_SQL = f"""
WITH asked AS (
        SELECT product_id, super_category FROM products
        SEMI JOIN similar_products USING (product_id)
        ORDER BY hash(product_id), product_id LIMIT {_MEASURED_LISTS}),
    placed AS (
        SELECT s.product_id, a.super_category, s.rank, e.shape::BIT AS shape,
            e.colour::BIT AS colour
        FROM similar_products s JOIN asked a ON a.product_id = s.product_id
        JOIN indexes e ON e.product_id = s.similar_product_id
        WHERE s.rank <= 10),
    spreads AS (
        SELECT a.product_id, any_value(a.super_category) AS super_category,
            avg(bit_count(xor(a.shape, b.shape)) + bit_count(xor(a.colour, b.colour))) / 256
                AS spread
        FROM placed a JOIN placed b ON b.product_id = a.product_id AND b.rank > a.rank
        GROUP BY a.product_id)
SELECT scope(NULL, super_category) AS scope, avg(spread ORDER BY product_id) AS "spread@10"
FROM spreads GROUP BY GROUPING SETS ((), (super_category)) ORDER BY scope
"""
