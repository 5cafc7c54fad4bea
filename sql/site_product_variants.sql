-- List the colours and sizes of one product's article, the product itself among them.
--
-- Reads: current_product_variants, current_products. Both show one run, all of it.
-- Parameters: $1, the product_id; text. DuckDB and PostgreSQL both spell it so (psycopg: RawCursor; psql from 16 on: \bind).
-- Returns: run, rank (in the order to show), product_id, shop_id, title, url, image_url (the main picture), price_cents,
--   old_price_cents, currency, colour_names (ids of colours.xml), colours and sizes (in the shop's words), availability.
--   No rows for a product that comes in one colour and size.
SELECT
    v.run,
    v.rank,
    v.product_id,
    v.shop_id,
    p.title,
    p.url,
    p.image_urls[1] AS image_url,
    p.price_cents,
    p.old_price_cents,
    p.currency,
    v.colour_names,
    v.colours,
    v.sizes,
    v.availability
FROM current_product_variants AS o
JOIN current_product_variants AS v ON v.article_id = o.article_id
JOIN current_products AS p ON p.product_id = v.product_id
WHERE o.product_id = $1
ORDER BY v.rank
