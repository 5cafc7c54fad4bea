-- The categories whose best recommendations are least alike: where to look at pictures, weights or mappings first.
-- Reads current_products and current_similar_products.
-- $1: leave out categories with fewer products, integer.
-- Returns category, products_count, matched_count (products with a recommendation), mean_best_score (0..1, of those; null
-- where there is none); worst first.
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
