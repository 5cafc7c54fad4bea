"""The query parameters of a path: unknown ones are refused, mistakes are told in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import Request
from fastapi.dependencies.utils import get_flat_dependant
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute

from wearalike.catalog.xml_validation import did_you_mean

# pydantic writes this before the text of a ValueError.
_VALUE_ERROR_PREFIX = "Value error, "
_MAX_SHOWN_CHARACTERS = 60


def refuse_unknown(request: Request) -> None:
    """Refuse query parameters that the path does not know; a misspelt one would act as if absent.

    Raises:
        RequestValidationError: Names the unknown ones, and those that are known.
    """
    known = describe_parameters(request)
    unknown = [name for name in dict.fromkeys(request.query_params) if name not in known]
    if not unknown:
        return
    wanted = f"known are {', '.join(known)}" if known else "this path takes none"
    raise RequestValidationError(
        [
            {
                "type": "extra_forbidden",
                "loc": ("query", name[:_MAX_SHOWN_CHARACTERS]),
                "msg": f"no such parameter; {wanted}{did_you_mean(name, known)}",
            }
            for name in unknown
        ]
    )


def describe_parameters(request: Request) -> dict[str, str]:
    """Return the descriptions of the query parameters of a request's path, by name."""
    route = request.scope.get("route")
    if not isinstance(route, APIRoute):
        return {}
    fields = get_flat_dependant(route.dependant, skip_repeats=True).query_params
    return {field.alias: field.field_info.description or "" for field in fields}


def describe_mistake(request: Request, mistake: Mapping[str, Any]) -> str:
    """Return a validation error in words: the pattern of a text is code, and not shown.

    Args:
        request: The request.
        mistake: An error of pydantic.
    """
    if mistake["type"] != "string_pattern_mismatch":
        return str(mistake["msg"]).removeprefix(_VALUE_ERROR_PREFIX)
    name = str(mistake["loc"][-1])
    found = str(mistake.get("input", ""))[:_MAX_SHOWN_CHARACTERS]
    return f"got {found!r}, wanted {describe_parameters(request).get(name) or 'another text'}"
