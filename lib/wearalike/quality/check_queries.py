"""Queries of the checks: the rows of each table, beside the values they must agree with.

Every query returns the rows of one share of the products: those that SHARE_CONDITION selects, for
which the gate writes a condition on product_id. A product's rows are all in one share, so that
keys, ranks and lists can be checked within it. A helper column is null where there is nothing to
compare with.

They run on the tables that metrics.open_run_tables opens, with those of `prepare_sql` and the macro
of rule_checks.
"""

from wearalike.quality.rule_checks import BROKEN_RULE, RULE_COLUMNS
from wearalike.tables import CODE_BITS, LookSource

SHARE_CONDITION = "is_of_share"
# Columns of products that rows of lists are compared with.
_COMPARED_COLUMNS = dict.fromkeys(
    (
        *RULE_COLUMNS,
        "super_category",
        "availability",
        "age_group",
        "gender",
        "shape_weight",
        "colour_weight",
        "kind_weight",
    )
)
# The largest colour distance of a product's list as a multiple of that of the codes.
_COLOUR_SCALE = "(CASE WHEN len(p.colour_names) > 0 THEN 1.25 ELSE 1 END)"
# Difference between a row's score and the score that its weights and distances give.
_SCORE_ERROR = f"""abs(s.score - greatest(0, 1 - 2
        * (s.shape_weight * s.shape_distance + s.colour_weight * s.colour_distance{{feed}})
        / ({CODE_BITS} * (s.shape_weight + s.colour_weight{{feed_weight}}))))"""
_LOOK_SCORE_ERROR = _SCORE_ERROR.format(feed="", feed_weight="")
_SIMILAR_SCORE_ERROR = _SCORE_ERROR.format(
    feed=" + s.colour_weight * s.colour_name_distance + s.kind_weight * s.kind_distance",
    feed_weight=f" * {_COLOUR_SCALE} + s.kind_weight",
)


def prepare_sql(max_brand_share: float) -> str:
    """Return the statements that create what every share of the lists is joined with.

    Made once: to read all products anew for each share would take time by the square of a run.

    Args:
        max_brand_share: A shop in which one brand has a larger share of the products has one brand.
    """
    return f"""
CREATE OR REPLACE TEMP TABLE with_model AS
SELECT {", ".join(_COMPARED_COLUMNS)}, model_key(article_id, shop_id, group_id) AS model
FROM products;
CREATE OR REPLACE TEMP TABLE entries AS
SELECT product_id, item_id, shape::BIT AS shape, colour::BIT AS colour FROM indexes;
CREATE OR REPLACE TEMP TABLE one_brand_shops AS
WITH brands AS (
    SELECT shop_id, super_category, lower(brand) AS brand, count(*) AS n
    FROM with_model SEMI JOIN entries USING (product_id) GROUP BY ALL)
SELECT shop_id, super_category FROM brands GROUP BY ALL
HAVING max(n) FILTER (brand IS NOT NULL) > {max_brand_share!r}::DOUBLE * sum(n)
"""


PRODUCTS_SQL = f"""
SELECT * EXCLUDE (url, vendor_code, google_category, description)
    REPLACE (len(category_ids) AS category_ids, len(category_paths) AS category_paths,
        len(colours) AS colours, len(colour_names) AS colour_names, len(sizes) AS sizes,
        len(materials) AS materials, len(image_urls) AS image_urls),
    product_id = shop_id || ':' || offer_id AS is_id_of_offer,
    product_id IN (SELECT product_id FROM similar_lists) AS has_list,
    coalesce(article_id IN (SELECT article_id FROM products GROUP BY ALL HAVING count(*) > 1),
        false) = (product_id IN (SELECT product_id FROM product_variants)) AS is_among_variants
FROM products WHERE {SHARE_CONDITION} ORDER BY product_id
"""

PRODUCT_VARIANTS_SQL = f"""
WITH articles AS (
        SELECT article_id, count(*) AS products_count FROM products
        WHERE article_id IS NOT NULL GROUP BY ALL),
    ranked AS (
        SELECT article_id, count(DISTINCT rank) AS ranks_count, max(rank) AS last_rank
        FROM product_variants GROUP BY ALL)
SELECT v.* REPLACE (len(v.colour_names) AS colour_names, len(v.colours) AS colours,
        len(v.sizes) AS sizes),
    products_count,
    (v.article_id = p.article_id AND v.shop_id = p.shop_id AND v.colour_names = p.colour_names
        AND v.colours = p.colours AND v.sizes = p.sizes AND v.availability = p.availability)
        IS TRUE AS is_as_in_products,
    (v.rank >= 1 AND ranks_count = products_count AND last_rank = products_count)
        IS TRUE AS is_ranked_without_gaps
FROM (SELECT * FROM product_variants WHERE {SHARE_CONDITION}) v
LEFT JOIN products p USING (product_id)
LEFT JOIN articles a ON a.article_id = v.article_id
LEFT JOIN ranked r ON r.article_id = v.article_id
ORDER BY v.product_id
"""

