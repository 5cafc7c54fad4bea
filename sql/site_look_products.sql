-- What completes the look of one product's page: of each kind of thing worn with it the most alike in stock, best first.
-- Reads current_look_products and current_products, which show one run: all of it, or all of the run before.
-- $1: product_id, text. $1 is the parameter's own spelling in DuckDB and PostgreSQL (psycopg: RawCursor; psql: \bind).
-- Returns run, super_category, rank (1 is the most alike what is worn), product_id, title, brand, url, image_url (the main picture),
-- price_cents, old_price_cents, currency, score (0..1, bigger is more alike).
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
    s.score
FROM current_look_products AS s
JOIN current_products AS p ON p.product_id = s.look_product_id
WHERE s.product_id = $1 AND p.availability = 'in_stock'
ORDER BY s.super_category, s.rank
