"""A table of a run is there whole, with its counts, or not at all."""

import contextlib
import json
import multiprocessing
import os
import select
import signal
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from wearalike.storage import atomic, content_cache, run_tables
from wearalike.tables import CODES, FEEDS, REFUSED, SIMILAR_LISTS


def codes(*names: str) -> pa.Table:
    rows = [
        {
            "item_id": n,
            "shape": n.encode().ljust(16),
            "colour": n.encode().rjust(16),
            "encoder": "e-1",
        }
        for n in names
    ]
    return pa.Table.from_pylist(rows, CODES.arrow_schema)


def refusal(key: str, reason: str) -> pa.Table:
    return pa.table(
        {
            "shop_id": ["s"],
            "kind": ["item"],
            "key": [key],
            "reason": [reason],
            "detail": pa.array([None], pa.string()),
        }
    )


def hidden(root):
    return list(root.glob("*/.run=*"))


def test_a_table_reads_back_as_written_with_its_counts(tmp_path):
    with run_tables.write_table(tmp_path, CODES, "r1", "sign", {"encoder": "e-1"}) as table:
        table.write(codes("a", "b"))
        table.write(codes("c"))
        table.refuse(refusal("d", "unreadable"))
        table.rows_taken = 4
    assert run_tables.read_table(tmp_path, CODES, "r1").equals(codes("a", "b", "c"))
    made = run_tables.read_manifest(tmp_path, CODES, "r1")
    assert made["rows"] == {"taken": 4, "written": 3, "refused": {"unreadable": 1}}
    assert made["parameters"] == {"encoder": "e-1"}
    (row,) = run_tables.read_refused(tmp_path, "r1").to_pylist()
    assert row == {
        "stage": "codes",
        "shop_id": "s",
        "kind": "item",
        "key": "d",
        "reason": "unreadable",
        "detail": None,
    }
    assert run_tables.read_refused(tmp_path, "r1").schema == REFUSED.arrow_schema
    assert hidden(tmp_path) == []


def test_a_table_that_no_stage_made_is_not_made(tmp_path):
    assert not run_tables.is_complete(tmp_path, FEEDS, "r1") and not run_tables.is_complete(
        tmp_path, FEEDS, "r1", "sign"
    )


@pytest.mark.parametrize("content", [b"", b'{"files":', b"[]", b'{"files": 1}', b"\xff"])
def test_a_damaged_manifest_is_named_and_the_table_can_be_made_again(tmp_path, content):
    for _ in range(2):
        with run_tables.write_table(tmp_path, FEEDS, "r", "signature"):
            pass
        path = run_tables.table_dir(tmp_path, FEEDS, "r") / "_manifest.json"
        assert run_tables.is_complete(tmp_path, FEEDS, "r", "signature")
        path.write_bytes(content)
        with pytest.raises(run_tables.CorruptTable, match=r"_manifest.json: damaged; run the"):
            run_tables.is_complete(tmp_path, FEEDS, "r")


def test_an_empty_table_is_a_table(tmp_path):
    with run_tables.write_table(tmp_path, FEEDS, "r1", "sign"):
        pass
    assert run_tables.read_table(tmp_path, FEEDS, "r1").equals(FEEDS.arrow_schema.empty_table())
    assert run_tables.is_complete(tmp_path, FEEDS, "r1", "sign") and not run_tables.is_complete(
        tmp_path, FEEDS, "r1", "other"
    )


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (lambda t: setattr(t, "rows_taken", 3), run_tables.RowCountMismatch),
        (
            lambda t: t.write(codes("x").set_column(0, "item_id", pa.array([None], pa.string()))),
            ValueError,
        ),
        (lambda t: t.write(pa.table({"item_id": ["x"]})), KeyError),
        (lambda t: (_ for _ in ()).throw(OSError("disk full")), OSError),
    ],
)
def test_after_an_error_nothing_is_left_and_the_old_table_stands(tmp_path, spoil, error):
    with run_tables.write_table(tmp_path, CODES, "r1", "old") as table:
        table.write(codes("a"))
    with pytest.raises(error), run_tables.write_table(tmp_path, CODES, "r1", "new") as table:
        table.write(codes("b", "c"))
        spoil(table)
    assert run_tables.read_table(tmp_path, CODES, "r1")["item_id"].to_pylist() == ["a"]
    assert hidden(tmp_path) == []


def test_a_table_is_replaced_by_a_later_one(tmp_path):
    for sign, name in (("one", "a"), ("two", "b"), ("two", "c")):
        with run_tables.write_table(tmp_path, CODES, "r1", sign) as table:
            table.write(codes(name))
        assert run_tables.read_table(tmp_path, CODES, "r1")["item_id"].to_pylist() == [name]
    assert os.listdir(tmp_path / "codes") == ["run=r1"]


