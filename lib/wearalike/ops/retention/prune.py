"""Remove from a data folder what no run needs, and say what went.

Nothing that is needed is touched, so a kill at any moment loses nothing: the same command goes on.
A folder is renamed before its files go, and no reader sees a part of it.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from wearalike.ops.disk_usage import DiskKind, DiskUsage, describe_bytes, iter_files
from wearalike.ops.retention.cached_rows import CacheRewrite, rewrite_caches
from wearalike.ops.retention.plan import PrunePlan, plan_pruning
from wearalike.ops.retention.survey import DataSurvey, FolderOnDisk, survey_data
from wearalike.retention_settings import RetentionSettings
from wearalike.settings import Settings
from wearalike.storage import atomic, content_cache, data_lock, mirror
from wearalike.tables import RUN_TABLES
from wearalike.warehouse.base import open_warehouse

log = logging.getLogger("wearalike.prune")
# Hidden files of killed processes are removed when nobody can be filling them any more.
MIN_ABANDONED_AGE_S = 86_400.0


@dataclass
class PruneReport:
    """The things that went, or would go.

    Attributes:
        survey: The things that lay in the data folder.
        plan: The decision.
        rewrites: Caches that were written again.
        abandoned: Bytes and files that killed processes had left.
        unnamed: Those of the object store that no manifest and no index names.
        is_dry: Nothing was changed.
    """

    survey: DataSurvey
    plan: PrunePlan
    rewrites: list[CacheRewrite] = field(default_factory=list)
    abandoned: DiskUsage = field(default_factory=DiskUsage)
    unnamed: DiskUsage = field(default_factory=DiskUsage)
    is_dry: bool = False

    @property
    def bytes(self) -> int:
        """All bytes that went from the folder."""
        rewritten = sum(rewrite.bytes for rewrite in self.rewrites)
        return self.plan.bytes + rewritten + self.abandoned.bytes


def prune_data(
    settings: Settings, *, is_dry: bool = False, now: datetime | None = None
) -> PruneReport:
    """Remove what the settings' policy no longer keeps.

    Args:
        settings: Name the data folder, the warehouse and the policy; without a policy its defaults
            hold.
        is_dry: Change nothing.
        now: Now, in UTC; None: the clock's.

    Raises:
        data_lock.DataInUse: A stage of a run is at work.
        atomic.LocksUnsupported: The file system has no locks, so nobody knows.
        Unreachable: The warehouse does not answer, which knows what is published.
    """
    root = settings.data_dir
    with contextlib.ExitStack() as stack:
        if not is_dry and root.is_dir():
            stack.enter_context(data_lock.own_data(root))
        store = mirror.find_mirror(root)
        if store:
            store.rows.fetch_kinds()
        state = open_warehouse(settings.warehouse).state()
        survey = survey_data(settings, state, now or datetime.now(UTC))
        plan = plan_pruning(survey, settings.keep or RetentionSettings())
        report = PruneReport(survey, plan, is_dry=is_dry)
        if not survey.is_published_known:
            log.warning("the pictures of the published run are not known: all pictures stay")
        if not is_dry:
            _remove_folders(plan, store)
            _remove_pictures(root, plan, store)
        report.rewrites += rewrite_caches(root, plan, is_dry=is_dry)
        _remove_abandoned(root, report)
        if store:
            _remove_unnamed(store, report)
    if plan.excess_bytes:
        log.warning(
            "%s is %s larger than max_bytes, and the rest of it is needed",
            root,
            describe_bytes(plan.excess_bytes),
        )
    return report


def _remove_folders(plan: PrunePlan, store: mirror.Mirror | None) -> None:
    """Remove the folders, of each run the last stage's table first, as of a run that never ended.

    A table whose candidates go stays, and its manifest still names them: a search that finds them
    gone searches everything.
    """
    order = {table.name: -number for number, table in enumerate(RUN_TABLES)}
    folders = sorted(
        plan.folders, key=lambda f: (f.used_at_s, order.get(f.path.parent.name, 1), str(f.path))
    )
    for folder in folders:
        log.debug("%s: %s", folder.path, describe_bytes(folder.bytes))
        if store:
            _remove_stored(store, folder)
        atomic.remove_dir(folder.path)


def _remove_stored(store: mirror.Mirror, folder: FolderOnDisk) -> None:
    """Remove a folder from the object store, before the local one goes."""
    if folder.kind is DiskKind.CANDIDATES and folder.run:
        store.tables.remove_files(folder.path.parent.parent.name, folder.run, folder.path.name)
    elif folder.run:
        store.tables.remove(folder.path.parent.name, folder.run)
    elif folder.path.parent.parent.name == "cache":
        names = [path.name for path in folder.path.glob("[!.]*.parquet")]
        store.rows.remove(folder.path.parent.name, folder.path.name, names)


def _remove_unnamed(store: mirror.Mirror, report: PruneReport) -> None:
    """Remove objects that no manifest names, and that no living writer can be about to name."""
    newest_s = report.survey.now_s - MIN_ABANDONED_AGE_S
    gone = [f for f in store.list_unnamed() if f.modified_at.timestamp() < newest_s]
    for facts in gone:
        report.unnamed.add(facts.bytes)
    if not report.is_dry:
        store.store.delete([facts.key for facts in gone])


def _remove_pictures(root: Path, plan: PrunePlan, store: mirror.Mirror | None) -> None:
    for image_id in plan.pictures["image_id"].to_pylist():
        path = content_cache.image_path(root, image_id)
        log.debug("%s", path)
        path.unlink(missing_ok=True)
    if store:
        store.pictures.remove(plan.pictures["image_id"])


def _remove_abandoned(root: Path, report: PruneReport) -> None:
    """Remove hidden files and folders that killed processes left."""
    cache = root / "cache"
    folders = [
        *(root / table.name for table in RUN_TABLES),
        *cache.glob("[!.]*"),
        *cache.glob("*/[!.]*"),
        *(root / "matches").glob("run=*"),
        *(root / "matches_variants").glob("run=*"),
        root / "photo_queries",
        root / "reports",
        root / "events",
    ]
    listed = [atomic.find_abandoned(folder, MIN_ABANDONED_AGE_S) for folder in folders]
    for path in [path for found in listed for path in found]:
        sizes = [size for _, size in iter_files(path)] if path.is_dir() else [path.stat().st_size]
        for size in sizes:
            report.abandoned.add(size)
        if not report.is_dry:
            atomic.remove_abandoned(path)


def describe_report(report: PruneReport) -> Iterator[str]:
    """Yield what went, or would go, a line each: kind, name, and bytes; then the sum."""
    verb = "would remove" if report.is_dry else "removed"
    runs: dict[tuple[DiskKind, str], list[int]] = {}
    for folder in report.plan.folders:
        if folder.run and folder.kind is not DiskKind.CANDIDATES:
            runs.setdefault((folder.kind, folder.run), []).append(folder.bytes)
        else:
            name = f"run={folder.run}" if folder.run else folder.path.name
            yield f"{verb}  {folder.kind:<17} {name}: {describe_bytes(folder.bytes)}"
    for (kind, run), sizes in runs.items():
        yield f"{verb}  {kind:<17} run={run}: {len(sizes)} folders, {describe_bytes(sum(sizes))}"
    pictures = report.plan.pictures
    if pictures.num_rows:
        size = describe_bytes(sum(pictures["bytes"].to_pylist()))
        what = f"{pictures.num_rows:,} of {report.survey.pictures.num_rows:,} pictures, {size}"
        yield f"{verb}  {DiskKind.PICTURES:<17} {what}"
    for rewrite in report.rewrites:
        yield (
            f"{verb}  {rewrite.kind:<17} {rewrite.folder.name}: {rewrite.dropped:,} of"
            f" {rewrite.rows:,} rows, {describe_bytes(rewrite.bytes)}; {rewrite.files} files in one"
        )
    if report.abandoned.files:
        what = f"{report.abandoned.files:,} files, {describe_bytes(report.abandoned.bytes)}"
        yield f"{verb}  {'left by killed':<17} {what}"
    if report.unnamed.files:
        what = f"{report.unnamed.files:,} objects, {describe_bytes(report.unnamed.bytes)}"
        yield f"{verb}  {'in the store':<17} {what}: no manifest names them"
    left = report.survey.total_bytes - report.bytes
    what = f"{describe_bytes(report.bytes)} of {describe_bytes(report.survey.total_bytes)}"
    yield f"{verb}  {'in all':<17} {what}; {describe_bytes(left)} stay"
