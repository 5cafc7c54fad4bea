"""photos -> photo_queries: the garments, shoes and bags in a shopper's photos, and the products in stock most alike each.

For every photo the answer as JSON, the photo with its items numbered, and a row in the warehouse. The published run is
searched, with the detector that is promoted (else the packaged one) and the encoder that made the run's codes. A photo
that is no picture is told and passed over; the job then ends with 1 after the others are answered.
"""

from __future__ import annotations

import argparse
import logging
import sys
import textwrap
from datetime import UTC, datetime
from pathlib import Path

from wearalike.imaging import decode
from wearalike.pipeline import job
from wearalike.search import photo_annotation, photo_query, photo_search
from wearalike.settings import Settings
from wearalike.storage import run_tables
from wearalike.tables import PHOTO_QUERIES, AgeGroup, Gender
from wearalike.warehouse import publish
from wearalike.warehouse.base import Warehouse, open_warehouse

log = logging.getLogger("wearalike.query_photo")
PHOTO_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"}
# No camera makes a larger file, and a worker's memory ends somewhere.
MAX_PHOTO_BYTES = 32_000_000


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument(
        "--data-dir", type=Path, help="folder of all tables; default: the settings' root"
    )
    made.add_argument(
        "--config",
        type=Path,
        help="settings file; default: $WEARALIKE_CONFIG, else ./wearalike.toml",
    )
    add_arguments(made)
    return made


def add_arguments(arg_parser: argparse.ArgumentParser) -> None:
    usual = photo_query.PhotoQuery()
    arg_parser.add_argument(
        "photos", nargs="+", type=Path, metavar="PHOTO", help="picture files, or folders of them"
    )
    arg_parser.add_argument("--run", help="the run that is searched; default: the published one")
    arg_parser.add_argument(
        "--k", type=int, default=usual.k, help="products an item, 1 to 100 (default: %(default)s)"
    )
    arg_parser.add_argument(
        "--weights",
        type=_parse_weights,
        metavar="SHAPE:COLOUR",
        help="0 to 10 each, e.g. 2:8; default: the category's",
    )
    arg_parser.add_argument(
        "--gender", type=Gender, choices=list(Gender), help="whom it is for; default: anybody"
    )
    arg_parser.add_argument(
        "--age-group",
        type=AgeGroup,
        choices=list(AgeGroup),
        help="whom it is for; default: anybody",
    )
    arg_parser.add_argument(
        "--detector",
        metavar="NAME",
        help="what finds the items; default: the promoted one, else the packaged",
    )
    arg_parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="default: photo_queries in the root; a folder a question",
    )


def _parse_weights(text: str) -> tuple[int, int]:
    try:
        return photo_query.parse_weights(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def work(args: argparse.Namespace) -> None:
    place = job.load_settings(args)
    wish = photo_query.PhotoQuery(args.k, args.weights, args.gender, args.age_group)
    paths = photo_paths(args.photos)
    run = args.run or publish.published_run(place)
    if run is None:
        raise job.JobRejected(
            "nothing is published yet, so there is nothing to search; run a night first, or name a run"
        )
    search, warehouse = (
        photo_search.PhotoSearch(place, run, args.detector),
        open_warehouse(place.warehouse),
    )
    bad = 0
    for path in paths:
        try:
            answer = answer_photo(place, search, warehouse, path, wish, args.out)
        except decode.BadPixels as error:
            bad += 1
            log.error("%s: %s", path, error)
            continue
        print(format_answer(path, answer), flush=True)
    if bad:
        raise job.JobRejected(
            f"{bad} of {len(paths)} photos could not be read; the others are answered"
        )


def photo_paths(given: list[Path]) -> list[Path]:
    """The files given, and the pictures in the folders given, by name. Raises FileNotFoundError, ValueError for an empty folder."""
    found: list[Path] = []
    for path in given:
        if not path.exists():
            raise FileNotFoundError(f"{path}: no such file or folder")
        inside = (
            sorted(p for p in path.iterdir() if p.is_file() and p.suffix.lower() in PHOTO_SUFFIXES)
            if path.is_dir()
            else [path]
        )
        if not inside:
            raise ValueError(
                f"{path}: no picture in it; looked for {', '.join(sorted(PHOTO_SUFFIXES))}"
            )
        found += inside
    return found


def answer_photo(
    settings: Settings,
    search: photo_search.PhotoSearch,
    warehouse: Warehouse,
    path: Path,
    wish: photo_query.PhotoQuery,
    out: Path | None,
) -> photo_query.PhotoResult:
    """The answer for one photo, once its files and its row are kept. Raises pixels.BadPixels."""
    if (size := path.stat().st_size) > MAX_PHOTO_BYTES:
        raise decode.BadPixels(
            decode.PixelReason.TOO_MANY_PIXELS,
            f"{size:,} bytes, wanted at most {MAX_PHOTO_BYTES:,}",
        )
    content = path.read_bytes()
    answer = search.search(content, wish)
    folder = (out or settings.data_dir / PHOTO_QUERIES.name) / answer.query_id
    run_tables.write_atomic(
        folder / "annotated.jpg", photo_annotation.annotate_photo(content, answer)
    )
    run_tables.write_atomic(folder / "answer.json", answer.to_json().encode())
    warehouse.record(
        answer.run, PHOTO_QUERIES, [photo_query.photo_query_row(answer, wish, datetime.now(UTC))]
    )
    log.info("%s: %d items, %s", path, len(answer.items), folder)
    return answer


def format_answer(path: Path, answer: photo_query.PhotoResult, width: int = 120) -> str:
    """The answer for a terminal."""
    if not answer.items:
        return f"{path}: no garment, shoe or bag seen in it"
    lines = [f"{path}: {len(answer.items)} items, run {answer.run}"]
    for number, item in enumerate(answer.items, 1):
        like = (
            f", like {item.category}, shape {item.shape_weight} : colour {item.colour_weight}"
            if item.category
            else ", nothing in stock to compare"
        )
        lines.append(
            f"  {number} {item.super_category} at {item.x0},{item.y0} .. {item.x1},{item.y1}, sure {item.confidence:.2f}{like}"
        )
        for found in item.results:
            price = f"{found.price_cents / 100:,.2f} {found.currency}"
            what = textwrap.shorten(
                f"{found.product_id}  {found.title}, {price}", width - 40, placeholder=" …"
            )
            lines.append(
                f"    {found.score:.2f} (shape {found.shape_score:.2f}, colour {found.colour_score:.2f})  {what}"
            )
            lines += [f"        {found.url}"] if found.url else []
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    return job.run_job(work, parser(), argv)


if __name__ == "__main__":
    sys.exit(main())
