"""What a night needs, examined where it is to run: each finding says what was seen and, where it is not well, what to do.

Nothing is changed: a file is written into the root and removed again; of every feed only the first bytes are read.
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
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path

import numpy as np

from wearalike import catalog
from wearalike.detection import detect
from wearalike.encoding import encoders
from wearalike.models import registry
from wearalike.net import address_guard, http_client
from wearalike.settings import Settings, Shop
from wearalike.warehouse.base import Rejected, State, Unreachable, open_warehouse
from wearalike.warehouse.postgres import migrations

LEAST_JAVA = 17
FIRST_BYTES = 4096
POOLS = {"network": "2 downloads", "gpu": "1 models"}
_MANNERS = http_client.Manners(attempts=1, timeout_s=20.0, idle_s=20.0)


class Verdict(StrEnum):
    OK = "ok"
    WARN = "warn"  # a night would run, and may not be what is wanted
    FAIL = "fail"  # a night would not end well


@dataclass(frozen=True, slots=True)
class Finding:
    """what: was examined. seen: there. to_do: where it is not well; empty where it is."""

    what: str
    verdict: Verdict
    seen: str
    to_do: str = ""

    def __str__(self) -> str:
        line = f"{self.verdict:<5} {self.what:<16} {self.seen}"
        return f"{line}\n{'':<23}to do: {self.to_do}" if self.to_do else line


@dataclass(frozen=True, slots=True)
class Limits:
    """fail_free_bytes, warn_free_bytes: less than this is free on the root's disk. late_s: since the last publication.
    skew_s: between this clock and another."""

    fail_free_bytes: int = 2_000_000_000
    warn_free_bytes: int = 20_000_000_000
    late_s: float = 36 * 3600
    skew_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Patient:
    """What is examined: a place and its environment."""

    place: Settings
    env: Mapping[str, str] = field(default_factory=lambda: os.environ)
    limits: Limits = Limits()


def examine(patient: Patient) -> Iterator[Finding]:
    """Every finding, the quick ones first. A check never raises for what an operator can mend."""
    for check in CHECKS:
        yield from check(patient)


def _ok(what: str, seen: str) -> Finding:
    return Finding(what, Verdict.OK, seen)


def _fail(what: str, seen: str, to_do: str) -> Finding:
    return Finding(what, Verdict.FAIL, seen, to_do)


def java(patient: Patient) -> Iterator[Finding]:
    """Spark's Java: $JAVA_HOME's, else the PATH's."""
    home, wanted = (
        patient.env.get("JAVA_HOME"),
        f"install Java {LEAST_JAVA} or newer, e.g. apt-get install openjdk-17-jre-headless",
    )
    program = (
        str(Path(home, "bin", "java"))
        if home
        else shutil.which("java", path=patient.env.get("PATH", ""))
    )
    if not program:
        yield _fail("java", "none on the PATH", wanted)
        return
    try:
        told = subprocess.run(
            [program, "-version"], capture_output=True, text=True, timeout=30, check=False
        ).stderr
    except OSError as error:
        yield _fail(
            "java",
            f"{program}: {error.strerror}",
            f"{wanted}, and set JAVA_HOME to where it is, or not at all",
        )
        return
    version = re.search(r'version "(?:1\.)?(\d+)[^"]*"', told)
    if version is None or int(version[1]) < LEAST_JAVA:
        yield _fail(
            "java",
            f"{program}: {told.strip().splitlines()[0] if told.strip() else 'says nothing'}",
            wanted,
        )
    else:
        yield _ok("java", f"{version[0]} at {program}")


def root(patient: Patient) -> Iterator[Finding]:
    """The folder of all tables: can be written, on a disk with room, whose clock is ours."""
    folder = patient.place.root.absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".doctor-") as file:
            written_at = os.stat(file.name).st_mtime
    except OSError as error:
        yield _fail(
            "root",
            f"{folder}: {error.strerror}",
            "make it a folder that the jobs' user can write, or name another as `root`",
        )
        return
    yield _ok("root", f"{folder} can be written")
    yield _disk(folder, patient.limits)
    yield _skew("clock", "the root's disk", written_at, patient.limits)


def _disk(folder: Path, limits: Limits) -> Finding:
    free = shutil.disk_usage(folder).free
    seen = f"{free / 1e9:,.1f} GB free at {folder}"
    verdict = (
        Verdict.FAIL
        if free < limits.fail_free_bytes
        else Verdict.WARN
        if free < limits.warn_free_bytes
        else Verdict.OK
    )
    to_do = (
        ""
        if verdict is Verdict.OK
        else f"make room: wanted are {limits.warn_free_bytes / 1e9:,.0f} GB; old runs' folders may go"
    )
    return Finding("disk", verdict, seen, to_do)


