"""Check everything that a run needs, on the machine where it will run.

Each result says what was found and, where it is not well, what to do. Nothing is changed: a file is
written into the data folder and removed again. Only the first bytes of every feed are read.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from wearalike.detection import detect
from wearalike.encoding import encoders
from wearalike.models import registry
from wearalike.models.precision import Precision
from wearalike.net import address_guard, http_client
from wearalike.ops.check_mappings import find_mapping_mistakes
from wearalike.ops.check_object_store import check_object_store
from wearalike.ops.check_poses import check_poses
from wearalike.ops.check_result import (
    CheckResult,
    CheckStatus,
    Environment,
    HealthLimits,
    failed_result,
    ok_result,
)
from wearalike.ops.check_setup import check_pictures, check_rules, check_spark
from wearalike.ops.check_warehouse_files import check_warehouse_files
from wearalike.ops.disk_usage import describe_bytes, measure_disk
from wearalike.settings import Settings, ShopSettings
from wearalike.storage import run_tables
from wearalike.warehouse.base import (
    Rejected,
    Unreachable,
    WarehouseState,
    open_warehouse,
)
from wearalike.warehouse.postgres import migrations

MIN_JAVA_VERSION = 17
FEED_HEAD_BYTES = 4096
# Damaged images that are named.
MAX_SHOWN_IMAGES = 10
AIRFLOW_POOLS = {"network": "2 downloads", "gpu": "1 models"}
_FETCH_POLICY = http_client.FetchPolicy(max_attempts=1, timeout_s=20.0, idle_timeout_s=20.0)


def run_checks(environment: Environment, *, is_deep: bool = False) -> Iterator[CheckResult]:
    """Run every check, the quick ones first.

    A check never raises for something that an operator can mend.

    Args:
        environment: the deployment.
        is_deep: read every kept image and DuckDB's files, too, which takes minutes.

    Yields:
        The results.
    """
    for check in (*CHECKS, *(DEEP_CHECKS if is_deep else ())):
        yield from check(environment)


def _model_advice(kind: registry.ModelKind) -> str:
    """Return what to do about a model that cannot be used."""
    return (
        "install wearalike again; a model of your own: put its file back, "
        f"or wearalike promote --kind {kind} --rollback"
    )


def check_java(environment: Environment) -> Iterator[CheckResult]:
    """Check Spark's Java: that of $JAVA_HOME, else that of the PATH."""
    home = environment.env.get("JAVA_HOME")
    wanted = (
        f"install Java {MIN_JAVA_VERSION} or newer, e.g. apt-get install openjdk-17-jre-headless"
    )
    program = (
        str(Path(home, "bin", "java"))
        if home
        else shutil.which("java", path=environment.env.get("PATH", ""))
    )
    if not program:
        yield failed_result("java", "none on the PATH", wanted)
        return
    try:
        output = subprocess.run(
            [program, "-version"], capture_output=True, text=True, timeout=30, check=False
        ).stderr
    except OSError as error:
        yield failed_result(
            "java",
            f"{program}: {error.strerror}",
            f"{wanted}, and set JAVA_HOME to where it is, or not at all",
        )
        return
    version = re.search(r'version "(?:1\.)?(\d+)[^"]*"', output)
    if version is None or int(version[1]) < MIN_JAVA_VERSION:
        yield failed_result(
            "java",
            f"{program}: {output.strip().splitlines()[0] if output.strip() else 'says nothing'}",
            wanted,
        )
    else:
        yield ok_result("java", f"{version[0]} at {program}")


def check_root(environment: Environment) -> Iterator[CheckResult]:
    """Check the folder of all tables: it can be written, its disk has room and keeps our time."""
    folder = environment.settings.data_dir.absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".doctor-") as file:
            written_at = os.stat(file.name).st_mtime
    except OSError as error:
        yield failed_result(
            "data_dir",
            f"{folder}: {error.strerror}",
            "make it a folder that the jobs' user can write, or name another as `data_dir`",
        )
        return
    yield ok_result("data_dir", f"{folder} can be written")
    yield _check_disk_space(folder, environment.limits)
    yield _list_disk_usage(environment.settings)
    yield _check_clock_skew("clock", "the disk of data_dir", written_at, environment.limits)


