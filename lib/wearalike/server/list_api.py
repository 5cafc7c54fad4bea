"""Lists in the JSON API: similar products of one product or of several, looks and variants."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import StringConstraints
from starlette.exceptions import HTTPException

from wearalike.catalog.product_conditions import ProductConditions
from wearalike.search import photo_query
from wearalike.search.photo_query import Weights
from wearalike.server import api, parameters, schemas
from wearalike.server.api import (
    KQuery,
    LiveSearchDep,
    ProductId,
    PublishedDep,
    WeightsQuery,
    build_answer,
    problem_responses,
    require_product,
)
from wearalike.server.experiment import (
    ShownVariant,
    VariantQuery,
    VisitorQuery,
    choose_variant,
    read_variant_lists,
)
from wearalike.server.filters import FiltersDep, WithinQuery, complete_filters
from wearalike.server.history import ProductHistory, read_history
from wearalike.server.live_search import LiveList, LiveSearch
from wearalike.server.snapshot import Snapshot

router = APIRouter(dependencies=[Depends(parameters.refuse_unknown)])
# Products that one question may name.
MAX_IDS = 100
_ProductIds = Annotated[
    list[Annotated[str, StringConstraints(min_length=1, max_length=1000)]],
    Query(
        alias="id",
        description="<shop>:<offer id> as published; given once for each product",
        min_length=1,
        max_length=MAX_IDS,
    ),
]


@router.get(
    "/products/{product_id}/similar",
    response_model=schemas.SimilarAnswer,
    # Fields of an experiment are there only for who asks as a visitor.
    response_model_exclude_unset=True,
    responses=problem_responses(404, 422, 429),
    summary="Similar products",
)
def similar(
    request: Request,
    response: Response,
    source: PublishedDep,
    live: LiveSearchDep,
    product_id: ProductId,
    weights: WeightsQuery = None,
    k: KQuery = 20,
    within: WithinQuery = None,
    visitor: VisitorQuery = None,
    variant: VariantQuery = None,
    *,
    filters: FiltersDep,
) -> dict[str, Any]:
    """Return the most similar products, best first.

    Without weights and filters this is the published list. With them the server searches now, by
    the same rules; filters leave out products before the best k are taken. A list that is shorter
    than requested says why. For a visitor the published list is that of a variant, if an experiment
    is published.
    """
    with api.open_snapshot(request, response, source) as s:
        product = require_product(s, product_id)
        currency = product["currency"]
        root = request.app.state.settings.data_dir
        filters = complete_filters(filters, s, root, within, currency)
        wanted = photo_query.parse_weights(weights) if weights else None
        shown = choose_variant(s, visitor, variant)
        if wanted is None and not filters:
            own = read_variant_lists(s, [product_id], k, shown)[product_id]
            found = _build_published(product_id, own, shown)
        else:
            api.limit_searches(request)
            found = _search_list(live, s, product, wanted, k, filters)
        return build_answer(s, **found)


@router.get(
    "/similar",
    response_model=schemas.SimilarListsAnswer,
    response_model_exclude_unset=True,
    responses=problem_responses(422, 429),
    summary="Similar products of several",
)
def similar_of_several(
    request: Request,
    response: Response,
    source: PublishedDep,
    live: LiveSearchDep,
    ids: _ProductIds,
    weights: WeightsQuery = None,
    k: KQuery = 20,
    within: WithinQuery = None,
    visitor: VisitorQuery = None,
    variant: VariantQuery = None,
    *,
    filters: FiltersDep,
) -> dict[str, Any]:
    """Return the lists of several products, all of one run; see the list of one product.

    With weights or filters each product counts as one search.
    """
    product_ids = list(dict.fromkeys(ids))
    root = request.app.state.settings.data_dir
    wanted = photo_query.parse_weights(weights) if weights else None
    with api.open_snapshot(request, response, source) as s:
        shown = choose_variant(s, visitor, variant)
        known = s.products(product_ids)
        there = [product_id for product_id in product_ids if product_id in known]
        lists: list[dict[str, Any]] = []
        if wanted is None and not (filters or within):
            found = read_variant_lists(s, there, k, shown)
            lists += [_build_published(i, own, shown) for i, own in found.items()]
        else:
            for product_id in there:
                api.limit_searches(request)
                product = require_product(s, product_id)
                own = complete_filters(filters, s, root, within, product["currency"])
                lists.append(_search_list(live, s, product, wanted, k, own))
        missing = [product_id for product_id in product_ids if product_id not in known]
        return build_answer(s, lists=lists, missing=missing)


@router.get(
    "/products/{product_id}/look",
    response_model=schemas.LookAnswer,
    responses=problem_responses(404, 422, 429),
    summary="Complete the look",
)
def look(
    request: Request,
    response: Response,
    source: PublishedDep,
    live: LiveSearchDep,
    product_id: ProductId,
    within: WithinQuery = None,
    *,
    filters: FiltersDep,
) -> dict[str, Any]:
    """Return products that complete the look.

    They are similar to the items worn with the product in its own pictures, or with a product most
    alike it. Others are named by the product's feed. `source` tells which. With filters the server
    searches now; they leave out products before the best of each super-category are taken.
    """
    with api.open_snapshot(request, response, source) as s:
        product = require_product(s, product_id)
        root = request.app.state.settings.data_dir
        filters = complete_filters(filters, s, root, within, product["currency"])
        if filters:
            api.limit_searches(request)
            origin, rows = schemas.ListSource.LIVE, live.look(s, product, filters)
        else:
            origin, rows = schemas.ListSource.PUBLISHED, s.look(product_id)
        return build_answer(s, product_id=product_id, source=origin, results=rows)


@router.get(
    "/products/{product_id}/variants",
    response_model=schemas.VariantsAnswer,
    responses=problem_responses(404, 422),
    summary="Colours and sizes",
)
def variants(
    request: Request, response: Response, source: PublishedDep, product_id: ProductId
) -> dict[str, Any]:
    """Return the colours and sizes of the product's article, the product itself among them."""
    with api.open_snapshot(request, response, source) as s:
        require_product(s, product_id)
        return build_answer(s, product_id=product_id, results=s.variants(product_id))