@pytest.mark.parametrize(
    ("sign", "outcome"),
    [("same", contextlib.nullcontext()), ("other", pytest.raises(atomic.Superseded))],
)
def test_of_two_writers_of_the_same_table_the_first_to_finish_wins(tmp_path, sign, outcome):
    with outcome, run_tables.write_table(tmp_path, CODES, "r1", "same") as late:
        late.write(codes("b"))
        with run_tables.write_table(tmp_path, CODES, "r1", sign) as early:
            early.write(codes("a"))
    assert run_tables.read_table(tmp_path, CODES, "r1")["item_id"].to_pylist() == ["a"]
    assert run_tables.read_manifest(tmp_path, CODES, "r1")["signature"] == sign
    assert os.listdir(tmp_path / "codes") == ["run=r1"]


def test_who_looked_before_another_finished_writes_nothing_and_who_looks_after_may(tmp_path):
    seen = run_tables.table_version(tmp_path, CODES, "r1")
    for name in ("a", "b"):
        with run_tables.write_table(tmp_path, CODES, "r1", f"newer {name}") as table:
            table.write(codes(name))
    with (
        pytest.raises(atomic.Superseded),
        run_tables.write_table(tmp_path, CODES, "r1", "old", version_before=seen) as table,
    ):
        table.write(codes("c"))
    assert run_tables.read_table(tmp_path, CODES, "r1")["item_id"].to_pylist() == ["b"]
    with run_tables.write_table(
        tmp_path, CODES, "r1", "old", version_before=run_tables.table_version(tmp_path, CODES, "r1")
    ) as table:
        table.write(codes("c"))
    assert run_tables.read_table(tmp_path, CODES, "r1")["item_id"].to_pylist() == [
        "c"
    ] and os.listdir(tmp_path / "codes") == ["run=r1"]


def _write_and_die(root, started):
    with run_tables.write_table(root, CODES, "r1", "sign") as table:
        table.write(codes("a"))
        started.set()
        signal.pause()


def test_a_killed_writer_leaves_nothing_that_reads_as_done(tmp_path):
    context = multiprocessing.get_context("spawn")
    started = context.Event()
    writer = context.Process(target=_write_and_die, args=(tmp_path, started))
    writer.start()
    assert started.wait(60)
    os.kill(writer.pid, signal.SIGKILL)
    writer.join()
    with pytest.raises(run_tables.TableNotFound, match="codes of run r1"):
        run_tables.read_table(tmp_path, CODES, "r1")
    assert run_tables.list_runs(tmp_path, CODES) == [] and len(hidden(tmp_path)) == 1
    with (
        run_tables.write_table(tmp_path, CODES, "r2", "sign") as living,
        run_tables.write_table(tmp_path, CODES, "r1", "sign") as table,
    ):
        assert sorted(hidden(tmp_path)) == sorted([living.path, table.path]), (
            "what the killed one left is gone, what lives is not"
        )
    assert hidden(tmp_path) == [] and run_tables.list_runs(tmp_path, CODES) == ["r1", "r2"]


def test_files_beside_the_rows_are_hashed_and_move_with_them(tmp_path):
    with run_tables.write_table(tmp_path, CODES, "r1", "sign") as table:
        (table.path / "docs").mkdir()
        (table.path / "docs" / "page.html").write_text("hello")
    files = run_tables.read_manifest(tmp_path, CODES, "r1")["files"]
    assert files["docs/page.html"] == run_tables.sha256(
        run_tables.table_dir(tmp_path, CODES, "r1") / "docs" / "page.html"
    )
    before = run_tables.input_hash(tmp_path, CODES, "r1")
    with run_tables.write_table(tmp_path, CODES, "r2", "sign") as table:
        table.write(codes("a"))
    assert run_tables.input_hash(tmp_path, CODES, "r2") != before


def test_parts_that_spark_left_are_taken_in_order_and_rows_may_follow(tmp_path):
    with run_tables.write_table(tmp_path, CODES, "r1", "sign") as table:
        parts = table.path / "spark"
        parts.mkdir()
        for name in ("b", "a"):
            pq.write_table(codes(name), parts / f"part-0000{'ab'.index(name)}-uuid.parquet")
        (parts / "_SUCCESS").touch()
        table.adopt_parts(parts)
        table.write(codes("c"))
    assert run_tables.read_table(tmp_path, CODES, "r1")["item_id"].to_pylist() == ["a", "b", "c"]
    assert run_tables.read_manifest(tmp_path, CODES, "r1")["rows"]["written"] == 3


