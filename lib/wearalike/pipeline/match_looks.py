"""looks, indexes, similar_products -> look_products: what completes the look of each product.

The first source that knows something is taken. For each item worn with a product in its own
pictures these are the products most alike the item. In other super-categories they are those that
the product's feed names beside it. A product with neither takes the look of the first product of
its list that has one and is alike enough: the products most alike the items worn there.

The search is exact, inside the item's super-category, among products in stock for the same
audience. An item takes the weights of the category that most of its nearest in shape have. The hide
and require rules of the run's day act as on the page of the product whose look it is.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from wearalike import catalog, search
from wearalike.catalog.merchandising_rules import MerchandisingRule, MerchandisingRuleKind
from wearalike.detection import looks
from wearalike.pipeline import job
from wearalike.pipeline.command_frame import run_command
from wearalike.pipeline.quality_options import OPTIONS_BY_KEY, build_option
from wearalike.pipeline.stage_command import StageOptions, build_stage_command
from wearalike.search import gallery_store
from wearalike.search.feed_looks import FEED_LOOK_COLUMNS, LinkFate, build_feed_looks
from wearalike.search.look_search import choose_most_alike, search_worn_items
from wearalike.storage import run_order, run_tables
from wearalike.tables import (
    INDEXES,
    LOOK_PRODUCTS,
    LOOKS,
    PRODUCTS,
    SIMILAR_PRODUCTS,
    LookSource,
)

log = logging.getLogger("wearalike.match_looks")

# Entries of the manifest of `looks` that the manifest of `look_products` repeats.
_INHERITED_FACTS = ("detector", "encoder")


def command() -> click.Command:
    """Return the stage as a command."""
    options = [
        build_option("looks_k"),
        build_option("looks_min_score"),
        build_option("looks_alike_min_score"),
    ]
    return build_stage_command(work, __doc__, options)


@dataclass(frozen=True, slots=True)
class LookMatching:
    """How the looks of a run are completed.

    Attributes:
        root: The data folder.
        run: The run.
        products: FEED_LOOK_COLUMNS and the columns of the rules, of all products of the run.
        rules: The rules of the lists.
        alike_min_score: The least score of a product whose look another one takes.
        merchandising_rules: The merchandiser's hide and require rules of the run's day.
    """

    root: Path
    run: str
    products: pa.Table
    rules: search.ListRules
    alike_min_score: float
    merchandising_rules: Sequence[MerchandisingRule] = ()


def work(args: StageOptions) -> None:
    """Write look_products of a run, where it is out of date."""
    settings = job.load_settings(args)
    root = settings.data_dir
    run = args.run
    k = OPTIONS_BY_KEY["looks_k"].read(args.k, settings)
    min_score = OPTIONS_BY_KEY["looks_min_score"].read(args.min_score, settings)
    alike_min_score = OPTIONS_BY_KEY["looks_alike_min_score"].read(args.alike_min_score, settings)
    rules = search.ListRules(k, min_score, max_per_brand=k)
    taxonomy = catalog.read_taxonomy(settings.mappings / "taxonomy.xml")
    merchandising_rules = [
        rule
        for rule in catalog.active_rules(
            catalog.read_rules(catalog.rules_path(settings), taxonomy),
            run,
            run_order.run_day(root, run),
        )
        if rule.kind in (MerchandisingRuleKind.HIDE, MerchandisingRuleKind.REQUIRE)
    ]
    manifest = run_tables.read_manifest(root, LOOKS, run)
    is_off = settings.looks == "off" and "why_empty" in manifest
    parameters = {
        **asdict(rules),
        "alike_min_score": alike_min_score,
        "looks": "off" if is_off else settings.looks,
        "merchandise": [asdict(rule) for rule in merchandising_rules],
    }
    inputs = {
        t.name: run_tables.input_hash(root, t, run)
        for t in (PRODUCTS, INDEXES, LOOKS, SIMILAR_PRODUCTS)
    }
    signature = run_tables.signature(inputs, parameters)
    if job.is_up_to_date(args, root, LOOK_PRODUCTS, signature):
        return
    rule_columns = {column for rule in merchandising_rules for column in rule.columns}
    columns = [*FEED_LOOK_COLUMNS, *sorted(rule_columns - set(FEED_LOOK_COLUMNS))]
    with run_tables.write_table(root, LOOK_PRODUCTS, run, signature, parameters) as table:
        facts = {name: manifest[name] for name in _INHERITED_FACTS if name in manifest}
        rows = LOOK_PRODUCTS.arrow_schema.empty_table()
        if not is_off:
            products = run_tables.read_table(root, PRODUCTS, run, columns)
            matching = LookMatching(
                root, run, products, rules, alike_min_score, merchandising_rules
            )
            versions = (facts.get("detector", ""), facts.get("encoder", ""))
            rows, refused, links = complete_looks(matching, versions, settings.looks == "worn")
            table.write(rows.sort_by([(name, "ascending") for name in LOOK_PRODUCTS.key]))
            table.refuse(refused)
            facts["links"] = links
        if not rows.num_rows and "why_empty" in manifest:
            facts["why_empty"] = manifest["why_empty"]
        facts["products_by_source"] = count_products_by_source(rows)
        table.manifest_extras |= facts
    log.info(
        "%d recommendations for the looks of products: %s",
        table.rows_written,
        ", ".join(f"{count} {source}" for source, count in facts["products_by_source"].items()),
    )


def count_products_by_source(rows: pa.Table) -> dict[str, int]:
    """Return how many products have rows of each source, by the order of the sources."""
    places = rows.select(["product_id", "source"]).group_by(["product_id", "source"])
    sources = places.aggregate([])["source"].to_pylist()
    return {source.value: sources.count(source.value) for source in LookSource}


def complete_looks(
    matching: LookMatching, versions: tuple[str, str], is_worn_only: bool = False
) -> tuple[pa.Table, pa.Table, dict[LinkFate, int]]:
    """Complete the looks of a run from every source.

    Args:
        matching: How.
        versions: Versions of the detector of worn items and of the encoder.
        is_worn_only: Only from the products' own pictures.

    Returns:
        Rows of tables.LOOK_PRODUCTS; rows of tables.REFUSED of the products with a look in
        which nothing is recommended; how many links of feeds had each fate.
    """
    root, run, products = matching.root, matching.run, matching.products
    worn_looks = run_tables.read_table(root, LOOKS, run)
    items = looks.explode_looks(worn_looks)
    items = items.append_column("worn_with_product_id", items["product_id"])
    empty = LOOK_PRODUCTS.arrow_schema.empty_table()
    parts = [empty, *iter_look_products(matching, items, LookSource.WORN, versions)]
    worn = pa.concat_tables(parts)
    if is_worn_only:
        return worn, looks.refuse_unmatched_looks(worn_looks["product_id"], products, worn), {}
    named, links = build_feed_looks(
        products,
        worn.select(["product_id", "super_category"]),
        matching.merchandising_rules,
        matching.rules.k,
    )
    asking = _ids_without(products["product_id"], pa.concat_tables([worn, named]))
    chosen = choose_most_alike(
        run_tables.open_dataset(root, SIMILAR_PRODUCTS, run),
        asking,
        pc.unique(worn["product_id"]),
        matching.alike_min_score,
    )
    taken = _take_looks(items, chosen)
    alike = iter_look_products(matching, taken, LookSource.ALIKE, versions)
    rows = pa.concat_tables([worn, named, *alike])
    tried = pc.unique(
        pa.chunked_array(
            [*worn_looks["product_id"].chunks, *chosen["product_id"].chunks], pa.string()
        )
    )
    return rows, looks.refuse_unmatched_looks(tried, products, rows), links


def _ids_without(product_ids: pa.ChunkedArray, rows: pa.Table) -> pa.Array:
    """Return the ids that no row has as its product_id."""
    has_row = pc.is_in(product_ids, pc.unique(rows["product_id"]))
    return product_ids.filter(pc.invert(has_row)).combine_chunks()


def _take_looks(items: pa.Table, chosen: pa.Table) -> pa.Table:
    """Return the items of the looks that products take.

    Args:
        items: The items of looks, a row each.
        chosen: product_id and worn_with_product_id.
    """
    return (
        items.drop_columns("product_id")
        .join(chosen, "worn_with_product_id", join_type="inner")
        .sort_by([("product_id", "ascending"), ("super_category", "ascending")])
    )


def iter_look_products(
    matching: LookMatching, items: pa.Table, source: LookSource, versions: tuple[str, str]
) -> Iterator[pa.Table]:
    """Yield rows of tables.LOOK_PRODUCTS, a table for each super-category and audience.

    Args:
        matching: How.
        items: The items of looks, a row each: product_id of the page that shows it,
            worn_with_product_id, and the columns of an item in tables.LOOKS.
        source: Where the items are worn.
        versions: Versions of the detector and of the encoder.
    """
    root, run, rules = matching.root, matching.run, matching.merchandising_rules
    audience = _audiences(items, matching.products)
    columns = {column for rule in rules for column in rule.columns}
    super_categories = np.array(items["super_category"].to_pylist())
    searchable = gallery_store.list_super_categories(root, run)
    for super_category in sorted(set(super_categories) & set(searchable)):
        gallery = gallery_store.load_gallery(root, run, super_category, columns)
        is_here = super_categories == super_category
        for name in np.unique(audience[is_here]):
            is_eligible = search.eligible_candidates(gallery, *name.split("\n"))
            candidate_rows = np.flatnonzero(is_eligible)
            if not len(candidate_rows):
                continue
            asking = items.filter(pa.array(is_here & (audience == name))).sort_by("product_id")
            lists, weight_rows = search_worn_items(
                gallery, candidate_rows, asking, matching.products, matching.rules, rules
            )
            yield search.build_look_products(gallery, asking, lists, weight_rows, source, *versions)


def _audiences(items: pa.Table, products: pa.Table) -> NDArray[np.str_]:
    """Return the audience of each item's product as "age_group\\ngender"."""
    product_rows = pc.index_in(items["product_id"], products["product_id"].combine_chunks())
    columns = [products[name].take(product_rows) for name in ("age_group", "gender")]
    return np.array(pc.binary_join_element_wise(*columns, "\n").to_pylist())


def main(argv: list[str] | None = None) -> int:
    """Run the job; see `run_command` for its exit codes."""
    return run_command(command(), argv)
