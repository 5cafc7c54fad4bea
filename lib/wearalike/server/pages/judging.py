"""Pairs to judge, one at a time, and what came of it."""

from __future__ import annotations

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
from wearalike.quality import judgements
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
from wearalike.tables import INDEXES, PRODUCTS
from wearalike.warehouse.base import open_warehouse

router = APIRouter()
# What other servers record is seen after so long.
JUDGEMENTS_MAX_AGE_S = 5.0


class AnnotationQueue:
    """The pairs of the published run and what is judged already; may be used by several threads."""

    def __init__(self, settings: Settings) -> None:
        self._root, self._warehouse_address = settings.data_dir, settings.warehouse
        self._lock = threading.Lock()
        self._sample: tuple[str, list[JudgementPair]] | None = None
        self._judgements: dict[tuple[str, str, str], Judgement] = {}
        self._read_at_s = -JUDGEMENTS_MAX_AGE_S

    def pairs(self, run: str, signature: str) -> list[JudgementPair]:
        """The run's pairs, drawn once. Raises warehouse.Unreachable."""
        with self._lock:
            if self._sample is None or self._sample[0] != signature:
                self._sample = (
                    signature,
                    judgements.sample_pairs(open_warehouse(self._warehouse_address), run),
                )
            return self._sample[1]

    def all_judgements(self) -> list[Judgement]:
        """All judgements there are. Raises warehouse.Unreachable."""
        with self._lock:
            if time.monotonic() - self._read_at_s >= JUDGEMENTS_MAX_AGE_S:
                self._judgements = {
                    (j.judge, *j.pair): j
                    for j in judgements.read_judgements(open_warehouse(self._warehouse_address))
                }
                self._read_at_s = time.monotonic()
            return list(self._judgements.values())

    def record(self, run: str, judge: str, pair: JudgementPair, verdict: RelevanceVerdict) -> None:
        """Keeps a verdict. Raises ValueError for a judge without a name, warehouse.Unreachable."""
        said = judgements.record_judgement(
            open_warehouse(self._warehouse_address), run, judge, pair, verdict, datetime.now(UTC)
        )
        with self._lock:
            self._judgements[(said.judge, *said.pair)] = said

    def roc_auc(self, run: str) -> tuple[float | None, int]:
        """How well the run's codes tell the pairs judged alike from the others, and how many pairs that is of: those whose
        products the run still has, and of which most judges are of one mind."""
        shares = {
            pair: share
            for pair, share in judgements.alike_shares(self.all_judgements()).items()
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
        held = [pair for pair in shares if pair[0] in codes and pair[1] in codes]
        if not held:
            return None, 0
        shape, colour = (
            np.array(
                [
                    search.distance_matrices(codes[one][None], codes[other][None])[part][0, 0]
                    for one, other in held
                ]
            )
            for part in (0, 1)
        )
        shape_weight, colour_weight = np.array([weights[one] for one, _ in held]).T
        # Not cut at 0 as scores are: below it there is more and less alike, too.
        likeness = -(shape_weight * shape + colour_weight * colour) / (shape_weight + colour_weight)
        return roc_auc(likeness, np.array([shares[pair] > 0.5 for pair in held])), len(held)


@router.get("/judge")
def judge_form(request: Request) -> HTMLResponse:
    published, _ = app_repository_and_images(request)
    asked = query_param(request.query_params, "judge")
    with published.snapshot() as s:
        pairs = request.app.state.desk.pairs(s.run, s.signature)
        try:
            name = judgements.normalize_judge_name(asked) if asked else None
        except ValueError as error:
            return render_page(
                request,
                "judge.html",
                run=s.run,
                judge=None,
                total_count=len(pairs),
                told=str(error),
                status=422,
            )
        if name is None:
            return render_page(
                request, "judge.html", run=s.run, judge=None, total_count=len(pairs), told=None
            )
        mine = {j.pair: j.verdict for j in request.app.state.desk.judged() if j.judge == name}
        return render_page(
            request,
            "judge.html",
            run=s.run,
            judge=name,
            **_next_pair_context(request, s, pairs, mine),
        )


def _next_pair_context(
    request: Request,
    s: Any,
    pairs: list[JudgementPair],
    mine: dict[tuple[str, str], RelevanceVerdict],
) -> dict[str, Any]:
    """What is shown next: the pair asked for, else the first that this judge has not judged."""
    keys = [(p.product_id, p.similar_product_id) for p in pairs]
    is_judged = [key in mine for key in keys]
    first = next((i for i, done in enumerate(is_judged) if not done), len(pairs))
    number = clamped_int(request.query_params.get("at"), 0, max(0, len(pairs) - 1), first)
    before = [i for i in range(number) if is_judged[i]]
    told = {
        "total_count": len(pairs),
        "judged_count": sum(is_judged),
        "undo": before[-1] if before else None,
        "pair": None,
    }
    if number >= len(pairs):
        return told
    both = s.products(keys[number])
    return {
        **told,
        "pair": pairs[number],
        "number": number,
        "said": mine.get(keys[number]),
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
    """Keeps a verdict on a pair that was drawn, and goes on to the next."""
    require_same_origin(request)
    published, _ = app_repository_and_images(request)
    desk = request.app.state.desk
    with published.snapshot() as s:
        pairs = {(p.product_id, p.similar_product_id): p for p in desk.pairs(s.run, s.signature)}
        if run != s.run or (product, similar) not in pairs:
            raise HTTPException(
                409,
                f"This pair is not one of run {s.run}, which is published now. Go on with the next pair.",
            )
        try:
            desk.record(s.run, judge, pairs[product, similar], verdict)
        except ValueError as error:
            raise HTTPException(422, str(error)) from None
    return RedirectResponse(PageUrls(request)("/judge", judge=judge), 303)


@router.get("/judge/results")
def judgement_results(request: Request) -> HTMLResponse:
    published, _ = app_repository_and_images(request)
    with published.snapshot() as s:
        found = request.app.state.desk.judged()
        separation, held_count = request.app.state.desk.separation(s.run)
    return render_page(
        request,
        "judged.html",
        run=s.run,
        precision=judgements.precision_by_category(found),
        agreement=judgements.judge_agreements(found),
        judges={j.judge for j in found},
        separation=separation,
        held_count=held_count,
    )
