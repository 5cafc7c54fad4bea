"""The comparison page: a product or a photo, ranked by other weights and models, side by side."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any

import numpy as np
from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, RedirectResponse, Response

from wearalike import search
from wearalike.evaluation.descriptors.versions import ENCODER_OF_VERSION
from wearalike.imaging import decode
from wearalike.search.float_index import FloatIndexKind
from wearalike.search.page_rules import CompiledRules
from wearalike.search.photo_query import Weights
from wearalike.server.api import limit_searches
from wearalike.server.live_search import LiveSearch, RunNotSearchable
from wearalike.server.pages import photo_form
from wearalike.server.pages.base import (
    PageUrls,
    app_repository_and_images,
    query_param,
    render_page,
)
from wearalike.server.pages.compared_photo import compare_photo
from wearalike.server.pages.ranking_columns import (
    RankingColumn,
    RankingQuery,
    apply_rules,
    build_score_rows,
    build_version_columns,
)
from wearalike.server.snapshot import Snapshot

router = APIRouter()
RESULTS_PER_COLUMN = 10
COMPARED_WEIGHTS = ((1, 1, 0), (1, 1, 1), (8, 2, 0), (2, 8, 0), (1, 0, 0), (0, 1, 0))
INDEX_FIELD = "index"
# How float descriptors are searched, in words.
INDEXES = {
    "": "every distance, exactly",
    **{str(kind): f"Faiss {kind.faiss_name}" for kind in FloatIndexKind},
}


@dataclass(frozen=True, slots=True)
class ProductRankings:
    """The rankings of a product.

    Attributes:
        columns: The columns, the published list first.
        candidates_count: How many products are ranked; 0 where only the published list is known.
        command: A command that gives more columns; None if every usual model has described the
            run, or if the run's tables are gone.
    """

    columns: list[RankingColumn]
    candidates_count: int = 0
    command: str | None = None


@router.get("/compare")
def compare_page(request: Request) -> Response:
    """Show the rankings of the product that the query names, or products to choose from.

    `?random` leads to a random product, `?index=` to a Faiss index over floats.
    """
    published, pictures = app_repository_and_images(request)
    asked = query_param(request.query_params, "product", 1000) or ""
    index = _read_index(query_param(request.query_params, INDEX_FIELD, 20) or "")
    with published.snapshot() as s:
        if "random" in request.query_params:
            limit_searches(request)
            drawn = s.draw_product(secrets.token_hex(8))
            if drawn is not None:
                address = PageUrls(request)("/compare", product=drawn, index=index)
                return RedirectResponse(address, 303, {"Cache-Control": "no-store"})
        product = s.product(asked) if asked else None
        if product is None:
            return _render_start(request, s, asked, index, status=404 if asked else 200)
        limit_searches(request)
        rankings = _rank_product(request.app.state.live_search, s, product, index)
    ids = [
        product["product_id"],
        *(row["product"]["product_id"] for column in rankings.columns for row in column.rows),
    ]
    return _render(
        request,
        s,
        index,
        product=product,
        rankings=rankings,
        pictures=pictures.find_images(s.run, ids),
    )


@router.post("/compare")
async def compare_photo_page(request: Request) -> HTMLResponse:
    """Show the rankings of the items of a photo. The photo is not stored."""
    fields = (photo_form.SAMPLE_FIELD, INDEX_FIELD)
    return await photo_form.answer_photo_form(request, fields, _compare_photo_and_render)


def _compare_photo_and_render(
    request: Request, content: bytes, asked: dict[str, str]
) -> HTMLResponse:
    """Rank by the photo and render the result, or the start with an error."""
    published, pictures = app_repository_and_images(request)
    index = _read_index(asked[INDEX_FIELD])
    with published.snapshot() as s:
        content = content or photo_form.read_sample(request, asked[photo_form.SAMPLE_FIELD])
        if not content:
            return _render_start(request, s, "", index, error=photo_form.NO_PHOTO, status=422)
        try:
            photo = compare_photo(request.app.state, s, content, index)
        except (decode.BadPixels, RunNotSearchable) as error:
            text, status = photo_form.describe_failure(error, content)
            return _render_start(request, s, "", index, error=text, status=status)
        return _render(
            request, s, index, photo=photo, pictures=pictures.find_images(s.run, photo.shown_ids)
        )


def _read_index(text: str) -> FloatIndexKind | None:
    """Return the index asked for. Raises HTTPException 422 for another."""
    if not text:
        return None
    try:
        return FloatIndexKind(text)
    except ValueError:
        known = ", ".join(FloatIndexKind)
        raise HTTPException(422, f"index: wanted {known}, got {text!r}") from None


def _render_start(
    request: Request, s: Snapshot, asked: str, index: FloatIndexKind | None, **more: Any
) -> HTMLResponse:
    """Render the ways in, with or without an error."""
    _, pictures = app_repository_and_images(request)
    examples = _example_products(s)
    return _render(
        request,
        s,
        index,
        asked=asked,
        examples=examples,
        sample=request.app.state.warmer.sample,
        max_mb=photo_form.MAX_PHOTO_MB,
        pictures=pictures.find_images(s.run, [e["product_id"] for e in examples]),
        **more,
    )


def _render(
    request: Request, s: Snapshot, index: FloatIndexKind | None, **context: Any
) -> HTMLResponse:
    context = {"product": None, "photo": None, "error": None, **context}
    return render_page(
        request, "compare.html", run=s.run, index=str(index or ""), indexes=INDEXES, **context
    )


def _example_products(s: Snapshot) -> list[dict[str, Any]]:
    """Return one product of each of the first eight super-categories."""
    supers = sorted({row["super_category"] for row in s.category_counts()})
    return [product for name in supers[:8] for product in s.search(super_category=name, limit=1)]


def _rank_product(
    live: LiveSearch, s: Snapshot, product: dict[str, Any], index: FloatIndexKind | None
) -> ProductRankings:
    """Return the rankings of a product."""
    listed = s.similar(product["product_id"], RESULTS_PER_COLUMN)
    shared = {row["similar_product_id"] for row in listed}
    own = " : ".join(f"{part} {product[f'{part}_weight']}" for part in ("shape", "colour", "kind"))
    encoder = listed[0]["encoder"] if listed else "no codes"
    columns = [
        RankingColumn("Published", f"{own}, {encoder}", build_score_rows(listed, shared), True),
    ]
    try:
        loaded = live.load_gallery(s, product["super_category"])
        for weights in map(Weights._make, COMPARED_WEIGHTS):
            rows = live.similar(s, product, weights, RESULTS_PER_COLUMN).rows
            columns.append(
                RankingColumn(
                    f"Codes {weights}",
                    "Hamming distance, 32 bytes an item" + ", and kind" * bool(weights.kind),
                    build_score_rows(rows, shared),
                )
            )
        descriptors = live.descriptors(s)
    except RunNotSearchable:
        return ProductRankings(columns)
    if loaded is None:
        return ProductRankings(columns)
    gallery = loaded.gallery
    row = int(np.searchsorted(gallery.product_ids, product["product_id"]))
    if row == len(gallery) or gallery.product_ids[row] != product["product_id"]:
        return ProductRankings(columns)
    rules = CompiledRules(live.merchandising_rules(s), gallery.attributes)
    eligible = search.eligible_candidates(gallery, product["age_group"], product["gender"])
    may_show = apply_rules(eligible, rules, row)
    query = RankingQuery(may_show, shared, RESULTS_PER_COLUMN, row, index)
    shown_versions = set()
    for version in descriptors.versions():
        described = descriptors.described(product["super_category"], version)
        own_row = None if described is None else described.row_of(row)
        if described is not None and own_row is not None:
            columns += build_version_columns(s, described, own_row, query)
            shown_versions.add(version)
    count = int(may_show.sum()) - int(may_show[row])
    return ProductRankings(columns, count, _describe_command(s.run, shown_versions))


def _describe_command(run: str, shown_versions: set[str]) -> str | None:
    """Return the command by which the usual models describe a run; None if all have."""
    missing = [
        f"--encoder {name}"
        for version, name in ENCODER_OF_VERSION.items()
        if version not in shown_versions
    ]
    return f"wearalike describe-items --run {run} {' '.join(missing)}" if missing else None
