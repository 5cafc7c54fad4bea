"""Define every table of wearalike: its key, its columns with type, unit and meaning.

This is the one schema. A run's Parquet files (`arrow_schema`), the warehouse's DDL and the tables
in the docs are made from it. A column exists here or nowhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import pyarrow as pa


class SuperCategory(StrEnum):
    """Groups of categories. A product is matched only inside its super-category."""

    UPPER_WEAR = "upper_wear"
    LOWER_WEAR = "lower_wear"
    FULL_BODY = "full_body"
    OUTERWEAR = "outerwear"
    FOOT_WEAR = "foot_wear"
    BAGS = "bags"
    ACCESSORIES = "accessories"
    UNDERWEAR = "underwear"


class ImageView(StrEnum):
    """Views of a product in an image. A new one goes last: encoders know them by position."""

    FIGURE = "figure"  # somebody wears it, from head to foot
    FRONT = "front"  # somebody wears it, and the picture ends above the feet or below the head
    BACK = "back"  # the same from behind
    DETAIL = "detail"  # a part of it from near by
    FLAT = "flat"  # nobody wears it


class Availability(StrEnum):
    """Availability of an offer, as its shop says."""

    IN_STOCK = "in_stock"
    OUT_OF_STOCK = "out_of_stock"
    PREORDER = "preorder"
    BACKORDER = "backorder"
    ON_ORDER = "on_order"
    UNKNOWN = "unknown"


class LookSource(StrEnum):
    """Sources of a recommendation to complete a look, in the order in which they are asked."""

    WORN = "worn"  # an item worn with the product in its own pictures
    FEED = "feed"  # the cross-sell of the product's feed
    ALIKE = "alike"  # an item worn with a product most alike it


class Gender(StrEnum):
    """Wearers that a product is made for."""

    FEMALE = "female"
    MALE = "male"
    UNISEX = "unisex"


class AgeGroup(StrEnum):
    """Age group that a product is made for."""

    NEWBORN = "newborn"
    INFANT = "infant"
    TODDLER = "toddler"
    KIDS = "kids"
    ADULT = "adult"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Attributes:
        name: Its name in Parquet and in the warehouse.
        type: Its Arrow type.
        meaning: For people, with the unit.
        nullable: It may hold nulls.
    """

    name: str
    type: pa.DataType
    meaning: str
    nullable: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A table.

    Attributes:
        name: Its name, which is its folder's too.
        meaning: For people.
        key: Columns whose values together occur once in a run.
        columns: Its columns in order.
        lookup_columns: Columns that the site or an analyst looks up by; indexed in PostgreSQL.
    """

    name: str
    meaning: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    lookup_columns: tuple[str, ...] = ()

    @property
    def arrow_schema(self) -> pa.Schema:
        """The schema of its Parquet files."""
        return pa.schema([pa.field(c.name, c.type, nullable=c.nullable) for c in self.columns])

    @property
    def column_names(self) -> list[str]:
        """The names of its columns, in order."""
        return [c.name for c in self.columns]


# Bits of a code of shape, and of one of colour. A Hamming distance is 0..CODE_BITS.
CODE_BITS = 128

_text = pa.string()
_texts = pa.list_(pa.field("element", pa.string(), nullable=False))
_int = pa.int32()
_code = pa.binary(CODE_BITS // 8)

FEEDS = Table(
    "feeds",
    "One row a shop: what came of pulling its feed.",
    ("shop_id",),
    (
        Column("shop_id", _text, "the shop"),
        Column(
            "status",
            _text,
            "fresh: this run's feed; stale: the last good offers, reason says why; missing: "
            "neither",
        ),
        Column("reason", _text, "why the feed was not used (feeds.FeedReason)", True),
        Column("detail", _text, "what was found and what was wanted, credentials struck out", True),
        Column("dialect", _text, "yml, admitad, google_rss, google_atom or google_table", True),
        Column("source_run", _text, "the run whose offers are used", True),
        Column(
            "offers_count", pa.int64(), "offers read from the source: written + refused + withdrawn"
        ),
        Column("written_count", pa.int64(), "offers that went on"),
        Column("refused_count", pa.int64(), "offers refused, each with its row in refused"),
        Column("withdrawn_count", pa.int64(), "offers the shop itself marked deleted"),
        Column(
            "warnings_count",
            pa.int64(),
            "repairs that lost nothing (a bare &, an undeclared entity, a text cut)",
        ),
        Column("feed_bytes", pa.int64(), "size as it came over the wire", True),
        Column("feed_sha256", _text, "of the feed, unpacked", True),
        Column("feed_date", _text, "the day the shop says it made the feed, ISO 8601", True),
    ),
)

_offer_columns = (
    Column("product_id", _text, "<shop_id>:<offer_id>"),
    Column("shop_id", _text, "the shop, [a-z0-9_-]{1,64}"),
    Column("offer_id", _text, "the shop's own id, as it wrote it"),
    Column("group_id", _text, "what the shop groups variants of one model by", True),
    Column("title", _text, "for people; tags and control characters removed"),
    Column("url", _text, "the product's page in the shop, http(s)", True),
    Column("brand", _text, "maker", True),
    Column("vendor_code", _text, "maker's article number", True),
    Column("gtins", _texts, "GTIN, EAN or UPC with a right check digit, in 14 digits", True),
    Column("category_ids", _texts, "the shop's category ids, first is main"),
    Column(
        "category_paths",
        _texts,
        "the shop's category names, root first, joined by ' > '; same order as category_ids "
        "where both exist",
    ),
    Column("google_category", _text, "google_product_category as written", True),
    Column("price_cents", pa.int64(), "price now, hundredths of currency"),
    Column("old_price_cents", pa.int64(), "price before the sale, hundredths of currency", True),
    Column("currency", _text, "ISO 4217"),
    Column("availability", _text, "tables.Availability"),
    Column("gender", _text, "tables.Gender", True),
    Column("age_group", _text, "tables.AgeGroup", True),
    Column("colours", _texts, "colour words as the shop writes them"),
    Column("sizes", _texts, "sizes as the shop writes them, unit appended"),
    Column("materials", _texts, "materials as the shop writes them"),
    Column("patterns", _texts, "patterns as the shop writes them", True),
    Column("image_urls", _texts, "http(s) addresses, first is main"),
    Column("description", _text, "plain text, at most 5,000 characters", True),
    Column(
        "related_offer_ids",
        _texts,
        "offer_ids of the shop that it shows beside it (cross-sell), as its feed says",
        True,
    ),
)

_article_columns = (
    Column(
        "article_id",
        _text,
        "the smallest product_id of the offers that are one article; null for one that is alone",
        True,
    ),
    Column(
        "article_evidence",
        _texts,
        "why it is one article with others, the strongest first (articles.ArticleEvidence)",
        True,
    ),
)

OFFERS = Table(
    "offers",
    "One row a usable offer, as its feed says.",
    ("product_id",),
    (*_offer_columns, *_article_columns),
)

# Columns of `products` that every list shows, beside the id and the first of the image URLs.
DISPLAY_COLUMNS = (
    "shop_id",
    "title",
    "brand",
    "url",
    "price_cents",
    "old_price_cents",
    "currency",
)

PRODUCTS = Table(
    "products",
    "One row an offer whose category is mapped to a leaf of ours.",
    ("product_id",),
    (
        *(
            Column(c.name, c.type, c.meaning)
            if c.name in ("gender", "age_group", "related_offer_ids")
            else c
            for c in (*_offer_columns, *_article_columns)
        ),
        Column("category", _text, "leaf of the taxonomy, e.g. women.dresses.midi"),
        Column("super_category", _text, "tables.SuperCategory"),
        Column(
            "colour_names",
            _texts,
            "the colours that `colours` names, ids of colours.xml, sorted; three at most",
        ),
        Column(
            "sizes_left",
            _int,
            "sizes in stock of its article in these colours in the shop; null where the feed names "
            "none",
            True,
        ),
        Column(
            "first_seen",
            _text,
            "day of the run since which it is there without a gap, YYYY-MM-DD; null since the "
            "first run",
            True,
        ),
        Column("shape_weight", _int, "weight of shape in the distance, from the category"),
        Column("colour_weight", _int, "weight of colour in the distance, from the category"),
        Column("kind_weight", _int, "weight of kind in the distance, from the category"),
    ),
    lookup_columns=("category",),
)

PRODUCT_VARIANTS = Table(
    "product_variants",
    "One row a product of which the run has other colours or sizes: the variants of its article.",
    ("product_id",),
    (
        Column("product_id", _text, "the variant"),
        Column("article_id", _text, "equal for the variants of one article, as in products"),
        Column(
            "rank", _int, "its place among them, from 1: by shop, colour names, sizes, product_id"
        ),
        Column("variants_count", _int, "variants of the article, 2 or more"),
        Column("shop_id", _text, "the shop that sells it; several may sell one article"),
        Column("colour_names", _texts, "as in products"),
        Column("colours", _texts, "colour words as the shop writes them"),
        Column("sizes", _texts, "sizes as the shop writes them"),
        Column("availability", _text, "tables.Availability"),
    ),
    lookup_columns=("article_id",),
)

IMAGES = Table(
    "images",
    "One row a product's picture that was fetched and is a picture; the others are in refused.",
    ("product_id", "position"),
    (
        Column("product_id", _text, "whose picture"),
        Column("position", _int, "0 is the main picture"),
        Column("image_url", _text, "where it was fetched"),
        Column(
            "image_id",
            _text,
            "sha256 of the bytes, hex; the file is cache/images/<first two>/<image_id>",
        ),
        Column("format", _text, "JPEG, PNG, WEBP, GIF, BMP, TIFF or AVIF, by decoding"),
        Column("width_px", _int, "after EXIF orientation"),
        Column("height_px", _int, "after EXIF orientation"),
        Column("bytes", pa.int64(), "size of the file"),
    ),
)

ITEMS = Table(
    "items",
    "One row a garment, shoe or bag seen in an image.",
    ("item_id",),
    (
        Column("item_id", _text, "hash of image, detector and box"),
        Column("image_id", _text, "the image it was seen in"),
        Column("x0", _int, "px of the stored image, origin top left"),
        Column("y0", _int, "px"),
        Column("x1", _int, "px, outside the box"),
        Column("y1", _int, "px, outside the box"),
        Column("super_category", _text, "as the detector saw it; null where it does not say", True),
        Column("confidence", pa.float32(), "0..1, bigger is surer"),
        Column("detector", _text, "name and version of what saw it"),
    ),
)

CODES = Table(
    "codes",
    "One row an item: what it looks like.",
    ("item_id",),
    (
        Column("item_id", _text, "the item"),
        Column("shape", _code, f"{CODE_BITS} bits, most significant bit of byte 0 first"),
        Column("colour", _code, f"{CODE_BITS} bits, most significant bit of byte 0 first"),
        Column("encoder", _text, "name and version; codes of two encoders are never compared"),
        Column(
            "view",
            _text,
            "what its picture shows: figure, front, back, detail, flat; null where the encoder "
            "does not say",
            True,
        ),
    ),
)

PRODUCT_LEAVES = Table(
    "product_leaves",
    "One row a product whose pictures a leaf classifier has seen: the leaf that they show.",
    ("product_id",),
    (
        Column("product_id", _text, "the product"),
        Column("leaf", _text, "leaf of the taxonomy that its pictures most likely show"),
        Column("probability", pa.float32(), "0..1, how likely they show that leaf's kind"),
        Column(
            "category_probability",
            pa.float32(),
            "0..1, how likely one of them shows a thing of its super-category, or a kind near its "
            "own; null where the classifier knows no kind near it",
            True,
        ),
        Column("contradicts", pa.bool_(), "its pictures contradict its category: look at it"),
        Column("item_id", _text, "the item that shows the leaf most surely"),
        Column("classifier", _text, "name and version of what told the leaf"),
    ),
)

INDEXES = Table(
    "indexes",
    "One row a product that can be found: its entry in the index of its super-category.",
    ("product_id",),
    (
        Column("product_id", _text, "the product"),
        Column("super_category", _text, "which index: <super_category>.faiss"),
        Column("entry_id", pa.int64(), "its id inside that index: product_ids in order, from 0"),
        Column("item_id", _text, "the item that stands for the product"),
        Column("image_id", _text, "the image the item was seen in"),
        Column("shape", _code, "shape code: of each bit what most of the product's images have"),
        Column("colour", _code, "colour code, in the same way"),
    ),
)

MATCHES = Table(
    "matches",
    "One row a product: its most alike products, best first, after the rules.",
    ("product_id",),
    (
        Column("product_id", _text, "the product that asks"),
        Column("item_id", _text, "the item compared; null where the product has none", True),
        Column(
            "shortfall_reason",
            _text,
            "why there are fewer than asked for (matches.ShortfallReason); null for a full list",
            True,
        ),
        Column(
            "results",
            pa.list_(
                pa.field(
                    "element",
                    pa.struct(
                        [
                            pa.field("product_id", _text, nullable=False),
                            pa.field("item_id", _text, nullable=False),
                            pa.field("shape_distance", _int, nullable=False),
                            pa.field("colour_distance", _int, nullable=False),
                            pa.field("kind_distance", _int, nullable=False),
                            pa.field("colour_name_distance", _int, nullable=False),
                            pa.field("rule", _text),
                            pa.field("fallback", _text),
                        ]
                    ),
                    nullable=False,
                )
            ),
            "ordered by weighted distance, then product_id, but for what the merchandiser's "
            "rules moved",
        ),
    ),
)

SIMILAR_PRODUCTS = Table(
    "similar_products",
    "One row a recommendation: what the site reads.",
    ("product_id", "rank"),
    (
        Column("product_id", _text, "the product whose page is shown"),
        Column("rank", _int, "1 is the most alike"),
        Column("similar_product_id", _text, "the product to recommend"),
        Column(
            "score",
            pa.float64(),
            "0..1, 1 is the same code and kind, 0 another kind no more alike than chance",
        ),
        Column("shape_score", pa.float64(), "the same for shape alone"),
        Column("colour_score", pa.float64(), "the same for colour alone, code and name"),
        Column("kind_score", pa.float64(), "the same for kind alone"),
        Column("shape_distance", _int, f"Hamming, 0..{CODE_BITS} bits"),
        Column("colour_distance", _int, f"Hamming, 0..{CODE_BITS} bits"),
        Column(
            "kind_distance", _int, "between the two categories: 0 the same kind, 64 another family"
        ),
        Column(
            "colour_name_distance",
            _int,
            "between the colours that the feeds name, added to that of the codes: 0 the same or "
            "none named, 32 nothing in common",
        ),
        Column("shape_weight", _int, "weight used for shape"),
        Column("colour_weight", _int, "weight used for colour"),
        Column("kind_weight", _int, "weight used for kind"),
        Column("reason", _text, "why it is alike, in English words"),
        Column("reason_ru", _text, "why it is alike, in Russian words"),
        Column("item_id", _text, "the product's item compared"),
        Column("similar_item_id", _text, "the recommended product's item compared"),
        Column(
            "rule",
            _text,
            "the merchandiser's rule that put it here: pin:<id>, prefer:<id> or bury:<id> of "
            "rules.xml",
            True,
        ),
        Column(
            "fallback",
            _text,
            "what it fills a short list as (matches.Fallback); null for a match",
            True,
        ),
        Column("detector", _text, "model that saw the items"),
        Column("encoder", _text, "model that made the codes"),
    ),
    lookup_columns=("similar_product_id",),
)

SIMILAR_LISTS = Table(
    "similar_lists",
    "One row a product: how many recommendations it has, and why no more.",
    ("product_id",),
    (
        Column("product_id", _text, "the product"),
        Column("similar_count", _int, "rows in similar_products"),
        Column("shortfall_reason", _text, "why fewer than asked for; null for a full list", True),
        Column("image_id", _text, "the image compared; null where the product has none", True),
        Column("item_id", _text, "the item compared; null where the product has none", True),
    ),
)

_VARIANT = Column("variant", _text, "the variant whose list it is, as in list_variants")

CODES_VARIANTS = Table(
    "codes_variants",
    "One row an item and encoder that a variant has of its own: what the item looks like.",
    ("encoder", *CODES.key),
    CODES.columns,
)

INDEXES_VARIANTS = Table(
    "indexes_variants",
    "One row a product and encoder of a variant: its entry in that encoder's index.",
    ("encoder", *INDEXES.key),
    (
        Column("encoder", _text, "name and version; its indexes are <encoder>/*.faiss"),
        *INDEXES.columns,
    ),
)

MATCHES_VARIANTS = Table(
    "matches_variants",
    "One row a product and variant: its most alike products by its weights, rules and encoder.",
    ("variant", *MATCHES.key),
    (_VARIANT, *MATCHES.columns),
)

LIST_VARIANTS = Table(
    "list_variants",
    "One row a variant of the lists in the run's experiment, the control among them; none without "
    "an experiment.",
    ("variant",),
    (
        Column("variant", _text, "its name; control for the lists of similar_products"),
        Column("experiment", _text, "the experiment, whose name splits the visitors"),
        Column(
            "assignment",
            _text,
            "split: its visitors see its lists; interleave: lists of it and of the control",
        ),
        Column("first_bucket", _int, "first bucket of its visitors, 0..9999"),
        Column("end_bucket", _int, "bucket after the last one"),
        Column("weights", _text, "its weights of shape, colour and kind; null: as control", True),
        Column("rules", _text, "its file of rules; null: as control", True),
        Column("encoder", _text, "version of its encoder; null: as control", True),
    ),
)

SIMILAR_PRODUCTS_VARIANTS = Table(
    "similar_products_variants",
    "One row a recommendation in the list of a variant; those of the control are similar_products.",
    ("variant", *SIMILAR_PRODUCTS.key),
    (_VARIANT, *SIMILAR_PRODUCTS.columns),
)

SIMILAR_LISTS_VARIANTS = Table(
    "similar_lists_variants",
    "One row a product and variant: how many recommendations it has, and why no more.",
    ("variant", *SIMILAR_LISTS.key),
    (_VARIANT, *SIMILAR_LISTS.columns),
)

LOOKS = Table(
    "looks",
    "One row a product that is shown worn with other things: what else is worn in its own "
    "full-figure images.",
    ("product_id",),
    (
        Column("product_id", _text, "the product"),
        Column(
            "items",
            pa.list_(
                pa.field(
                    "element",
                    pa.struct(
                        [
                            pa.field("super_category", _text, nullable=False),
                            pa.field("image_id", _text, nullable=False),
                            pa.field("item_id", _text, nullable=False),
                            *(
                                pa.field(name, _int, nullable=False)
                                for name in ("x0", "y0", "x1", "y1")
                            ),
                            pa.field("confidence", pa.float32(), nullable=False),
                            pa.field("shape", _code, nullable=False),
                            pa.field("colour", _code, nullable=False),
                        ]
                    ),
                    nullable=False,
                )
            ),
            "the best item of each super-category but the product's own, in the order of the "
            "super-categories' names",
        ),
    ),
)

LOOK_PRODUCTS = Table(
    "look_products",
    "One row a recommendation to complete the look: a product most alike what is worn with the "
    "product, or with one most alike it, or what its feed shows beside it.",
    ("product_id", "super_category", "rank"),
    (
        Column("product_id", _text, "the product whose page is shown"),
        Column("super_category", _text, "of the product recommended, and of the item worn"),
        Column(
            "rank",
            _int,
            "in that super-category: 1 is the most alike, or the first that the feed names",
        ),
        Column("look_product_id", _text, "the product to recommend"),
        Column("source", _text, "why it is known to go with the product (tables.LookSource)"),
        Column(
            "worn_with_product_id",
            _text,
            "the product in whose image the item is worn: itself, or one most alike it; null, as "
            "the columns of scores and of the item, where the feed names the recommendation",
            True,
        ),
        Column(
            "score",
            pa.float64(),
            "0..1, 1 is the same code as the item's, 0 no more alike than chance",
            True,
        ),
        Column("shape_score", pa.float64(), "the same for shape alone", True),
        Column("colour_score", pa.float64(), "the same for colour alone", True),
        Column("shape_distance", _int, f"Hamming, 0..{CODE_BITS} bits", True),
        Column("colour_distance", _int, f"Hamming, 0..{CODE_BITS} bits", True),
        Column("shape_weight", _int, "weight used for shape", True),
        Column("colour_weight", _int, "weight used for colour", True),
        Column("reason", _text, "why it goes with the product, in English words"),
        Column("reason_ru", _text, "why it goes with the product, in Russian words"),
        Column("image_id", _text, "the image that the item is worn in", True),
        Column("item_id", _text, "the item worn there, not the product's own", True),
        Column("x0", _int, "px of that image after EXIF orientation, origin top left", True),
        Column("y0", _int, "px", True),
        Column("x1", _int, "px, outside the box", True),
        Column("y1", _int, "px, outside the box", True),
        Column("look_item_id", _text, "the recommended product's item compared", True),
        Column("detector", _text, "model that saw the item worn", True),
        Column("encoder", _text, "model that made the codes", True),
    ),
    lookup_columns=("look_product_id",),
)

QUALITY = Table(
    "quality",
    "One row for each metric of a run.",
    ("metric", "scope"),
    (
        Column("metric", _text, "e.g. precision@10, products_count, refused_count"),
        Column(
            "scope",
            _text,
            "what it is of: all, shop=moda, super_category=bags, category=..., reason=...",
        ),
        Column("value", pa.float64(), "in the metric's unit"),
        Column("low", pa.float64(), "lower end of the 95 % interval", True),
        Column("high", pa.float64(), "upper end of the 95 % interval", True),
        Column("unit", _text, "count, ratio, s, score, psi"),
        Column("verdict", _text, "ok, warn or fail; null where no threshold is set", True),
        Column("threshold", _text, "the floor or ceiling it is held against", True),
    ),
)

REFUSED = Table(
    "refused",
    "One row a thing that did not go on, beside the table it was meant for.",
    ("stage", "kind", "key"),
    (
        Column("stage", _text, "the table it was refused from"),
        Column("shop_id", _text, "the shop it came from", True),
        Column("kind", _text, "offer, image, item or product"),
        Column("key", _text, "what tells it from the others of its kind"),
        Column("reason", _text, "from the short list of its module"),
        Column("detail", _text, "what was found and what was wanted", True),
    ),
)

PHOTO_QUERIES = Table(
    "photo_queries",
    "One row a photo that was asked about; the same question twice is one row.",
    ("query_id",),
    (
        Column("query_id", _text, "hash of run, photo, models and what was asked for"),
        Column("asked_at", _text, "UTC, ISO 8601"),
        Column("photo_id", _text, "sha256 of the photo's bytes, hex"),
        Column("width_px", _int, "after EXIF orientation"),
        Column("height_px", _int, "after EXIF orientation"),
        Column("k", _int, "results asked for an item"),
        Column(
            "weights",
            _text,
            "shape:colour or shape:colour:kind asked for; null for the category's own",
            True,
        ),
        Column("gender", _text, "tables.Gender asked for", True),
        Column("age_group", _text, "tables.AgeGroup asked for", True),
        Column("items_count", _int, "garments, shoes and bags seen in it"),
        Column("results_count", _int, "products answered, of all items"),
        Column("detector", _text, "model that saw the items"),
        Column("encoder", _text, "model that made the codes"),
        Column("answer", _text, "the whole answer, JSON"),
    ),
)

JUDGEMENTS = Table(
    "judgements",
    "One row a pair of products that a person judged; judged again, the last one counts.",
    ("judge", "product_id", "similar_product_id"),
    (
        Column("judge", _text, "who judged"),
        Column("product_id", _text, "the product that asks"),
        Column("similar_product_id", _text, "the product recommended for it"),
        Column(
            "verdict",
            _text,
            "of a list: alike, not_alike, wrong_category or unsure (judgements.RelevanceVerdict); "
            "of a look: goes_with, does_not_go or unsure_if_it_goes (judgements.LookVerdict)",
        ),
        Column("category", _text, "of the product that asks, in the run judged"),
        Column("rank", _int, "its rank in the run judged"),
        Column("score", pa.float64(), "its score in the run judged; 0 where it has none"),
        Column("judged_at", _text, "UTC, ISO 8601"),
    ),
)

PICTURE_LABELS = Table(
    "picture_labels",
    "One row each time that a person saves a picture on the page /label; the last one of a person "
    "and picture counts, the earlier ones are its history.",
    ("labeller", "image_id", "saved_at"),
    (
        Column("labeller", _text, "who labelled"),
        Column("image_id", _text, "the picture: sha256 of its bytes, hex"),
        Column("saved_at", _text, "UTC, ISO 8601"),
        Column(
            "status",
            _text,
            "labelled, skipped, or final: chosen or corrected where people disagreed "
            "(picture_labels.LabelStatus)",
        ),
        Column(
            "boxes",
            _text,
            "JSON list of objects: x0, y0, x1, y1 in px upright, class as detectors name it, "
            "and leaf, colour and pattern where they are said",
        ),
        Column("format", _text, "of the picture, as in images"),
        Column("width_px", _int, "after EXIF orientation"),
        Column("height_px", _int, "after EXIF orientation"),
        Column("product_id", _text, "the product that it showed in the run labelled"),
        Column("article", _text, "the product's article, which decides the split of an export"),
        Column("margin", pa.float64(), "0..1, how sure the detector was (label_queue)"),
    ),
)

EVENT_RATES = Table(
    "event_rates",
    "One row a part of a published run: what visitors did with its recommendations.",
    ("dimension", "part"),
    (
        Column("dimension", _text, "all, rank, category, rule, encoder, shop, variant or team"),
        Column(
            "part",
            _text,
            "its value: all; the rank; the category or the shop of the page; the rule, or none; "
            "the variant seen, and in interleaved lists the team",
        ),
        Column("impressions_count", pa.int64(), "times that a recommendation was seen"),
        Column("clicks_count", pa.int64(), "times that one was clicked"),
        Column("orders_count", pa.int64(), "times that one was ordered"),
        Column(
            "click_rate",
            pa.float64(),
            "clicks an impression; null without impressions, or with fewer than clicks",
            True,
        ),
        Column("click_low", pa.float64(), "lower end of its 95 % interval (Wilson)", True),
        Column("click_high", pa.float64(), "upper end", True),
        Column("order_rate", pa.float64(), "orders an impression, null in the same way", True),
        Column("order_low", pa.float64(), "lower end of its 95 % interval (Wilson)", True),
        Column("order_high", pa.float64(), "upper end", True),
        Column("first_at", _text, "first event, UTC, ISO 8601"),
        Column("last_at", _text, "last event, UTC, ISO 8601"),
    ),
)

EXPERIMENT_RATES = Table(
    "experiment_rates",
    "One row a variant of an experiment: what visitors did with its lists since the experiment "
    "began, up to the run.",
    ("experiment", "assignment", "variant"),
    (
        Column("experiment", _text, "the experiment, as in list_variants"),
        Column(
            "assignment",
            _text,
            "split: of lists that are the variant's alone; interleave: of its picks in lists in "
            "which it and the control take turns",
        ),
        Column("variant", _text, "the variant, or control"),
        Column("impressions_count", pa.int64(), "times that a recommendation was seen"),
        Column("clicks_count", pa.int64(), "times that one was clicked"),
        Column("orders_count", pa.int64(), "times that one was ordered"),
        Column("click_rate", pa.float64(), "clicks an impression, null as in event_rates", True),
        Column("click_low", pa.float64(), "lower end of its 95 % interval (Wilson)", True),
        Column("click_high", pa.float64(), "upper end", True),
        Column("order_rate", pa.float64(), "orders an impression, null in the same way", True),
        Column("order_low", pa.float64(), "lower end of its 95 % interval (Wilson)", True),
        Column("order_high", pa.float64(), "upper end", True),
        Column(
            "wins_count",
            pa.int64(),
            "interleaved lists of which more of its picks were clicked than of the other's; null, "
            "as the columns that follow, where assignment is split",
            True,
        ),
        Column("losses_count", pa.int64(), "those of which fewer of its picks were", True),
        Column("ties_count", pa.int64(), "those of which as many were", True),
        Column("win_share", pa.float64(), "wins of wins and losses; null without any", True),
        Column("win_low", pa.float64(), "lower end of its 95 % interval (Wilson)", True),
        Column("win_high", pa.float64(), "upper end", True),
        Column(
            "p_value",
            pa.float64(),
            "two-sided sign test: how likely equal lists are as uneven",
            True,
        ),
        Column("first_at", _text, "first event, UTC, ISO 8601"),
        Column("last_at", _text, "last event, UTC, ISO 8601"),
    ),
)

# In the data's order.
TABLES = (
    FEEDS,
    OFFERS,
    PRODUCTS,
    PRODUCT_VARIANTS,
    IMAGES,
    ITEMS,
    CODES,
    PRODUCT_LEAVES,
    LOOKS,
    INDEXES,
    MATCHES,
    SIMILAR_PRODUCTS,
    SIMILAR_LISTS,
    LOOK_PRODUCTS,
    QUALITY,
    REFUSED,
)
# The tables that a warehouse holds; every row there carries its run.
PUBLISHED_TABLES = (
    PRODUCTS,
    PRODUCT_VARIANTS,
    SIMILAR_PRODUCTS,
    SIMILAR_LISTS,
    LOOK_PRODUCTS,
    QUALITY,
)
# The published tables that a run has only with an experiment, in the order of their writing.
EXPERIMENT_TABLES = (SIMILAR_PRODUCTS_VARIANTS, SIMILAR_LISTS_VARIANTS, LIST_VARIANTS)
# Every table that a run may have, and every table that a warehouse has; those of an experiment are
# empty where a run has none.
RUN_TABLES = (*TABLES, CODES_VARIANTS, INDEXES_VARIANTS, MATCHES_VARIANTS, *EXPERIMENT_TABLES)
LOADED_TABLES = (*PUBLISHED_TABLES, *EXPERIMENT_TABLES)
# Columns that earlier versions named otherwise, by table: former name to present name. Warehouses
# that hold runs of such a version are upgraded by it.
_RENAMED_WEIGHTS = {"w_shape": "shape_weight", "w_colour": "colour_weight"}
RENAMED_COLUMNS: dict[str, dict[str, str]] = {
    PRODUCTS.name: _RENAMED_WEIGHTS,
    SIMILAR_PRODUCTS.name: _RENAMED_WEIGHTS,
    SIMILAR_LISTS.name: {"short_reason": "shortfall_reason"},
    LOOK_PRODUCTS.name: _RENAMED_WEIGHTS,
    QUALITY.name: {"measure": "metric", "bound": "threshold"},
}
# By table and column: the value of a column that earlier versions did not have, where it is known.
_FORMER_VALUES = {(LOOK_PRODUCTS.name, "source"): LookSource.WORN.value}
# Records of what people do with a publication. A warehouse holds them beside the runs.
RECORDED_TABLES = (PHOTO_QUERIES, JUDGEMENTS, PICTURE_LABELS, EVENT_RATES, EXPERIMENT_RATES)
TABLES_BY_NAME = {t.name: t for t in (*RUN_TABLES, *RECORDED_TABLES)}

_DDL_TYPES = {
    "duckdb": {
        "string": "VARCHAR",
        "int32": "INTEGER",
        "int64": "BIGINT",
        "double": "DOUBLE",
        "float": "REAL",
        "list": "VARCHAR[]",
        "bool": "BOOLEAN",
    },
    "postgresql": {
        "string": "text",
        "int32": "integer",
        "int64": "bigint",
        "double": "double precision",
        "float": "real",
        "list": "text[]",
        "bool": "boolean",
    },
}


def former_value(table: Table, column: Column) -> str | int | list[str] | None:
    """Return the value of a column in rows of an earlier version, which did not have it.

    Args:
        table: A published table.
        column: One of its columns.

    Returns:
        The known value; else None, or an empty text, list or 0 where the column must not be null.
    """
    known = _FORMER_VALUES.get((table.name, column.name))
    if known is not None or column.nullable:
        return known
    if pa.types.is_list(column.type):
        return []
    return "" if pa.types.is_string(column.type) else 0


def ddl_columns(table: Table, engine: str) -> str:
    """Return the column list of `CREATE TABLE` for a published table, the run first.

    Args:
        table: A published or recorded table.
        engine: "duckdb" or "postgresql".

    Raises:
        KeyError: A column has a type that no published table has.
    """
    types = _DDL_TYPES[engine]
    run = f"run {types['string']} NOT NULL"
    lines = []
    for column in table.columns:
        kind = "list" if pa.types.is_list(column.type) else str(column.type)
        constraint = "" if column.nullable else " NOT NULL"
        lines.append(f"{column.name} {types[kind]}{constraint}")
    return ",\n    ".join([run, *lines])


def markdown() -> str:
    """Return every table in Markdown, for the docs."""
    lines = []
    for table in (*RUN_TABLES, *RECORDED_TABLES):
        lines += [
            f"**{table.name}** (key: {', '.join(table.key)}). {table.meaning}",
            "",
            "| column | type | meaning |",
            "|---|---|---|",
        ]
        for column in table.columns:
            kind = (
                f"list of {column.name}"
                if pa.types.is_list(column.type) and pa.types.is_struct(column.type.value_type)
                else str(column.type)
            )
            kind = "list of string" if kind.startswith("list<") else kind
            null = ", may be null" if column.nullable else ""
            meaning = column.meaning.replace("|", "/")
            lines.append(f"| {column.name} | {kind}{null} | {meaning} |")
        lines.append("")
    return "\n".join(lines)
