"""feeds -> offers: pull every shop's feed and write the tables feeds and offers of a run.

Several shops are asked at the same time. Few offers are read in this process, in the order in which
their feeds come. For many offers Spark spreads the shops over its workers, one task for each shop
(settings [spark]). The tables are the same.

A feed may be unusable: not fetched, broken, cut off, far smaller than last time, or in words that
the shop's mapping lacks. The shop then keeps the offers of the last good run, and the log says
which shop, why, and what to do.

The exit code is 1 only when no shop has any offers, or when a mapping has mistakes. In the second
case no feed is pulled.

A run that has pulled its feeds keeps them: call with --force to pull again.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import click
import pyarrow as pa
import pyarrow.parquet as pq

from wearalike import catalog, feeds
from wearalike.net import address_guard
from wearalike.pipeline import job
from wearalike.pipeline.command_frame import ParsedText, run_command
from wearalike.pipeline.pull_feeds import pull_feeds
from wearalike.pipeline.stage_command import (
    StageOptions,
    build_stage_command,
    day_option,
    spark_master_option,
)
from wearalike.settings import ShopSettings, day_of_run
from wearalike.storage import atomic, run_order, run_tables
from wearalike.tables import FEEDS, OFFERS

# If our own code fails over a larger share of the feeds, the night ends.
MAX_UNEXPECTED_FEEDS_RATIO = 0.5

log = logging.getLogger("wearalike.ingest_feeds")


def command() -> click.Command:
    """Return the stage as a command."""
    since = click.Option(
        ["--since"],
        type=ParsedText("TIME", parse_time),
        help="Pull again what this run pulled before this time, e.g. 2026-11-21T02:30:00+00:00.",
    )
    options = [spark_master_option(), day_option(), since]
    return build_stage_command(work, __doc__, options)


def work(args: StageOptions) -> None:
    """Pull all feeds and write `feeds` and `offers`, if they are out of date."""
    settings = job.load_settings(args)
    if not settings.shops:
        raise job.JobRejected(
            "the settings name no shop: add a [[shops]] table with id and feed to wearalike.toml"
        )
    root = settings.data_dir.resolve()
    attributes = catalog.read_attributes(settings)
    parameters = {
        shop.id: {**_shop_parameters(shop), "attributes": attributes.sha256}
        for shop in settings.shops
    }
    day = choose_day(root, args)
    is_old = is_pulled_before(root, args.run, args.since)
    if not (args.force or is_old) and is_up_to_date(root, args.run, parameters, day):
        log.info("feeds and offers: up to date, nothing to do; --force pulls again")
        return
    seen = {
        table.name: run_tables.table_version(root, table, args.run) for table in (OFFERS, FEEDS)
    }
    with atomic.staging_dir(run_tables.table_dir(root, OFFERS, args.run)) as folder:
        write_tables(
            root,
            args.run,
            pull_feeds(
                root,
                args.run,
                settings,
                attributes,
                folder,
                args.spark_master or settings.spark_master,
                day,
            ),
            parameters,
            seen,
            day,
        )


def choose_day(root: Path, args: StageOptions) -> date:
    """Return the day of a run: of --day, else of the name, else of its first start.

    Raises:
        job.JobRejected: --day contradicts the name.
    """
    in_name = run_order.dated_day(args.run)
    if args.day is None:
        return in_name or (
            day_of_run(args.run) if args.force else run_order.run_day(root, args.run)
        )
    if in_name not in (None, args.day):
        raise job.JobRejected(
            f"--day {args.day}: the run {args.run} has its day in its name; "
            "give it a name without a date, or leave --day out"
        )
    return args.day


def parse_time(text: str) -> datetime:
    """Return a time of ISO 8601; one without a zone is of UTC.

    Raises:
        ValueError: The text is something else.
    """
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r}: wanted a time such as 2026-11-21T02:30:00+00:00") from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def is_pulled_before(root: Path, run: str, since: datetime | None) -> bool:
    """Return whether the run pulled its feeds before a time, and log it.

    A run that somebody starts by hand may have the name of the coming night. The night would find
    its work done, and show feeds of that hour.
    """
    if since is None or not run_tables.is_complete(root, FEEDS, run):
        return False
    manifest = run_tables.table_dir(root, FEEDS, run) / "_manifest.json"
    pulled_at = datetime.fromtimestamp(manifest.stat().st_mtime, UTC)
    if pulled_at >= since:
        return False
    log.warning(
        "run %s pulled its feeds at %s, before it was due at %s: all feeds are pulled again",
        run,
        f"{pulled_at:%Y-%m-%d %H:%M} UTC",
        f"{since.astimezone(UTC):%Y-%m-%d %H:%M} UTC",
    )
    return True


def _shop_parameters(shop: ShopSettings) -> dict[str, Any]:
    """Return the shop's settings without anything of its address that may be a password.

    Not even a hash of it is kept: from a hash a weak password could be guessed.
    """
    feed, *supplements = (
        shop.redact_secrets(address_guard.redact_url(address.get_secret_value()))
        for address in (shop.feed, *shop.supplements)
    )
    return {**shop.model_dump(), "feed": feed, "supplements": supplements}


def is_up_to_date(
    root: Path, run: str, parameters: Mapping[str, Any], day: date | None = None
) -> bool:
    """Return True if both tables are complete, come from one pull, and used these settings.

    Args:
        root: folder of all tables.
        run: the run.
        parameters: the settings of each shop.
        day: the day that the tables must be of; None: any.

    Returns:
        True if there is nothing to pull.
    """
    if not (run_tables.is_complete(root, FEEDS, run) and run_tables.is_complete(root, OFFERS, run)):
        return False
    pulled = run_tables.read_manifest(root, FEEDS, run)
    if day and pulled.get("day", day.isoformat()) != day.isoformat():
        return False
    offers = run_tables.read_manifest(root, OFFERS, run)
    return pulled["signature"] == offers["signature"] and pulled["parameters"] == json.loads(
        json.dumps(parameters)
    )


def write_tables(
    root: Path,
    run: str,
    pulled: list[feeds.IngestResult],
    parameters: Mapping[str, Any],
    table_versions: Mapping[str, run_tables.TableVersion],
    day: date | None = None,
) -> None:
    """Write both tables, offers first.

    Their signature is the hash of the pulled feeds, so pulling again replaces the tables.

    Args:
        root: folder of all tables.
        run: the run.
        pulled: a result for each shop.
        parameters: the settings of each shop.
        table_versions: versions of both tables before the pull, by name.
        day: the run's day, which the manifest of `feeds` keeps; None for the one in its name.

    Raises:
        job.JobRejected: no shop has any offers.
    """
    rows = [one.feed_row for one in pulled]
    for one, row in zip(pulled, rows, strict=True):
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
        elif feeds.FeedWarning.OLD_DATE in one.warning_counts:
            log.warning(
                "%s: its feed is of %s, %d days or more before the run: ask the shop if it still "
                "writes this feed",
                row["shop_id"],
                row["feed_date"],
                feeds.MAX_FEED_AGE_DAYS,
            )
    unexpected = [
        row["shop_id"] for row in rows if row.get("reason") == feeds.FeedReason.UNEXPECTED
    ]
    if len(unexpected) > MAX_UNEXPECTED_FEEDS_RATIO * len(rows):
        raise job.JobRejected(
            f"{len(unexpected)} of {len(rows)} feeds failed unexpectedly: "
            f"{', '.join(unexpected)}; "
            "the fault is not theirs; see the tracebacks above"
        )
    signature = run_tables.signature(
        {row["shop_id"]: json.dumps(row, sort_keys=True) for row in rows}, parameters
    )
    if not any(row["written_count"] for row in rows):
        advice = "see the warnings above"
        if any((one.folder / feeds.UNUSED_REFUSED).exists() for one in pulled):
            _write_feeds(root, run, pulled, signature, parameters, table_versions, day)
            advice += f", and {run_tables.table_dir(root, FEEDS, run) / '_refused.parquet'}"
        raise job.JobRejected(f"no shop has any offers: {advice}")
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
        table.manifest_extras["unknown_words"] = {
            one.feed_row["shop_id"]: one.unknown_words for one in pulled if one.unknown_words
        }
        table.manifest_extras["article_evidence"] = {
            one.feed_row["shop_id"]: one.article_evidence for one in pulled if one.article_evidence
        }
        table.manifest_extras["ignored_fields"] = {
            one.feed_row["shop_id"]: one.ignored_fields for one in pulled if one.ignored_fields
        }
    _write_feeds(root, run, pulled, signature, parameters, table_versions, day)
    fresh_count = sum(row["status"] == "fresh" for row in rows)
    refused = dict(table.refusal_counts) or "none"
    log.info(
        "%d of %d feeds fresh, %d offers, refused: %s",
        fresh_count,
        len(rows),
        table.rows_written,
        refused,
    )


def _write_feeds(
    root: Path,
    run: str,
    pulled: list[feeds.IngestResult],
    signature: str,
    parameters: Mapping[str, Any],
    table_versions: Mapping[str, run_tables.TableVersion],
    day: date | None,
) -> None:
    """Write the table feeds; its refused rows are the offers of feeds that are not used."""
    with run_tables.write_table(
        root, FEEDS, run, signature, parameters, version_before=table_versions[FEEDS.name]
    ) as table:
        table.manifest_extras["day"] = (day or day_of_run(run)).isoformat()
        rows = [one.feed_row for one in pulled]
        table.write(pa.Table.from_pylist(rows, FEEDS.arrow_schema))
        for one in pulled:
            if (one.folder / feeds.UNUSED_REFUSED).exists():
                table.refuse(pq.read_table(one.folder / feeds.UNUSED_REFUSED))


def main(argv: list[str] | None = None) -> int:
    """Run the job; see `run_command` for its exit codes."""
    return run_command(command(), argv)