def _check_disk_space(folder: Path, limits: HealthLimits) -> CheckResult:
    """Check the free space on the data folder's disk."""
    free = shutil.disk_usage(folder).free
    seen = f"{free / 1e9:,.1f} GB free at {folder}"
    if free < limits.min_free_bytes:
        status = CheckStatus.FAIL
    elif free < limits.ample_free_bytes:
        status = CheckStatus.WARN
    else:
        return ok_result("disk", seen)
    advice = (
        f"make room: wanted are {limits.ample_free_bytes / 1e9:,.0f} GB; "
        "wearalike prune --dry-run says what may go"
    )
    return CheckResult("disk", status, seen, advice)


def _list_disk_usage(settings: Settings) -> CheckResult:
    """Tell what the data folder takes, by kind, the largest first."""
    usage = measure_disk(settings.data_dir)
    parts = sorted(usage.items(), key=lambda item: -item[1].bytes)
    shown = ", ".join(f"{kind} {describe_bytes(used.bytes)}" for kind, used in parts)
    files = sum(used.files for used in usage.values())
    total = describe_bytes(sum(used.bytes for used in usage.values()))
    policy = "" if settings.keep else "; nothing is pruned: the settings have no section [keep]"
    return ok_result("disk by kind", f"{total} in {files:,} files: {shown or 'none'}{policy}")


def _check_clock_skew(what: str, other: str, other_s: float, limits: HealthLimits) -> CheckResult:
    """Compare this clock with another's seconds since 1970."""
    ahead_s = time.time() - other_s
    seen = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC, {ahead_s:+.1f} s against {other}"
    if abs(ahead_s) > limits.max_clock_skew_s:
        return CheckResult(
            what,
            CheckStatus.WARN,
            seen,
            "let both keep time by NTP: runs are named by the date, publications by the hour",
        )
    return ok_result(what, seen)


def check_device(environment: Environment) -> Iterator[CheckResult]:
    """Check the GPU, where one is wanted or present."""
    try:
        found = registry.resolve_device(environment.settings.device)
    except registry.BadModel as error:
        yield failed_result(
            "device",
            str(error),
            "set device = 'auto' or 'cpu', or install the GPU's driver and PyTorch for CUDA",
        )
        return
    import torch

    name = (
        torch.cuda.get_device_name()
        if found == "cuda"
        else f"{len(os.sched_getaffinity(0))} cores, no GPU is used"
    )
    yield ok_result("device", f"{found}: {name}")


def check_mappings(environment: Environment) -> Iterator[CheckResult]:
    """Check the taxonomy, mappings and rules, as `wearalike check-mapping` does."""
    place = environment.settings
    if not place.shops:
        yield CheckResult(
            "shops",
            CheckStatus.WARN,
            "the settings name none",
            "add a [[shops]] table with id and feed to wearalike.toml",
        )
    try:
        mistakes = find_mapping_mistakes(place, [shop.id for shop in place.shops])
    except OSError as error:
        yield failed_result(
            "mappings",
            f"{error.filename or place.mappings}: {error.strerror or error}",
            "set `mappings` to the folder of taxonomy.xml",
        )
        return
    for mistake in mistakes:
        yield failed_result(
            "mappings", mistake, "mend the line; `wearalike check-mapping` lists every mistake"
        )
    if not mistakes:
        yield ok_result("mappings", f"{place.mappings}: no mistakes, {len(place.shops)} shops")


