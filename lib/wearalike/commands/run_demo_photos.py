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
        "--sha256", type=parse_sha256, metavar="HEX", help="of the archive; another one is refused"
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


def parse_sha256(text: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{64}", text.lower()):
        raise argparse.ArgumentTypeError(f"{text!r}: wanted 64 hexadecimal digits")
    return text.lower()


def work(args: argparse.Namespace) -> None:
    if bool(args.address) != bool(args.sha256):
        raise job.JobRejected(
            "--address and --sha256 want each other: an archive is used only if it is the one that you mean"
        )
    folder = args.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    offers = photos.list_photos(
        args.photos or fetch_archive(folder, args.address, args.sha256, tuple(args.allow)),
        args.count,
    )
    print(f"{len(offers):,} photos of {len({photo.label for photo in offers})} labels", flush=True)
    config = folder / "wearalike.toml"
    with photos.serve_photo_shop(offers) as feed:
        text = sample.settings_text(
            {photos.SHOP_ID: feed}, folder / "root", run_demo.REPOSITORY_DIR / "mappings"
        )
        config.write_text(text, encoding="utf-8")
        run_demo.run_and_report(folder, config, args.run)


def fetch_archive(
    folder: Path, address: str, expected_sha256: str, allowed_networks: tuple[str, ...]
) -> Path:
    """The folder of the archive's photos, fetched and unpacked where they are not there yet. Raises job.JobRejected, http_client.FetchError."""
    there = folder / "photos" / expected_sha256
    if there.is_dir():
        return there
    archive, hidden = folder / f".{expected_sha256}.zip", there.with_name(f".{expected_sha256}")
    shutil.rmtree(hidden, ignore_errors=True)
    try:
        http_client.download(
            address,
            archive,
            guard=address_guard.AddressGuard(allowed_networks),
            max_bytes=MAX_ARCHIVE_BYTES,
        )
        if (found := run_tables.sha256(archive)) != expected_sha256:
            raise job.JobRejected(
                f"{address_guard.redact_url(address)}: sha256 {found}, wanted {expected_sha256}; nothing of it is used"
            )
        with zipfile.ZipFile(archive) as packed:
            if sum(entry.file_size for entry in packed.infolist()) > MAX_UNPACKED_BYTES:
                raise job.JobRejected(
                    f"{address_guard.redact_url(address)}: unpacks to more than {MAX_UNPACKED_BYTES:,} bytes"
                )
            packed.extractall(hidden)
        hidden.rename(there)
    except (http_client.FetchError, zipfile.BadZipFile) as error:
        raise job.JobRejected(
            f"{error}; or give --photos, a folder that you fetched yourself"
        ) from error
    finally:
        archive.unlink(missing_ok=True)
        shutil.rmtree(hidden, ignore_errors=True)
    return there


def main(argv: list[str] | None = None) -> int:
    return job.run_job(work, parser(), argv)


if __name__ == "__main__":
    sys.exit(main())
