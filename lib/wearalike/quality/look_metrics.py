"""Queries for the metrics of looks: how many products have one, and whether shops agree.

They run on the tables that metrics.open_run_tables opens, if the run completed looks; all but that
of sources only if it searched the products' own pictures.
"""

# with_look_ratio: share of products with a recommendation to complete the look.
# with_worn_look_ratio, with_feed_look_ratio, with_alike_look_ratio: the same by source; a product
# may have rows of its own pictures and of its feed.
LOOK_SOURCES_SQL = """
WITH facts AS (
    SELECT p.shop_id, p.super_category, k.sources
    FROM products p
    LEFT JOIN (
        SELECT product_id, list(DISTINCT source) AS sources FROM look_products GROUP BY ALL
    ) k USING (product_id))
SELECT scope(shop_id, super_category) AS scope, avg((sources IS NOT NULL)::INT) AS with_look_ratio,
    avg(coalesce(list_contains(sources, 'worn'), false)::INT) AS with_worn_look_ratio,
    avg(coalesce(list_contains(sources, 'feed'), false)::INT) AS with_feed_look_ratio,
    avg(coalesce(list_contains(sources, 'alike'), false)::INT) AS with_alike_look_ratio
FROM facts GROUP BY GROUPING SETS ((), (shop_id), (super_category)) ORDER BY scope
"""

# on_model_ratio: share of products that their own images show worn with other items.
# with_look_of_worn_ratio: share of these with a recommendation for what is worn with them.
LOOK_COVERAGE_SQL = """
WITH facts AS (
    SELECT shop_id, super_category,
        product_id IN (SELECT product_id FROM look_products WHERE source = 'worn') AS has_look,
        product_id IN (SELECT product_id FROM looks)
            OR product_id IN (
                SELECT key FROM refused WHERE stage = 'looks' AND reason IN ('cut_off', 'no_code')
            ) AS is_worn
    FROM products)
SELECT scope(shop_id, super_category) AS scope, avg(is_worn::INT) AS on_model_ratio,
    avg(has_look::INT) FILTER (is_worn) AS with_look_of_worn_ratio
FROM facts GROUP BY GROUPING SETS ((), (shop_id), (super_category)) ORDER BY scope
"""

# Looks of the products' own pictures compared with the shops' own cross-sell links.
# with_links_ratio: share of products whose feed links to a product of another super-category.
# look_links_count: products with such links and a look of their own pictures.
# look_agreement_ratio: share of these whose look has a linked product, or another size or colour.
# look_agreement_category_ratio: share of these whose look has a product of a linked category.
# Links to products outside the run or of the same super-category count neither way.
LOOK_AGREEMENT_SQL = """
WITH with_model AS (
        SELECT *, coalesce(model_key(article_id, shop_id, group_id), product_id) AS model
        FROM products),
    links AS (
        SELECT p.product_id, o.model, o.category
        FROM (
            SELECT product_id, shop_id, super_category, unnest(related_offer_ids) AS offer_id
            FROM products
        ) p
        JOIN with_model o ON o.shop_id = p.shop_id AND o.offer_id = p.offer_id
            AND o.super_category <> p.super_category),
    looked AS (
        SELECT k.product_id, a.model, a.category
        FROM look_products k JOIN with_model a ON a.product_id = k.look_product_id
        WHERE k.source = 'worn'),
    facts AS (
        SELECT shop_id, super_category, product_id IN (SELECT product_id FROM links) AS has_links,
            product_id IN (SELECT product_id FROM looked) AS has_look,
            product_id IN (
                SELECT product_id FROM links JOIN looked USING (product_id, model)
            ) AS agrees,
            product_id IN (
                SELECT product_id FROM links JOIN looked USING (product_id, category)
            ) AS agrees_by_category
        FROM products)
SELECT scope(shop_id, super_category) AS scope, avg(has_links::INT) AS with_links_ratio,
    count(*) FILTER (has_links AND has_look) AS look_links_count,
    avg(agrees::INT) FILTER (has_links AND has_look) AS look_agreement_ratio,
    avg(agrees_by_category::INT) FILTER (has_links AND has_look)
        AS look_agreement_category_ratio
FROM facts GROUP BY GROUPING SETS ((), (shop_id), (super_category)) ORDER BY scope
"""