def check_models(environment: Environment) -> Iterator[CheckResult]:
    """Check the detector and the encoders of the next run: their hashes, and that they run."""
    picture = np.arange(96 * 64 * 3, dtype=np.uint8).reshape(96, 64, 3)
    try:
        on = registry.resolve_device(environment.settings.device)
    except registry.BadModel:
        on = "cpu"  # check_device reports the error
    try:
        detector = detect.load_detector(
            environment.settings.data_dir, environment.settings.models.detector, on
        )
        detector.detect([picture])
        yield ok_result("detector", f"{detector.version} runs on {on}")
    except (registry.BadModel, ImportError, OSError) as error:
        yield failed_result("detector", str(error), _model_advice(registry.ModelKind.DETECTOR))
    experiment = environment.settings.experiment
    of_variants = [v.encoder for v in experiment.variants.values()] if experiment else []
    named = dict.fromkeys([environment.settings.models.encoder, *filter(None, of_variants)])
    for name in named:
        try:
            encoder = encoders.build_encoder(
                registry.resolve_model(
                    environment.settings.data_dir, registry.ModelKind.ENCODER, name
                )
                .at_precision(Precision(environment.settings.models.encoder_precision))
                .read(),
                on,
            )
            codes = encoder.encode([picture])
            bits = 8 * (codes.shape.shape[1] + codes.colour.shape[1])
            yield ok_result("encoder", f"{encoder.version} runs on {on}, {bits} bits an item")
        except (registry.BadModel, ImportError, OSError) as error:
            yield failed_result("encoder", str(error), _model_advice(registry.ModelKind.ENCODER))


def check_looks(environment: Environment) -> Iterator[CheckResult]:
    """Check the detector that sees what products are worn with.

    A run succeeds without it, but has no looks.
    """
    if environment.settings.looks == "off":
        yield ok_result("looks", "switched off in the settings")
        return
    try:
        model = detect.classifying_detector(
            environment.settings.data_dir, environment.settings.models.looks_detector
        )
        detect.NetworkDetector(model.read()).detect([np.zeros((96, 64, 3), np.uint8)])
        yield ok_result("looks", f"{model.version} sees what products are worn with")
    except ImportError as error:
        to_do = (
            'pip install wearalike[yolo], apt-get install libgl1; or looks = "off" in the settings'
        )
        # A run without the detector that the settings name is stopped, not left without looks.
        is_named = environment.settings.models.looks_detector is not None
        status = CheckStatus.FAIL if is_named else CheckStatus.WARN
        yield CheckResult("looks", status, f"none: {error}", to_do)
    except (ValueError, OSError) as error:
        yield failed_result("looks", str(error), _model_advice(registry.ModelKind.DETECTOR))


def check_warehouse(environment: Environment) -> Iterator[CheckResult]:
    """Check that the warehouse answers, what it publishes, and that its tables suit us."""
    try:
        there = open_warehouse(environment.settings.warehouse)
        state = there.state()
        if environment.settings.warehouse.get_secret_value().startswith("postgres"):
            now = there.query("SELECT extract(epoch FROM clock_timestamp()) AS now_s")[0]["now_s"]
            yield _check_clock_skew("clock", "the warehouse", float(now), environment.limits)
            yield from _check_columns(there.query(migrations.COLUMNS_SQL))
    except ImportError as error:
        yield failed_result("warehouse", str(error), "pip install 'wearalike[postgres]'")
    except Unreachable as error:
        yield failed_result(
            "warehouse",
            str(error),
            "start it, and check host, port and firewall; runs stay in Parquet until it answers",
        )
    except (Rejected, ValueError, OSError) as error:
        yield failed_result(
            "warehouse",
            str(error),
            "check `warehouse` in the settings or $WEARALIKE_WAREHOUSE, and its role's rights",
        )
    else:
        yield from _check_publications(state, environment.limits)


