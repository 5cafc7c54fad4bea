"""The demo on real photos: a shop made of the public clothing data set, and a night over it.

    python -m wearalike.commands.run_demo_photos --photos clothing-dataset-small           a folder that you have
    python -m wearalike.commands.run_demo_photos --address URL --sha256 HEX                its archive (zip), fetched once and checked

The data set is Alexey Grigorev's and its contributors', CC0: people's own photos of single garments. Its archive is at
https://github.com/alexeygrigorev/clothing-dataset-small/archive/refs/heads/master.zip ; GitHub makes it anew now and then
and promises no bytes, so there is no sha256 here: fetch it, look at it, and give the one that `sha256sum` says.
Everything this writes is under --folder, build/demo-photos by default.
"""

from __future__ import annotations

import argparse
import datetime
import re
import shutil
import sys
import zipfile
from pathlib import Path

from wearalike import sample
from wearalike.commands import run_demo
from wearalike.net import address_guard, http_client
from wearalike.pipeline import job
from wearalike.sample import photos
from wearalike.storage import run_tables

MAX_ARCHIVE_BYTES = 2_000_000_000
MAX_UNPACKED_BYTES = 8_000_000_000


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    source = made.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--photos",
        type=Path,
        metavar="FOLDER",
        help="images.csv beside images/, or one folder a label",
    )
    source.add_argument(
        "--address", metavar="URL", help="of the data set's zip archive; wants --sha256"
    )
    made.add_argument(
        "--sha256", type=sha256, metavar="HEX", help="of the archive; another one is refused"
    )
    made.add_argument(
        "--allow",
        action="append",
        default=[],
        metavar="CIDR",
        help="a network that --address may lie in, public or not",
    )
    made.add_argument(
        "--count", type=int, default=1000, help="photos taken at most (default: %(default)s)"
    )
    made.add_argument(
        "--run", default=datetime.date.today().isoformat(), help="name of the run (default: today)"
    )
    made.add_argument(
        "--folder",
        type=Path,
        default=Path("build/demo-photos"),
        help="where everything goes (default: %(default)s)",
    )
    return made


def sha256(text: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{64}", text.lower()):
        raise argparse.ArgumentTypeError(f"{text!r}: wanted 64 hexadecimal digits")
    return text.lower()


def work(args: argparse.Namespace) -> None:
    if bool(args.address) != bool(args.sha256):
        raise job.Refusal(
            "--address and --sha256 want each other: an archive is used only if it is the one that you mean"
        )
    folder = args.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    offers = photos.photos(
        args.photos or unpacked(folder, args.address, args.sha256, tuple(args.allow)), args.count
    )
    print(f"{len(offers):,} photos of {len({photo.label for photo in offers})} labels", flush=True)
    config = folder / "wearalike.toml"
    with photos.serve(offers) as feed:
        text = sample.settings_text(
            {photos.SHOP_ID: feed}, folder / "root", run_demo.REPOSITORY / "mappings"
        )
        config.write_text(text, encoding="utf-8")
        run_demo.night(folder, config, args.run)


def unpacked(folder: Path, address: str, wanted: str, allow: tuple[str, ...]) -> Path:
    """The folder of the archive's photos, fetched and unpacked where they are not there yet. Raises job.Refusal, web.Refused."""
    there = folder / "photos" / wanted
    if there.is_dir():
        return there
    archive, hidden = folder / f".{wanted}.zip", there.with_name(f".{wanted}")
    shutil.rmtree(hidden, ignore_errors=True)
    try:
        http_client.download(
            address, archive, guard=address_guard.Guard(allow), max_bytes=MAX_ARCHIVE_BYTES
        )
        if (found := run_tables.sha256(archive)) != wanted:
            raise job.Refusal(
                f"{address_guard.redact(address)}: sha256 {found}, wanted {wanted}; nothing of it is used"
            )
        with zipfile.ZipFile(archive) as packed:
            if sum(entry.file_size for entry in packed.infolist()) > MAX_UNPACKED_BYTES:
                raise job.Refusal(
                    f"{address_guard.redact(address)}: unpacks to more than {MAX_UNPACKED_BYTES:,} bytes"
                )
            packed.extractall(hidden)
        hidden.rename(there)
    except (http_client.Refused, zipfile.BadZipFile) as error:
        raise job.Refusal(
            f"{error}; or give --photos, a folder that you fetched yourself"
        ) from error
    finally:
        archive.unlink(missing_ok=True)
        shutil.rmtree(hidden, ignore_errors=True)
    return there


def main(argv: list[str] | None = None) -> int:
    return job.main(work, parser(), argv)


if __name__ == "__main__":
    sys.exit(main())
