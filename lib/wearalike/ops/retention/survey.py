"""Look through a data folder: its runs, caches and pictures, and when each was used last."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, time
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from wearalike.imaging import ledger
from wearalike.models import registry
from wearalike.models.precision import Precision, bfloat16_versions
from wearalike.ops.disk_usage import DiskKind, DiskUsage, folder_bytes, iter_files, measure_disk
from wearalike.ops.retention.needed_runs import (
    find_needed_reports,
    find_needed_runs,
    find_searched_runs,
)
from wearalike.settings import Settings
from wearalike.storage import mirror, run_order, run_tables
from wearalike.storage.pack_indexes import PackIndexes
from wearalike.tables import (
    CODES,
    CODES_VARIANTS,
    IMAGES,
    INDEXES,
    ITEMS,
    LOOKS,
    MATCHES,
    MATCHES_VARIANTS,
    PHOTO_QUERIES,
    RUN_TABLES,
)
from wearalike.warehouse.base import WarehouseState

PICTURE_SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("bytes", pa.int64()),
        ("used_at_s", pa.float64()),
        # Those in this folder: 0 for a picture that the object store alone holds.
        ("local_bytes", pa.int64()),
    ]
)
CANDIDATES_DIR = "candidates"
# Tables beside which the candidates of a run are kept.
_SEARCH_TABLES = (MATCHES.name, MATCHES_VARIANTS.name)
_MODEL_TABLES = (ITEMS, CODES, LOOKS, INDEXES, CODES_VARIANTS)
# Kinds of caches that have a folder for each version of a model.
_CACHED_BY_MODEL = (
    DiskKind.ITEMS,
    DiskKind.CODES,
    DiskKind.DESCRIPTORS,
    DiskKind.LEAVES,
    DiskKind.POSES,
    DiskKind.NETWORKS,
)


@dataclass(frozen=True, slots=True)
class FolderOnDisk:
    """A folder that may go as a whole.

    Attributes:
        kind: Its kind.
        path: The folder.
        run: The run that it belongs to; None for one of no run.
        used_at_s: When it was used last, seconds since 1970.
        bytes: All its files, together.
    """

    kind: DiskKind
    path: Path
    run: str | None
    used_at_s: float
    bytes: int


@dataclass
class DataSurvey:
    """The things in a data folder.

    Attributes:
        root: The data folder.
        now_s: Seconds since 1970.
        usage: Bytes and files by kind.
        needed: Runs whose tables are needed, with the reason.
        needed_reports: Runs whose quality is needed.
        searched: Runs whose candidates are needed.
        runs: When each run was used last, seconds since 1970.
        folders: Tables of runs, their candidates, and answers of photo queries.
        caches: Folders of cached work of a model.
        pictures: Rows of PICTURE_SCHEMA.
        run_pictures: Ids of the pictures of each run.
        run_models: Versions of the models of each run.
        current_models: Versions that the next run may use, or a rollback of a promotion.
        is_published_known: The pictures of the published run and of the rollback's are known.
    """

    root: Path
    now_s: float
    usage: dict[DiskKind, DiskUsage]
    needed: dict[str, str]
    needed_reports: set[str]
    searched: list[str]
    runs: dict[str, float] = field(default_factory=dict)
    folders: list[FolderOnDisk] = field(default_factory=list)
    caches: list[FolderOnDisk] = field(default_factory=list)
    pictures: pa.Table = field(default_factory=PICTURE_SCHEMA.empty_table)
    run_pictures: dict[str, pa.Array] = field(default_factory=dict)
    run_models: dict[str, set[str]] = field(default_factory=dict)
    current_models: set[str] = field(default_factory=set)
    is_published_known: bool = True

    @property
    def total_bytes(self) -> int:
        """All files of the data folder, together."""
        return sum(usage.bytes for usage in self.usage.values())


def survey_data(settings: Settings, state: WarehouseState, now: datetime) -> DataSurvey:
    """Look through the data folder.

    Args:
        settings: Name the data folder, the shops and the models.
        state: The state of the warehouse.
        now: Now, in UTC.
    """
    root = settings.data_dir
    shop_ids = [shop.id for shop in settings.shops] or None
    found = DataSurvey(
        root,
        now.timestamp(),
        measure_disk(root),
        find_needed_runs(root, state, shop_ids),
        find_needed_reports(root),
        find_searched_runs(root),
    )
    _survey_runs(found)
    for run in found.runs:
        found.run_models[run] = set(_iter_run_models(root, run))
        if run_tables.is_complete(root, IMAGES, run):
            column = run_tables.read_table(root, IMAGES, run, ["image_id"])["image_id"]
            found.run_pictures[run] = pc.unique(column)
    shown = (state.published_run, state.rollback_target)
    found.is_published_known = all(run in found.run_pictures for run in shown if run)
    found.caches = list(_iter_caches(root))
    found.pictures = _survey_pictures(root)
    found.current_models = set(_iter_current_models(settings))
    found.folders += _iter_photo_answers(root)
    return found


def _survey_runs(found: DataSurvey) -> None:
    root = found.root
    paths = [p for t in RUN_TABLES for p in sorted((root / t.name).glob("run=*")) if p.is_dir()]
    for path in paths:
        run = path.name.removeprefix("run=")
        day = run_order.known_day(root, run)
        of_day_s = datetime.combine(day, time(), UTC).timestamp() if day else 0.0
        # A run of a day long ago may have been made just now.
        made_at_s = max(of_day_s, _modified_at_s(path / "_manifest.json"), found.runs.get(run, 0.0))
        found.runs[run] = made_at_s
    stored = _list_stored_candidates(root)
    for path in paths:
        run = path.name.removeprefix("run=")
        kind = DiskKind.REPORTS if path.parent.name == "quality" else DiskKind.RUNS
        candidates = path / CANDIDATES_DIR
        candidate_bytes = 0
        if path.parent.name in _SEARCH_TABLES and (
            candidates.is_dir() or (path.parent.name, run) in stored
        ):
            candidate_bytes = folder_bytes(candidates)
            found.folders.append(
                FolderOnDisk(DiskKind.CANDIDATES, candidates, run, found.runs[run], candidate_bytes)
            )
        own_bytes = folder_bytes(path) - candidate_bytes
        found.folders.append(FolderOnDisk(kind, path, run, found.runs[run], own_bytes))


def _list_stored_candidates(root: Path) -> set[tuple[str, str]]:
    """Return table and run of the candidates that lie in the object store, if there is one."""
    store = mirror.find_mirror(root)
    return {
        (table, run)
        for table in (_SEARCH_TABLES if store else ())
        for run in (store.tables.list_runs_with(table, CANDIDATES_DIR) if store else ())
    }


def _modified_at_s(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _iter_run_models(root: Path, run: str) -> Iterator[str]:
    """Yield the versions of the models that made a run's tables."""
    for table in _MODEL_TABLES:
        if not run_tables.is_complete(root, table, run):
            continue
        manifest = run_tables.read_manifest(root, table, run)
        for facts in (manifest, manifest.get("parameters") or {}):
            yield from (str(facts[key]) for key in ("detector", "encoder") if facts.get(key))
            yield from facts.get("encoders", {}).values()


