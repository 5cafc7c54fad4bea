"""What is measured of looks, where they were looked for: queries over an opened night (measures.py)."""

# on_model_ratio: products shown on a figure with other things, by their own images.
# with_look_ratio: products with a recommendation to complete the look; with_look_of_worn_ratio: of those that are worn.
LOOK_COVERAGE_SQL = """
WITH facts AS (
    SELECT shop_id, super_category, product_id IN (SELECT product_id FROM look_products) AS has_look,
        product_id IN (SELECT product_id FROM looks)
            OR product_id IN (SELECT key FROM refused WHERE stage = 'looks' AND reason IN ('cut_off', 'no_code')) AS is_worn
    FROM products)
SELECT scope(shop_id, super_category) AS scope, avg(is_worn::INT) AS on_model_ratio, avg(has_look::INT) AS with_look_ratio,
    avg(has_look::INT) FILTER (is_worn) AS with_look_of_worn_ratio
FROM facts GROUP BY GROUPING SETS ((), (shop_id), (super_category)) ORDER BY scope
"""

# Looks against the shops' own cross-sell links. with_links_ratio: products whose feed names at least one other product of this run
# that is of another super-category. Of those that also have a look, the share in whose look there stands
# look_agreement_ratio: one of the products named, or another of its group (a colour, a size);
# look_agreement_category_ratio: one of the category of a product named.
# look_links_count: how many those are. A link to what is no product of the run, or of the product's own super-category, counts
# neither for nor against.
LOOK_AGREEMENT_SQL = """
WITH people AS (SELECT *, coalesce(shop_id || ':' || lower(group_id), product_id) AS model FROM products),
    links AS (
        SELECT p.product_id, o.model, o.category
        FROM (SELECT product_id, shop_id, super_category, unnest(related_offer_ids) AS offer_id FROM products) p
        JOIN people o ON o.shop_id = p.shop_id AND o.offer_id = p.offer_id AND o.super_category <> p.super_category),
    looked AS (SELECT k.product_id, a.model, a.category FROM look_products k JOIN people a ON a.product_id = k.look_product_id),
    facts AS (
        SELECT shop_id, super_category, product_id IN (SELECT product_id FROM links) AS has_links,
            product_id IN (SELECT product_id FROM looked) AS has_look,
            product_id IN (SELECT product_id FROM links JOIN looked USING (product_id, model)) AS agrees,
            product_id IN (SELECT product_id FROM links JOIN looked USING (product_id, category)) AS agrees_by_category
        FROM products)
SELECT scope(shop_id, super_category) AS scope, avg(has_links::INT) AS with_links_ratio,
    count(*) FILTER (has_links AND has_look) AS look_links_count,
    avg(agrees::INT) FILTER (has_links AND has_look) AS look_agreement_ratio,
    avg(agrees_by_category::INT) FILTER (has_links AND has_look) AS look_agreement_category_ratio
FROM facts GROUP BY GROUPING SETS ((), (shop_id), (super_category)) ORDER BY scope
"""
