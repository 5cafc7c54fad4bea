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
from wearalike.search import photo_search
from wearalike.server import errors, middleware, schemas, uploads
from wearalike.server.live_search import MAX_K, Live, LiveList, Wish
from wearalike.server.snapshot import Published, Snapshot
from wearalike.tables import AgeGroup, Gender, SuperCategory

router = APIRouter()
told = errors.documented
# A night's table: a cache may hold it for a minute unasked, then asks with the ETag, and shows it on where the server is away.
CACHE_CONTROL = "public, max-age=60, stale-if-error=86400"
NO_CLOTHES = "no garment, shoe or bag was seen in the photo"


def _published(request: Request) -> Published:
    return request.app.state.published


def _live(request: Request) -> Live:
    return request.app.state.live


def limit_searches(request: Request) -> None:
    """Raises HTTPException 429 for a client that searches too often."""
    request.app.state.searches.count(request.scope)


Source = Annotated[Published, Depends(_published)]
Searcher = Annotated[Live, Depends(_live)]
Decoded = AfterValidator(middleware.decoded)
ProductId = Annotated[
    str,
    Path(
        description="<shop>:<offer id> as published, percent-encoded, a slash as %2F",
        max_length=1000,
        examples=["moda:1042"],
    ),
    Decoded,
]
WEIGHTS = r"^(?:(?:[1-9]|10):(?:[0-9]|10)|0:(?:[1-9]|10))$"
Weights = Annotated[
    str | None,
    Query(
        description="SHAPE:COLOUR, 0 to 10 each, not both 0, e.g. 3:7; default: the category's own",
        pattern=WEIGHTS,
    ),
]
K = Annotated[int, Query(description="results at most", ge=1, le=MAX_K)]


@contextmanager
def opened(request: Request, response: Response, source: Published) -> Iterator[Snapshot]:
    """What is published now, once the client is known not to have this very answer; the response gets its ETag.

    Raises HTTPException 304, NotPublished, warehouse.Unreachable.
    """
    with source.snapshot() as s:
        tag(request, response, f"{s.run} {s.publication.published_at.isoformat()} {s.signature}")
        yield s


def tag(request: Request, response: Response, version: str) -> None:
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


def _said(s: Snapshot, **more: Any) -> dict[str, Any]:
    return {"run": s.run, "published_at": s.publication.published_at, **more}


def _found(s: Snapshot, product_id: str) -> dict[str, Any]:
    if (product := s.product(product_id)) is None:
        raise HTTPException(
            404,
            f"no product {product_id!r} in run {s.run}; a product_id is <shop>:<offer id>, percent-encoded",
        )
    return product


