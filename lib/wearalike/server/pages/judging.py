"""The judging pages: pairs to judge, one at a time, and the results."""

from __future__ import annotations

import logging
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, RedirectResponse, Response

from wearalike.quality import judgement_metrics
from wearalike.quality.judgements import JudgementPair, LookVerdict, Verdict
from wearalike.server.annotation_queue import JudgedPart
from wearalike.server.pages.base import (
    PageUrls,
    app_repository_and_images,
    clamped_int,
    query_param,
    render_page,
    require_same_origin,
)
from wearalike.warehouse.base import Rejected
from wearalike.warehouse.person_name import normalize_person_name

log = logging.getLogger(__name__)
router = APIRouter()
CLOSED_TEXT = (
    "Judgements cannot be recorded here: this server may only read the warehouse. "
    "Please judge on a server whose role may write."
)


@router.get("/judge")
def judge_form(request: Request) -> HTMLResponse:
    """Show the next pair to the judge whom the query names, or ask for a name."""
    published, _ = app_repository_and_images(request)
    asked = query_param(request.query_params, "judge")
    part = _read_part(query_param(request.query_params, "of"))
    _refuse_reader(request)
    with published.snapshot() as s:
        pairs = request.app.state.annotation_queue.pairs(s.run, s.signature, part)
        try:
            name = normalize_person_name(asked, "judge") if asked else None
        except ValueError as error:
            return _ask_for_name(request, s.run, part, len(pairs), str(error), 422)
        if name is None:
            return _ask_for_name(request, s.run, part, len(pairs))
        all_judgements = request.app.state.annotation_queue.all_judgements(part)
        mine = {j.pair: j.verdict for j in all_judgements if j.judge == name}
        context = _next_pair_context(request, s, pairs, mine)
        return render_page(request, "judge.html", run=s.run, judge=name, of=part, **context)


def _read_part(text: str | None) -> JudgedPart:
    """Return the part that a page asks for: lists unless it says looks."""
    return JudgedPart.LOOKS if text == JudgedPart.LOOKS else JudgedPart.LISTS


def _refuse_reader(request: Request) -> None:
    """Raise HTTPException if this server's role cannot record judgements."""
    if not request.app.state.annotation_queue.may_record():
        raise HTTPException(403, CLOSED_TEXT)


def _ask_for_name(
    request: Request,
    run: str,
    part: JudgedPart,
    total_count: int,
    error: str | None = None,
    status: int = 200,
) -> HTMLResponse:
    """Render the form for the judge's name."""
    return render_page(
        request,
        "judge.html",
        status=status,
        run=run,
        judge=None,
        of=part,
        total_count=total_count,
        error=error,
    )


def _next_pair_context(
    request: Request,
    s: Any,
    pairs: list[JudgementPair],
    mine: dict[tuple[str, str], Verdict],
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
    verdict: Annotated[Verdict, Form()],
) -> Response:
    """Record a verdict on a sampled pair, and redirect to the next pair.

    The verdict tells if the pair is of a list or of a look.
    """
    part = JudgedPart.LOOKS if isinstance(verdict, LookVerdict) else JudgedPart.LISTS
    require_same_origin(request)
    published, _ = app_repository_and_images(request)
    queue = request.app.state.annotation_queue
    _refuse_reader(request)
    with published.snapshot() as s:
        sampled = queue.pairs(s.run, s.signature, part)
        pairs = {(p.product_id, p.similar_product_id): p for p in sampled}
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
    of = part if part is JudgedPart.LOOKS else None
    return RedirectResponse(PageUrls(request)("/judge", judge=judge, of=of), 303)


@router.get("/judge/results")
def judgement_results(request: Request) -> HTMLResponse:
    """Show precision by category, the agreement of judges, and how well the codes separate."""
    published, _ = app_repository_and_images(request)
    with published.snapshot() as s:
        queue = request.app.state.annotation_queue
        all_judgements = queue.all_judgements()
        auc, auc_pairs_count = queue.roc_auc(s.run)
        looks = queue.look_precision(s.run)
    return render_page(
        request,
        "judged.html",
        run=s.run,
        precision=judgement_metrics.precision_by_category(all_judgements),
        agreement=judgement_metrics.judge_agreements(all_judgements),
        judges={j.judge for j in all_judgements},
        auc=auc,
        auc_pairs_count=auc_pairs_count,
        looks=looks,
    )
