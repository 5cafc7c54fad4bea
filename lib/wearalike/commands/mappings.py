"""Commands for the shops' mappings: `wearalike check-mapping`, `wearalike suggest-mapping`."""

from __future__ import annotations

import logging
from pathlib import Path

import click
import pyarrow.compute as pc

from wearalike import catalog, tables
from wearalike.commands.groups import command
from wearalike.commands.options import settings_options
from wearalike.ops.check_mappings import find_mapping_mistakes
from wearalike.pipeline import job
from wearalike.storage import run_tables

log = logging.getLogger(__name__)


@command("check-mapping")
@click.argument("shops", nargs=-1, metavar="[SHOP]...")
@settings_options
def check_mapping(shops: tuple[str, ...], data_dir: Path | None, config: Path | None) -> None:
    """List every mistake in the shops' mappings, with file and line.

    Without SHOP, every shop of the settings is checked.
    """
    settings = job.read_settings(config, data_dir, needs_feeds=False)
    shop_ids = list(shops) or [shop.id for shop in settings.shops]
    mistakes = find_mapping_mistakes(settings, shop_ids)
    for mistake in mistakes:
        print(mistake)
    if mistakes:
        raise job.JobRejected(f"{len(mistakes)} mistake{'s' * (len(mistakes) > 1)}")
    print(f"no mistakes in {', '.join(shop_ids)}")


@command("suggest-mapping")
@click.argument("shop")
@click.option("--run", "run_name", help="Run whose offers are read; default: the last.")
@click.option(
    "--accept",
    "min_confidence",
    type=click.FloatRange(0, 1),
    metavar="CONFIDENCE",
    help="0..1; lines whose first guess is as sure are written active, e.g. 0.8.",
)
@settings_options
def suggest_mapping(
    shop: str,
    run_name: str | None,
    min_confidence: float | None,
    data_dir: Path | None,
    config: Path | None,
) -> None:
    """Draft the lines that a shop's mapping lacks, with the best guesses as comments.

    The percents say how often such guesses are right. A line is a comment until you uncomment it,
    or until --accept takes it.
    """
    settings = job.read_settings(config, data_dir, needs_feeds=False)
    settings.shop(shop)
    runs = run_tables.list_runs(settings.data_dir, tables.OFFERS)
    if not (run_name or runs):
        raise run_tables.TableNotFound(
            f"{settings.data_dir}: no run has read the feeds yet, so no words are known; read them "
            "first: python -m wearalike.pipeline ingest_feeds"
        )
    dataset = run_tables.open_dataset(settings.data_dir, tables.OFFERS, run_name or runs[-1])
    offers = dataset.to_table(filter=pc.field("shop_id") == settings.shop(shop).id)
    draft = catalog.draft_shop_mapping(settings, shop, offers, min_confidence)
    print(draft, end="")
    if "<map " not in draft:
        log.info("%s: every category is mapped already, so there is nothing to draft", shop)
