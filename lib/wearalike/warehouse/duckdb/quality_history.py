"""The quality of every run that was ever loaded, in Parquet files.

A run's own file has the quality of that run alone, and goes when the run is pruned; what is kept
here stays. So neither a load nor a question about one run costs more after a thousand nights.

| path in the folder | content |
|---|---|
| <run>.parquet | the quality of a run; it counts, whatever a merged file says |
| merged/<number>.parquet | that of many pruned runs, ordered by metric, for questions over all |
"""

from __future__ import annotations

import json
import logging
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
# So many pruned runs are merged into one file.
MERGED_RUNS = 32
# A question about one metric reads the row groups that have it.
_ROW_GROUP_ROWS = 4096
_MERGED_ORDER = [(name, "ascending") for name in (*QUALITY.key, "run")]

log = logging.getLogger(__name__)


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

    def list_runs(self) -> set[str]:
        """Return the runs whose quality is kept."""
        return {path.stem for path in self._run_paths()}.union(
            *map(_read_runs, self._merged_paths())
        )

    def list_paths(self) -> list[Path]:
        """Return the paths of all files."""
        return [*self._run_paths(), *self._merged_paths()]

    def merge(self, attached: Collection[str]) -> None:
        """Merge the files of pruned runs, if there are many; a kill loses nothing.

        Args:
            attached: Runs that are not pruned. One process at a time calls this.
        """
        paths = [path for path in self._run_paths() if path.stem not in attached]
        if len(paths) < MERGED_RUNS:
            return
        read = {path: _read_rows(path) for path in paths}
        tables = {path: rows for path, rows in read.items() if rows is not None}
        if not tables:
            return
        runs = pa.array(sorted(path.stem for path in tables))
        merged = self._merged_paths()
        for path in merged:
            # A run that was loaded again is in one file alone.
            if set(_read_runs(path)).intersection(runs.to_pylist()) and (rows := _read_rows(path)):
                _write_merged(path, rows.filter(pc.invert(pc.is_in(rows["run"], runs))))
        number = 1 + max((int(path.stem) for path in merged), default=0)
        rows = pa.concat_tables(tables.values())
        _write_merged(self._folder / "merged" / f"{number:06}.parquet", rows)
        for path in tables:
            path.unlink()

    def open_datasets(
        self, without: Collection[str], damaged: Collection[Path]
    ) -> tuple[ds.Dataset, ds.Dataset, list[str]]:
        """Open what is kept.

        Args:
            without: Runs to leave out.
            damaged: Files to leave out.

        Returns:
            (own, merged, counted): the rows of runs that have a file, of which only those asked for
            are read; the rows of merged files; the runs whose rows in merged files do not count.
        """
        runs = [path.stem for path in self._run_paths() if path not in damaged]
        own = [run for run in runs if run not in without]
        merged = [path for path in self._merged_paths() if path not in damaged]
        return (
            _open_files(list(map(self.path, own)), [ds.field("run") == run for run in own]),
            _open_files(merged, [ds.scalar(True)] * len(merged)),
            sorted({*runs, *without}),
        )

    def _run_paths(self) -> list[Path]:
        return sorted(self._folder.glob("[!.]*.parquet"))

    def _merged_paths(self) -> list[Path]:
        return sorted(self._folder.glob("merged/[!.]*.parquet"))


def _open_files(paths: list[Path], conditions: list[ds.Expression]) -> ds.Dataset:
    """Open files, each with what is true of all its rows."""
    if not paths:
        return ds.dataset(QUALITY_SCHEMA.empty_table())
    return ds.FileSystemDataset.from_paths(
        [str(path.absolute()) for path in paths],
        schema=QUALITY_SCHEMA,
        format=ds.ParquetFileFormat(),
        filesystem=pyarrow.fs.LocalFileSystem(),
        partitions=conditions,
    )


def _read_runs(path: Path) -> list[str]:
    """Return the runs of a merged file; none for a damaged one."""
    try:
        runs: list[str] = json.loads(pq.read_schema(path).metadata[b"runs"])
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError):
        return []
    return runs


def _read_rows(path: Path) -> pa.Table | None:
    """Return the rows of a file; None for a damaged one, which is told."""
    try:
        return pq.ParquetFile(path).read().cast(QUALITY_SCHEMA)
    except (pa.ArrowException, OSError) as error:
        log.warning("%s is damaged and not merged: %s", path, error)
        return None


def _write_merged(path: Path, rows: pa.Table) -> None:
    runs = sorted(pc.unique(rows["run"]).to_pylist())
    table = rows.sort_by(_MERGED_ORDER).replace_schema_metadata({"runs": json.dumps(runs)})
    with atomic.replace_file(path) as hidden:
        pq.write_table(table, hidden, compression="zstd", row_group_size=_ROW_GROUP_ROWS)


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