INDEXES_SQL = f"""
SELECT e.*, p.product_id IS NOT NULL AS is_product,
    e.super_category = p.super_category AS is_in_its_super_category,
    -- Up to two images of a product cannot outvote the item's own code (search.product_codes).
    c.item_id IS NOT NULL AND ((c.shape = e.shape AND c.colour = e.colour)
        OR images_count > 2) IS TRUE AS is_code_of_item
FROM (SELECT * FROM indexes WHERE {SHARE_CONDITION}) e
LEFT JOIN products p USING (product_id) LEFT JOIN codes c ON c.item_id = e.item_id
LEFT JOIN (SELECT product_id, count(DISTINCT image_id) AS images_count FROM images
    WHERE {SHARE_CONDITION} GROUP BY product_id) USING (product_id)
ORDER BY e.product_id
"""

SIMILAR_LISTS_SQL = f"""
WITH counted AS (
    SELECT product_id, count(*) AS n
    FROM similar_products WHERE {SHARE_CONDITION} GROUP BY product_id)
SELECT l.*, coalesce(n, 0) AS rows_count,
    (l.similar_count < $k) = (l.shortfall_reason IS NOT NULL) AS is_explained,
    l.product_id IN (SELECT product_id FROM products) AS is_product
FROM (SELECT * FROM similar_lists WHERE {SHARE_CONDITION}) l LEFT JOIN counted USING (product_id)
ORDER BY l.product_id
"""

# p is the query product, a the recommended one; e and f are their index entries.
# Results of a pin or a fallback may have a lower score and exceed the limit on a brand. The limit
# holds in no shop of one brand.
SIMILAR_PRODUCTS_SQL = f"""
SELECT s.*, s.shape_weight + s.colour_weight AS w_sum,
    p.product_id IS NOT NULL AS is_product,
    a.product_id IS NOT NULL AS is_similar_product,
    s.similar_product_id <> s.product_id AS is_another,
    a.super_category = p.super_category AS is_same_super_category,
    a.availability AS similar_availability,
    a.age_group = p.age_group AS is_same_age_group,
    genders_fit(a.gender, p.gender) AS is_compatible_gender,
    a.model IS DISTINCT FROM p.model OR p.model IS NULL AS is_another_model,
    CASE WHEN a.model IS NOT NULL THEN
        count(*) OVER (PARTITION BY s.product_id, a.model)
    END AS results_of_model,
    CASE WHEN a.brand IS NOT NULL AND NOT is_placed
        AND (p.shop_id, p.super_category) NOT IN (FROM one_brand_shops) THEN
        count(*) OVER (PARTITION BY s.product_id, lower(a.brand), is_placed)
    END AS results_of_brand,
    s.shape_weight = p.shape_weight AND s.colour_weight = p.colour_weight
        AND s.kind_weight = p.kind_weight AS is_weighted_as_product,
    s.kind_distance = 0 OR a.category <> p.category AS is_kind_of_category,
    s.colour_name_distance = 0 OR (len(p.colour_names) > 0 AND a.colour_names <> p.colour_names)
        AS is_colour_name_of_product,
    s.reason <> '' AND s.reason_ru <> '' AS is_explained,
    (s.item_id = e.item_id AND s.similar_item_id = f.item_id) IS TRUE AS is_of_entries,
    bit_count(xor(e.shape, f.shape)) AS shape_bits,
    bit_count(xor(e.colour, f.colour)) AS colour_bits,
    row_number() OVER ranked AS rank_expected,
    CASE WHEN is_by_likeness THEN
        s.score - lag(s.score) OVER (
            PARTITION BY s.product_id, is_by_likeness ORDER BY s.rank, s.similar_product_id)
    END AS score_rise,
    CASE WHEN NOT is_placed THEN s.score END AS score_of_match,
    -- A pin wins over hide and require.
    CASE WHEN NOT is_pinned THEN {BROKEN_RULE} END AS broken_rule,
    {_SIMILAR_SCORE_ERROR} AS score_error,
    abs(s.shape_score - greatest(0, 1 - 2 * s.shape_distance / {CODE_BITS})) AS shape_score_error,
    abs(s.colour_score - greatest(0, 1 - 2 * (s.colour_distance + s.colour_name_distance)
        / ({CODE_BITS} * {_COLOUR_SCALE})))
        AS colour_score_error,
    abs(s.kind_score - (1 - s.kind_distance / 64)) AS kind_score_error
FROM (
    SELECT *, rule IS NULL AND fallback IS NULL AS is_by_likeness,
        rule IS NOT NULL AND rule LIKE 'pin:%' AS is_pinned,
        fallback IS NOT NULL OR is_pinned AS is_placed
    FROM similar_products WHERE {SHARE_CONDITION}
) s
LEFT JOIN with_model p USING (product_id)
LEFT JOIN with_model a ON a.product_id = s.similar_product_id
LEFT JOIN entries e ON e.product_id = s.product_id
LEFT JOIN entries f ON f.product_id = s.similar_product_id
WINDOW ranked AS (PARTITION BY s.product_id ORDER BY s.rank, s.similar_product_id)
ORDER BY s.product_id, s.rank, s.similar_product_id
"""

