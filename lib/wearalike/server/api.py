"""The JSON API, version 1: published products and lists, lists at other weights, photo search.

An answer comes from one run, which it names. Its ETag changes when another run is published.
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
from wearalike.search.photo_search import UnknownCategory
from wearalike.server import errors, middleware, parameters, schemas, uploads
from wearalike.server.fair_queue import FairQueue
from wearalike.server.filters import FiltersDep, WithinQuery, complete_filters
from wearalike.server.live_search import MAX_K, LiveSearch, PhotoQuery
from wearalike.server.photos import DecodedPhoto
from wearalike.server.snapshot import PublishedRepository, Snapshot
from wearalike.server.warm_up import PhotoState
from wearalike.tables import AgeGroup, Gender, SuperCategory

router = APIRouter(dependencies=[Depends(parameters.refuse_unknown)])
problem_responses = errors.openapi_responses
# Published tables change once a run: a cache keeps an answer for a minute, then asks with the ETag.
# It may serve the old answer for a day while the server is away.
CACHE_CONTROL = "public, max-age=60, stale-if-error=86400"
LOADING_RETRY_S = 2
NO_ITEMS_NOTE = "no garment, shoe or bag was detected in the photo"


def _published_repository(request: Request) -> PublishedRepository:
    return request.app.state.published


def _live_search(request: Request) -> LiveSearch:
    return request.app.state.live_search


def limit_searches(request: Request) -> None:
    """Count one live search of the client.

    Raises:
        HTTPException: 429; the client searches too often.
    """
    request.app.state.search_limiter.count_request(request.scope)


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
WEIGHTS_PATTERN = r"^(?:(?:[1-9]|10):(?:[0-9]|10)|0:(?:[1-9]|10))(?::(?:[0-9]|10))?$"
WeightsQuery = Annotated[
    str | None,
    Query(
        description="SHAPE:COLOUR:KIND, 0 to 10 each, the first two not both 0, e.g. 3:7:5; "
        "without KIND, e.g. 3:7, kinds are not compared; default: the category's",
        pattern=WEIGHTS_PATTERN,
    ),
]
KQuery = Annotated[int, Query(description="most results to return", ge=1, le=MAX_K)]


@contextmanager
def open_snapshot(
    request: Request, response: Response, source: PublishedRepository
) -> Iterator[Snapshot]:
    """Open what is published now, and give the response its ETag.

    Args:
        request: The request; its If-None-Match is compared with the ETag.
        response: Receives the ETag and Cache-Control.
        source: The published runs.

    Yields:
        The snapshot.

    Raises:
        HTTPException: 304; the client has this answer already.
        NotPublished: Nothing is published yet.
        Unreachable: The warehouse does not answer.
    """
    with source.snapshot() as s:
        version = f"{s.run} {s.publication.published_at.isoformat()} {s.signature}"
        set_etag(request, response, version)
        yield s


def set_etag(request: Request, response: Response, version: str) -> None:
    """Give the response the ETag of this request at a version of the data.

    Args:
        request: The request; its path, query and If-None-Match count.
        response: Receives the ETag and Cache-Control.
        version: Text that changes whenever the answer may.

    Raises:
        HTTPException: 304; the client has this answer already.
    """
    key = "\0".join([wearalike.__version__, version, request.scope["path"], request.url.query])
    etag = f'W/"{hashlib.sha256(key.encode()).hexdigest()[:32]}"'
    headers = {"ETag": etag, "Cache-Control": CACHE_CONTROL}
    client_etags = {value.strip() for value in request.headers.get("if-none-match", "").split(",")}
    if client_etags & {etag, etag.removeprefix("W/")}:
        raise HTTPException(304, headers=headers)
    response.headers.update(headers)


def build_answer(s: Snapshot, **more: Any) -> dict[str, Any]:
    """Return an answer with the fields of schemas.PublishedAnswer and more."""
    return {"run": s.run, "published_at": s.publication.published_at, **more}


def require_product(s: Snapshot, product_id: str) -> dict[str, Any]:
    """Return a product. Raises HTTPException 404 if the run has none."""
    if (product := s.product(product_id)) is None:
        raise HTTPException(
            404,
            f"no product {product_id!r} in run {s.run}; "
            "a product_id is <shop>:<offer id>, percent-encoded",
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
            description="words to find in title, brand or id, in any case; the first 8 count",
            max_length=200,
        ),
    ] = "",
    category: Annotated[
        str | None,
        Query(description="a leaf or branch of the taxonomy, e.g. women.dresses", max_length=200),
    ] = None,
    super_category: Annotated[
        SuperCategory | None, Query(description="products of this super-category only")
    ] = None,
    limit: Annotated[int, Query(description="most products on a page", ge=1, le=100)] = 20,
    after: Annotated[
        str | None, Query(description="next_after of the previous page", max_length=1000)
    ] = None,
    *,
    filters: FiltersDep,
) -> dict[str, Any]:
    """Return products of the published run in order of product_id, a page at a time."""
    with open_snapshot(request, response, source) as s:
        filters = complete_filters(filters, s, request.app.state.settings.data_dir)
        rows = s.search(q, None, category, super_category, limit + 1, after, filters)
        has_next_page = len(rows) > limit
        next_after = rows[limit - 1]["product_id"] if has_next_page else None
        return build_answer(s, products=rows[:limit], next_after=next_after)


@router.get(
    "/products/{product_id}",
    response_model=schemas.ProductAnswer,
    responses=problem_responses(404, 422),
    summary="One product",
)
def product(
    request: Request, response: Response, source: PublishedDep, product_id: ProductId
) -> dict[str, Any]:
    """Return every column of a product, and how many recommendations it has."""
    with open_snapshot(request, response, source) as s:
        row = require_product(s, product_id)
        similar_list = s.similar_list(product_id) or {"similar_count": 0, "shortfall_reason": None}
        return build_answer(
            s,
            product=row,
            similar_count=similar_list["similar_count"],
            shortfall_reason=similar_list["shortfall_reason"],
        )


@router.get(
    "/runs", response_model=schemas.RunsAnswer, responses=problem_responses(), summary="Runs"
)
def runs(request: Request, response: Response, source: PublishedDep) -> dict[str, Any]:
    """Return every run in the warehouse, and which one is published."""
    rows = source.runs()
    set_etag(request, response, repr(rows))
    return {"runs": rows}


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
            description="this scope only, e.g. all, shop=moda, super_category=bags", max_length=300
        ),
    ] = None,
) -> dict[str, Any]:
    """Return the metrics of the published run."""
    with open_snapshot(request, response, source) as s:
        return build_answer(s, measures=s.quality(scope))


@router.get(
    "/quality/{metric}",
    response_model=schemas.QualityHistoryAnswer,
    responses=problem_responses(404, 422),
    summary="A metric in every run",
)
def quality_history(
    request: Request,
    response: Response,
    source: PublishedDep,
    metric: Annotated[str, Path(description="e.g. precision@10", max_length=100), DecodedSegment],
    scope: Annotated[str, Query(description="e.g. all, shop=moda", max_length=300)] = "all",
) -> dict[str, Any]:
    """Return one metric in every run that was ever loaded."""
    rows = source.quality_history(metric, scope)
    if not rows:
        raise HTTPException(
            404,
            f"no metric {metric!r} of scope {scope!r} in any run; "
            "/quality lists those of the published run",
        )
    set_etag(request, response, repr(rows))
    return {"metric": metric, "scope": scope, "history": rows}


@router.post(
    "/photo",
    response_model=schemas.PhotoAnswer,
    responses=problem_responses(400, 408, 413, 415, 422, 429),
    openapi_extra=uploads.OPENAPI_REQUEST_BODY,
    dependencies=[Depends(limit_searches)],
    summary="Search by photo",
)
async def photo(
    request: Request,
    response: Response,
    source: PublishedDep,
    live: LiveSearchDep,
    k: KQuery = 10,
    weights: WeightsQuery = None,
    gender: Annotated[
        Gender | None, Query(description="products for this gender; default: any")
    ] = None,
    age_group: Annotated[
        AgeGroup | None, Query(description="products for this age group; default: any")
    ] = None,
    category: Annotated[
        str | None,
        Query(
            description="leaf of the taxonomy that the item is of, e.g. women.dresses.midi; its "
            "kind then counts for items of its super-category",
            max_length=200,
        ),
    ] = None,
    on_shop: Annotated[
        str | None,
        Query(description="the shop whose page asks, for merchandising rules", max_length=64),
    ] = None,
    on_brand: Annotated[
        str | None,
        Query(description="the brand whose page asks, for merchandising rules", max_length=300),
    ] = None,
    guess_gender: Annotated[
        bool,
        Query(
            description="without gender: take that of the products nearest to the photo's items, "
            "where they agree"
        ),
    ] = False,
    within: WithinQuery = None,
    *,
    filters: FiltersDep,
) -> dict[str, Any]:
    """Detect garments, shoes and bags in a photo, and return the most similar products in stock.

    Filters leave out products before the best k are taken. The photo is not stored.
    """
    parsed_weights = photo_query.parse_weights(weights) if weights else None
    queue: FairQueue = request.app.state.photo_queue
    client = middleware.scope_client_key(request.scope)

    def search_photo(content: bytes) -> dict[str, Any]:
        with source.snapshot() as s:
            checked = complete_filters(filters, s, request.app.state.settings.data_dir, within)
        loaded = live.photo_run(s)
        head = {"run": loaded.run, "published_at": loaded.publication.published_at}
        wanted = PhotoQuery(
            k,
            parsed_weights,
            gender,
            age_group,
            category,
            on_shop,
            on_brand,
            checked,
            guess_gender,
        )
        decoded = DecodedPhoto(content, request.app.state.photo_decoders)
        try:
            result = decoded.search(loaded.load_photo_search(), wanted)
        except UnknownCategory as error:
            raise HTTPException(422, str(error)) from error
        return {**asdict(result), **head, "note": None if result.items else NO_ITEMS_NOTE}

    async with queue.reserve_place(client):
        content = await uploads.read_photo(request)
        async with queue.wait_for_turn(client):
            await uploads.refuse_disconnected(request)
            response.headers["Cache-Control"] = "no-store"
            return await run_in_threadpool(search_photo, content)


@router.get(
    "/health", response_model=schemas.HealthAnswer, responses=problem_responses(), summary="Health"
)
def health(response: Response, source: PublishedDep) -> dict[str, Any]:
    """Return "ok" and the published run; 503 if nothing can be served."""
    with source.snapshot() as s:
        response.headers["Cache-Control"] = "no-store"
        return build_answer(s, status="ok")


@router.get(
    "/ready", response_model=schemas.ReadyAnswer, responses=problem_responses(), summary="Readiness"
)
def ready(request: Request, response: Response, source: PublishedDep) -> dict[str, Any]:
    """Return "ready" once nothing is left to load; 503 until then, and if nothing is published."""
    with source.snapshot() as s:
        state: PhotoState = request.app.state.warmer.state
        if state is PhotoState.LOADING:
            raise HTTPException(
                503, "networks and codes are being loaded", {"Retry-After": str(LOADING_RETRY_S)}
            )
        response.headers["Cache-Control"] = "no-store"
        return build_answer(s, status="ready", photos=state)
