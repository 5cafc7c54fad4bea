"""Name the extra that brings a package which is not installed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

# The extra of pyproject.toml for each top-level module that the library works without.
EXTRA_BY_MODULE = {
    "airflow": "airflow",
    "openlineage": "openlineage",
    "great_expectations": "spark",
    "py4j": "spark",
    "pyspark": "spark",
    "psycopg": "postgres",
    "psycopg_pool": "postgres",
    "fastapi": "server",
    "limits": "server",
    "python_multipart": "server",
    "starlette": "server",
    "uvicorn": "server",
    "cv2": "evaluation",
    "matplotlib": "evaluation",
    "ultralytics": "yolo",
    "obstore": "s3",
    "pyiceberg": "iceberg",
    "sqlalchemy": "iceberg",
}


class MissingExtra(ModuleNotFoundError):
    """A package that an extra brings is not installed. The text names both."""


@contextmanager
def explain_missing() -> Iterator[None]:
    """Raise MissingExtra in place of the error for a module of EXTRA_BY_MODULE."""
    try:
        yield
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        if isinstance(error, MissingExtra) or module not in EXTRA_BY_MODULE:
            raise
        raise MissingExtra(
            f"{module} is not installed: pip install 'wearalike[{EXTRA_BY_MODULE[module]}]'",
            name=error.name,
        ) from error
