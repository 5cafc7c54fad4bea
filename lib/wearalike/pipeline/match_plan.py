"""How a run is matched: the tasks, and what all of them share."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from wearalike import search
from wearalike.catalog.category_weights import CategoryWeights
from wearalike.pipeline import match_task
from wearalike.pipeline.match_task import MatchTask
from wearalike.storage import run_tables
from wearalike.tables import INDEXES, MATCHES, PRODUCTS

# Products that a task matches, at most: seconds to minutes of work for a worker.
QUERIES_A_TASK = 16_384


@dataclass(frozen=True, slots=True)
class MatchPlan:
    """How a run is matched: what all of its tasks share.

    Attributes:
        root: The data folder.
        run: The run.
        device: Where workers search, "cpu" or "cuda".
        list_rules: The rules of the lists.
        merchandising_rules: The fields of each `catalog.MerchandisingRule` of the run's day.
        weights: Weights in place of the products', of a variant of the lists.
        previous_run: The run that a variant goes on from; None to search everything.
        previous_table: See `MatchTask`.
        previous_part: See `MatchTask`.
        encoder: See `MatchTask`.
    """

    root: Path
    run: str
    device: str
    list_rules: search.ListRules
    merchandising_rules: list[dict[str, Any]]
    weights: CategoryWeights = field(default_factory=dict)
    previous_run: str | None = None
    previous_table: str = MATCHES.name
    previous_part: str = "."
    encoder: str | None = None

    def parameters(self) -> dict[str, Any]:
        """Return the parameters that the table depends on, as _manifest.json names them."""
        return {**asdict(self.list_rules), "merchandise": self.merchandising_rules}

    def signature(self) -> str:
        """Return the signature of the table `matches`."""
        parameters = {**self.parameters(), "distance": search.DISTANCE_VERSION}
        return run_tables.signature(input_hashes(self.root, self.run), parameters)

    def tasks(
        self, counts: Mapping[str, int], candidates_dir: Path, previous_run: str | None
    ) -> list[MatchTask]:
        """Return the tasks, in the order of the table; see `split_queries` for counts."""
        return [
            MatchTask(
                str(self.root),
                self.run,
                previous_run,
                str(candidates_dir),
                self.device,
                super_category,
                start,
                stop,
                **asdict(self.list_rules),
                merchandising_rules=json.dumps(self.merchandising_rules),
                weights=json.dumps(dict(self.weights), sort_keys=True),
                previous_table=self.previous_table,
                previous_part=self.previous_part,
                encoder=self.encoder,
            )
            for super_category, start, stop in split_queries(counts)
        ]


def count_values(column: pa.ChunkedArray) -> dict[str, int]:
    """Return how often each value occurs."""
    counts = pc.value_counts(column.combine_chunks()).to_pylist()
    return {count["values"]: count["counts"] for count in counts}


def without_entries(products: pa.Table, entries: pa.Table) -> pa.Array:
    """Return the ids of the products that have no entry."""
    has_entry = pc.is_in(products["product_id"], entries["product_id"].combine_chunks())
    return products.filter(pc.invert(has_entry))["product_id"].combine_chunks()


def split_queries(counts: Mapping[str, int]) -> list[tuple[str, int, int]]:
    """Return the queries of each task: super-category, first row, and the row after the last.

    A task has at most QUERIES_A_TASK rows, so one super-category that holds most of a run keeps as
    many workers busy as all others would. The tasks of a super-category differ by a row at most.

    Args:
        counts: Number of products in each super-category.

    Example:
        >>> split_queries({"bags": 20_000, "accessories": 5})
        [('accessories', 0, 5), ('bags', 0, 10000), ('bags', 10000, 20000)]
    """
    queries = []
    for super_category, count in sorted(counts.items()):
        parts = -(-count // QUERIES_A_TASK)
        bounds = [count * part // parts for part in range(parts + 1)]
        queries += [(super_category, bounds[part], bounds[part + 1]) for part in range(parts)]
    return queries


def input_hashes(root: Path, run: str) -> dict[str, str]:
    """Return the hashes of the tables that the matches of a run are computed from."""
    return {t.name: run_tables.input_hash(root, t, run) for t in (PRODUCTS, INDEXES)}


def finish_candidates(candidates_dir: Path) -> int:
    """Remove what lost workers left, and return how many products searched everything."""
    for staging in candidates_dir.glob("*/.*"):
        staging.unlink()
    paths = candidates_dir.glob("*/*.parquet")
    return sum(int(pq.read_schema(path).metadata[match_task.SEARCHED_ANEW_KEY]) for path in paths)