# p is the query product, a the recommended one; w is the item worn, f the entry of a. What a feed
# names has no item: its columns must be null, and those of other rows must not.
LOOK_PRODUCTS_SQL = f"""
WITH worn AS (SELECT product_id, unnest(items, recursive := true) FROM looks),
    wearing AS (SELECT DISTINCT product_id FROM look_products WHERE source = '{LookSource.WORN}'),
    -- Of each list the matches that have a look of their own.
    lending AS (
        SELECT l.product_id, l.similar_product_id, l.rank, l.score
        FROM similar_products l JOIN wearing g ON g.product_id = l.similar_product_id
        WHERE l.fallback IS NULL),
    links AS (
        SELECT product_id, shop_id || ':' || unnest(related_offer_ids) AS look_product_id
        FROM products)
SELECT s.*, s.shape_weight + s.colour_weight AS w_sum,
    p.product_id IS NOT NULL AS is_product,
    a.product_id IS NOT NULL AS is_look_product,
    a.super_category = s.super_category AS is_of_super_category,
    s.super_category IS DISTINCT FROM p.super_category AS is_of_another_super_category,
    a.availability AS look_availability,
    a.age_group = p.age_group AS is_same_age_group,
    genders_fit(a.gender, p.gender) AS is_compatible_gender,
    CASE WHEN a.model IS NOT NULL THEN
        count(*) OVER (PARTITION BY s.product_id, s.super_category, a.model)
    END AS results_of_model,
    count(DISTINCT s.source) OVER (PARTITION BY s.product_id, s.super_category) AS sources_count,
    CASE WHEN NOT is_linked THEN ((s.image_id, s.item_id, s.x0, s.y0, s.x1, s.y1)
        = (w.image_id, w.item_id, w.x0, w.y0, w.x1, w.y1)) IS TRUE END AS is_item_of_look,
    CASE WHEN NOT is_linked THEN s.image_id IN (
        SELECT i.image_id FROM images i WHERE i.product_id = s.worn_with_product_id
    ) END AS is_image_of_wearer,
    CASE WHEN NOT is_linked THEN (s.look_item_id = f.item_id) IS TRUE END AS is_of_entry,
    CASE s.source
        WHEN '{LookSource.WORN}' THEN (s.worn_with_product_id = s.product_id) IS TRUE
        WHEN '{LookSource.ALIKE}' THEN s.worn_with_product_id IN (
            SELECT l.similar_product_id FROM lending l WHERE l.product_id = s.product_id)
            AND s.product_id NOT IN (SELECT product_id FROM wearing)
        WHEN '{LookSource.FEED}' THEN (s.product_id, s.look_product_id) IN (SELECT * FROM links)
        ELSE false
    END AS is_of_source,
    CASE WHEN s.source = '{LookSource.ALIKE}' THEN NOT EXISTS (
        SELECT 1 FROM lending nearer JOIN lending taken USING (product_id)
        WHERE product_id = s.product_id AND taken.similar_product_id = s.worn_with_product_id
            AND nearer.rank < taken.rank AND nearer.score >= taken.score
    ) END AS is_of_most_alike,
    CASE WHEN is_linked
        THEN coalesce(s.worn_with_product_id, s.item_id, s.look_item_id) IS NULL
            AND s.score IS NULL AND s.x0 IS NULL
        ELSE s.score IS NOT NULL AND s.shape_distance IS NOT NULL AND s.colour_distance IS NOT NULL
            AND s.shape_score IS NOT NULL AND s.colour_score IS NOT NULL
    END AS is_scored_as_source,
    bit_count(xor(w.shape::BIT, f.shape::BIT)) AS shape_bits,
    bit_count(xor(w.colour::BIT, f.colour::BIT)) AS colour_bits,
    row_number() OVER ranked AS rank_expected,
    s.score - lag(s.score) OVER ranked AS score_rise,
    {BROKEN_RULE} AS broken_rule,
    {_LOOK_SCORE_ERROR} AS score_error
FROM (
    SELECT *, source = '{LookSource.FEED}' AS is_linked
    FROM look_products WHERE {SHARE_CONDITION}
) s
LEFT JOIN with_model p USING (product_id)
LEFT JOIN with_model a ON a.product_id = s.look_product_id
LEFT JOIN worn w
    ON w.product_id = s.worn_with_product_id AND w.super_category = s.super_category
LEFT JOIN indexes f ON f.product_id = s.look_product_id AND NOT is_linked
WINDOW ranked AS (PARTITION BY s.product_id, s.super_category ORDER BY s.rank, s.look_product_id)
ORDER BY s.product_id, s.super_category, s.rank
"""
