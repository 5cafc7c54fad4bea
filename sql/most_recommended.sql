-- List the products that are recommended most often. Such a hub often has a bad picture that resembles everything.
--
-- Reads: current_similar_products, current_products.
-- Parameters: $1, how many products; integer.
-- Returns, most often first: product_id, title, category, lists_count (products that recommend it), mean_score (0..1), url.
SELECT
    s.similar_product_id AS product_id,
    p.title,
    p.category,
    count(*) AS lists_count,
    avg(s.score) AS mean_score,
    p.url
FROM current_similar_products AS s
JOIN current_products AS p ON p.product_id = s.similar_product_id
GROUP BY s.similar_product_id, p.title, p.category, p.url
ORDER BY lists_count DESC, s.similar_product_id
LIMIT $1
