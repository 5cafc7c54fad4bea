"""Say pydantic's errors and types in the words of an operator."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Le
from pydantic import BaseModel, SecretStr, ValidationError
from pydantic.fields import FieldInfo

# Patterns of settings in the words of a person.
_PATTERN_WORDS = {
    "^[a-z0-9_-]{1,64}$": "1 to 64 letters a-z, digits, _ and -",
    "^[A-Z]{3}$": "three capital letters of ISO 4217, e.g. EUR",
    "^[!-'*-~]{0,200}$": "at most 200 letters without blanks or brackets",
}


def written_fields(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """Return the fields that a person may write; those with `exclude=True` are filled by us."""
    return {name: field for name, field in model.model_fields.items() if not field.exclude}


def describe_type(annotation: Any) -> str:
    """Return a field's type as a message names it.

    Example:
        >>> describe_type(tuple[int, ...]), describe_type(Literal["a", "b"])
        ('a list of int', 'a or b')
    """
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return describe_type(arguments[0])
    if origin is tuple:
        element = arguments[0]
        element = get_args(element)[0] if get_origin(element) is Annotated else element
        return f"a list of {element.__name__}"
    if origin is dict:
        return "a table"
    if origin is Literal:
        *first, last = map(str, arguments)
        return f"{', '.join(first)} or {last}"
    if origin in (Union, UnionType):
        return describe_type(arguments[0])
    return "a text" if annotation in (str, Path, SecretStr) else str(annotation.__name__)


def describe_unknown_key(key: str, model: type[BaseModel]) -> str:
    """Return the message for a key that the model does not have, with those it has."""
    return f"unknown key {key!r}; known: {', '.join(sorted(written_fields(model)))}"


def first_error(error: ValidationError) -> Any:
    """Return the error to tell of: an unknown key first, since it explains a missing one."""
    return min(error.errors(), key=lambda found: found["type"] != "extra_forbidden")


def describe_error(error: Any, model: type[BaseModel], location: Sequence[int | str]) -> str:
    """Return one error of a model as key, wanted and found.

    Args:
        error: An element of `ValidationError.errors()`.
        model: The class that refused the value.
        location: Path to the value from that class.
    """
    key = str(location[0])
    if error["type"] == "extra_forbidden":
        return describe_unknown_key(key, model)
    if error["type"] == "missing":
        return f"{key} is missing"
    if error["type"] == "value_error":
        return f"{key}: {error['ctx']['error']}"
    field = model.model_fields[key]
    limits = error.get("ctx", {})
    wanted = {
        "greater_than_equal": "{ge:g} or more",
        "less_than_equal": "{le:g} or less",
        "string_pattern_mismatch": _PATTERN_WORDS.get(str(limits.get("pattern")), "{pattern}"),
    }.get(error["type"], "")
    wanted = wanted.format(**limits).strip("^$") or describe_type(field.annotation)
    if bounds := _describe_bounds(field):
        is_number = error["type"] in ("greater_than_equal", "less_than_equal")
        wanted = bounds if is_number else f"{wanted} from {bounds}"
    # A secret is not repeated.
    found = error["input"]
    shown = type(found).__name__ if field.annotation is SecretStr else repr(found)
    return f"{key}: wanted {wanted}, got {shown}"


def _describe_bounds(field: FieldInfo) -> str:
    """Return the least and the largest value of a field, e.g. "0 to 1"; empty unless it has both.

    An optional field keeps them inside its annotation.
    """
    metadata = list(field.metadata)
    is_optional = get_origin(field.annotation) in (Union, UnionType)
    for argument in get_args(field.annotation) if is_optional else ():
        for constraint in get_args(argument)[1:]:
            metadata += constraint.metadata if isinstance(constraint, FieldInfo) else [constraint]
    least = [constraint.ge for constraint in metadata if isinstance(constraint, Ge)]
    largest = [constraint.le for constraint in metadata if isinstance(constraint, Le)]
    return f"{least[-1]} to {largest[-1]}" if least and largest else ""
