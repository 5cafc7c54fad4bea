-- Complete the look of one product: for each kind of item that goes with it, the products in stock, best first.
--
-- Reads: current_look_products, current_products. Both show one run, all of it.
-- Parameters: $1, the product_id; text. DuckDB and PostgreSQL both spell it so (psycopg: RawCursor; psql from 16 on: \bind).
-- Returns: run, super_category, rank (1 is the most alike), product_id, title, brand, url, image_url (the main picture),
--   price_cents, old_price_cents, currency, score (0..1, bigger is more alike; null for source feed), source (worn, feed or alike),
--   worn_with_product_id (in whose picture the item is worn), reason, reason_ru (why it goes with the product, in words).
SELECT
    s.run,
    s.super_category,
    s.rank,
    s.look_product_id AS product_id,
    p.title,
    p.brand,
    p.url,
    p.image_urls[1] AS image_url,
    p.price_cents,
    p.old_price_cents,
    p.currency,
    s.score,
    s.source,
    CASE WHEN s.source = 'worn' THEN s.product_id ELSE s.worn_with_product_id END AS worn_with_product_id,
    s.reason,
    s.reason_ru
FROM current_look_products AS s
JOIN current_products AS p ON p.product_id = s.look_product_id
WHERE s.product_id = $1 AND p.availability = 'in_stock'
ORDER BY s.super_category, s.rank
