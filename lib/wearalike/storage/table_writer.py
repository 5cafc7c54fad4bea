"""Fill the folder of a table that is being written."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from wearalike.tables import REFUSED, Table


@dataclass
class TableWriter:
    """Fill the hidden folder of one table; `run_tables.write_table` yields it.

    Attributes:
        table: The table being written.
        path: The hidden folder. Other files that belong to the table may be put there.
        rows_written: Rows written so far.
        rows_taken: Rows read from the input, if the caller counts them. Checked at the end.
        refusal_counts: Refused rows by reason.
        manifest_extras: Further entries for the manifest.
    """

    table: Table
    path: Path
    rows_written: int = 0
    rows_taken: int | None = None

    def __post_init__(self) -> None:
        self._parts_writer: pq.ParquetWriter | None = None
        self._refusals_writer: pq.ParquetWriter | None = None
        self.refusal_counts: Counter[str] = Counter()
        self.manifest_extras: dict[str, Any] = {}

    def write(self, rows: pa.Table | pa.RecordBatch) -> None:
        """Append rows.

        Args:
            rows: Rows with the table's columns; they are cast to its schema.

        Raises:
            ValueError: A column that allows no nulls has some.
        """
        schema = self.table.arrow_schema
        rows = pa.Table.from_batches([rows]) if isinstance(rows, pa.RecordBatch) else rows
        rows = rows.select(schema.names).cast(schema)
        for column in self.table.columns:
            if not column.nullable and rows[column.name].null_count:
                raise ValueError(
                    f"{self.table.name}.{column.name}: {rows[column.name].null_count} nulls in a"
                    " column that has none"
                )
        if self._parts_writer is None:
            number = len(list(self.path.glob("part-*.parquet")))
            self._parts_writer = pq.ParquetWriter(
                self.path / f"part-{number:05}.parquet", schema, compression="zstd"
            )
        self._parts_writer.write_table(rows)
        self.rows_written += rows.num_rows

    def refuse(self, rows: pa.Table) -> None:
        """Append refused rows (tables.REFUSED). The column `stage` is filled in here."""
        if not rows.num_rows:
            return
        rows = rows.drop_columns(["stage"]) if "stage" in rows.column_names else rows
        rows = rows.add_column(0, "stage", pa.array([self.table.name] * rows.num_rows))
        rows = rows.select(REFUSED.column_names).cast(REFUSED.arrow_schema)
        if self._refusals_writer is None:
            self._refusals_writer = pq.ParquetWriter(
                self.path / "_refused.parquet", REFUSED.arrow_schema, compression="zstd"
            )
        self._refusals_writer.write_table(rows)
        self.refusal_counts.update(rows["reason"].to_pylist())

    def adopt_parts(self, parts: Path) -> None:
        """Take the Parquet files that Spark left in a folder as parts of this table, in their
        order.

        Raises:
            ValueError: Their columns are not those of the table.
        """
        for number, part in enumerate(sorted(parts.glob("part-*.parquet"))):
            os.replace(part, self.path / f"part-{number:05}.parquet")
        shutil.rmtree(parts)
        found = ds.dataset(sorted(map(str, self.path.glob("part-*.parquet"))), format="parquet")
        if found.schema.names != self.table.column_names:
            raise ValueError(
                f"{self.table.name}: columns {found.schema.names}, wanted {self.table.column_names}"
            )
        self.rows_written = found.count_rows()

    def close(self) -> None:
        """Close the Parquet files. A table without rows gets one empty part."""
        if self._parts_writer is None and not any(self.path.glob("part-*.parquet")):
            pq.write_table(self.table.arrow_schema.empty_table(), self.path / "part-00000.parquet")
        for writer in (self._parts_writer, self._refusals_writer):
            if writer is not None:
                writer.close()