@router.get(
    "/products", response_model=schemas.Products, responses=told(422), summary="Find products"
)
def products(
    request: Request,
    response: Response,
    source: Source,
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
        Query(description="a leaf or branch of the rubricator, e.g. women.dresses", max_length=200),
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
    with opened(request, response, source) as s:
        found = s.search(q, shop, category, super_category, limit + 1, after)
        return _said(
            s,
            products=found[:limit],
            next_after=found[limit - 1]["product_id"] if len(found) > limit else None,
        )


@router.get(
    "/products/{product_id}",
    response_model=schemas.Product,
    responses=told(404, 422),
    summary="One product",
)
def product(
    request: Request, response: Response, source: Source, product_id: ProductId
) -> dict[str, Any]:
    """All that is known of a product, and how many recommendations it has."""
    with opened(request, response, source) as s:
        found = _found(s, product_id)
        listed = s.similar_list(product_id) or {"similar_count": 0, "short_reason": None}
        return _said(
            s,
            product=found,
            similar_count=listed["similar_count"],
            short_reason=listed["short_reason"],
        )


@router.get(
    "/products/{product_id}/similar",
    response_model=schemas.SimilarList,
    responses=told(404, 422, 429),
    summary="Similar products",
)
def similar(
    request: Request,
    response: Response,
    source: Source,
    live: Searcher,
    product_id: ProductId,
    weights: Weights = None,
    k: K = 20,
) -> dict[str, Any]:
    """The products most alike one, best first: as published, or, with weights, searched now by the same rules.

    Without weights there are at most as many as were published; a list that is shorter than asked for says why.
    """
    with opened(request, response, source) as s:
        asking = _found(s, product_id)
        if weights is None:
            rows, kind = (
                LiveList(
                    s.similar(product_id, k), (s.similar_list(product_id) or {}).get("short_reason")
                ),
                schemas.Source.PUBLISHED,
            )
        else:
            limit_searches(request)
            rows, kind = (
                live.similar(s, asking, photo_search.weights(weights), k),
                schemas.Source.LIVE,
            )
        return _said(
            s, product_id=product_id, source=kind, short_reason=rows.short_reason, results=rows.rows
        )


@router.get(
    "/products/{product_id}/look",
    response_model=schemas.LookList,
    responses=told(404, 422),
    summary="Complete the look",
)
def look(
    request: Request, response: Response, source: Source, product_id: ProductId
) -> dict[str, Any]:
    """What completes the look: products alike what is worn with the product in its own pictures."""
    with opened(request, response, source) as s:
        _found(s, product_id)
        return _said(s, product_id=product_id, results=s.look(product_id))


@router.get("/runs", response_model=schemas.Runs, responses=told(), summary="Runs")
def runs(request: Request, response: Response, source: Source) -> dict[str, Any]:
    """Every run that is loaded, and which one is published."""
    found = source.runs()
    tag(request, response, repr(found))
    return {"runs": found}


@router.get("/quality", response_model=schemas.Quality, responses=told(422), summary="Quality")
def quality(
    request: Request,
    response: Response,
    source: Source,
    scope: Annotated[
        str | None,
        Query(
            description="of this alone, e.g. all, shop=moda, super_category=bags", max_length=300
        ),
    ] = None,
) -> dict[str, Any]:
    """The measures of the published run."""
    with opened(request, response, source) as s:
        return _said(s, measures=s.quality(scope))


@router.get(
    "/quality/{measure}",
    response_model=schemas.QualityHistory,
    responses=told(404, 422),
    summary="A measure through the runs",
)
def quality_history(
    request: Request,
    response: Response,
    source: Source,
    measure: Annotated[str, Path(description="e.g. precision@10", max_length=100), Decoded],
    scope: Annotated[str, Query(description="e.g. all, shop=moda", max_length=300)] = "all",
) -> dict[str, Any]:
    """One measure in every run that was ever loaded."""
    found = source.quality_history(measure, scope)
    if not found:
        raise HTTPException(
            404,
            f"no measure {measure!r} of scope {scope!r} in any run; /quality lists those of the published one",
        )
    tag(request, response, repr(found))
    return {"measure": measure, "scope": scope, "history": found}


@router.post(
    "/photo",
    response_model=schemas.PhotoAnswer,
    responses=told(400, 408, 413, 415, 422, 429),
    openapi_extra=uploads.BODY,
    dependencies=[Depends(limit_searches)],
    summary="Products alike a photo",
)
async def photo(
    request: Request,
    response: Response,
    source: Source,
    live: Searcher,
    k: K = 10,
    weights: Weights = None,
    gender: Annotated[Gender | None, Query(description="whom it is for; default: anybody")] = None,
    age_group: Annotated[
        AgeGroup | None, Query(description="whom it is for; default: anybody")
    ] = None,
) -> dict[str, Any]:
    """The garments, shoes and bags seen in a photo, and the products in stock most alike each. The photo is not kept."""
    wish = Wish(k, photo_search.weights(weights) if weights else None, gender, age_group)
    queue: uploads.Queue = request.app.state.queue

    def look_at(content: bytes) -> dict[str, Any]:
        with source.snapshot() as s:
            search = live.photo_search(s)
            said = _said(s)
        answer = search.find(content, wish)
        return {**asdict(answer), **said, "note": None if answer.items else NO_CLOTHES}

    async with queue.place():
        content = await uploads.content(request)
        async with queue.turn():
            response.headers["Cache-Control"] = "no-store"
            return await run_in_threadpool(look_at, content)


@router.get("/health", response_model=schemas.Health, responses=told(), summary="Health")
def health(response: Response, source: Source) -> dict[str, Any]:
    """Whether the server can answer, and from which run."""
    with source.snapshot() as s:
        response.headers["Cache-Control"] = "no-store"
        return _said(s, status="ok")
