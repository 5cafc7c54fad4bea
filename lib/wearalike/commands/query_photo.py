"""`wearalike query`: from shoppers' photos to the products in stock most similar to their items."""

from __future__ import annotations

import logging
import textwrap
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from wearalike.commands.filter_options import filter_options, read_filters
from wearalike.commands.groups import command
from wearalike.commands.options import PATH, ParsedText, settings_options
from wearalike.commands.photo_sources import is_remote, photo_paths, read_photo
from wearalike.imaging import decode
from wearalike.net import http_client
from wearalike.net.address_guard import redact_url
from wearalike.pipeline import job
from wearalike.search import photo_annotation, photo_search
from wearalike.search import photo_query as queries
from wearalike.settings import Settings
from wearalike.storage import content_cache
from wearalike.tables import PHOTO_QUERIES, AgeGroup, Gender
from wearalike.warehouse import publish
from wearalike.warehouse.base import Warehouse, open_warehouse

log = logging.getLogger("wearalike.query_photo")
_DEFAULT_QUERY = queries.PhotoQuery()


@command("query")
@click.argument("photos", nargs=-1, required=True, metavar="PHOTO...")
@click.option("--run", "run_name", help="Run to search; default: the published one.")
@click.option(
    "--k",
    type=int,
    default=_DEFAULT_QUERY.k,
    show_default=True,
    help="Products for each item, 1 to 100.",
)
@click.option(
    "--weights",
    type=ParsedText("SHAPE:COLOUR[:KIND]", queries.parse_weights),
    help="0 to 10 each, e.g. 2:8 or 2:8:5; default: the category's.",
)
@click.option(
    "--category",
    metavar="LEAF",
    help="Leaf of the taxonomy that the item is of; its kind then counts. Default: what a promoted "
    "leaf classifier sees, else what most of the ten products nearest in shape are.",
)
@click.option(
    "--gender", type=click.Choice(list(map(str, Gender))), help="For whom; default: anybody."
)
@click.option(
    "--age-group", type=click.Choice(list(map(str, AgeGroup))), help="For whom; default: anybody."
)
@click.option(
    "--on-shop",
    metavar="SHOP",
    help="Shop whose page asks, for merchandising rules; default: none.",
)
@click.option(
    "--on-brand",
    metavar="BRAND",
    help="Brand whose page asks, for merchandising rules; default: none.",
)
@filter_options
@click.option(
    "--detector",
    metavar="NAME",
    help="Detector of the items; default: the promoted one, else the packaged default.",
)
@click.option(
    "--out",
    type=PATH,
    metavar="DIR",
    help="Folder of the answers; default: photo_queries in the data_dir.",
)
@settings_options
def query(
    photos: tuple[str, ...],
    run_name: str | None,
    k: int,
    weights: queries.Weights | None,
    category: str | None,
    gender: str | None,
    age_group: str | None,
    on_shop: str | None,
    on_brand: str | None,
    within: tuple[str, ...],
    detector: str | None,
    out: Path | None,
    data_dir: Path | None,
    config: Path | None,
    **filters: Any,
) -> None:
    """Find the products most similar to the items in each PHOTO.

    It is a file, a folder of files, an address (http or https), or - for standard input, which may
    also be a data: URL. An address must be public, or in the allowed_networks of a shop.

    Each photo gets an answer as JSON, a picture with numbered items, and a row in the warehouse.
    A photo that cannot be read is logged and skipped; the exit code is then 1.
    """
    settings = job.read_settings(config, data_dir, needs_feeds=False)
    photo_query = queries.PhotoQuery(
        k,
        weights,
        Gender(gender) if gender else None,
        AgeGroup(age_group) if age_group else None,
        category,
        on_shop,
        on_brand,
    )
    sources = [
        source
        for photo in photos
        for source in ([photo] if is_remote(photo) else photo_paths([Path(photo)]))
    ]
    run = run_name or publish.published_run(settings)
    if run is None:
        raise job.JobRejected(
            "nothing is published yet, so there is nothing to search; "
            "run `wearalike run` first, or name a run"
        )
    filters_of_run = read_filters(settings.data_dir, run, within, filters)
    photo_query = replace(photo_query, filters=filters_of_run)
    # Loaded for the first photo that can be read: a wrong address is told at once.
    search: photo_search.PhotoSearch | None = None
    warehouse = open_warehouse(settings.warehouse)
    unreadable_count = 0
    for source in sources:
        name = redact_url(str(source))
        try:
            content = read_photo(source, settings)
            search = search or photo_search.PhotoSearch(settings, run, detector)
            result = answer_photo(settings, search, warehouse, content, photo_query, out)
        except photo_search.UnknownCategory as error:
            raise job.JobRejected(str(error)) from error
        except (decode.BadPixels, http_client.FetchError) as error:
            unreadable_count += 1
            log.error("%s: %s", name, error)
            continue
        print(format_answer(name, result), flush=True)
    if unreadable_count:
        raise job.JobRejected(
            f"{unreadable_count} of {len(sources)} photos could not be read; "
            "the others are answered"
        )


def answer_photo(
    settings: Settings,
    search: photo_search.PhotoSearch,
    warehouse: Warehouse,
    content: bytes,
    photo_query: queries.PhotoQuery,
    out: Path | None,
) -> queries.PhotoResult:
    """Search for one photo, write its files and record its row.

    Args:
        settings: the deployment's settings.
        search: the search over one run.
        warehouse: gets a row of photo_queries.
        content: bytes of the photo's file.
        photo_query: how many products, and for whom.
        out: folder of the answers; None: photo_queries in the data_dir.

    Returns:
        The result.

    Raises:
        decode.BadPixels: the photo cannot be read.
    """
    result = search.search(content, photo_query)
    folder = (out or settings.data_dir / PHOTO_QUERIES.name) / result.query_id
    content_cache.write_atomic(
        folder / "annotated.jpg", photo_annotation.annotate_photo(content, result)
    )
    content_cache.write_atomic(folder / "answer.json", result.to_json().encode())
    row = queries.photo_query_row(result, photo_query, datetime.now(UTC))
    warehouse.record(result.run, PHOTO_QUERIES, [row])
    log.info("%s: %d items, %s", result.photo_id[:12], len(result.items), folder)
    return result


def format_answer(path: Path | str, result: queries.PhotoResult, width: int = 120) -> str:
    """Return a result as lines for a terminal.

    Args:
        path: the photo, or its address.
        result: what was found.
        width: characters a line.

    Returns:
        One line an item and one a product, with its address below.
    """
    if not result.items:
        return f"{path}: no garment, shoe or bag seen in it"
    lines = [f"{path}: {len(result.items)} items, run {result.run}"]
    for number, item in enumerate(result.items, 1):
        weights = ", nothing in stock to compare"
        if item.category:
            weights = (
                f", like {item.category}, shape {item.shape_weight} : colour {item.colour_weight}"
            )
            if item.kind_weight:
                weights += f" : kind {item.kind_weight}"
        lines.append(
            f"  {number} {item.super_category} at {item.x0},{item.y0} .. {item.x1},{item.y1}, "
            f"sure {item.confidence:.2f}{weights}"
        )
        for product in item.results:
            price = f"{product.price_cents / 100:,.2f} {product.currency}"
            title = textwrap.shorten(
                f"{product.product_id}  {product.title}, {price}", width - 40, placeholder=" …"
            )
            lines.append(
                f"    {product.score:.2f} (shape {product.shape_score:.2f}, "
                f"colour {product.colour_score:.2f})  {title}"
            )
            if product.url:
                lines.append(f"        {product.url}")
    return "\n".join(lines)
