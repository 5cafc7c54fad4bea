"""A photo's items and the products nearest to each by another model, in the JSON API."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from wearalike.evaluation.descriptors.photo_neighbours import (
    Distance,
    NeighbourQuery,
    NotApplicable,
    NotDescribed,
    find_photo_neighbours,
)
from wearalike.models.files import BadModel
from wearalike.search.float_index import FloatIndexKind
from wearalike.server import middleware, parameters, schemas, uploads
from wearalike.server.api import (
    NO_ITEMS_NOTE,
    KQuery,
    LiveSearchDep,
    PublishedDep,
    limit_searches,
    problem_responses,
)
from wearalike.server.fair_queue import FairQueue
from wearalike.server.photos import DecodedPhoto
from wearalike.tables import AgeGroup, Gender

router = APIRouter(dependencies=[Depends(parameters.refuse_unknown)])


@router.post(
    "/photo/neighbours",
    response_model=schemas.PhotoNeighboursAnswer,
    responses=problem_responses(400, 404, 408, 413, 415, 422, 429),
    openapi_extra=uploads.OPENAPI_REQUEST_BODY,
    dependencies=[Depends(limit_searches)],
    summary="Search by photo and descriptor",
)
async def photo_neighbours(
    request: Request,
    response: Response,
    source: PublishedDep,
    live: LiveSearchDep,
    descriptor: Annotated[
        str,
        Query(
            description="version of a descriptor that `wearalike describe-items` has described the "
            "run by, e.g. hsv-1",
            max_length=100,
        ),
    ],
    distance: Annotated[
        Distance | None,
        Query(description="default: cosine for floats, hamming for bits"),
    ] = None,
    index: Annotated[
        FloatIndexKind | None,
        Query(
            description="a Faiss index over floats, by Euclidean distance; default: every "
            "distance, exactly"
        ),
    ] = None,
    k: KQuery = 5,
    gender: Annotated[
        Gender | None, Query(description="products for this gender; default: any")
    ] = None,
    age_group: Annotated[
        AgeGroup | None, Query(description="products for this age group; default: any")
    ] = None,
) -> dict[str, Any]:
    """Detect the items of a photo, and return the products nearest to each by a descriptor.

    It compares models; `/photo` searches as the shop does. The photo is not stored.
    """
    try:
        query = NeighbourQuery(descriptor, distance, index, k, gender, age_group)
    except NotApplicable as error:
        raise HTTPException(422, str(error)) from error
    queue: FairQueue = request.app.state.photo_queue
    client = middleware.scope_client_key(request.scope)

    def search_photo(content: bytes) -> dict[str, Any]:
        with source.snapshot() as s:
            loaded = live.photo_run(s)
        head = {"run": loaded.run, "published_at": loaded.publication.published_at}
        decoded = DecodedPhoto(content, request.app.state.photo_decoders)
        search = loaded.load_photo_search()
        try:
            result = find_photo_neighbours(
                search,
                loaded.load_gallery,
                loaded.descriptors,
                request.app.state.describers,
                decoded.picture,
                query,
            )
        except NotDescribed as error:
            raise HTTPException(404, str(error)) from error
        except BadModel as error:
            raise HTTPException(503, str(error)) from error
        except NotApplicable as error:
            raise HTTPException(422, str(error)) from error
        answer = asdict(decoded.restore_pixels(result))
        return {**answer, **head, "note": None if result.items else NO_ITEMS_NOTE}

    async with queue.reserve_place(client):
        content = await uploads.read_photo(request)
        async with queue.wait_for_turn(client):
            await uploads.refuse_disconnected(request)
            response.headers["Cache-Control"] = "no-store"
            return await run_in_threadpool(search_photo, content)
