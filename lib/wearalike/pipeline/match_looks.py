"""looks, indexes -> look_products: for each item worn with a product, the products most alike it.

The search is exact, inside the item's super-category, among products in stock for the same
audience. An item takes the weights of the category that most of its nearest in shape have. The hide
and require rules of the run's day act as on the page of the product that the item is worn with.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import click
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from wearalike import catalog, search
from wearalike.catalog.merchandising_rules import MerchandisingRule, MerchandisingRuleKind
from wearalike.catalog.product_conditions import CONDITION_COLUMNS
from wearalike.detection import looks
from wearalike.pipeline import job
from wearalike.pipeline.command_frame import run_command
from wearalike.pipeline.quality_options import OPTIONS_BY_KEY, build_option
from wearalike.pipeline.stage_command import StageOptions, build_stage_command
from wearalike.search import gallery_store, index
from wearalike.search.page_rules import CompiledRules, PageRules
from wearalike.search.product_attributes import ATTRIBUTE_COLUMNS, build_attributes
from wearalike.storage import run_order, run_tables
from wearalike.storage.string_arrays import Texts
from wearalike.tables import INDEXES, LOOK_PRODUCTS, LOOKS, PRODUCTS

log = logging.getLogger("wearalike.match_looks")

# Entries of the manifest of `looks` that the manifest of `look_products` repeats.
_INHERITED_FACTS = ("detector", "encoder", "why_empty")


def command() -> click.Command:
    """Return the stage as a command."""
    options = [build_option("looks_k"), build_option("looks_min_score")]
    return build_stage_command(work, __doc__, options)


def work(args: StageOptions) -> None:
    """Write look_products of a run, where it is out of date."""
    settings = job.load_settings(args)
    root = settings.data_dir
    run = args.run
    k = OPTIONS_BY_KEY["looks_k"].read(args.k, settings)
    min_score = OPTIONS_BY_KEY["looks_min_score"].read(args.min_score, settings)
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
    parameters = {**asdict(rules), "merchandise": [asdict(rule) for rule in merchandising_rules]}
    inputs = {t.name: run_tables.input_hash(root, t, run) for t in (PRODUCTS, INDEXES, LOOKS)}
    signature = run_tables.signature(inputs, parameters)
    if job.is_up_to_date(args, root, LOOK_PRODUCTS, signature):
        return
    worn_looks = run_tables.read_table(root, LOOKS, run)
    rule_columns = sorted({column for rule in merchandising_rules for column in rule.columns})
    product_columns = [*ATTRIBUTE_COLUMNS, *rule_columns, "gender", "age_group"]
    products = run_tables.read_table(root, PRODUCTS, run, product_columns)
    manifest = run_tables.read_manifest(root, LOOKS, run)
    facts = {name: manifest[name] for name in _INHERITED_FACTS if name in manifest}
    with run_tables.write_table(root, LOOK_PRODUCTS, run, signature, parameters) as table:
        if worn_looks.num_rows:
            items = looks.explode_looks(worn_looks)
            versions = (facts["detector"], facts["encoder"])
            parts = iter_look_products(
                root, run, items, products, rules, versions, merchandising_rules
            )
            rows = pa.concat_tables([LOOK_PRODUCTS.arrow_schema.empty_table(), *parts])
            table.write(rows.sort_by([(name, "ascending") for name in LOOK_PRODUCTS.key]))
            table.refuse(looks.refuse_unmatched_looks(worn_looks, products, rows))
        table.manifest_extras |= facts
    log.info(
        "%d recommendations for the looks of %d products",
        table.rows_written,
        worn_looks.num_rows,
    )


def iter_look_products(
    root: Path,
    run: str,
    items: pa.Table,
    products: pa.Table,
    rules: search.ListRules,
    versions: tuple[str, str],
    merchandising_rules: Sequence[MerchandisingRule] = (),
) -> Iterator[pa.Table]:
    """Yield rows of tables.LOOK_PRODUCTS, a table for each super-category and audience.

    Args:
        root: The data folder.
        run: The run.
        items: The items of looks, a row each, with the product they are worn with.
        products: ATTRIBUTE_COLUMNS, the columns of the rules, gender and age_group, of at least
            these products.
        rules: The rules of the lists.
        versions: Versions of the detector and of the encoder.
        merchandising_rules: The merchandiser's rules of the run's day.
    """
    audience = _audiences(items, products)
    columns = {column for rule in merchandising_rules for column in rule.columns}
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
            codes = index.code_array(asking["shape"], asking["colour"]).view(np.uint64)
            weight_rows = search.vote_category_weights(gallery, candidate_rows, codes)
            lists = search.search_codes(
                gallery,
                candidate_rows,
                codes,
                gallery.shape_weight[weight_rows],
                gallery.colour_weight[weight_rows],
                rules,
                page_rules=_compile_page_rules(merchandising_rules, gallery, asking, products),
            )
            yield search.build_look_products(gallery, asking, list(lists), weight_rows, *versions)


def _compile_page_rules(
    rules: Sequence[MerchandisingRule],
    gallery: search.Gallery,
    asking: pa.Table,
    products: pa.Table,
) -> list[PageRules] | None:
    """Return the rules of the page of each item's product; None without rules."""
    if not rules:
        return None
    rows = pc.index_in(asking["product_id"], products["product_id"].combine_chunks())
    more = [name for name in CONDITION_COLUMNS if name in products.column_names]
    pages = build_attributes(
        lambda name: products[name].take(rows), Texts(asking["product_id"]), more
    )
    compiled_rules = CompiledRules(rules, gallery.attributes, pages)
    return [compiled_rules.rules_for_page(page) for page in range(len(asking))]


def _audiences(items: pa.Table, products: pa.Table) -> NDArray[np.str_]:
    """Return the audience of each item's product as "age_group\\ngender"."""
    product_rows = pc.index_in(items["product_id"], products["product_id"].combine_chunks())
    columns = [products[name].take(product_rows) for name in ("age_group", "gender")]
    return np.array(pc.binary_join_element_wise(*columns, "\n").to_pylist())


def main(argv: list[str] | None = None) -> int:
    """Run the job; see `run_command` for its exit codes."""
    return run_command(command(), argv)
