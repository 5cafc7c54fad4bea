"""How DuckDB is opened, and what its errors mean."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb

from wearalike.storage import atomic
from wearalike.warehouse.base import Rejected, Unreachable

# Extensions would be fetched over the network; everything used here is built in.
CONNECTION_CONFIG: dict[str, Any] = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
}


@contextlib.contextmanager
def translate_errors(prefix: str) -> Iterator[None]:
    """Turn DuckDB's errors into Rejected and Unreachable.

    Args:
        prefix: A path and ": ".
    """
    try:
        yield
    except duckdb.Error as error:
        if "No space left on device" in str(
            error
        ):  # whatever it was doing meanwhile gives the error its class
            raise Unreachable(
                f"{prefix}{atomic.disk_full_error(Path(prefix.removesuffix(': ')))}"
            ) from error
        raise (Unreachable if isinstance(error, duckdb.IOException) else Rejected)(
            f"{prefix}{error}"
        ) from error


def is_held(error: Exception) -> bool:
    """Return True if another process has the file open for writing."""
    return isinstance(error, duckdb.IOException) and "lock" in str(error)


def first_line(error: Exception) -> str:
    """Return the first line of an error's text."""
    return str(error).partition("\n")[0]


def fetch_rows(cursor: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """Return the rows of an executed statement as dicts by column name."""
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
