-- List the categories whose best recommendations are least alike. Look at their pictures, weights and mappings first.
--
-- Reads: current_products, current_similar_products.
-- Parameters: $1, the fewest products of a category; integer.
-- Returns, worst first: category, products_count, matched_count (products with a recommendation),
--   mean_best_score (0..1 over matched products; null where there is none).
SELECT
    p.category,
    count(*) AS products_count,
    count(s.score) AS matched_count,
    avg(s.score) AS mean_best_score
FROM current_products AS p
LEFT JOIN current_similar_products AS s ON s.product_id = p.product_id AND s.rank = 1
GROUP BY p.category
HAVING count(*) >= $1
ORDER BY mean_best_score NULLS FIRST, p.category