def _check_columns(rows: Iterable[Mapping[str, Any]]) -> Iterator[CheckResult]:
    """Check that the warehouse has the columns of this version; rows: of COLUMNS_SQL."""
    found = {(row["table_name"], row["column_name"]): row["is_required"] for row in rows}
    there, required = set(found), {column for column, is_required in found.items() if is_required}
    if differences := migrations.schema_differences(there, required):
        statements = " ".join(migrations.migration_statements(there, required))
        yield failed_result(
            "warehouse",
            f"made by another version of wearalike: {', '.join(differences)}",
            f"as wearalike_loader: {statements} Then sql/views/site.sql again",
        )


def _check_publications(state: WarehouseState, limits: HealthLimits) -> Iterator[CheckResult]:
    """Check that the last publication is recent, and not in the future."""
    if not state.publications:
        yield CheckResult(
            "warehouse",
            CheckStatus.WARN,
            "answers; nothing is published yet",
            "start a run: wearalike run",
        )
        return
    last = state.publications[-1]
    age = datetime.now(UTC) - last.published_at
    seen = f"answers; published is {last.run}, since {last.published_at:%Y-%m-%d %H:%M} UTC"
    if age < -timedelta(seconds=limits.max_clock_skew_s):
        yield CheckResult(
            "clock",
            CheckStatus.WARN,
            f"run {last.run} was published {-age} in the future",
            "set this clock, or the warehouse's",
        )
    # A rollback publishes now what was loaded long ago.
    load = state.find_load(last.run)
    data_age = datetime.now(UTC) - min(last.published_at, load.loaded_at) if load else age
    if data_age.total_seconds() > limits.max_publication_age_s:
        yield CheckResult(
            "warehouse",
            CheckStatus.WARN,
            seen,
            f"its data are {data_age.total_seconds() / 3600:,.0f} hours old: "
            "find out why the last nightly runs did not publish",
        )
    else:
        yield ok_result("warehouse", seen)


class _HeadReceived(Exception):
    """The first bytes are there; the rest is not read."""


class _FeedHead(io.BytesIO):
    """A buffer that ends the transfer after FEED_HEAD_BYTES."""

    def write(self, piece: bytes, /) -> int:  # type: ignore[override]
        count = super().write(piece)
        if self.tell() >= FEED_HEAD_BYTES:
            raise _HeadReceived
        return count


def check_feeds(environment: Environment) -> Iterator[CheckResult]:
    """Check the first bytes of every feed, fetched under the same guard as by a run."""

    async def check_all() -> list[CheckResult]:
        return await asyncio.gather(
            *(
                _check_feed(shop, address.get_secret_value(), f"feed {shop.id}{number}")
                for shop in environment.settings.shops
                for number, address in [
                    ("", shop.feed),
                    *((f" supplement {n}", one) for n, one in enumerate(shop.supplements, 1)),
                ]
            )
        )

    yield from asyncio.run(check_all())


async def _check_feed(shop: ShopSettings, address: str, what: str) -> CheckResult:
    """Fetch the first bytes of a feed and check that they are of a format that is read."""
    body = _FeedHead()
    try:
        async with http_client.Client(
            address_guard.AddressGuard(shop.allowed_networks, shop.allowed_ports), _FETCH_POLICY
        ) as client:
            await client.fetch(address, shop.max_feed_bytes, file=body, may_log_in=True)
    except _HeadReceived:
        pass
    except http_client.FetchError as error:
        return failed_result(
            what,
            f"{error.reason}: {shop.redact_secrets(error.detail)}",
            _FEED_ADVICE.get(
                error.reason, "check the address, the credentials and the shop's server"
            ),
        )
    start = (
        body.getvalue().lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n\0")[:512].replace(b"\0", b"").lower()
    )
    if start.startswith((b"<!doctype html", b"<html")):
        return failed_result(
            what,
            "answers with a page, not a feed",
            "open its address and its credentials in a browser",
        )
    formats = {b"<": "XML", b"\x1f\x8b": "gzip", b"pk\x03\x04": "zip"}
    found = next((name for mark, name in formats.items() if start.startswith(mark)), "")
    needed = {b"id"} if "supplement" in what else {b"id", b"title", b"price"}
    if not found and needed <= set(re.findall(rb"\w+", start)):
        found = "a table"
    if not found:
        return failed_result(
            what,
            f"answers with {start[:20]!r}, not XML",
            "choose the shop's XML export, or Google's TSV or CSV; JSON is not read",
        )
    return ok_result(what, f"answers with {found}")


