"""One task of matching, as a Spark worker does it: some thousand products of one super-category.

A worker process keeps the gallery that it loaded last, since tasks of one super-category follow
one another.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from wearalike import catalog, search
from wearalike.search import gallery_store
from wearalike.storage import atomic, run_tables
from wearalike.storage.object_store import StoreFault
from wearalike.tables import MATCHES, TABLES_BY_NAME

log = logging.getLogger("wearalike.match_products")

# Folder beside the table `matches` that holds the nearest candidates of every product.
CANDIDATES_DIR = "candidates"
# Number of products of a task that searched everything, in the metadata of its file.
SEARCHED_ANEW_KEY = b"searched_anew"

TASK_SCHEMA = (
    "root string, run string, previous_run string, candidates_dir string, device string, "
    "super_category string, start long, stop long, "
    "k int, min_score double, max_per_brand int, max_brand_share double, diversity double, "
    "merchandising_rules string, weights string, previous_table string, previous_part string, "
    "encoder string"
)


@dataclass(frozen=True, slots=True)
class MatchTask:
    """The products that one task matches, and how; a row of TASK_SCHEMA.

    Attributes:
        root: The data folder.
        run: The run.
        previous_run: The run whose search goes on; None to search everything.
        candidates_dir: Folder for the nearest candidates.
        device: Where to search, "cpu" or "cuda".
        super_category: A `tables.SuperCategory` value.
        start: First row of its gallery.
        stop: Row after the last.
        k: See `search.ListRules`.
        min_score: See `search.ListRules`.
        max_per_brand: See `search.ListRules`.
        max_brand_share: See `search.ListRules`.
        diversity: See `search.ListRules`.
        merchandising_rules: JSON list of the fields of `catalog.MerchandisingRule`.
        weights: JSON object of the weights in place of the products', by category.
        previous_table: Table of the previous run that holds its candidates.
        previous_part: Folder of them below CANDIDATES_DIR, whose search had the same weights and
            encoder.
        encoder: Version of a variant's encoder; None for that of the run.
    """

    root: str
    run: str
    previous_run: str | None
    candidates_dir: str
    device: str
    super_category: str
    start: int
    stop: int
    k: int
    min_score: float
    max_per_brand: int
    max_brand_share: float
    diversity: float
    merchandising_rules: str
    weights: str = "{}"
    previous_table: str = MATCHES.name
    previous_part: str = "."
    encoder: str | None = None

    @property
    def list_rules(self) -> search.ListRules:
        """The rules of the lists."""
        return search.ListRules(
            self.k, self.min_score, self.max_per_brand, self.max_brand_share, self.diversity
        )


T = TypeVar("T")


class _LastResult(Generic[T]):
    """Keep the last result of a function: a worker process needs one gallery at a time."""

    def __init__(self) -> None:
        self._held: tuple[Hashable, T] | None = None

    def get(self, key: Hashable, compute: Callable[[], T]) -> T:
        """Return the result for a key; compute it if it is not that of the last call."""
        if self._held is None or self._held[0] != key:
            self._held = None  # free the memory of the last result first
            self._held = (key, compute())
        return self._held[1]


# Per process. Spark imports this module by name, so a worker keeps them from task to task.
_gallery_cache: _LastResult[search.Gallery] = _LastResult()
_diff_cache: _LastResult[search.GalleryDiff] = _LastResult()


def run_match_task(task: MatchTask) -> pa.RecordBatch:
    """Match the products of a task; write their nearest candidates for the next run.

    Returns:
        Rows of tables.MATCHES, sorted by product_id.

    Raises:
        TableNotFound: The run has no such table.
        BadIndex: An index file is not the run's.
    """
    gallery = _load_gallery(task)
    previous_search = _read_previous_search(task)
    rules = _read_rules(task)
    lists = list(
        search.search_gallery(
            gallery, task.start, task.stop, task.list_rules, rules, previous_search
        )
    )
    candidates = search.concat_candidates([part.candidates for part in lists])
    searched_anew = len(candidates)
    if previous_search is not None:
        previous_row = previous_search.diff.previous_row[task.start : task.stop]
        searched_anew = int(np.count_nonzero(previous_row < 0))
    _write_candidates(task, candidates, searched_anew)
    return search.build_matches(gallery, lists)


def _load_gallery(task: MatchTask) -> search.Gallery:
    """Return the gallery of a task, from the process's cache if the last task had it."""

    columns = sorted({column for rule in _read_rules(task) for column in rule.columns})

    def load() -> search.Gallery:
        gallery_store.return_memory_early()
        root = Path(task.root)
        weights = json.loads(task.weights)
        gallery = gallery_store.load_gallery(
            root, task.run, task.super_category, columns, weights, task.encoder
        )
        return replace(gallery, device=task.device)

    own = (task.weights, task.encoder)
    key = (task.root, task.run, task.super_category, task.device, *own, *columns)
    return _gallery_cache.get(key, load)


