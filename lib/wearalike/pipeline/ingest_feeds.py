"""feeds -> offers: pulls every shop's feed and writes the tables feeds and offers of a run.

Spark spreads the shops over its workers, one task a shop. A feed that cannot be used (not fetched, broken, cut off,
far smaller than last time, in words that the shop's mapping does not know ...) keeps the shop's offers of the last run
that was good, and the log says which shop, why, and what to do. The exit code is 1 only when no shop has any offers,
and before any feed is pulled where a mapping has mistakes.

A run that has pulled its feeds keeps them: call with --force to pull again.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import uuid
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from wearalike import catalog, feeds
from wearalike.net import address_guard
from wearalike.pipeline import job
from wearalike.settings import Settings, ShopSettings
from wearalike.storage import atomic, run_tables
from wearalike.tables import FEEDS, OFFERS

log = logging.getLogger("wearalike.ingest_feeds")


def parser() -> argparse.ArgumentParser:
    made = job.parser(__doc__)
    made.add_argument("--spark-master", help="Spark's master; default: the settings'")
    return made


def work(args: argparse.Namespace) -> None:
    settings = job.load_settings(args)
    if not settings.shops:
        raise job.JobRejected(
            "the settings name no shop: add a [[shops]] table with id and feed to wearalike.toml"
        )
    root, parameters = (
        settings.data_dir.resolve(),
        {shop.id: _shop_parameters(shop) for shop in settings.shops},
    )
    if not args.force and is_up_to_date(root, args.run, parameters):
        log.info("feeds and offers: stand, nothing to do; --force pulls again")
        return
    seen = {
        table.name: run_tables.table_version(root, table, args.run) for table in (OFFERS, FEEDS)
    }
    with atomic.staging_dir(run_tables.table_dir(root, OFFERS, args.run)) as folder:
        write_tables(
            root,
            args.run,
            pull_feeds(
                root, args.run, settings, folder, args.spark_master or settings.spark_master
            ),
            parameters,
            seen,
        )


def _shop_parameters(shop: ShopSettings) -> dict[str, Any]:
    """The shop's settings; of its address nothing that may be a password, not even in a hash, from which a weak one could be guessed."""
    told = {name: value for name, value in asdict(shop).items() if name != "secrets"}
    return {**told, "feed": shop.redact_secrets(address_guard.redact_url(shop.feed))}


def is_up_to_date(root: Path, run: str, parameters: Mapping[str, Any]) -> bool:
    """Whether both tables are there, of one pull, by these settings."""
    if not (run_tables.is_complete(root, FEEDS, run) and run_tables.is_complete(root, OFFERS, run)):
        return False
    pulled, offers = (
        run_tables.read_manifest(root, FEEDS, run),
        run_tables.read_manifest(root, OFFERS, run),
    )
    return pulled["signature"] == offers["signature"] and pulled["parameters"] == json.loads(
        json.dumps(parameters)
    )


def pull_feeds(
    root: Path, run: str, settings: Settings, folder: Path, master: str
) -> list[feeds.IngestResult]:
    """Every shop's feed pulled, in the shops' order. A task that Spark starts twice fills two folders; one is named."""
    from wearalike.pipeline.spark import spark_session

    def one(
        task: tuple[ShopSettings, feeds.LastGoodFeed | None, feeds.OfferMapper | None],
    ) -> feeds.IngestResult:
        shop, previous, known = task
        own = folder / f"{shop.id}.{uuid.uuid4().hex}"
        own.mkdir()
        return feeds.ingest_shop(shop, run, own, previous, known)

    known = offer_mappers(settings)
    tasks = [
        (shop, last_good_feed(root, run, shop.id), known.get(shop.id)) for shop in settings.shops
    ]
    with spark_session("ingest_feeds", master, folder) as spark:
        return spark.sparkContext.parallelize(tasks, len(tasks)).map(one).collect()


def offer_mappers(settings: Settings) -> dict[str, feeds.OfferMapper]:
    """What the mappings make of offers, by shop; none of a shop without a mapping yet. Raises BadMapping as map_products does."""
    taxonomy, mappings = catalog.read_taxonomy_and_mappings(
        settings, [shop.id for shop in settings.shops]
    )
    return {
        shop: partial(catalog.map_offers, mapping=mapping, taxonomy=taxonomy)
        for shop, mapping in mappings.items()
    }


def last_good_feed(root: Path, run: str, shop_id: str) -> feeds.LastGoodFeed | None:
    """The shop's offers in the latest run before this one, by name, that has any."""
    for earlier in reversed(
        [
            r
            for r in run_tables.list_runs(root, FEEDS)
            if r < run and run_tables.is_complete(root, OFFERS, r)
        ]
    ):
        row = next(
            (
                r
                for r in run_tables.read_table(root, FEEDS, earlier).to_pylist()
                if r["shop_id"] == shop_id
            ),
            None,
        )
        if row and row["source_run"]:
            held = run_tables.table_dir(root, OFFERS, earlier)
            offers, refused = (
                tuple(sorted(held.glob(name))) for name in ("part-*.parquet", "_refused.parquet")
            )
            return feeds.LastGoodFeed(row["source_run"], row["written_count"], offers, refused)
    return None


def write_tables(
    root: Path,
    run: str,
    pulled: list[feeds.IngestResult],
    parameters: Mapping[str, Any],
    table_versions: Mapping[str, run_tables.TableVersion],
) -> None:
    """Both tables, offers first. Their signature is of what was pulled, so that pulling again replaces them."""
    rows = [one.feed_row for one in pulled]
    for row in rows:
        if row["status"] != "fresh":
            reason = feeds.FeedReason(row["reason"])
            kept = f"offers of run {row['source_run']} kept" if row["source_run"] else "no offers"
            log.warning(
                "%s: %s, %s: %s (%s). To do: %s",
                row["shop_id"],
                row["status"],
                kept,
                reason,
                row["detail"],
                feeds.ADVICE[reason],
            )
    if not any(row["written_count"] for row in rows):
        raise job.JobRejected("no shop has any offers: see the warnings above")
    signature = run_tables.signature(
        {row["shop_id"]: json.dumps(row, sort_keys=True) for row in rows}, parameters
    )
    with run_tables.write_table(
        root, OFFERS, run, signature, parameters, version_before=table_versions[OFFERS.name]
    ) as table:
        for one in pulled:
            for batch in pq.ParquetFile(one.folder / "offers.parquet").iter_batches(1 << 16):
                table.write(batch)
            table.refuse(pq.read_table(one.folder / "refused.parquet"))
        table.rows_taken = sum(row["offers_count"] - row["withdrawn_count"] for row in rows)
        table.manifest_extras["repairs"] = {
            one.feed_row["shop_id"]: one.warning_counts for one in pulled
        }
    with run_tables.write_table(
        root, FEEDS, run, signature, parameters, version_before=table_versions[FEEDS.name]
    ) as table_of_feeds:
        table_of_feeds.write(pa.Table.from_pylist(rows, FEEDS.arrow_schema))
    fresh_count = sum(row["status"] == "fresh" for row in rows)
    refused = dict(table.refusal_counts) or "none"
    log.info(
        "%d of %d feeds fresh, %d offers, refused: %s",
        fresh_count,
        len(rows),
        table.rows_written,
        refused,
    )


def main(argv: list[str] | None = None) -> int:
    return job.run_job(work, parser(), argv)


if __name__ == "__main__":
    sys.exit(main())