_FEED_ADVICE = {
    http_client.FetchReason.PRIVATE_ADDRESS: (
        "a shop in your own network: allowed_networks = ['10.1.2.0/24'] in its [[shops]] table"
    ),
    http_client.FetchReason.UNKNOWN_HOST: "check the address, and this machine's DNS",
    http_client.FetchReason.TLS: "ask the shop to renew its certificate",
}


def check_airflow(environment: Environment) -> Iterator[CheckResult]:
    """Check Airflow's database and the pools that the DAGs name, where Airflow is set up."""
    home = Path(environment.env.get("AIRFLOW_HOME") or Path.home() / "airflow")
    if not (home / "airflow.cfg").is_file() and not any(
        name.startswith("AIRFLOW__") for name in environment.env
    ):
        yield ok_result("airflow", "not set up for this user; `wearalike run` needs none")
        return
    command = [sys.executable, "-m", "airflow", "pools", "list", "--output", "json"]
    done = subprocess.run(
        command, env=dict(environment.env), capture_output=True, text=True, timeout=180, check=False
    )
    try:
        slots = {
            pool["pool"]: int(pool["slots"])
            for pool in json.loads(done.stdout[done.stdout.index("[{") :])
        }
    except (ValueError, LookupError, TypeError):
        output = (done.stderr.strip() or done.stdout.strip() or "says nothing").splitlines()[-1]
        yield failed_result(
            "airflow",
            f"{home}: {output[:300]}",
            "airflow db migrate, and check AIRFLOW_HOME and AIRFLOW__DATABASE__SQL_ALCHEMY_CONN",
        )
        return
    for pool, wanted in AIRFLOW_POOLS.items():
        if pool in slots:
            yield ok_result("airflow", f"pool {pool} has {slots[pool]} slots")
        else:
            yield failed_result(
                "airflow",
                f"no pool {pool}: its tasks would wait for ever",
                f"airflow pools set {pool} {wanted}",
            )


def check_images(environment: Environment) -> Iterator[CheckResult]:
    """Check the bytes of every kept image against its name, with `--deep`."""
    folder = environment.settings.data_dir / "cache" / "images"
    count = total_bytes = 0
    damaged: list[Path] = []
    for path in sorted(folder.glob("??/*")):
        if path.name.startswith("."):
            continue
        count += 1
        total_bytes += path.stat().st_size
        if run_tables.sha256(path) != path.name:
            damaged.append(path)
    seen = f"{count:,} images of {total_bytes / 1e9:,.1f} GB in {folder}"
    if not damaged:
        yield ok_result("images", f"{seen}; all as they came")
        return
    shown = " ".join(map(str, damaged[:MAX_SHOWN_IMAGES]))
    rest = f" and {len(damaged) - MAX_SHOWN_IMAGES} more" * (len(damaged) > MAX_SHOWN_IMAGES)
    yield CheckResult(
        "images",
        CheckStatus.WARN,
        f"{seen}; {len(damaged)} have changed on the disk: {shown}{rest}",
        "delete them, and the next run downloads them again; check the disk",
    )


# Checks that read everything.
DEEP_CHECKS: tuple[Callable[[Environment], Iterator[CheckResult]], ...] = (
    check_images,
    check_warehouse_files,
)
CHECKS: tuple[Callable[[Environment], Iterator[CheckResult]], ...] = (
    check_java,
    check_spark,
    check_root,
    check_object_store,
    check_mappings,
    check_rules,
    check_warehouse,
    check_feeds,
    check_pictures,
    check_device,
    check_models,
    check_looks,
    check_poses,
    check_airflow,
)