@router.get(
    "/products/{product_id}/history",
    response_model=ProductHistory,
    responses=problem_responses(404, 422, 429),
    summary="History over the runs",
)
def history(
    request: Request, response: Response, source: PublishedDep, product_id: ProductId
) -> ProductHistory:
    """Return when each recommendation of a product came and went, and why.

    It looks at the newest 30 published runs that the warehouse holds. The product need not be in
    the published run. The published tables do not tell every cause; then the reason is `unknown`.
    A history counts as one search.
    """
    api.limit_searches(request)
    with source.loaded_runs() as loaded:
        api.set_etag(request, response, repr(loaded.state))
        found = read_history(request.app.state.settings.data_dir, loaded, product_id)
    if found is None:
        raise HTTPException(404, f"no published run has a product {product_id!r}")
    return found


def _search_list(
    live: LiveSearch,
    s: Snapshot,
    product: dict[str, Any],
    weights: Weights | None,
    k: int,
    filters: ProductConditions,
) -> dict[str, Any]:
    """Return the fields of schemas.SimilarList of a list that is searched now."""
    found = live.similar(s, product, weights, k, filters)
    return _build_list(product["product_id"], found, schemas.ListSource.LIVE)


def _build_published(product_id: str, found: LiveList, shown: ShownVariant) -> dict[str, Any]:
    """Return the fields of schemas.SimilarList of a published list, with its variant."""
    named = {"experiment": shown.experiment, "variant": shown.variant} if shown.variant else {}
    return {**_build_list(product_id, found), **named}


def _build_list(
    product_id: str,
    found: LiveList,
    source: schemas.ListSource = schemas.ListSource.PUBLISHED,
) -> dict[str, Any]:
    """Return the fields of schemas.SimilarList."""
    return {
        "product_id": product_id,
        "source": source,
        "shortfall_reason": found.shortfall_reason,
        "results": found.rows,
    }
