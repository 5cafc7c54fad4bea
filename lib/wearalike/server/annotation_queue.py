"""Pairs of the published run to judge, and the judgements so far."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from enum import StrEnum

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from wearalike import search
from wearalike.metrics.agreement import roc_auc
from wearalike.quality import judgement_metrics, judgements
from wearalike.quality.judgements import Judgement, JudgementPair, LookVerdict, Verdict
from wearalike.settings import Settings
from wearalike.storage import run_tables
from wearalike.tables import INDEXES, JUDGEMENTS, LOOK_PRODUCTS, PRODUCTS
from wearalike.warehouse.base import open_warehouse

# Judgements recorded through other servers appear after at most this time.
JUDGEMENTS_MAX_AGE_S = 5.0


class JudgedPart(StrEnum):
    """Part of a run whose pairs are judged."""

    LISTS = "lists"
    LOOKS = "looks"


class AnnotationQueue:
    """Pairs of the published run to judge, and the judgements so far; threads may share it.

    Args:
        settings: Names the data folder and the warehouse.
    """

    def __init__(self, settings: Settings) -> None:
        self._root = settings.data_dir
        self._warehouse_address = settings.warehouse
        self._lock = threading.Lock()
        self._samples: dict[JudgedPart, tuple[str, list[JudgementPair]]] = {}
        self._judgements: dict[tuple[str, str, str], Judgement] = {}
        self._read_at_s = -JUDGEMENTS_MAX_AGE_S

    def pairs(
        self, run: str, signature: str, part: JudgedPart = JudgedPart.LISTS
    ) -> list[JudgementPair]:
        """Return the pairs sampled from a part of a run; they are cached by its signature.

        Raises:
            Unreachable: The warehouse does not answer.
        """
        sample = judgements.sample_pairs
        if part is JudgedPart.LOOKS:
            sample = judgements.sample_look_pairs
        with self._lock:
            if part not in self._samples or self._samples[part][0] != signature:
                pairs = sample(open_warehouse(self._warehouse_address), run)
                self._samples[part] = (signature, pairs)
            return self._samples[part][1]

    def may_record(self) -> bool:
        """Return True if this server's role may record judgements.

        Raises:
            Unreachable: The warehouse does not answer.
        """
        return open_warehouse(self._warehouse_address).may_record(JUDGEMENTS)

    def all_judgements(self, part: JudgedPart = JudgedPart.LISTS) -> list[Judgement]:
        """Return all judgements of a part of runs, at most JUDGEMENTS_MAX_AGE_S old.

        Raises:
            Unreachable: The warehouse does not answer.
        """
        with self._lock:
            if time.monotonic() - self._read_at_s >= JUDGEMENTS_MAX_AGE_S:
                warehouse = open_warehouse(self._warehouse_address)
                rows = judgements.read_judgements(warehouse)
                rows += judgements.read_look_judgements(warehouse)
                self._judgements = {(j.judge, *j.pair): j for j in rows}
                self._read_at_s = time.monotonic()
            is_look = part is JudgedPart.LOOKS
            found = self._judgements.values()
            return [j for j in found if isinstance(j.verdict, LookVerdict) == is_look]

    def look_precision(
        self, run: str
    ) -> list[tuple[str | None, judgement_metrics.JudgedPrecision]]:
        """Return the precision of a run's looks, of all (None) and by source.

        Raises:
            Unreachable: The warehouse does not answer.
        """
        found = self.all_judgements(JudgedPart.LOOKS)
        try:
            rows = run_tables.open_dataset(self._root, LOOK_PRODUCTS, run)
        except run_tables.TableNotFound:
            return []
        return judgement_metrics.look_precision(found, rows)

    def record(self, run: str, judge: str, pair: JudgementPair, verdict: Verdict) -> None:
        """Record a verdict in the warehouse.

        Args:
            run: The run that showed the pair.
            judge: Name of the judge.
            pair: The pair.
            verdict: The judge's verdict.

        Raises:
            ValueError: The judge's name is empty or too long.
            Unreachable: The warehouse does not answer.
        """
        judgement = judgements.record_judgement(
            open_warehouse(self._warehouse_address), run, judge, pair, verdict, datetime.now(UTC)
        )
        with self._lock:
            self._judgements[(judgement.judge, *judgement.pair)] = judgement

    def roc_auc(self, run: str) -> tuple[float | None, int]:
        """Measure how well the run's codes separate pairs judged alike from the others.

        Pairs count if the run still has both products, and if their judges are not split in half.

        Args:
            run: The run.

        Returns:
            The area under the ROC curve, or None without pairs of both kinds, and the number of
            pairs.

        Raises:
            Unreachable: The warehouse does not answer.
        """
        shares = {
            pair: share
            for pair, share in judgement_metrics.alike_shares(self.all_judgements()).items()
            if share != 0.5
        }
        wanted = pa.array(
            sorted({product_id for pair in shares for product_id in pair}), pa.string()
        )
        try:
            rows, facts = (
                run_tables.open_dataset(self._root, table, run).to_table(
                    columns=["product_id", *columns], filter=pc.field("product_id").isin(wanted)
                )
                for table, columns in (
                    (INDEXES, ("shape", "colour")),
                    (PRODUCTS, ("shape_weight", "colour_weight")),
                )
            )
        except run_tables.TableNotFound:
            return None, 0
        weights = {
            r["product_id"]: (r["shape_weight"], r["colour_weight"]) for r in facts.to_pylist()
        }
        codes = {
            r["product_id"]: np.frombuffer(r["shape"] + r["colour"], np.uint64)
            for r in rows.to_pylist()
        }
        pairs = [pair for pair in shares if pair[0] in codes and pair[1] in codes]
        if not pairs:
            return None, 0
        shape, colour = (
            np.array(
                [
                    search.distance_matrices(codes[one][None], codes[other][None])[part][0, 0]
                    for one, other in pairs
                ]
            )
            for part in (0, 1)
        )
        shape_weight, colour_weight = np.array([weights[one] for one, _ in pairs]).T
        # Unlike scores not cut at 0: pairs that differ more than by chance have an order, too.
        likeness = -(shape_weight * shape + colour_weight * colour) / (shape_weight + colour_weight)
        is_alike = np.array([shares[pair] > 0.5 for pair in pairs])
        return roc_auc(likeness, is_alike), len(pairs)
