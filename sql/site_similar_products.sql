-- List the recommendations for one product's page: at most 20, in stock, best first.
--
-- Reads: current_similar_products, current_products. Both show one run, all of it.
-- Parameters: $1, the product_id; text. DuckDB and PostgreSQL both spell it so (psycopg: RawCursor; psql from 16 on: \bind).
-- Returns: run, rank (1 is the most alike; products that went out of stock leave gaps), product_id, title, brand, url,
--   image_url (the main picture), price_cents, old_price_cents, currency, score (0..1, bigger is more alike), reason, reason_ru (why it is
--   alike, in English and in Russian words), shape_score, colour_score, kind_score (0..1), rule, fallback (what placed it, else null).
SELECT
    s.run,
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
    s.shape_score,
    s.colour_score,
    s.kind_score,
    s.rule,
    s.fallback
FROM current_similar_products AS s
JOIN current_products AS p ON p.product_id = s.similar_product_id
WHERE s.product_id = $1 AND p.availability = 'in_stock'
ORDER BY s.rank
LIMIT 20
