"""The judging pages: pairs to judge, one at a time, and the results."""

from __future__ import annotations

import logging
import threading
import time
from datetime import UTC, datetime
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from fastapi import APIRouter, Form, Request
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, RedirectResponse, Response

from wearalike import search
from wearalike.metrics.agreement import roc_auc
from wearalike.quality import judgement_metrics, judgements
from wearalike.quality.judgements import Judgement, JudgementPair, RelevanceVerdict
from wearalike.server.pages.base import (
    PageUrls,
    app_repository_and_images,
    clamped_int,
    query_param,
    render_page,
    require_same_origin,
)
from wearalike.settings import Settings
from wearalike.storage import run_tables
from wearalike.tables import INDEXES, JUDGEMENTS, PRODUCTS
from wearalike.warehouse.base import Rejected, open_warehouse

log = logging.getLogger(__name__)
router = APIRouter()
# Judgements recorded through other servers appear after at most this time.
JUDGEMENTS_MAX_AGE_S = 5.0
CLOSED_TEXT = (
    "Judgements cannot be recorded here: this server may only read the warehouse. "
    "Please judge on a server whose role may write."
)


class AnnotationQueue:
    """Pairs of the published run to judge, and the judgements so far; threads may share it.

    Args:
        settings: Names the data folder and the warehouse.
    """

    def __init__(self, settings: Settings) -> None:
        self._root = settings.data_dir
        self._warehouse_address = settings.warehouse
        self._lock = threading.Lock()
        self._sample: tuple[str, list[JudgementPair]] | None = None
        self._judgements: dict[tuple[str, str, str], Judgement] = {}
        self._read_at_s = -JUDGEMENTS_MAX_AGE_S

    def pairs(self, run: str, signature: str) -> list[JudgementPair]:
        """Return the pairs sampled from a run; they are cached by its signature.

        Raises:
            Unreachable: The warehouse does not answer.
        """
        with self._lock:
            if self._sample is None or self._sample[0] != signature:
                pairs = judgements.sample_pairs(open_warehouse(self._warehouse_address), run)
                self._sample = (signature, pairs)
            return self._sample[1]

    def may_record(self) -> bool:
        """Return True if this server's role may record judgements.

        Raises:
            Unreachable: The warehouse does not answer.
        """
        return open_warehouse(self._warehouse_address).may_record(JUDGEMENTS)

    def all_judgements(self) -> list[Judgement]:
        """Return all judgements, at most JUDGEMENTS_MAX_AGE_S old.

        Raises:
            Unreachable: The warehouse does not answer.
        """
        with self._lock:
            if time.monotonic() - self._read_at_s >= JUDGEMENTS_MAX_AGE_S:
                rows = judgements.read_judgements(open_warehouse(self._warehouse_address))
                self._judgements = {(j.judge, *j.pair): j for j in rows}
                self._read_at_s = time.monotonic()
            return list(self._judgements.values())

    def record(self, run: str, judge: str, pair: JudgementPair, verdict: RelevanceVerdict) -> None:
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


@router.get("/judge")
def judge_form(request: Request) -> HTMLResponse:
    """Show the next pair to the judge whom the query names, or ask for a name."""
    published, _ = app_repository_and_images(request)
    asked = query_param(request.query_params, "judge")
    _refuse_reader(request)
    with published.snapshot() as s:
        pairs = request.app.state.annotation_queue.pairs(s.run, s.signature)
        try:
            name = judgements.normalize_judge_name(asked) if asked else None
        except ValueError as error:
            return _ask_for_name(request, s.run, len(pairs), str(error), 422)
        if name is None:
            return _ask_for_name(request, s.run, len(pairs))
        all_judgements = request.app.state.annotation_queue.all_judgements()
        mine = {j.pair: j.verdict for j in all_judgements if j.judge == name}
        context = _next_pair_context(request, s, pairs, mine)
        return render_page(request, "judge.html", run=s.run, judge=name, **context)


def _refuse_reader(request: Request) -> None:
    """Raise HTTPException if this server's role cannot record judgements."""
    if not request.app.state.annotation_queue.may_record():
        raise HTTPException(403, CLOSED_TEXT)


def _ask_for_name(
    request: Request, run: str, total_count: int, error: str | None = None, status: int = 200
) -> HTMLResponse:
    """Render the form for the judge's name."""
    return render_page(
        request,
        "judge.html",
        status=status,
        run=run,
        judge=None,
        total_count=total_count,
        error=error,
    )


def _next_pair_context(
    request: Request,
    s: Any,
    pairs: list[JudgementPair],
    mine: dict[tuple[str, str], RelevanceVerdict],
) -> dict[str, Any]:
    """Return the pair that the query asks for, else the first that this judge has not judged."""
    keys = [(p.product_id, p.similar_product_id) for p in pairs]
    is_judged = [key in mine for key in keys]
    first = next((i for i, done in enumerate(is_judged) if not done), len(pairs))
    number = clamped_int(request.query_params.get("at"), 0, max(0, len(pairs) - 1), first)
    before = [i for i in range(number) if is_judged[i]]
    context = {
        "total_count": len(pairs),
        "judged_count": sum(is_judged),
        "undo": before[-1] if before else None,
        "pair": None,
    }
    if number >= len(pairs):
        return context
    both = s.products(keys[number])
    return {
        **context,
        "pair": pairs[number],
        "number": number,
        "given_verdict": mine.get(keys[number]),
        "product": both[keys[number][0]],
        "other": both[keys[number][1]],
        "pictures": app_repository_and_images(request)[1].find_images(s.run, keys[number]),
    }


@router.post("/judge")
def record_judgement(
    request: Request,
    judge: Annotated[str, Form(max_length=200)],
    run: Annotated[str, Form(max_length=64)],
    product: Annotated[str, Form(max_length=1000)],
    similar: Annotated[str, Form(max_length=1000)],
    verdict: Annotated[RelevanceVerdict, Form()],
) -> Response:
    """Record a verdict on a sampled pair, and redirect to the next pair."""
    require_same_origin(request)
    published, _ = app_repository_and_images(request)
    queue = request.app.state.annotation_queue
    _refuse_reader(request)
    with published.snapshot() as s:
        pairs = {(p.product_id, p.similar_product_id): p for p in queue.pairs(s.run, s.signature)}
        if run != s.run or (product, similar) not in pairs:
            raise HTTPException(
                409,
                f"This pair is not part of run {s.run}, which is published now. "
                "Please continue with the next pair.",
            )
        try:
            queue.record(s.run, judge, pairs[product, similar], verdict)
        except Rejected:
            # Its text names the database.
            log.exception("a judgement was refused")
            raise HTTPException(403, CLOSED_TEXT) from None
        except ValueError as error:
            raise HTTPException(422, str(error)) from None
    return RedirectResponse(PageUrls(request)("/judge", judge=judge), 303)


@router.get("/judge/results")
def judgement_results(request: Request) -> HTMLResponse:
    """Show precision by category, the agreement of judges, and how well the codes separate."""
    published, _ = app_repository_and_images(request)
    with published.snapshot() as s:
        queue = request.app.state.annotation_queue
        all_judgements = queue.all_judgements()
        auc, auc_pairs_count = queue.roc_auc(s.run)
    return render_page(
        request,
        "judged.html",
        run=s.run,
        precision=judgement_metrics.precision_by_category(all_judgements),
        agreement=judgement_metrics.judge_agreements(all_judgements),
        judges={j.judge for j in all_judgements},
        auc=auc,
        auc_pairs_count=auc_pairs_count,
    )
