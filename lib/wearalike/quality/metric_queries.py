"""Queries whose columns are metrics: the first column is the scope, every other one a metric.

They run on the tables that metrics.open_run_tables opens.
"""

# Shares of products that reached each step.
# with_code: an item in one of its images has a code. indexed: such an item represents it.
COVERAGE_SQL = """
WITH facts AS (
    SELECT product_id, shop_id, super_category,
        product_id IN (SELECT product_id FROM images) AS has_image,
        product_id IN (SELECT product_id FROM images JOIN items USING (image_id)) AS has_item,
        product_id IN (
            SELECT product_id FROM images JOIN items USING (image_id) JOIN codes USING (item_id)
        ) AS has_code,
        product_id IN (SELECT product_id FROM indexes) AS is_indexed,
        product_id IN (
            SELECT product_id FROM similar_lists WHERE similar_count >= 5
        ) AS has_matches
    FROM products)
SELECT scope(shop_id, super_category) AS scope, count(*) AS products_count,
    avg(has_image::INT) AS with_image_ratio, avg(has_item::INT) AS with_item_ratio,
    avg(has_code::INT) AS with_code_ratio,
    avg(is_indexed::INT) AS indexed_ratio, avg(has_matches::INT) AS with_5_matches_ratio
FROM facts GROUP BY GROUPING SETS ((), (shop_id), (super_category)) ORDER BY scope
"""

LEAF_CATEGORIES_SQL = """
SELECT 'category=' || category AS scope, count(*) AS products_count
FROM products GROUP BY ALL ORDER BY scope
"""

# Views of the images that represent products.
# Many details or backs mean that the shop's feed has no better images.
REPRESENTATIVE_VIEWS_SQL = """
SELECT 'view=' || view || coalesce(',shop=' || shop_id, '') AS scope,
    count(*) AS representative_count
FROM indexes JOIN codes USING (item_id) JOIN products USING (product_id) WHERE view IS NOT NULL
GROUP BY GROUPING SETS ((view), (view, shop_id)) ORDER BY scope
"""

# Share of the last run's products that this run has too, in shops that it still reads.
PRODUCTS_KEPT_SQL = """
SELECT scope(shop_id, NULL) AS scope,
    avg((product_id IN (SELECT product_id FROM products))::INT) AS products_kept_ratio
FROM last_products WHERE shop_id IN (SELECT shop_id FROM feeds)
GROUP BY GROUPING SETS ((), (shop_id)) ORDER BY scope
"""

# Every offer of a feed is a product, refused with a reason, or withdrawn by its shop.
OFFER_ACCOUNTS_SQL = """
WITH written AS (SELECT shop_id, count(*) AS n FROM products GROUP BY shop_id),
    turned_away AS (
        SELECT shop_id, count(*) AS n FROM refused
        WHERE stage IN ('offers', 'products') AND kind = 'offer' GROUP BY shop_id)
SELECT 'shop=' || shop_id AS scope, offers_count, withdrawn_count,
    coalesce(turned_away.n, 0) / nullif(offers_count, 0) AS refused_offers_ratio,
    offers_count - withdrawn_count - coalesce(written.n, 0) - coalesce(turned_away.n, 0)
        AS offers_unaccounted_count
FROM feeds LEFT JOIN written USING (shop_id) LEFT JOIN turned_away USING (shop_id) ORDER BY scope
"""

FEED_FRESHNESS_SQL = """
SELECT scope(shop_id, NULL) AS scope, count(*) FILTER (status = 'stale') AS stale_feeds_count,
    count(*) FILTER (status = 'missing') AS missing_feeds_count
FROM feeds GROUP BY GROUPING SETS ((), (shop_id)) ORDER BY scope
"""

REFUSALS_SQL = """
SELECT 'stage=' || stage || ',reason=' || reason || coalesce(',shop=' || shop_id, '') AS scope,
    count(*) AS refused_count
FROM refused GROUP BY ALL ORDER BY scope
"""

SHORT_LISTS_SQL = """
SELECT 'reason=' || shortfall_reason AS scope, count(*) AS short_lists_count
FROM similar_lists WHERE shortfall_reason IS NOT NULL GROUP BY ALL ORDER BY scope
"""

SCORE_QUANTILES_SQL = """
WITH quantiles AS (
    SELECT scope(NULL, super_category) AS scope,
        quantile_cont(score, [0.05, 0.25, 0.5, 0.75, 0.95]) AS q
    FROM similar_products JOIN products USING (product_id)
    GROUP BY GROUPING SETS ((), (super_category)))
SELECT scope, q[1] AS score_p05, q[2] AS score_p25, q[3] AS score_p50, q[4] AS score_p75,
    q[5] AS score_p95
FROM quantiles ORDER BY scope
"""

CROSS_SHOP_SQL = """
SELECT scope(p.shop_id, p.super_category) AS scope,
    avg((a.shop_id <> p.shop_id)::INT) AS cross_shop_ratio
FROM similar_products s JOIN products p USING (product_id)
JOIN products a ON a.product_id = s.similar_product_id
GROUP BY GROUPING SETS ((), (p.shop_id), (p.super_category)) ORDER BY scope
"""

# Share of a product's first k of the last run that is not among its first k now.
CHURN_SQL = """
SELECT p.product_id, p.shop_id, p.super_category, avg((s.rank IS NULL)::INT) AS churn
FROM last_similar_products l JOIN products p USING (product_id)
LEFT JOIN similar_products s ON s.product_id = l.product_id
    AND s.similar_product_id = l.similar_product_id AND s.rank <= $k
WHERE l.rank <= $k GROUP BY ALL ORDER BY p.product_id
"""
