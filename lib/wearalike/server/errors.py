"""Errors as RFC 9457 problem details: application/problem+json with type, title, status, detail."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response

from wearalike.imaging.decode import BadPixels
from wearalike.server import parameters
from wearalike.server.live_search import RunNotSearchable
from wearalike.server.snapshot import NotPublished
from wearalike.storage.object_store import StoreFault
from wearalike.warehouse.base import Unreachable

log = logging.getLogger(__name__)
MEDIA_TYPE = "application/problem+json"
# Sent as Retry-After, in seconds.
WAREHOUSE_RETRY_S = 5
UNPUBLISHED_RETRY_S = 60


class InvalidField(BaseModel):
    """One parameter or part of the body that is wrong."""

    where: str = Field(description="the parameter or the part of the body, e.g. query.limit")
    what: str = Field(description="what was found and what was wanted")


class ProblemDetails(BaseModel):
    """A problem as RFC 9457 describes it."""

    type: str = Field("about:blank", description="always about:blank: the status is the type")
    title: str = Field(description="the status in words")
    status: int = Field(description="the HTTP status")
    detail: str = Field(description="what was found, what was wanted, what to do")
    errors: list[InvalidField] = Field([], description="with status 422: each field that is wrong")


def problem_response(
    status: int,
    detail: str,
    headers: Mapping[str, str] | None = None,
    errors: list[InvalidField] | None = None,
) -> Response:
    """Return a problem as a response that no cache stores.

    Args:
        status: The HTTP status.
        detail: The value found, the value wanted, the remedy.
        headers: More headers, e.g. Retry-After.
        errors: With status 422, each field that is wrong.

    Returns:
        The response, application/problem+json.
    """
    problem = ProblemDetails(
        type="about:blank",
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        errors=errors or [],
    )
    body = problem.model_dump(exclude=None if errors else {"errors"})
    return JSONResponse(body, status, {"Cache-Control": "no-store", **(headers or {})}, MEDIA_TYPE)


def openapi_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return OpenAPI's description of a path's problems.

    Args:
        statuses: HTTP statuses of this path, beside those of every path (400, 429, 503).

    Returns:
        A response object by status.
    """
    schema = {"$ref": f"#/components/schemas/{ProblemDetails.__name__}"}
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {MEDIA_TYPE: {"schema": schema}},
        }
        for status in sorted({*statuses, 400, 429, 503})
    }


def add_exception_handlers(app: FastAPI) -> None:
    """Answer every error of the app with problem details."""
    app.add_exception_handler(HTTPException, _handle_http_exception)
    app.add_exception_handler(RequestValidationError, _handle_invalid_request)
    app.add_exception_handler(NotPublished, _handle_nothing_published)
    app.add_exception_handler(Unreachable, _handle_unreachable_warehouse)
    app.add_exception_handler(StoreFault, _handle_store_fault)
    app.add_exception_handler(BadPixels, _handle_bad_pixels)
    app.add_exception_handler(RunNotSearchable, _handle_run_not_searchable)
    app.add_exception_handler(ClientDisconnect, _handle_client_disconnect)
    app.add_exception_handler(Exception, _handle_unexpected_error)


def _handle_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == HTTPStatus.NOT_MODIFIED:
        return Response(status_code=error.status_code, headers=error.headers)
    detail = error.detail
    if detail == HTTPStatus(error.status_code).phrase:
        docs = f"{request.scope.get('root_path', '')}/v1/docs"
        detail = f"{request.method} {request.url.path}: {docs} lists the paths of the API"
    return problem_response(error.status_code, detail, error.headers)


def _handle_invalid_request(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    errors = [
        InvalidField(
            where=".".join(map(str, mistake["loc"])),
            what=parameters.describe_mistake(request, mistake),
        )
        for mistake in error.errors()
    ]
    detail = "; ".join(f"{mistake.where}: {mistake.what}" for mistake in errors)
    return problem_response(422, detail, errors=errors)


def _handle_nothing_published(_: Request, __: Exception) -> Response:
    return problem_response(
        503,
        "nothing is published yet: start a run first (wearalike run)",
        {"Retry-After": str(UNPUBLISHED_RETRY_S)},
    )


def _handle_unreachable_warehouse(_: Request, error: Exception) -> Response:
    log.warning("%s", error)
    return problem_response(
        503,
        "the warehouse does not answer; the server's log says why",
        {"Retry-After": str(WAREHOUSE_RETRY_S)},
    )


def _handle_store_fault(_: Request, error: Exception) -> Response:
    log.warning("%s", error)
    return problem_response(
        503,
        "the object store of the data does not answer; the server's log says why",
        {"Retry-After": str(WAREHOUSE_RETRY_S)},
    )


def _handle_run_not_searchable(_: Request, error: Exception) -> Response:
    log.warning("%s", error)
    return problem_response(
        503, "the published run cannot be searched here; the server's log says why"
    )


def _handle_bad_pixels(_: Request, error: Exception) -> Response:
    return problem_response(422, str(error))


def _handle_client_disconnect(_: Request, __: Exception) -> Response:
    return problem_response(400, "the client disconnected before it had sent everything")


def _handle_unexpected_error(_: Request, __: Exception) -> Response:
    return problem_response(500, "an unexpected error occurred; the server's log says which")
