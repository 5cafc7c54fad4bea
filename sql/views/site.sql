-- The views that a site on PostgreSQL reads.
--
-- Run it as the loader once, after the first publication, and again after an upgrade:
--   psql -1 -U wearalike_loader -d shop -f sql/views/site.sql
--
-- Reads: current_similar_products, current_similar_products_variants, current_list_variants, current_look_products,
-- current_product_variants, current_products, published. All change at once.
-- Creates these views and lets wearalike_site read them:
--   site_similar_products: recommendations in stock. Columns: product_id, rank (1 is the most alike; products that went out of
--     stock leave gaps), similar_product_id, shop_id, title, brand, url, image_url (the main picture), price_cents,
--     old_price_cents, currency, score (0..1), run, reason, reason_ru (why it is alike, in words), shape_score,
--     colour_score, kind_score (0..1), rule, fallback (what placed it beside likeness; else null).
--   site_look_products: recommendations to complete a look. Columns: product_id, super_category, rank (1 is the most alike, or the
--     first that the feed names), then the columns above for look_product_id, up to run. source: worn (like what is worn with the
--     product in its own pictures), feed (its feed's cross-sell), alike (like what is worn with worn_with_product_id, a product most
--     alike it). image_id, x0, y0, x1 and y1 (px) locate the worn item in a picture of worn_with_product_id; these and score are
--     null where source is feed. reason, reason_ru: why it goes with the product, in words.
--   site_product_variants: the colours and sizes of a product's article, the product itself among them. Columns: product_id, rank (in
--     the order to show), variant_product_id, shop_id, title, url, image_url, price_cents, old_price_cents, currency, colour_names,
--     colours, sizes, availability, run.
--   site_similar_products_variants: the lists of an experiment's variants. Columns: variant (control: the lists of
--     site_similar_products, with an experiment and without), then those of site_similar_products.
--   site_list_variants: the experiment's variants, the control among them; no row without an experiment. Columns: variant, experiment,
--     assignment (split or interleave), first_bucket, end_bucket (visitors from the first up to the end see it), run.
--   site_products: facts that the site shows. Columns: shop_id, title, category, super_category, availability.
--   site_freshness: one row, or none before the first publication. Columns: run, published_at (UTC), age_s (seconds since then;
--     a rollback is a publication), data_age_s (seconds since the run was loaded first or anew), oldest_feed_days (days since the
--     oldest feed that is shown was read).
-- Creates the function site_visitor_variant(visitor): the variant that a visitor sees; control without an experiment, and where lists
--   are interleaved, which the JSON API does.
CREATE OR REPLACE VIEW wearalike.site_similar_products AS
SELECT
    s.product_id,
    s.rank,
    s.similar_product_id,
    p.shop_id,
    p.title,
    p.brand,
    p.url,
    p.image_urls[1] AS image_url,
    p.price_cents,
    p.old_price_cents,
    p.currency,
    s.score,
    s.run,
    s.reason,
    s.reason_ru,
    s.shape_score,
    s.colour_score,
    s.kind_score,
    s.rule,
    s.fallback
FROM wearalike.current_similar_products AS s
JOIN wearalike.current_products AS p ON p.product_id = s.similar_product_id
WHERE p.availability = 'in_stock';
CREATE OR REPLACE VIEW wearalike.site_similar_products_variants AS
SELECT
    s.variant,
    s.product_id,
    s.rank,
    s.similar_product_id,
    p.shop_id,
    p.title,
    p.brand,
    p.url,
    p.image_urls[1] AS image_url,
    p.price_cents,
    p.old_price_cents,
    p.currency,
    s.score,
    s.run,
    s.reason,
    s.reason_ru,
    s.shape_score,
    s.colour_score,
    s.kind_score,
    s.rule,
    s.fallback
FROM wearalike.current_similar_products_variants AS s
JOIN wearalike.current_products AS p ON p.product_id = s.similar_product_id
WHERE p.availability = 'in_stock'
UNION ALL
SELECT 'control', s.* FROM wearalike.site_similar_products AS s;
CREATE OR REPLACE VIEW wearalike.site_list_variants AS
SELECT variant, experiment, assignment, first_bucket, end_bucket, run FROM wearalike.current_list_variants;
CREATE OR REPLACE FUNCTION wearalike.site_visitor_variant(visitor text) RETURNS text LANGUAGE sql STABLE AS $$
SELECT coalesce(min(v.variant), 'control') FROM wearalike.site_list_variants AS v
WHERE v.assignment = 'split'
AND ('x' || substr(encode(sha256(convert_to(v.experiment || ':' || visitor, 'UTF8')), 'hex'), 1, 8))::bit(32)::bigint % 10000
    BETWEEN v.first_bucket AND v.end_bucket - 1
$$;
CREATE OR REPLACE VIEW wearalike.site_look_products AS
SELECT
    s.product_id,
    s.super_category,
    s.rank,
    s.look_product_id,
    p.shop_id,
    p.title,
    p.brand,
    p.url,
    p.image_urls[1] AS image_url,
    p.price_cents,
    p.old_price_cents,
    p.currency,
    s.score,
    s.image_id,
    s.x0,
    s.y0,
    s.x1,
    s.y1,
    s.run,
    s.source,
    CASE WHEN s.source = 'worn' THEN s.product_id ELSE s.worn_with_product_id END AS worn_with_product_id,
    s.reason,
    s.reason_ru
FROM wearalike.current_look_products AS s
JOIN wearalike.current_products AS p ON p.product_id = s.look_product_id
WHERE p.availability = 'in_stock';
CREATE OR REPLACE VIEW wearalike.site_product_variants AS
SELECT
    o.product_id,
    v.rank,
    v.product_id AS variant_product_id,
    p.shop_id,
    p.title,
    p.url,
    p.image_urls[1] AS image_url,
    p.price_cents,
    p.old_price_cents,
    p.currency,
    v.colour_names,
    v.colours,
    v.sizes,
    v.availability,
    v.run
FROM wearalike.current_product_variants AS o
JOIN wearalike.current_product_variants AS v ON v.article_id = o.article_id
JOIN wearalike.current_products AS p ON p.product_id = v.product_id;
CREATE OR REPLACE VIEW wearalike.site_products AS
SELECT product_id, shop_id, title, category, super_category, availability, run FROM wearalike.current_products;
CREATE OR REPLACE VIEW wearalike.site_freshness AS
SELECT
    p.run,
    p.published_at,
    extract(epoch FROM now() - p.published_at) AS age_s,
    extract(epoch FROM now() - l.loaded_at) AS data_age_s,
    (
        SELECT q.value + floor(extract(epoch FROM now() - l.loaded_at) / 86400)
        FROM wearalike.current_quality AS q
        WHERE q.metric = 'feed_age_days' AND q.scope = 'all'
    ) AS oldest_feed_days
FROM wearalike.published AS p
LEFT JOIN wearalike.loads AS l ON l.run = p.run;
GRANT SELECT ON wearalike.site_similar_products, wearalike.site_look_products, wearalike.site_product_variants,
    wearalike.site_products, wearalike.site_freshness, wearalike.site_similar_products_variants, wearalike.site_list_variants TO wearalike_site;
