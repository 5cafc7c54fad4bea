"""The API's own reference: /v1/openapi.json for programs, /v1/docs for people, a page that asks nobody else for anything."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from typing import Any

import jinja2
from fastapi import APIRouter, FastAPI, Request
from fastapi.openapi.utils import get_openapi
from starlette.responses import HTMLResponse, JSONResponse, Response

from wearalike.server import errors

router = APIRouter()
CACHE_CONTROL = "public, max-age=60"


def openapi_document(app: FastAPI, root_path: str = "") -> dict[str, Any]:
    """OpenAPI's description of /v1. root_path: where the app is mounted."""
    described = get_openapi(
        title="wearalike",
        version=app.version,
        summary="Visually similar products, as published by the night",
        description=(
            "Every answer is from one run, which it names; when another is published, the next answer is from that one. "
            "Answers carry an ETag and answer If-None-Match with 304. HEAD is answered wherever GET is. "
            "Errors are application/problem+json (RFC 9457)."
        ),
        routes=app.routes,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
    )
    described["servers"] = [{"url": root_path or "/"}]
    problem = errors.ProblemDetails.model_json_schema(ref_template="#/components/schemas/{model}")
    described["components"]["schemas"] |= {
        **problem.pop("$defs"),
        errors.ProblemDetails.__name__: problem,
    }
    return described


@router.get("/openapi.json")
def openapi_json(request: Request) -> Response:
    return JSONResponse(
        openapi_document(request.app, request.scope.get("root_path", "")),
        headers={"Cache-Control": CACHE_CONTROL},
    )


@router.get("/docs")
def docs(request: Request) -> Response:
    root_path = request.scope.get("root_path", "")
    described = openapi_document(request.app, root_path)
    page, style = _load_page_template()
    root = f"{request.url.scheme}://{request.url.netloc}{root_path}"
    policy = f"default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
    headers = {"Content-Security-Policy": policy, "Cache-Control": CACHE_CONTROL}
    return HTMLResponse(
        page.render(api=described, root=root, kind=type_description), headers=headers
    )


def type_description(schema: dict[str, Any]) -> str:
    """A schema in a few words, e.g. "list of Similar, may be null"."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        parts = [type_description(part) for part in schema["anyOf"] if part.get("type") != "null"]
        return " or ".join(parts) + (", may be null" if len(parts) < len(schema["anyOf"]) else "")
    if "allOf" in schema:
        return type_description(schema["allOf"][0])
    if schema.get("type") == "array":
        return f"list of {type_description(schema.get('items', {}))}"
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    bounds = [
        f"{name} {schema[key]}"
        for key, name in (("minimum", "from"), ("maximum", "to"), ("maxLength", "at most"))
        if key in schema
    ]
    return " ".join(
        [
            {"string": "text", "integer": "integer"}.get(
                schema.get("type", ""), str(schema.get("type", "any"))
            ),
            *bounds,
        ]
    )


@cache
def _load_page_template() -> tuple[jinja2.Template, str]:
    """The page, and the hash of its style as a policy names it."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("wearalike.server"), autoescape=True
    )
    loader = environment.loader
    assert loader is not None
    source, _, _ = loader.get_source(environment, "api.html")
    style = source.partition("<style>")[2].partition("</style>")[0]
    return environment.get_template("api.html"), base64.b64encode(
        hashlib.sha256(style.encode()).digest()
    ).decode()
