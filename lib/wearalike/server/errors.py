"""What goes wrong, told as RFC 9457 says: application/problem+json with type, title, status and detail."""

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
from wearalike.server.live_search import RunNotSearchable
from wearalike.server.snapshot import NotPublished
from wearalike.warehouse.base import Unreachable

log = logging.getLogger(__name__)
MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 5


class InvalidField(BaseModel):
    """One thing that is wrong with what was asked."""

    where: str = Field(description="the parameter or the part of the body, e.g. query.limit")
    what: str = Field(description="what was found and what was wanted")


class ProblemDetails(BaseModel):
    """A problem as RFC 9457 describes it."""

    type: str = Field("about:blank", description="about:blank: the status says it all")
    title: str = Field(description="the status in words")
    status: int = Field(description="the HTTP status")
    detail: str = Field(description="what was found, what was wanted, what to do")
    errors: list[InvalidField] = Field([], description="with status 422: each thing that is wrong")


def problem_response(
    status: int,
    detail: str,
    headers: Mapping[str, str] | None = None,
    errors: list[InvalidField] | None = None,
) -> Response:
    """The problem as an answer, which nobody keeps."""
    problem = ProblemDetails(
        type="about:blank",
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        errors=errors or [],
    )
    told = problem.model_dump(exclude=None if errors else {"errors"})
    return JSONResponse(told, status, {"Cache-Control": "no-store", **(headers or {})}, MEDIA_TYPE)


def openapi_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """How OpenAPI describes the problems of a path: these, and those that any path may answer."""
    schema = {"$ref": f"#/components/schemas/{ProblemDetails.__name__}"}
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {MEDIA_TYPE: {"schema": schema}},
        }
        for status in sorted({*statuses, 400, 429, 503})
    }


def add_exception_handlers(app: FastAPI) -> None:
    """Every error of the app is answered as a problem."""
    app.add_exception_handler(HTTPException, _handle_http_exception)
    app.add_exception_handler(RequestValidationError, _handle_invalid_request)
    app.add_exception_handler(NotPublished, _handle_nothing_published)
    app.add_exception_handler(Unreachable, _handle_unreachable_warehouse)
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
        detail = f"{request.method} {request.url.path}: see {request.scope.get('root_path', '')}/v1/docs for what there is"
    return problem_response(error.status_code, detail, error.headers)


def _handle_invalid_request(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    errors = [
        InvalidField(where=".".join(map(str, found["loc"])), what=found["msg"])
        for found in error.errors()
    ]
    return problem_response(
        422, "; ".join(f"{mistake.where}: {mistake.what}" for mistake in errors), errors=errors
    )


def _handle_nothing_published(_: Request, __: Exception) -> Response:
    return problem_response(
        503,
        "nothing is published yet: run a night first (wearalike run --run NAME)",
        {"Retry-After": "60"},
    )


def _handle_unreachable_warehouse(_: Request, error: Exception) -> Response:
    log.warning("%s", error)
    return problem_response(
        503,
        "the warehouse does not answer; the server's log says why",
        {"Retry-After": str(RETRY_AFTER_S)},
    )


def _handle_run_not_searchable(_: Request, error: Exception) -> Response:
    log.warning("%s", error)
    return problem_response(
        503, "what is published cannot be searched here; the server's log says why"
    )


def _handle_bad_pixels(_: Request, error: Exception) -> Response:
    return problem_response(422, str(error))


def _handle_client_disconnect(_: Request, __: Exception) -> Response:
    return problem_response(400, "the client went away before all was sent")


def _handle_unexpected_error(_: Request, __: Exception) -> Response:
    return problem_response(500, "something failed that nobody foresaw; the server's log says what")
