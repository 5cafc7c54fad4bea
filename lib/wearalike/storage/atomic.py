"""A folder is filled under a hidden name and put in place whole, or not at all, whoever else is at it.

What a process fills it holds a lock on, of the kernel's: so what a killed one has left is told from what a living one fills,
whatever the clock says. And whoever puts a folder in place must have seen what stood there when its work began: a stalled task
that wakes after its successor has finished would else put old work over new.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

DirIdentity = tuple[int, int]
_DISK_FULL_ERRNOS = (errno.ENOSPC, errno.EDQUOT)
_TARGET_EXISTS_ERRNOS = (errno.ENOTEMPTY, errno.EEXIST)


class Superseded(RuntimeError):
    """Something else was put in place since the work began; it stands, and nothing of the work is kept."""


class DiskFull(OSError):
    """A disk is too full for what goes to a path: says which, how much is free, and what to do."""


def dir_identity(path: Path) -> DirIdentity | None:
    """What tells the folder that stands there from any that takes its place; None where none stands."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns


@contextlib.contextmanager
def staging_dir(target: Path) -> Iterator[Path]:
    """An empty folder beside `target` to be filled, gone with the block unless it was put in place.

    What killed processes have left there is removed first; what living ones fill is not touched. A full disk is said with
    the place and what is free there (DiskFull).
    """
    with wrap_disk_full(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        path = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
        with _lock_dir(target.parent):
            for left in target.parent.glob(".run=*"):
                _remove_if_abandoned(left)
            path.mkdir()
            handle = os.open(path, os.O_RDONLY)
            _try_lock(handle)
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)
            os.close(handle)


def commit_dir(
    staged: Path, target: Path, expected: DirIdentity | None, is_equal: Callable[[], bool]
) -> None:
    """Renames the filled folder into place, over what stood there `before`, that is when its work began.

    Where something else stands by now it stays: quietly if it `is_equal` to ours, else Superseded is raised. A kill leaves
    the old folder, the new one, or none.
    """
    while True:
        try:
            os.rename(staged, target)
            break
        except OSError as error:
            if error.errno not in _TARGET_EXISTS_ERRNOS:
                raise
        standing = dir_identity(target)
        if standing is None:
            continue  # another process is putting its own there
        if standing != expected:
            if is_equal():
                return
            raise Superseded(
                f"{target}: another process has finished it from other inputs since this one began. What it wrote stands, nothing of"
                " this one does; if these inputs are the right ones, run the job again"
            )
        old = target.with_name(f".{target.name}.old-{uuid.uuid4().hex}")
        with contextlib.suppress(FileNotFoundError):
            os.rename(target, old)
        expected = None
        shutil.rmtree(old, ignore_errors=True)
    fsync_dir(target.parent)


@contextlib.contextmanager
def wrap_disk_full(path: Path) -> Iterator[None]:
    """Lets an OSError of the block for want of room be a DiskFull."""
    try:
        yield
    except DiskFull:
        raise
    except OSError as error:
        if error.errno not in _DISK_FULL_ERRNOS:
            raise
        raise disk_full_error(path) from error


def disk_full_error(path: Path) -> DiskFull:
    """The error of a disk too full for what goes to `path`."""
    there = next(p for p in (path, *path.parents) if p.exists())
    free = shutil.disk_usage(there).free
    words = f"{os.strerror(errno.ENOSPC)}: {free:,} bytes free. Make room there, or move root, then run the same again"
    return DiskFull(errno.ENOSPC, words, str(path))


def fsync_tree(path: Path) -> None:
    """Brings a folder and all in it onto the disk."""
    for child in path.iterdir():
        if child.is_dir():
            fsync_tree(child)
        else:
            with child.open("rb") as handle:
                os.fsync(handle.fileno())
    fsync_dir(path)


def fsync_dir(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def _lock_dir(folder: Path) -> Iterator[None]:
    """Keeps other processes from making or removing hidden folders there: none is seen between being made and being locked."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        _try_lock(handle, wait=True)
        yield
    finally:
        os.close(handle)


def _try_lock(handle: int, wait: bool = False) -> bool:
    """Whether the lock was got. A network's file system may know no locks on folders: then nothing is ever held to be left."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        return False
    return True


def _remove_if_abandoned(path: Path) -> None:
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return
    try:
        if _try_lock(handle):
            shutil.rmtree(path, ignore_errors=True)
    finally:
        os.close(handle)
