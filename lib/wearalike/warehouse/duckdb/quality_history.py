"""The quality of every run that was ever loaded, in a Parquet file a run.

A run's own file has the quality of that run alone, and goes when the run is pruned; the file here
stays. So neither a load nor a question about one run costs more after a thousand nights.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.fs
import pyarrow.parquet as pq

from wearalike.storage import atomic
from wearalike.tables import QUALITY
from wearalike.warehouse.duckdb.recorded import recorded_schema

QUALITY_SCHEMA = recorded_schema(QUALITY)


class QualityHistory:
    """The kept quality of a warehouse. Where its folder is missing, an earlier version wrote all.

    Args:
        folder: Where the files are; it need not exist.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def is_begun(self) -> bool:
        """True if every run that was pruned has a file here."""
        return self._folder.is_dir()

    def begin(self, rows_by_run: Mapping[str, pa.Table]) -> None:
        """Put the folder in place as a whole, filled with what an earlier version kept.

        Args:
            rows_by_run: Rows of QUALITY_SCHEMA by run. One process at a time calls this.
        """
        hidden = self._folder.with_name(f".{self._folder.name}")
        shutil.rmtree(hidden, ignore_errors=True)
        with atomic.wrap_disk_full(hidden):
            hidden.mkdir(parents=True)
            for run, rows in rows_by_run.items():
                _write_rows(hidden / f"{run}.parquet", rows)
            atomic.fsync_tree(hidden)
            hidden.rename(self._folder)
            atomic.fsync_dir(self._folder.parent)

    def keep(self, run: str, rows: pa.Table) -> None:
        """Keep the quality of a run, over what was kept of it.

        Args:
            run: The run.
            rows: Its rows of tables.QUALITY, with the run as first column.
        """
        with atomic.replace_file(self.path(run)) as hidden:
            _write_rows(hidden, rows)

    def path(self, run: str) -> Path:
        """Return the path of a run's file."""
        return self._folder / f"{run}.parquet"

    def list_runs(self) -> list[str]:
        """Return the runs that have a file, in the order of their names."""
        return sorted(path.stem for path in self._folder.glob("[!.]*.parquet"))

    def list_paths(self) -> list[Path]:
        """Return the paths of all files."""
        return list(map(self.path, self.list_runs()))

    def open_dataset(self, without: Collection[str], damaged: Collection[Path]) -> ds.Dataset:
        """Return the rows of the kept runs; of one run, only its file is read.

        Args:
            without: Runs to leave out.
            damaged: Files to leave out.
        """
        runs = [
            run for run in self.list_runs() if run not in without and self.path(run) not in damaged
        ]
        if not runs:
            return ds.dataset(QUALITY_SCHEMA.empty_table())
        return ds.FileSystemDataset.from_paths(
            [str(self.path(run).absolute()) for run in runs],
            schema=QUALITY_SCHEMA,
            format=ds.ParquetFileFormat(),
            filesystem=pyarrow.fs.LocalFileSystem(),
            partitions=[ds.field("run") == run for run in runs],
        )


def split_by_run(rows: pa.Table) -> dict[str, pa.Table]:
    """Return the rows of each run."""
    return {
        run: rows.filter(pc.equal(rows["run"], run)) for run in pc.unique(rows["run"]).to_pylist()
    }


def _write_rows(path: Path, rows: pa.Table) -> None:
    """Write rows; a column that an earlier version's rows lack is null."""
    columns = [
        rows[field.name] if field.name in rows.column_names else pa.nulls(len(rows), field.type)
        for field in QUALITY_SCHEMA
    ]
    table = pa.table(columns, names=QUALITY_SCHEMA.names).cast(QUALITY_SCHEMA)
    pq.write_table(table, path, compression="zstd")
