"""products -> images: download every picture of a run's products, and keep it by content.

Every picture ends as a row of `images`, or is refused with a reason. A picture is not sent again
where the server says that it has not changed since the last request. A killed job continues where
it stopped. With --shard the job only requests that shard's addresses. Without it, the job requests
all that are left and writes the run's table.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import asdict
from pathlib import Path
from urllib.parse import urlsplit

import click
import pyarrow as pa
import pyarrow.compute as pc

from wearalike.imaging import download, image_tables, ledger
from wearalike.pipeline import job
from wearalike.pipeline.command_frame import run_command
from wearalike.pipeline.stage_command import StageOptions, build_stage_command
from wearalike.settings import ShopSettings
from wearalike.storage import run_tables
from wearalike.tables import IMAGES, PRODUCTS

log = logging.getLogger("wearalike.download_images")


def command() -> click.Command:
    """Return the stage as a command."""
    rules = download.DownloadPolicy()
    options = [
        click.Option(
            ["--attempts"],
            default=rules.attempts,
            show_default=True,
            help="Attempts where an error may pass.",
        ),
        click.Option(
            ["--timeout-s"],
            type=float,
            default=rules.timeout_s,
            show_default=True,
            help="Seconds for one attempt.",
        ),
        click.Option(
            ["--max-outage-s"],
            type=float,
            default=rules.max_outage_s,
            show_default=True,
            help="Seconds that a host may fail in a run before it is asked no more; pictures that "
            "are kept are used meanwhile.",
        ),
        click.Option(
            ["--placeholder-groups"],
            default=rules.max_groups_per_image,
            show_default=True,
            help="A picture that more groups of one shop share shows no product.",
        ),
    ]
    return build_stage_command(work, __doc__, options, is_sharded=True)


def work(args: StageOptions) -> None:
    """Download pictures; without --shard, write the table `images` too."""
    settings = job.load_settings(args)
    root = settings.data_dir
    rules = download.DownloadPolicy(
        args.placeholder_groups, args.attempts, args.timeout_s, args.max_outage_s
    )
    version_before = run_tables.table_version(root, IMAGES, args.run)
    wanted = image_tables.explode_image_urls(
        run_tables.read_table(root, PRODUCTS, args.run, image_tables.IMAGE_SOURCE_COLUMNS)
    )
    shops = [settings.shop(shop_id) for shop_id in sorted(pc.unique(wanted["shop_id"]).to_pylist())]
    limits = {s.id: [s.allowed_networks, s.allowed_ports, s.max_image_bytes] for s in shops}
    parameters = {**asdict(rules), "limits": limits}
    signature = run_tables.signature(
        {"products": run_tables.input_hash(root, PRODUCTS, args.run)}, parameters
    )
    if not args.shard and job.is_up_to_date(args, root, IMAGES, signature):
        return
    fetch_images(root, wanted, shops, rules, args)
    if args.shard:
        return
    with run_tables.write_table(
        root, IMAGES, args.run, signature, parameters, version_before=version_before
    ) as table:
        taken, refused = image_tables.build_tables(
            wanted,
            {s.id: ledger.read_ledger(root, s.id, args.run) for s in shops},
            rules.max_groups_per_image,
        )
        table.write(taken)
        table.refuse(refused)
        table.rows_taken = wanted.num_rows
    for shop in shops:
        ledger.compact_ledger(root, shop.id)
    log.info(
        "%d of %d pictures taken, refused: %s",
        taken.num_rows,
        wanted.num_rows,
        dict(table.refusal_counts) or "none",
    )


def fetch_images(
    root: Path,
    wanted: pa.Table,
    shops: list[ShopSettings],
    rules: download.DownloadPolicy,
    args: StageOptions,
) -> None:
    """Request the addresses that are left, or this shard's share of them.

    Args:
        root: folder of all tables.
        wanted: a row for each picture of a product, with shop_id and image_url.
        shops: the shops of these products.
        rules: attempts, timeout and limits.
        args: the job's options; --shard and --force are used.
    """
    asks = {}
    for shop in shops:
        urls = pc.unique(wanted.filter(pc.equal(wanted["shop_id"], shop.id))["image_url"])
        if args.shard:
            shop, urls = take_shard(shop, urls, args.shard)
        asks[shop] = ledger.pending_downloads(
            root, args.run, urls, ledger.read_ledger(root, shop.id, args.run), args.force
        )
    total = sum(a.num_rows for a in asks.values())
    log.info("%d addresses to request from %d shops", total, len(shops))
    counts = download.download_images(
        root, args.run, asks, rules, job.Progress("pictures", total).update
    )
    log.info(
        "requested: %s",
        ", ".join(f"{count} {what}" for what, count in sorted(counts.items())) or "nothing",
    )


def take_shard(
    shop: ShopSettings, urls: pa.Array, shard: tuple[int, int]
) -> tuple[ShopSettings, pa.Array]:
    """Return a shard's addresses of a shop, and its part of the shop's limits.

    Shards run side by side. Together they ask no host faster, nor with more connections, than one
    job would: each gets its part of them. Where there are fewer connections than shards, each host
    is asked by one shard alone, which has them all.

    Args:
        shop: the shop.
        urls: all its addresses.
        shard: (i, n).
    """
    count = shard[1]
    by_host = shop.max_connections_per_host < count
    keys = (urlsplit(url).netloc.lower() if by_host else url for url in urls.to_pylist())
    is_own = [job.is_in_shard(hashlib.sha256(key.encode()).hexdigest(), shard) for key in keys]
    if not by_host:
        limits = {
            "max_connections_per_host": shop.max_connections_per_host // count,
            "min_request_interval_s": shop.min_request_interval_s * count,
        }
        shop = shop.model_copy(update=limits)
    return shop, urls.filter(pa.array(is_own, pa.bool_()))


def main(argv: list[str] | None = None) -> int:
    """Run the job; see `run_command` for its exit codes."""
    return run_command(command(), argv)