def _iter_current_models(settings: Settings) -> Iterator[str]:
    """Yield the versions that the next run may use, or a rollback of a promotion."""
    root, models = settings.data_dir, settings.models
    variants = settings.experiment.variants.values() if settings.experiment else ()
    is_bfloat16 = models.encoder_precision == Precision.BFLOAT16
    named = {
        registry.ModelKind.DETECTOR: (models.detector, models.looks_detector),
        registry.ModelKind.ENCODER: (models.encoder, *(v.encoder for v in variants)),
    }
    for kind, names in named.items():
        for name in {None, *names}:
            try:
                version = registry.resolve_model(root, kind, name).version
                yield version
                # The processor that encodes need not be this one.
                if is_bfloat16 and kind is registry.ModelKind.ENCODER:
                    yield from bfloat16_versions(version)
            except (registry.BadModel, OSError):
                yield name or ""  # one without weights has its name and a number
        for event in registry.promotion_history(root, kind)[-1:]:
            yield from (version for version in (event.version, event.former) if version)


def _iter_caches(root: Path) -> Iterator[FolderOnDisk]:
    for kind in _CACHED_BY_MODEL:
        for path in sorted((root / "cache" / kind.value).glob("[!.]*")):
            used_at_s = max(map(_modified_at_s, path.glob("[!.]*.*")), default=0.0)
            yield FolderOnDisk(kind, path, None, used_at_s, folder_bytes(path))


def _survey_pictures(root: Path) -> pa.Table:
    """Return the stored pictures; one is used while its address is asked for, or its file new."""
    ids, sizes = [], []
    for path, size in iter_files(root / "cache" / "images"):
        name = os.path.basename(path)
        if not name.startswith("."):
            ids.append(name)
            sizes.append(size)
    stored_at = [
        _modified_at_s(root / "cache" / "images" / image_id[:2] / image_id) for image_id in ids
    ]
    pictures = pa.table([ids, sizes, stored_at, sizes], schema=PICTURE_SCHEMA)
    if store := mirror.find_mirror(root):
        pictures = pa.concat_tables([pictures, _list_packed(store.pictures.indexes, pictures)])
    for folder in sorted((root / "cache" / ledger.CACHE_KIND).glob("[!.]*")):
        rows = ledger.read_ledger(root, folder.name).select(["image_id", "checked_at"])
        asked = rows.filter(pc.is_valid(rows["image_id"])).group_by("image_id")
        newest = asked.aggregate([("checked_at", "max")])
        at = pc.index_in(pictures["image_id"], newest["image_id"].combine_chunks())
        asked_at_s = pc.divide(
            pc.cast(newest["checked_at_max"].combine_chunks().take(at), pa.int64()), 1e6
        )
        used_at_s = pc.max_element_wise(pictures["used_at_s"], asked_at_s)
        pictures = pictures.set_column(2, "used_at_s", used_at_s)
    return pictures


def _list_packed(indexes: PackIndexes, local: pa.Table) -> pa.Table:
    """Return the pictures of the object store that the local cache does not hold."""
    packed_at_s = indexes.packed_at_s()
    index = indexes.rows.filter(
        pc.invert(pc.is_in(indexes.rows["image_id"], local["image_id"].combine_chunks()))
    )
    times = [packed_at_s.get(pack, 0.0) for pack in index["pack"].to_pylist()]
    rows = index.select(["image_id", "bytes"]).append_column("used_at_s", pa.array(times))
    once = rows.group_by("image_id").aggregate([("bytes", "max"), ("used_at_s", "max")])
    nowhere_here = pa.array([0] * once.num_rows, pa.int64())
    once = once.rename_columns(PICTURE_SCHEMA.names[:3]).append_column("local_bytes", nowhere_here)
    return once.cast(PICTURE_SCHEMA)


def _iter_photo_answers(root: Path) -> Iterator[FolderOnDisk]:
    for path in sorted((root / PHOTO_QUERIES.name).glob("[!.]*")):
        if path.is_dir():
            used_at_s = max(map(_modified_at_s, path.iterdir()), default=_modified_at_s(path))
            yield FolderOnDisk(DiskKind.PHOTOS, path, None, used_at_s, folder_bytes(path))
