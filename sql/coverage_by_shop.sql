-- Count the products of each shop that have recommendations.
--
-- Reads: current_products, current_similar_lists.
-- Returns, the least covered shop first: shop_id, products_count, matched_count (one recommendation or more),
--   full_count (as many as asked for), matched_ratio (0..1).
SELECT
    p.shop_id,
    count(*) AS products_count,
    count(CASE WHEN l.similar_count > 0 THEN 1 END) AS matched_count,
    count(CASE WHEN l.product_id IS NOT NULL AND l.shortfall_reason IS NULL THEN 1 END) AS full_count,
    count(CASE WHEN l.similar_count > 0 THEN 1 END) / CAST(count(*) AS double precision) AS matched_ratio
FROM current_products AS p
LEFT JOIN current_similar_lists AS l ON l.product_id = p.product_id
GROUP BY p.shop_id
ORDER BY matched_ratio, p.shop_id
