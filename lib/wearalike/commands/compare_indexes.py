"""`wearalike compare-indexes` and `compare-photo`: descriptors, searched exactly or by Faiss."""

from __future__ import annotations

import json
import textwrap
from dataclasses import asdict
from functools import cache
from pathlib import Path

import click

from wearalike.commands.groups import command
from wearalike.commands.options import settings_options
from wearalike.commands.photo_sources import is_remote, photo_paths, read_photo
from wearalike.evaluation.descriptors.described_gallery import DescriptorSearch
from wearalike.evaluation.descriptors.photo_neighbours import (
    Distance,
    NeighbourQuery,
    PhotoNeighbours,
    find_photo_neighbours,
)
from wearalike.evaluation.descriptors.versions import DescriberPool
from wearalike.evaluation.index_recall import format_figures, measure_indexes
from wearalike.imaging import decode
from wearalike.net import http_client
from wearalike.net.address_guard import redact_url
from wearalike.pipeline import job
from wearalike.search import Gallery, gallery_store
from wearalike.search.float_index import FloatIndexKind
from wearalike.search.gallery_store import GalleryWithProducts
from wearalike.search.photo_query import MAX_K
from wearalike.search.photo_search import PhotoSearch
from wearalike.settings import Settings
from wearalike.storage import run_tables
from wearalike.tables import INDEXES, AgeGroup, Gender
from wearalike.warehouse import publish

_WIDTH = 120


@command("compare-indexes")
@click.option("--run", "run_name", help="Run to measure; default: the last that has indexes.")
@click.option(
    "--descriptor",
    "versions",
    multiple=True,
    metavar="VERSION",
    help="May be repeated; default: all that have described the run by floats.",
)
@settings_options
def compare_indexes(
    run_name: str | None, versions: tuple[str, ...], data_dir: Path | None, config: Path | None
) -> None:
    """Print recall and bytes of Faiss's IndexFlatL2 and IndexIVFPQ, as a Markdown table.

    Up to 200 products of each super-category are asked about. The recall tells which share of the
    exact first 1, 5 and 10 each index finds.
    """
    settings = job.read_settings(config, data_dir, needs_feeds=False)
    root = settings.data_dir
    runs = run_tables.list_runs(root, INDEXES)
    if not (run_name or runs):
        raise run_tables.TableNotFound(f"{root}: no run has indexes yet; start one: wearalike run")
    run = run_name or runs[-1]
    names = gallery_store.list_super_categories(root, run)

    @cache
    def load_gallery(name: str) -> Gallery:
        return gallery_store.load_gallery(root, run, name)

    descriptors = DescriptorSearch(root, load_gallery)
    figures = []
    for version in versions or descriptors.versions():
        described = [descriptors.described(name, version) for name in names]
        figures += measure_indexes(version, [one for one in described if one is not None])
    if not figures:
        raise job.JobRejected(
            f"run {run}: no descriptor has described it by floats; describe it first: "
            f"wearalike describe-items --run {run}"
        )
    print(format_figures(figures))


@command("compare-photo")
@click.argument("photos", nargs=-1, required=True, metavar="PHOTO...")
@click.option(
    "--descriptor",
    required=True,
    metavar="VERSION",
    help="Descriptor that `wearalike describe-items` has described the run by, e.g. hsv-1.",
)
@click.option(
    "--distance",
    type=click.Choice(list(map(str, Distance))),
    help="Distance of the descriptors; default: cosine for floats, hamming for bits.",
)
@click.option(
    "--index",
    type=click.Choice(list(map(str, FloatIndexKind))),
    help="Faiss index over floats, by Euclidean distance; default: every distance, exactly.",
)
@click.option("--run", "run_name", help="Run to search; default: the published one.")
@click.option(
    "--k",
    type=click.IntRange(1, MAX_K),
    default=5,
    show_default=True,
    help="Products for each item.",
)
@click.option(
    "--gender", type=click.Choice(list(map(str, Gender))), help="For whom; default: anybody."
)
@click.option(
    "--age-group", type=click.Choice(list(map(str, AgeGroup))), help="For whom; default: anybody."
)
@click.option("--json", "is_json", is_flag=True, help="Print a line of JSON for each photo.")
@settings_options
def compare_photo(
    photos: tuple[str, ...],
    descriptor: str,
    distance: str | None,
    index: str | None,
    run_name: str | None,
    k: int,
    gender: str | None,
    age_group: str | None,
    is_json: bool,
    data_dir: Path | None,
    config: Path | None,
) -> None:
    """Find the products nearest to the items in each PHOTO by a descriptor, to compare models.

    PHOTO is as for `wearalike query`, which searches as the shop does.
    """
    settings = job.read_settings(config, data_dir, needs_feeds=False)
    query = NeighbourQuery(
        descriptor,
        Distance(distance) if distance else None,
        FloatIndexKind(index) if index else None,
        k,
        Gender(gender) if gender else None,
        AgeGroup(age_group) if age_group else None,
    )
    run = run_name or publish.published_run(settings)
    if run is None:
        raise job.JobRejected("nothing is published yet; run `wearalike run` first, or name a run")
    sources = [
        source
        for photo in photos
        for source in ([photo] if is_remote(photo) else photo_paths([Path(photo)]))
    ]
    searcher = _PhotoSearcher(settings, run)
    for source in sources:
        name = redact_url(str(source))
        try:
            result = searcher.search(read_photo(source, settings), query)
        except (decode.BadPixels, http_client.FetchError) as error:
            raise job.JobRejected(f"{name}: {error}") from error
        print(json.dumps(asdict(result)) if is_json else _format_result(name, result), flush=True)


class _PhotoSearcher:
    """A run that photos are asked about."""

    def __init__(self, settings: Settings, run: str) -> None:
        root = settings.data_dir
        names = gallery_store.list_super_categories(root, run)
        self._held = {
            name: gallery_store.load_gallery_with_products(root, run, name) for name in names
        }
        self._photo_search = PhotoSearch(settings, run, load_gallery=self._held.__getitem__)
        self._descriptors = DescriptorSearch(root, self._find_gallery)
        self._describers = DescriberPool(settings)

    def search(self, content: bytes, query: NeighbourQuery) -> PhotoNeighbours:
        """Return what `find_photo_neighbours` finds."""
        return find_photo_neighbours(
            self._photo_search,
            self._held.get,
            self._descriptors,
            self._describers,
            content,
            query,
        )

    def _find_gallery(self, name: str) -> Gallery | None:
        held: GalleryWithProducts | None = self._held.get(name)
        return None if held is None else held.gallery


def _format_result(name: str, result: PhotoNeighbours) -> str:
    """Return a result as lines for a terminal."""
    if not result.items:
        return f"{name}: no garment, shoe or bag seen in it"
    means = f"{result.descriptor}, {result.distance}"
    if result.index is not None:
        means += f" by {result.index.faiss_name}, {result.bytes_per_item:,} bytes an item"
    lines = [f"{name}: {len(result.items)} items, run {result.run}, {means}"]
    for number, item in enumerate(result.items, 1):
        recall = "" if item.recall is None else f", {item.recall:.0%} of the exact list"
        lines.append(
            f"  {number} {item.super_category} at {item.x0},{item.y0} .. {item.x1},{item.y1}"
            f"{recall}"
        )
        for product in item.results:
            price = f"{product.price_cents / 100:,.2f} {product.currency}"
            text = f"{product.product_id}  {product.title}, {price}"
            short = textwrap.shorten(text, _WIDTH - 20, placeholder=" …")
            lines.append(f"    {product.distance:10.4g}  {short}")
    return "\n".join(lines)
