"""The API's reference: /v1/openapi.json for programs, /v1/docs for people.

The page is complete in itself: it loads no style or script from elsewhere.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.openapi.utils import get_openapi
from starlette.responses import HTMLResponse, JSONResponse, Response

from wearalike.reports import html
from wearalike.server import errors

router = APIRouter()
CACHE_CONTROL = "public, max-age=60"


def openapi_document(app: FastAPI, root_path: str = "") -> dict[str, Any]:
    """Return the OpenAPI document of /v1.

    Args:
        app: The app whose routes are described.
        root_path: Path at which the app is mounted.

    Returns:
        The document, ready for JSON.
    """
    document = get_openapi(
        title="wearalike",
        version=app.version,
        summary="Visually similar products, published by the nightly run",
        description=(
            "Every answer comes from one run, which it names. "
            "When another run is published, the next answer comes from that run. "
            "Answers carry an ETag; a request with a matching If-None-Match gets 304. "
            "HEAD works wherever GET does. "
            "Errors are application/problem+json (RFC 9457)."
        ),
        routes=app.routes,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
    )
    document["servers"] = [{"url": root_path or "/"}]
    problem = errors.ProblemDetails.model_json_schema(ref_template="#/components/schemas/{model}")
    document["components"]["schemas"] |= {
        **problem.pop("$defs"),
        errors.ProblemDetails.__name__: problem,
    }
    return document


@router.get("/openapi.json")
def openapi_json(request: Request) -> Response:
    """Return the OpenAPI document."""
    return JSONResponse(
        openapi_document(request.app, request.scope.get("root_path", "")),
        headers={"Cache-Control": CACHE_CONTROL},
    )


@router.get("/docs")
def docs(request: Request) -> Response:
    """Return the OpenAPI document as a page."""
    root_path = request.scope.get("root_path", "")
    document = openapi_document(request.app, root_path)
    root = f"{request.url.scheme}://{request.url.netloc}{root_path}"
    page = html.render("api.html", api=document, root=root, type_of=type_description)
    style = page.partition("<style>")[2].partition("</style>")[0]
    style_hash = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'sha256-{style_hash}'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'self'"
    )
    headers = {"Content-Security-Policy": policy, "Cache-Control": CACHE_CONTROL}
    return HTMLResponse(page, headers=headers)


def type_description(schema: dict[str, Any]) -> str:
    """Describe a JSON schema in a few words.

    Args:
        schema: The schema of a field or parameter.

    Returns:
        For example "list of Similar, may be null" or "integer from 1 to 100".
    """
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
    type_name = str(schema.get("type", "any"))
    return " ".join(["text" if type_name == "string" else type_name, *bounds])
