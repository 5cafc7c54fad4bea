"""The JSON API, version 1: what is published, lists at other weights, and what is alike a photo.

All of an answer is from one run, which it names. Answers carry an ETag that changes when another run is published.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import AfterValidator
from starlette.exceptions import HTTPException

import wearalike
from wearalike.search import photo_query
from wearalike.server import errors, middleware, schemas, uploads
from wearalike.server.live_search import MAX_K, LiveList, LiveSearch, PhotoQuery
from wearalike.server.snapshot import PublishedRepository, Snapshot
from wearalike.tables import AgeGroup, Gender, SuperCategory

router = APIRouter()
problem_responses = errors.openapi_responses
# A night's table: a cache may hold it for a minute unasked, then asks with the ETag, and shows it on where the server is away.
CACHE_CONTROL = "public, max-age=60, stale-if-error=86400"
NO_ITEMS_NOTE = "no garment, shoe or bag was seen in the photo"


def _published_repository(request: Request) -> PublishedRepository:
    return request.app.state.published


def _live_search(request: Request) -> LiveSearch:
    return request.app.state.live


def limit_searches(request: Request) -> None:
    """Raises HTTPException 429 for a client that searches too often."""
    request.app.state.searches.count(request.scope)


PublishedDep = Annotated[PublishedRepository, Depends(_published_repository)]
LiveSearchDep = Annotated[LiveSearch, Depends(_live_search)]
DecodedSegment = AfterValidator(middleware.decode_segment)
ProductId = Annotated[
    str,
    Path(
        description="<shop>:<offer id> as published, percent-encoded, a slash as %2F",
        max_length=1000,
        examples=["moda:1042"],
    ),
    DecodedSegment,
]
WEIGHTS_PATTERN = r"^(?:(?:[1-9]|10):(?:[0-9]|10)|0:(?:[1-9]|10))$"
WeightsQuery = Annotated[
    str | None,
    Query(
        description="SHAPE:COLOUR, 0 to 10 each, not both 0, e.g. 3:7; default: the category's own",
        pattern=WEIGHTS_PATTERN,
    ),
]
KQuery = Annotated[int, Query(description="results at most", ge=1, le=MAX_K)]


@contextmanager
def open_snapshot(
    request: Request, response: Response, source: PublishedRepository
) -> Iterator[Snapshot]:
    """What is published now, once the client is known not to have this very answer; the response gets its ETag.

    Raises HTTPException 304, NotPublished, warehouse.Unreachable.
    """
    with source.snapshot() as s:
        set_etag(
            request, response, f"{s.run} {s.publication.published_at.isoformat()} {s.signature}"
        )
        yield s


def set_etag(request: Request, response: Response, version: str) -> None:
    """Gives the response the ETag of what was asked at a version. Raises HTTPException 304 where the client has it already."""
    what = "\0".join([wearalike.__version__, version, request.scope["path"], request.url.query])
    headers = {
        "ETag": f'W/"{hashlib.sha256(what.encode()).hexdigest()[:32]}"',
        "Cache-Control": CACHE_CONTROL,
    }
    held = {value.strip() for value in request.headers.get("if-none-match", "").split(",")}
    if held & {headers["ETag"], headers["ETag"].removeprefix("W/")}:
        raise HTTPException(304, headers=headers)
    response.headers.update(headers)


def _build_answer(s: Snapshot, **more: Any) -> dict[str, Any]:
    return {"run": s.run, "published_at": s.publication.published_at, **more}


def _require_product(s: Snapshot, product_id: str) -> dict[str, Any]:
    if (product := s.product(product_id)) is None:
        raise HTTPException(
            404,
            f"no product {product_id!r} in run {s.run}; a product_id is <shop>:<offer id>, percent-encoded",
        )
    return product


@router.get(
    "/products",
    response_model=schemas.ProductsAnswer,
    responses=problem_responses(422),
    summary="Find products",
)
def products(
    request: Request,
    response: Response,
    source: PublishedDep,
    q: Annotated[
        str,
        Query(
            description="words that all stand in title, brand or id, in any case; 8 count",
            max_length=200,
        ),
    ] = "",
    shop: Annotated[str | None, Query(description="of this shop", max_length=64)] = None,
    category: Annotated[
        str | None,
        Query(description="a leaf or branch of the taxonomy, e.g. women.dresses", max_length=200),
    ] = None,
    super_category: Annotated[
        SuperCategory | None, Query(description="of this super-category")
    ] = None,
    limit: Annotated[int, Query(description="products a page", ge=1, le=100)] = 20,
    after: Annotated[
        str | None, Query(description="next_after of the page before", max_length=1000)
    ] = None,
) -> dict[str, Any]:
    """Products of the published run in order of product_id, a page at a time."""
    with open_snapshot(request, response, source) as s:
        found = s.search(q, shop, category, super_category, limit + 1, after)
        return _build_answer(
            s,
            products=found[:limit],
            next_after=found[limit - 1]["product_id"] if len(found) > limit else None,
        )


@router.get(
    "/products/{product_id}",
    response_model=schemas.ProductAnswer,
    responses=problem_responses(404, 422),
    summary="One product",
)
def product(
    request: Request, response: Response, source: PublishedDep, product_id: ProductId
) -> dict[str, Any]:
    """All that is known of a product, and how many recommendations it has."""
    with open_snapshot(request, response, source) as s:
        found = _require_product(s, product_id)
        listed = s.similar_list(product_id) or {"similar_count": 0, "shortfall_reason": None}
        return _build_answer(
            s,
            product=found,
            similar_count=listed["similar_count"],
            shortfall_reason=listed["shortfall_reason"],
        )


@router.get(
    "/products/{product_id}/similar",
    response_model=schemas.SimilarAnswer,
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
) -> dict[str, Any]:
    """The products most alike one, best first: as published, or, with weights, searched now by the same rules.

    Without weights there are at most as many as were published; a list that is shorter than asked for says why.
    """
    with open_snapshot(request, response, source) as s:
        asking = _require_product(s, product_id)
        if weights is None:
            rows, kind = (
                LiveList(
                    s.similar(product_id, k),
                    (s.similar_list(product_id) or {}).get("shortfall_reason"),
                ),
                schemas.ListSource.PUBLISHED,
            )
        else:
            limit_searches(request)
            rows, kind = (
                live.similar(s, asking, photo_query.parse_weights(weights), k),
                schemas.ListSource.LIVE,
            )
        return _build_answer(
            s,
            product_id=product_id,
            source=kind,
            shortfall_reason=rows.shortfall_reason,
            results=rows.rows,
        )


@router.get(
    "/products/{product_id}/look",
    response_model=schemas.LookAnswer,
    responses=problem_responses(404, 422),
    summary="Complete the look",
)
def look(
    request: Request, response: Response, source: PublishedDep, product_id: ProductId
) -> dict[str, Any]:
    """What completes the look: products alike what is worn with the product in its own pictures."""
    with open_snapshot(request, response, source) as s:
        _require_product(s, product_id)
        return _build_answer(s, product_id=product_id, results=s.look(product_id))


@router.get(
    "/runs", response_model=schemas.RunsAnswer, responses=problem_responses(), summary="Runs"
)
def runs(request: Request, response: Response, source: PublishedDep) -> dict[str, Any]:
    """Every run that is loaded, and which one is published."""
    found = source.runs()
    set_etag(request, response, repr(found))
    return {"runs": found}


@router.get(
    "/quality",
    response_model=schemas.QualityAnswer,
    responses=problem_responses(422),
    summary="Quality",
)
def quality(
    request: Request,
    response: Response,
    source: PublishedDep,
    scope: Annotated[
        str | None,
        Query(
            description="of this alone, e.g. all, shop=moda, super_category=bags", max_length=300
        ),
    ] = None,
) -> dict[str, Any]:
    """The measures of the published run."""
    with open_snapshot(request, response, source) as s:
        return _build_answer(s, measures=s.quality(scope))


@router.get(
    "/quality/{metric}",
    response_model=schemas.QualityHistoryAnswer,
    responses=problem_responses(404, 422),
    summary="A measure through the runs",
)
def quality_history(
    request: Request,
    response: Response,
    source: PublishedDep,
    metric: Annotated[str, Path(description="e.g. precision@10", max_length=100), DecodedSegment],
    scope: Annotated[str, Query(description="e.g. all, shop=moda", max_length=300)] = "all",
) -> dict[str, Any]:
    """One measure in every run that was ever loaded."""
    found = source.quality_history(metric, scope)
    if not found:
        raise HTTPException(
            404,
            f"no metric {metric!r} of scope {scope!r} in any run; /quality lists those of the published one",
        )
    set_etag(request, response, repr(found))
    return {"metric": metric, "scope": scope, "history": found}


@router.post(
    "/photo",
    response_model=schemas.PhotoAnswer,
    responses=problem_responses(400, 408, 413, 415, 422, 429),
    openapi_extra=uploads.OPENAPI_REQUEST_BODY,
    dependencies=[Depends(limit_searches)],
    summary="Products alike a photo",
)
async def photo(
    request: Request,
    response: Response,
    source: PublishedDep,
    live: LiveSearchDep,
    k: KQuery = 10,
    weights: WeightsQuery = None,
    gender: Annotated[Gender | None, Query(description="whom it is for; default: anybody")] = None,
    age_group: Annotated[
        AgeGroup | None, Query(description="whom it is for; default: anybody")
    ] = None,
) -> dict[str, Any]:
    """The garments, shoes and bags seen in a photo, and the products in stock most alike each. The photo is not kept."""
    wish = PhotoQuery(k, photo_query.parse_weights(weights) if weights else None, gender, age_group)
    queue: uploads.PhotoQueue = request.app.state.queue

    def look_at(content: bytes) -> dict[str, Any]:
        with source.snapshot() as s:
            search = live.photo_search(s)
            said = _build_answer(s)
        answer = search.search(content, wish)
        return {**asdict(answer), **said, "note": None if answer.items else NO_ITEMS_NOTE}

    async with queue.reserve_place():
        content = await uploads.read_photo(request)
        async with queue.wait_for_turn():
            response.headers["Cache-Control"] = "no-store"
            return await run_in_threadpool(look_at, content)


@router.get(
    "/health", response_model=schemas.HealthAnswer, responses=problem_responses(), summary="Health"
)
def health(response: Response, source: PublishedDep) -> dict[str, Any]:
    """Whether the server can answer, and from which run."""
    with source.snapshot() as s:
        response.headers["Cache-Control"] = "no-store"
        return _build_answer(s, status="ok")
