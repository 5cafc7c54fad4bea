"""offers -> products, product_variants: map each offer's category to a leaf, or refuse the offer.

The job reads the run's offers, <mappings>/taxonomy.xml and <mappings>/shops/<shop>.xml. It writes
the table `products`, and `product_variants` from it: the products of an article that comes in
several colours or sizes. A mistake in any of these files stops the job before any work, and the log
lists every mistake by file and line. Where a shop has no mapping, all its offers are refused as
unmapped, and the log says which file to write.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from pathlib import Path

import click
import pyarrow as pa
import pyarrow.compute as pc

from wearalike import catalog, feeds
from wearalike.catalog import feed_distances
from wearalike.pipeline import job
from wearalike.pipeline.command_frame import run_command
from wearalike.pipeline.first_seen import FirstSeen
from wearalike.pipeline.stage_command import StageOptions, build_stage_command
from wearalike.settings import Settings
from wearalike.storage import run_tables
from wearalike.tables import OFFERS, PRODUCT_VARIANTS, PRODUCTS

log = logging.getLogger(__name__)
# The commonest categories that a mapping lacks, as shown in the log.
MAX_SHOWN_WORDS = 5


def command() -> click.Command:
    """Return the stage as a command."""
    return build_stage_command(work, __doc__)


def work(args: StageOptions) -> None:
    """Write the tables `products` and `product_variants`, where they are out of date."""
    settings = job.load_settings(args)
    _write_products(args, settings)
    _write_variants(args, settings.data_dir)


def _write_products(args: StageOptions, settings: Settings) -> None:
    """Write the table `products`, if it is out of date."""
    offered = set(
        pc.unique(
            run_tables.read_table(settings.data_dir, OFFERS, args.run, ["shop_id"])["shop_id"]
        ).to_pylist()
    )
    taxonomy, mappings = catalog.read_taxonomy_and_mappings(
        settings, offered | {shop.id for shop in settings.shops}
    )
    google = catalog.read_google_defaults(settings)
    colours = catalog.read_colours(settings)
    parameters = {
        "google_categories": google.sha256,
        "taxonomy": taxonomy.sha256,
        "colours": colours.sha256,
        # Tables of a version without kinds, sizes left and first days are made again.
        "kinds": 2,
        "mappings": {shop: mapping.sha256 for shop, mapping in mappings.items()},
    }
    first_seen = FirstSeen.read(settings.data_dir, args.run)
    inputs = {OFFERS.name: run_tables.input_hash(settings.data_dir, OFFERS, args.run)}
    if first_seen.last_hash:
        inputs[f"last_{PRODUCTS.name}"] = first_seen.last_hash
    signature = run_tables.signature(inputs, parameters)
    if job.is_up_to_date(args, settings.data_dir, PRODUCTS, signature):
        return
    for shop_id in sorted(offered - mappings.keys()):
        log.warning(
            "%s: no mapping, offers without a google_product_category are refused; wanted %s",
            shop_id,
            catalog.missing_mapping_hint(settings, shop_id),
        )
    offers = run_tables.open_dataset(settings.data_dir, OFFERS, args.run)
    unmapped: dict[str, Counter[str]] = defaultdict(Counter)
    mapped_shops: set[str] = set()
    shared_articles = feeds.find_shared_articles(offers)
    sizes_left = feeds.SizesLeft(offers)
    with run_tables.write_table(
        settings.data_dir, PRODUCTS, args.run, signature, parameters
    ) as writer:
        writer.rows_taken = offers.count_rows()
        feed_distances.write_category_kinds(writer.path, taxonomy.kinds)
        feed_distances.write_colours(writer.path, colours.hex_by_id)
        for batch in offers.to_batches(batch_size=run_tables.BATCH_ROWS):
            for shop_id in pc.unique(batch["shop_id"]).to_pylist():
                part = pa.Table.from_batches([batch]).filter(pc.field("shop_id") == shop_id)
                products, refused = catalog.map_offers(
                    part,
                    mappings.get(shop_id, catalog.ShopMapping(shop_id)),
                    taxonomy,
                    google,
                    colours,
                )
                products = shared_articles.rename(products)
                ids = products["product_id"]
                for name, values in (
                    ("sizes_left", sizes_left.of_products(ids)),
                    ("first_seen", first_seen.of_products(ids)),
                ):
                    place = products.schema.get_field_index(name)
                    products = products.set_column(place, products.schema.field(name), values)
                writer.write(products)
                writer.refuse(refused)
                unmapped[shop_id].update(dict(catalog.unmapped_words(refused)))
                mapped_shops |= {shop_id} if products.num_rows else set()
    _log_unmapped_words(unmapped, mapped_shops)
    log.info(
        "products: %d of %d offers mapped, refused: %s",
        writer.rows_written,
        writer.rows_taken,
        dict(writer.refusal_counts) or "none",
    )


def _write_variants(args: StageOptions, root: Path) -> None:
    """Write the table `product_variants`, if it is out of date."""
    inputs = {PRODUCTS.name: run_tables.input_hash(root, PRODUCTS, args.run)}
    signature = run_tables.signature(inputs, {})
    if job.is_up_to_date(args, root, PRODUCT_VARIANTS, signature):
        return
    products = run_tables.open_dataset(root, PRODUCTS, args.run)
    with run_tables.write_table(root, PRODUCT_VARIANTS, args.run, signature) as writer:
        for batch in catalog.iter_variants(products):
            writer.write(batch)
    log.info("product_variants: %d products of several colours or sizes", writer.rows_written)


def _log_unmapped_words(unmapped: dict[str, Counter[str]], mapped_shops: set[str]) -> None:
    """Log the commonest words that a shop's mapping lacks; a warning where it maps nothing."""
    for shop_id, counts in sorted(unmapped.items()):
        if not counts:
            continue
        shown = ", ".join(f"{word!r} ({n:,})" for word, n in counts.most_common(MAX_SHOWN_WORDS))
        more = f" and {len(counts) - MAX_SHOWN_WORDS} more" * (len(counts) > MAX_SHOWN_WORDS)
        log.log(
            logging.INFO if shop_id in mapped_shops else logging.WARNING,
            "%s: %d offers are of categories that its mapping lacks: %s%s; "
            "wearalike suggest-mapping %s drafts the lines",
            shop_id,
            counts.total(),
            shown,
            more,
            shop_id,
        )


def main(argv: list[str] | None = None) -> int:
    """Run the job; see `run_command` for its exit codes."""
    return run_command(command(), argv)
