"""Pull the feeds of all shops: several are asked at a time, and read here or by Spark."""

from __future__ import annotations

import contextlib
import logging
import shutil
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from fnmatch import fnmatch
from functools import partial
from pathlib import Path

from wearalike import catalog, feeds
from wearalike.pipeline import work_size
from wearalike.settings import Settings, ShopSettings
from wearalike.storage import atomic, mirror, run_tables
from wearalike.tables import FEEDS, OFFERS

log = logging.getLogger("wearalike.ingest_feeds")


@dataclass(frozen=True, slots=True)
class PullTask:
    """The work on one shop's feed.

    Attributes:
        shop: the shop.
        previous: its last good offers.
        map_offers: its mapping.
        run: the run.
        folder: where the offers are written, a folder for each task.
        attributes: the words of attributes.
        day: the run's day; None for the one in its name.
    """

    shop: ShopSettings
    previous: feeds.LastGoodFeed | None
    map_offers: feeds.OfferMapper | None
    run: str
    folder: Path
    attributes: catalog.AttributeTable
    day: date | None

    def read(self, fetched: feeds.FetchedFeed | None = None) -> feeds.IngestResult:
        """Read the shop's feed and write its offers.

        A task that Spark starts twice fills two folders. Only one of them is named in the result.

        Args:
            fetched: the feed's files; None to fetch them here.
        """
        own = self.folder / f"{self.shop.id}.{uuid.uuid4().hex}"
        own.mkdir()
        return feeds.ingest_shop(
            self.shop,
            self.run,
            own,
            self.previous,
            self.map_offers,
            self.attributes,
            self.day,
            fetched,
        )


def pull_feeds(
    root: Path,
    run: str,
    settings: Settings,
    attributes: catalog.AttributeTable,
    folder: Path,
    master: str,
    day: date | None = None,
) -> list[feeds.IngestResult]:
    """Pull every shop's feed.

    Args:
        root: folder of all tables.
        run: the run.
        settings: the settings, whose shops are pulled.
        attributes: the words of attributes.
        folder: where the offers are written, a folder for each task.
        master: Spark's master. Where the data folder is the cache of an object store, no cluster is
            used.
        day: the run's day; None for the one in its name.

    Returns:
        A result for each shop, in the shops' order.
    """
    known = offer_mappers(settings)
    tasks = [
        PullTask(
            shop,
            last_good_feed(root, run, shop.id),
            known.get(shop.id),
            run,
            folder,
            attributes,
            day,
        )
        for shop in settings.shops
    ]
    if mirror.find_mirror(root) and work_size.is_cluster(master):
        log.info("feeds are read on this machine: those of %s do not share %s", master, root)
        master = "local[*]"
    last_count = sum(task.previous.written_count for task in tasks if task.previous)
    min_offers = settings.spark.min_offers
    if work_size.needs_spark(log, master, last_count, min_offers, "offers last time"):
        return _read_by_spark([(task, None) for task in tasks], master, folder)
    with atomic.wrap_disk_full(folder):
        found = _read_as_they_come(tasks, master, folder, min_offers)
    return [found[task.shop.id] for task in tasks]


def _read_as_they_come(
    tasks: Sequence[PullTask], master: str, folder: Path, min_offers: int
) -> dict[str, feeds.IngestResult]:
    """Read feeds here while others come; once they hold many offers, leave the rest to Spark."""
    by_shop = {task.shop.id: task for task in tasks}
    found: dict[str, feeds.IngestResult] = {}
    left: list[tuple[PullTask, feeds.FetchedFeed | None]] = []
    offers_count = 0
    shops = [task.shop for task in tasks]
    with contextlib.closing(feeds.fetch_feeds(shops, folder)) as coming:
        for number, (shop, files) in enumerate(coming, 1):
            log.info("feed %d of %d: %s", number, len(shops), shop.id)
            task = by_shop[shop.id]
            offers_count += sum(
                feeds.count_offers(file.path, shop.max_feed_bytes)
                for file in files[:1]
                if not file.fault
            )
            if offers_count >= min_offers:
                left.append((task, files))
                continue
            found[shop.id] = task.read(files)
            shutil.rmtree(files[0].path.parent)
    if work_size.is_small(log, master, offers_count, min_offers, "offers in the feeds"):
        return found
    read = _read_by_spark(left, master, folder)
    return found | {task.shop.id: one for (task, _), one in zip(left, read, strict=True)}


def _read_by_spark(
    work: Sequence[tuple[PullTask, feeds.FetchedFeed | None]], master: str, folder: Path
) -> list[feeds.IngestResult]:
    """Read feeds by Spark, each in a task of its own; without files the task fetches them."""
    from wearalike.pipeline.spark import spark_session

    with spark_session("ingest_feeds", master, folder) as spark:
        results: list[feeds.IngestResult] = (
            spark.sparkContext.parallelize(work, len(work))
            .map(lambda one: one[0].read(one[1]))
            .collect()
        )
    return results


def offer_mappers(settings: Settings) -> dict[str, feeds.OfferMapper]:
    """Return the function that maps a shop's offers, for each shop that has a mapping.

    Args:
        settings: the settings, which name the shops and the folder of mappings.

    Returns:
        The mappers, by shop.

    Raises:
        BadMapping: a mapping has mistakes, as in map_products.
    """
    taxonomy, mappings = catalog.read_taxonomy_and_mappings(
        settings, [shop.id for shop in settings.shops]
    )
    google = catalog.read_google_defaults(settings)
    return {
        shop: partial(catalog.map_offers, mapping=mapping, taxonomy=taxonomy, google=google)
        for shop, mapping in mappings.items()
    }


def last_good_feed(root: Path, run: str, shop_id: str) -> feeds.LastGoodFeed | None:
    """Return the shop's offers of the latest earlier run that has any.

    Args:
        root: folder of all tables.
        run: the run; see `storage.run_order`.
        shop_id: the shop.

    Returns:
        The offers' files and number; None where no earlier run has any.
    """
    for earlier in reversed(run_tables.list_earlier_runs(root, FEEDS, run)):
        if not run_tables.is_complete(root, OFFERS, earlier):
            continue
        row = next(
            (
                r
                for r in run_tables.read_table(root, FEEDS, earlier).to_pylist()
                if r["shop_id"] == shop_id
            ),
            None,
        )
        if row and row["source_run"]:
            # Other files may lie there: a manifest names those that count.
            held = run_tables.fetch_files(root, OFFERS, earlier)
            names = sorted(run_tables.read_manifest(root, OFFERS, earlier)["files"])
            offers, refused = (
                tuple(held / name for name in names if fnmatch(name, pattern))
                for pattern in ("part-*.parquet", "_refused.parquet")
            )
            return feeds.LastGoodFeed(row["source_run"], row["written_count"], offers, refused)
    return None
