-- Count how many recommendations changed between two loaded runs, for products that both runs have.
--
-- Reads: products, similar_products. Both hold every loaded run.
-- Parameters: $1, the earlier run, and $2, the later run; text.
-- Returns, the most changed first: super_category in the later run, before_count, after_count, kept_count and kept_ratio.
--   kept_count: recommendations that both runs have. kept_ratio: 0..1 of before_count, null where that is 0.
WITH both_runs AS (
    SELECT new.product_id, new.super_category
    FROM products AS old
    JOIN products AS new ON new.product_id = old.product_id
    WHERE old.run = $1 AND new.run = $2
),
pairs AS (
    SELECT b.super_category, s.similar_product_id, max(CASE WHEN s.run = $1 THEN 1 ELSE 0 END) AS was,
        max(CASE WHEN s.run = $2 THEN 1 ELSE 0 END) AS is_now
    FROM both_runs AS b
    JOIN similar_products AS s ON s.product_id = b.product_id
    WHERE s.run = $1 OR s.run = $2
    GROUP BY b.product_id, b.super_category, s.similar_product_id
)
SELECT
    super_category,
    count(CASE WHEN was = 1 THEN 1 END) AS before_count,
    count(CASE WHEN is_now = 1 THEN 1 END) AS after_count,
    count(CASE WHEN was + is_now = 2 THEN 1 END) AS kept_count,
    count(CASE WHEN was + is_now = 2 THEN 1 END) / CAST(nullif(count(CASE WHEN was = 1 THEN 1 END), 0) AS double precision) AS kept_ratio
FROM pairs
GROUP BY super_category
ORDER BY kept_ratio, super_category
