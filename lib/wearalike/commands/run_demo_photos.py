"""`wearalike demo-photos`: a shop made of a public set of clothing photos, and a run over it."""

from __future__ import annotations

import re
import shutil
import zipfile
from pathlib import Path

import click

from wearalike import sample
from wearalike.commands import run_demo
from wearalike.commands.groups import command
from wearalike.commands.options import PATH, ParsedText
from wearalike.net import address_guard, http_client
from wearalike.pipeline import job
from wearalike.pipeline.stage_command import run_option_attributes
from wearalike.sample import photos as photo_shop
from wearalike.storage import run_tables

MAX_ARCHIVE_BYTES = 2_000_000_000
MAX_UNPACKED_BYTES = 8_000_000_000


def parse_sha256(text: str) -> str:
    """Return a sha256 in lower case.

    Args:
        text: what the user wrote.

    Returns:
        64 hexadecimal digits.

    Raises:
        ValueError: the text is something else.
    """
    if not re.fullmatch(r"[0-9a-f]{64}", text.lower()):
        raise ValueError(f"{text!r}: wanted 64 hexadecimal digits")
    return text.lower()


@command("demo-photos")
@click.option(
    "--photos",
    type=PATH,
    metavar="FOLDER",
    help="images.csv beside images/, or one folder for each label.",
)
@click.option("--address", metavar="URL", help="Address of the zip archive; wants --sha256.")
@click.option(
    "--sha256",
    type=ParsedText("HEX", parse_sha256),
    help="Hash of the archive; another one is refused.",
)
@click.option(
    "--allow",
    multiple=True,
    metavar="CIDR",
    help="A network that --address may lie in, public or not; may be repeated.",
)
@click.option("--count", type=int, default=1000, show_default=True, help="Photos taken at most.")
@click.option("--run", "run_name", **run_option_attributes())
@click.option(
    "--folder",
    type=PATH,
    default=Path("build/demo-photos"),
    show_default=True,
    metavar="DIR",
    help="Folder of everything that is written.",
)
def demo_photos(
    photos: Path | None,
    address: str | None,
    sha256: str | None,
    allow: tuple[str, ...],
    count: int,
    run_name: str,
    folder: Path,
) -> None:
    """Run the real DAG on a shop made of a public set of clothing photos.

    The set is by Alexey Grigorev and contributors, CC0: people's own photos of single garments.
    Its archive is at
    https://github.com/alexeygrigorev/clothing-dataset-small/archive/refs/heads/master.zip .
    GitHub makes it anew now and then and promises no bytes, so no sha256 is given here. Fetch it,
    look at it, and give the one that `sha256sum` prints.

    \b
    wearalike demo-photos --photos clothing-dataset-small     a folder that you have
    wearalike demo-photos --address URL --sha256 HEX          its archive, fetched once and checked
    """
    if (photos is None) == (address is None):
        raise click.UsageError("wanted either --photos FOLDER or --address URL")
    if bool(address) != bool(sha256):
        raise job.JobRejected(
            "--address and --sha256 want each other: an archive is used only if it is the one "
            "that you mean"
        )
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    source = photos
    if address and sha256:
        source = fetch_archive(folder, address, sha256, allow)
    assert source is not None
    offers = photo_shop.list_photos(source, count)
    print(f"{len(offers):,} photos of {len({photo.label for photo in offers})} labels", flush=True)
    config = folder / "wearalike.toml"
    with photo_shop.serve_photo_shop(offers) as feed:
        text = sample.settings_text(
            {photo_shop.SHOP_ID: feed}, folder / "root", run_demo.REPOSITORY_DIR / "mappings"
        )
        config.write_text(text, encoding="utf-8")
        run_demo.run_and_report(folder, config, run_name)


def fetch_archive(
    folder: Path, address: str, expected_sha256: str, allowed_networks: tuple[str, ...]
) -> Path:
    """Fetch and unpack the archive, unless it is there already.

    Args:
        folder: the photos are unpacked into it.
        address: of the zip archive.
        expected_sha256: its hash; an archive with another one is not used.
        allowed_networks: networks that the address may lie in although they are private.

    Returns:
        The folder of the archive's photos.

    Raises:
        job.JobRejected: it cannot be fetched, is another archive, or unpacks to too many bytes.
    """
    unpacked = folder / "photos" / expected_sha256
    if unpacked.is_dir():
        return unpacked
    archive = folder / f".{expected_sha256}.zip"
    staging = unpacked.with_name(f".{expected_sha256}")
    shutil.rmtree(staging, ignore_errors=True)
    try:
        http_client.download(
            address,
            archive,
            guard=address_guard.AddressGuard(allowed_networks),
            max_bytes=MAX_ARCHIVE_BYTES,
        )
        sha256 = run_tables.sha256(archive)
        if sha256 != expected_sha256:
            raise job.JobRejected(
                f"{address_guard.redact_url(address)}: sha256 {sha256}, wanted {expected_sha256}; "
                "nothing of it is used"
            )
        with zipfile.ZipFile(archive) as packed:
            if sum(entry.file_size for entry in packed.infolist()) > MAX_UNPACKED_BYTES:
                raise job.JobRejected(
                    f"{address_guard.redact_url(address)}: unpacks to more than "
                    f"{MAX_UNPACKED_BYTES:,} bytes"
                )
            packed.extractall(staging)
        staging.rename(unpacked)
    except (http_client.FetchError, zipfile.BadZipFile) as error:
        raise job.JobRejected(
            f"{error}; or give --photos, a folder that you fetched yourself"
        ) from error
    finally:
        archive.unlink(missing_ok=True)
        shutil.rmtree(staging, ignore_errors=True)
    return unpacked
