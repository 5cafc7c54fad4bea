-- Count the products that have fewer recommendations than asked for, by reason.
--
-- Reads: current_similar_lists, current_products.
-- Returns, most products first: shortfall_reason, super_category, products_count,
--   mean_similar_count (recommendations a product).
SELECT
    l.shortfall_reason,
    p.super_category,
    count(*) AS products_count,
    avg(CAST(l.similar_count AS double precision)) AS mean_similar_count
FROM current_similar_lists AS l
JOIN current_products AS p ON p.product_id = l.product_id
WHERE l.shortfall_reason IS NOT NULL
GROUP BY l.shortfall_reason, p.super_category
ORDER BY products_count DESC, l.shortfall_reason, p.super_category
