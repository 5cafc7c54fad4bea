"""Damaged files of a warehouse: tell which, so that questions can go on without them.

DuckDB checks the sum of a block when it reads it. So a damaged block shows only in a question that
reads it, and its error may name no file. Then every file is read to its end.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from wearalike.warehouse.duckdb.connection import CONNECTION_CONFIG, first_line, is_held

# The errors that a damaged file may raise, beside the bare class for a wrong sum of a block. A
# Parquet file's come as invalid input.
_DAMAGE_ERRORS = (
    duckdb.IOException,
    duckdb.SerializationException,
    duckdb.InternalException,
    duckdb.FatalException,
    duckdb.InvalidInputException,
)


def may_be_damage(error: Exception) -> bool:
    """Return True if an error of DuckDB may come from a damaged file."""
    return type(error) is duckdb.Error or isinstance(error, _DAMAGE_ERRORS)


class DamagedFiles:
    """The files that were found damaged. One that replaces such a file is another file."""

    def __init__(self) -> None:
        self._faults: dict[tuple[Any, ...], str] = {}

    def search(self, paths: Iterable[Path]) -> dict[Path, str]:
        """Return the damaged files among some, each with its fault.

        Where one of them is known, no other is read.

        Args:
            paths: Files of runs, and Parquet files.
        """
        paths = list(paths)
        found = self.known(paths)
        if not found:
            read = {path: read_to_end(path) for path in paths}
            found = {path: fault for path, fault in read.items() if fault}
            self._faults |= {_identify_file(path): fault for path, fault in found.items()}
        return found

    def known(self, paths: Iterable[Path]) -> dict[Path, str]:
        """Return those among some files that were found damaged, each with its fault.

        Args:
            paths: Files of runs, and Parquet files.
        """
        known = {path: self._faults.get(_identify_file(path)) for path in paths}
        return {path: fault for path, fault in known.items() if fault}


def read_to_end(path: Path) -> str | None:
    """Read a file of a run or a Parquet file to its end; return its fault, None for a whole one."""
    try:
        if path.suffix == ".parquet":
            pq.read_table(path)
        else:
            _read_run_file(path)
    except FileNotFoundError:
        return None  # pruned meanwhile
    except (duckdb.OutOfMemoryException, MemoryError, PermissionError):
        raise  # the machine's fault, not the file's
    except (duckdb.Error, pa.ArrowException, OSError) as error:
        return None if is_held(error) or not path.exists() else first_line(error)
    return None


def _read_run_file(path: Path) -> None:
    with duckdb.connect(config=CONNECTION_CONFIG) as con:
        con.execute("ATTACH $1 AS whole (READ_ONLY)", [str(path)])
        listed = "SELECT table_name FROM duckdb_tables() WHERE database_name = 'whole'"
        for (name,) in con.execute(listed).fetchall():
            con.execute(f"SELECT max(hash(held)) FROM whole.{name} AS held").fetchall()


def _identify_file(path: Path) -> tuple[Any, ...]:
    try:
        found = path.stat()
    except FileNotFoundError:
        return (path,)
    return path, found.st_ino, found.st_mtime_ns, found.st_size