def _read_rules(task: MatchTask) -> list[catalog.MerchandisingRule]:
    """Return the merchandiser's rules of a task."""
    return [catalog.MerchandisingRule(**rule) for rule in json.loads(task.merchandising_rules)]


def _diff_since(task: MatchTask, previous_run: str) -> search.GalleryDiff:
    """Return what changed in the gallery of a task since the previous run, also cached."""

    def compare() -> search.GalleryDiff:
        previous = gallery_store.load_gallery(
            Path(task.root),
            previous_run,
            task.super_category,
            (),
            json.loads(task.weights),
            task.encoder,
        )
        return search.diff_galleries(previous, _load_gallery(task))

    own = (task.weights, task.encoder)
    key = (task.root, task.run, previous_run, task.super_category, task.device, *own)
    return _diff_cache.get(key, compare)


def _read_previous_search(task: MatchTask) -> search.PreviousSearch | None:
    """Return the previous run's search of a task's products.

    It is None where there is none, where it would save no work, or where its files are damaged.
    """
    if task.previous_run is None:
        return None
    table = TABLES_BY_NAME[task.previous_table]
    folder = Path(CANDIDATES_DIR, task.previous_part, task.super_category)
    try:
        table_dir = run_tables.fetch_files(
            Path(task.root),
            table,
            task.previous_run,
            lambda name: name.startswith(f"{folder.as_posix()}/"),
        )
    except StoreFault as error:
        log.warning("%s: everything is searched", error)
        return None
    paths = sorted((table_dir / folder).glob("*.parquet"))
    if not paths:
        return None
    diff = _diff_since(task, task.previous_run)
    known_rows = diff.previous_row[task.start : task.stop]
    known_rows = known_rows[known_rows >= 0]
    if not (diff.is_incremental_cheaper and len(known_rows)):
        return None
    # A file is named by the first row that it holds.
    first_rows = np.array([int(path.stem) for path in paths])
    bounds = (known_rows.min(), known_rows.max())
    first, last = np.searchsorted(first_rows, bounds, side="right") - 1
    needed = paths[first : last + 1]
    files = run_tables.read_manifest(Path(task.root), table, task.previous_run)["files"]
    for path in needed:
        if run_tables.sha256(path) != files.get(path.relative_to(table_dir).as_posix()):
            log.warning(
                "%s: not the files that _manifest.json names; everything is searched", path.parent
            )
            return None
    candidates = search.candidates_from_table(
        pa.concat_tables(pq.read_table(path) for path in needed)
    )
    return search.PreviousSearch(diff, candidates)


def candidates_path(task: MatchTask) -> Path:
    """Return the file of a task's nearest candidates, which its first row names."""
    return Path(task.candidates_dir) / task.super_category / f"{task.start:09}.parquet"


def _write_candidates(
    task: MatchTask, candidates: search.NearestCandidates, searched_anew: int
) -> None:
    """Write the nearest candidates of a task, whole or not at all."""
    path = candidates_path(task)
    table = search.candidates_to_table(candidates)
    table = table.replace_schema_metadata({SEARCHED_ANEW_KEY: str(searched_anew)})
    # Spark may run one task twice at the same time.
    with atomic.replace_file(path) as staging:
        pq.write_table(table, staging, compression="zstd")