@pytest.mark.parametrize("run", ["", "../up", "a/b", ".hidden", "x" * 65, "a b"])
def test_a_run_that_is_no_folder_name_is_refused(tmp_path, run):
    with pytest.raises(ValueError, match="wanted letters"):
        run_tables.table_dir(tmp_path, CODES, run)


def test_kept_work_is_read_once_a_row_and_by_key(tmp_path):
    schema = CODES.arrow_schema
    assert content_cache.read_cached(tmp_path, "codes", "e-1", schema).num_rows == 0
    content_cache.cache_rows(tmp_path, "codes", "e-1", codes("a", "b"))
    content_cache.cache_rows(tmp_path, "codes", "e-1", codes("b", "c"))
    content_cache.cache_rows(tmp_path, "codes", "e-1", codes("b", "c"))
    assert (
        content_cache.read_cached(tmp_path, "codes", "e-1", schema)
        .sort_by("item_id")
        .equals(codes("a", "b", "c"))
    )
    assert content_cache.read_cached(tmp_path, "codes", "e-1", schema, pa.array(["c", "z"])).equals(
        codes("c")
    )
    assert content_cache.read_cached(tmp_path, "codes", "e-2", schema).num_rows == 0
    assert len(list((tmp_path / "cache" / "codes" / "e-1").iterdir())) == 2


def test_bytes_are_kept_whole_and_once(tmp_path):
    path = content_cache.image_path(tmp_path, "abcdef")
    content_cache.write_atomic(path, b"first")
    content_cache.write_atomic(path, b"second")
    assert path == tmp_path / "cache" / "images" / "ab" / "abcdef" and path.read_bytes() == b"first"
    assert [p.name for p in path.parent.iterdir()] == ["abcdef"]


def test_signatures_follow_inputs_and_parameters_only():
    sign = run_tables.signature({"a": "1", "b": "2"}, {"k": 20})
    assert sign == run_tables.signature({"b": "2", "a": "1"}, {"k": 20})
    assert (
        len(
            {
                sign,
                run_tables.signature({"a": "1"}, {"k": 20}),
                run_tables.signature({"a": "1", "b": "2"}, {"k": 21}),
            }
        )
        == 3
    )


def test_made_is_written_last_so_its_hashes_are_of_what_is_there(tmp_path):
    with run_tables.write_table(tmp_path, SIMILAR_LISTS, "r1", "sign"):
        pass
    folder = run_tables.table_dir(tmp_path, SIMILAR_LISTS, "r1")
    made = json.loads((folder / "_manifest.json").read_text())
    assert (
        set(made["files"])
        == {p.name for p in folder.iterdir()} - {"_manifest.json"}
        == {"part-00000.parquet"}
    )


COMMIT_PROCESS = """
import sys
from pathlib import Path
from wearalike.storage import atomic
target, name = Path(sys.argv[1]) / "run=r1", sys.argv[2]

def wait_before_rename(event, args):
    if event == "os.rename" and str(args[0]) == str(target) and name == "slow":
        print("looked", flush=True)
        sys.stdin.readline()

expected = atomic.dir_identity(target)
with atomic.staging_dir(target) as staged:
    (staged / "name").write_text(name)
    print("ready", flush=True)
    sys.stdin.readline()
    sys.addaudithook(wait_before_rename)
    try:
        atomic.commit_dir(staged, target, expected, lambda: False)
    except atomic.Superseded:
        print("superseded", flush=True)
    else:
        print("committed", flush=True)
"""


def test_a_folder_that_comes_between_the_look_and_the_rename_is_not_taken_away(tmp_path):
    """Both looked at the same folder. The slow one stands still once it has seen it again."""
    (tmp_path / "run=r1").mkdir()
    (tmp_path / "run=r1" / "name").touch()

    def start(name: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", COMMIT_PROCESS, str(tmp_path), name]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        return stack.enter_context(subprocess.Popen(command, text=True, **pipes))

    def go(process: subprocess.Popen[str]) -> None:
        process.stdin.write("go\n")
        process.stdin.flush()

    with contextlib.ExitStack() as stack:
        slow, quick = start("slow"), start("quick")
        assert [p.stdout.readline() for p in (slow, quick)] == ["ready\n"] * 2
        go(slow)
        assert slow.stdout.readline() == "looked\n"
        go(quick)
        # It either comes between, or waits for the slow one.
        select.select([quick.stdout], [], [], 2)
        go(slow)
        said = [p.stdout.readline().strip() for p in (slow, quick)]
    assert sorted(said) == ["committed", "superseded"]
    wanted = ("slow", "quick")[said.index("committed")]
    assert (tmp_path / "run=r1" / "name").read_text() == wanted
    assert [path.name for path in tmp_path.iterdir()] == ["run=r1"]
