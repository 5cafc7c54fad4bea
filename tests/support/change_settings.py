"""Settings with some values changed."""

from typing import Any, TypeVar

from pydantic import BaseModel

ModelT = TypeVar("ModelT", bound=BaseModel)


def change(model: ModelT, **values: Any) -> ModelT:
    """Return a copy with other values, validated as if it were made anew."""
    return type(model)(**{**dict(model), **values})
