-- List the recommendations for one product's page as the visitors of one bucket of an experiment see them: at most 20, in stock, best first.
--
-- Reads: current_list_variants, current_similar_products_variants, current_similar_products, current_products. All show one run.
-- Parameters: $1, the product_id; text. $2, the visitor's bucket, 0..9999; see duckdb_visitor_bucket.sql and postgres_visitor_bucket.sql.
-- Returns: run, variant (control without an experiment, and where lists are interleaved, which the JSON API does), rank, product_id,
--   title, brand, url, image_url (the main picture), price_cents, old_price_cents, currency, score, reason, reason_ru, rule, fallback;
--   see site_similar_products.sql.
WITH chosen AS (
    SELECT coalesce(min(variant), 'control') AS variant FROM current_list_variants
    WHERE assignment = 'split' AND $2 >= first_bucket AND $2 < end_bucket
),
rows_of_variant AS (
    SELECT s.run, s.variant, s.product_id, s.rank, s.similar_product_id, s.score, s.reason, s.reason_ru, s.rule, s.fallback
    FROM current_similar_products_variants AS s
    UNION ALL
    SELECT s.run, 'control', s.product_id, s.rank, s.similar_product_id, s.score, s.reason, s.reason_ru, s.rule, s.fallback
    FROM current_similar_products AS s
)
SELECT
    s.run,
    s.variant,
    s.rank,
    s.similar_product_id AS product_id,
    p.title,
    p.brand,
    p.url,
    p.image_urls[1] AS image_url,
    p.price_cents,
    p.old_price_cents,
    p.currency,
    s.score,
    s.reason,
    s.reason_ru,
    s.rule,
    s.fallback
FROM rows_of_variant AS s
JOIN chosen AS c ON c.variant = s.variant
JOIN current_products AS p ON p.product_id = s.similar_product_id
WHERE s.product_id = $1 AND p.availability = 'in_stock'
ORDER BY s.rank
LIMIT 20