def _skew(what: str, other: str, other_s: float, limits: Limits) -> Finding:
    """This clock against another's seconds since 1970."""
    ahead_s = time.time() - other_s
    seen = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC, {ahead_s:+.1f} s against {other}"
    if abs(ahead_s) > limits.skew_s:
        return Finding(
            what,
            Verdict.WARN,
            seen,
            "let both keep time by NTP: runs are named by the date, publications by the hour",
        )
    return _ok(what, seen)


def device(patient: Patient) -> Iterator[Finding]:
    """The GPU, where one is wanted or there."""
    try:
        found = registry.device(patient.place.device)
    except registry.BadModel as error:
        yield _fail(
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
    yield _ok("device", f"{found}: {name}")


def mappings(patient: Patient) -> Iterator[Finding]:
    """Rubricator, mappings and rules, as check-mapping reads them."""
    place = patient.place
    if not place.shops:
        yield Finding(
            "shops",
            Verdict.WARN,
            "the settings name none",
            "add a [[shops]] table with id and feed to wearalike.toml",
        )
    try:
        mistakes = catalog.check(place, [shop.id for shop in place.shops])
    except OSError as error:
        yield _fail(
            "mappings",
            f"{error.filename or place.mappings}: {error.strerror or error}",
            "set `mappings` to the folder of rubricator.xml",
        )
        return
    for mistake in mistakes:
        yield _fail(
            "mappings", mistake, "mend the line; `wearalike check-mapping` lists every mistake"
        )
    if not mistakes:
        yield _ok("mappings", f"{place.mappings}: no mistakes, {len(place.shops)} shops")


def weights(patient: Patient) -> Iterator[Finding]:
    """The detector and the encoder that the next night would use: their hashes, and that they run."""
    to_do = "install wearalike again; a model of your own: put its file back, or wearalike.commands.promote_model --rollback"
    picture = np.arange(96 * 64 * 3, dtype=np.uint8).reshape(96, 64, 3)
    try:
        on = registry.device(patient.place.device)
    except registry.BadModel:
        on = "cpu"  # `device` says so
    try:
        detector = detect.detector(patient.place.root, None, on)
        detector.detect([picture])
        yield _ok("detector", f"{detector.version} runs on {on}")
    except (registry.BadModel, ImportError, OSError) as error:
        yield _fail("detector", str(error), to_do)
    try:
        encoder = encoders.of(registry.chosen(patient.place.root, registry.Kind.ENCODER).read(), on)
        seen = encoder.encode([picture])
        yield _ok(
            "encoder",
            f"{encoder.version} runs on {on}, {8 * (seen.shape.shape[1] + seen.colour.shape[1])} bits an item",
        )
    except (registry.BadModel, ImportError, OSError) as error:
        yield _fail("encoder", str(error), to_do)


def looks(patient: Patient) -> Iterator[Finding]:
    """The detector that sees what products are worn with; a night runs without it, and has no looks."""
    if patient.place.looks == "off":
        yield _ok("looks", "switched off in the settings")
        return
    try:
        model = detect.naming_model(patient.place.root)
        detect.Trained(model.read()).detect([np.zeros((96, 64, 3), np.uint8)])
        yield _ok("looks", f"{model.version} sees what products are worn with")
    except ImportError as error:
        to_do = (
            'pip install wearalike[yolo], apt-get install libgl1; or looks = "off" in the settings'
        )
        yield Finding("looks", Verdict.WARN, f"none: {error}", to_do)
    except (registry.BadModel, OSError) as error:
        yield _fail(
            "looks",
            str(error),
            "install wearalike again; a model of your own: put its file back, or wearalike.commands.promote_model --rollback",
        )


def warehouse(patient: Patient) -> Iterator[Finding]:
    """Whether it answers, what it publishes since when, and that its tables are those of this version."""
    try:
        there = open_warehouse(patient.place.warehouse)
        state = there.state()
        if patient.place.warehouse.startswith("postgres"):
            now = there.ask("SELECT extract(epoch FROM clock_timestamp()) AS now_s")[0]["now_s"]
            yield _skew("clock", "the warehouse", float(now), patient.limits)
            yield from _columns(
                {(r["table_name"], r["column_name"]) for r in there.ask(migrations.COLUMNS)}
            )
    except ImportError as error:
        yield _fail("warehouse", str(error), "pip install 'wearalike[postgres]'")
    except Unreachable as error:
        yield _fail(
            "warehouse",
            str(error),
            "start it, and check host, port and firewall; nights stay in Parquet until it answers",
        )
    except (Rejected, ValueError, OSError) as error:
        yield _fail(
            "warehouse",
            str(error),
            "check `warehouse` in the settings or $WEARALIKE_WAREHOUSE, and its role's rights",
        )
    else:
        yield from _published(state, patient.limits)


def _columns(there: set[tuple[str, str]]) -> Iterator[Finding]:
    if differences := migrations.differences(there):
        to_do = f"as wearalike_loader: {' '.join(migrations.statements(there))} Then sql/views/site.sql again"
        yield _fail(
            "warehouse", f"made by another version of wearalike: {', '.join(differences)}", to_do
        )


def _published(state: State, limits: Limits) -> Iterator[Finding]:
    if not state.publications:
        yield Finding(
            "warehouse",
            Verdict.WARN,
            "answers; nothing is published yet",
            "run a night: wearalike run --run 2026-11-21",
        )
        return
    last = state.publications[-1]
    age = datetime.now(UTC) - last.published_at
    seen = f"answers; published is {last.run}, since {last.published_at:%Y-%m-%d %H:%M} UTC"
    if age < -timedelta(seconds=limits.skew_s):
        yield Finding(
            "clock",
            Verdict.WARN,
            f"run {last.run} was published {-age} in the future",
            "set this clock, or the warehouse's",
        )
    if age.total_seconds() > limits.late_s:
        yield Finding(
            "warehouse",
            Verdict.WARN,
            seen,
            f"that is {age.total_seconds() / 3600:,.0f} hours: look why the last nights did not publish",
        )
    else:
        yield _ok("warehouse", seen)


class _Enough(Exception):
    """The first bytes are there; the rest is not read."""


class _FirstBytes(io.BytesIO):
    def write(self, piece: bytes, /) -> int:  # type: ignore[override]
        count = super().write(piece)
        if self.tell() >= FIRST_BYTES:
            raise _Enough
        return count


def feeds(patient: Patient) -> Iterator[Finding]:
    """The first bytes of every feed, fetched under the same guard as by night."""

    async def every() -> list[Finding]:
        return await asyncio.gather(*map(_feed, patient.place.shops))

    yield from asyncio.run(every())


async def _feed(shop: Shop) -> Finding:
    what, body = f"feed {shop.id}", _FirstBytes()
    try:
        async with http_client.Client(
            address_guard.Guard(shop.allow_addresses, shop.allow_ports), _MANNERS
        ) as client:
            await client.fetch(shop.feed, shop.max_feed_bytes, file=body, may_log_in=True)
    except _Enough:
        pass
    except http_client.Refused as error:
        return _fail(
            what,
            f"{error.reason}: {shop.hush(error.detail)}",
            _FEED_ADVICE.get(
                error.reason, "check the address, the credentials and the shop's server"
            ),
        )
    start = (
        body.getvalue().lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n\0")[:512].replace(b"\0", b"").lower()
    )
    if start.startswith((b"<!doctype html", b"<html")):
        return _fail(
            what,
            "answers with a page, not a feed",
            "open its address and its credentials in a browser",
        )
    if not start.startswith((b"<", b"\x1f\x8b")):
        return _fail(
            what,
            f"answers with {start[:20]!r}, not XML",
            "choose the shop's XML export; CSV, JSON and zip are not read",
        )
    return _ok(what, f"answers with {'gzip' if start.startswith(bytes([0x1F])) else 'XML'}")


_FEED_ADVICE = {
    http_client.Reason.PRIVATE_ADDRESS: "a shop in your own network: allow_addresses = ['10.1.2.0/24'] in its [[shops]] table",
    http_client.Reason.UNKNOWN_HOST: "check the address, and this machine's DNS",
    http_client.Reason.TLS: "ask the shop to renew its certificate",
}


def airflow(patient: Patient) -> Iterator[Finding]:
    """Airflow's database and the pools that the DAGs name, where Airflow is set up."""
    home = Path(patient.env.get("AIRFLOW_HOME") or Path.home() / "airflow")
    if not (home / "airflow.cfg").is_file() and not any(
        name.startswith("AIRFLOW__") for name in patient.env
    ):
        yield _ok("airflow", "not set up for this user; `wearalike run` needs none")
        return
    command = [sys.executable, "-m", "airflow", "pools", "list", "--output", "json"]
    done = subprocess.run(
        command, env=dict(patient.env), capture_output=True, text=True, timeout=180, check=False
    )
    try:
        slots = {
            pool["pool"]: int(pool["slots"])
            for pool in json.loads(done.stdout[done.stdout.index("[{") :])
        }
    except (ValueError, LookupError, TypeError):
        told = (done.stderr.strip() or done.stdout.strip() or "says nothing").splitlines()[-1]
        yield _fail(
            "airflow",
            f"{home}: {told[:300]}",
            "airflow db migrate, and check AIRFLOW_HOME and AIRFLOW__DATABASE__SQL_ALCHEMY_CONN",
        )
        return
    for pool, wanted in POOLS.items():
        if pool in slots:
            yield _ok("airflow", f"pool {pool} has {slots[pool]} slots")
        else:
            yield _fail(
                "airflow",
                f"no pool {pool}: its tasks would wait for ever",
                f"airflow pools set {pool} {wanted}",
            )


CHECKS: tuple[Callable[[Patient], Iterator[Finding]], ...] = (
    java,
    root,
    mappings,
    warehouse,
    feeds,
    device,
    weights,
    looks,
    airflow,
)
