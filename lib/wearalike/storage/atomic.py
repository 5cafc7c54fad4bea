"""Replace files and folders whole or not at all, and take file locks.

A file or folder is filled under a hidden name beside its target, synced, and renamed into place.
A reader sees the old content or the new one, never a part.

A process holds a kernel lock on the hidden folder that it fills. The kernel drops the lock with
the process. So a folder that a killed process left is known without looking at a clock.
`commit_dir` also takes the identity that the target had when the work began. A stalled task that
wakes after its successor has finished would otherwise overwrite newer work.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from wearalike.operator_error import OperatorError

# Inode and modification time (ns) of a folder.
DirIdentity = tuple[int, int]
_DISK_FULL_ERRNOS = (errno.ENOSPC, errno.EDQUOT)
_NO_LOCKS_ERRNOS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
_TARGET_EXISTS_ERRNOS = (errno.ENOTEMPTY, errno.EEXIST)
_LOCK_POLL_S = 0.05
# The hidden names that this module gives: with a UUID behind a dot or a dash.
_HIDDEN_NAME = re.compile(r"\.(.*[.-])?[0-9a-f]{32}(\..*)?")


class Superseded(OperatorError):
    """Another process replaced the target since the work began; its result stands, ours is gone."""


class DiskFull(OSError):
    """A disk has no room for a path. The text names the path, the free bytes and what to do."""


class LockTimeout(TimeoutError):
    """Another process held a lock file for longer than the caller wanted to wait."""


class LocksUnsupported(OSError):
    """The file system of a path has no locks."""


@contextlib.contextmanager
def replace_file(path: Path, *, sync_folder: bool = True) -> Iterator[Path]:
    """Yield a hidden path to write; when the block ends, rename it to `path`, synced.

    The hidden name ends with the name of `path`, so writers that look at the suffix work.
    After an exception the hidden file is removed and `path` is as before.

    Args:
        path: File to create or replace. Its folder is created.
        sync_folder: Sync the folder too. Without it the file is whole, but a power
            failure may bring the former one back. One sync less for each of a million images.

    Raises:
        DiskFull: The disk has no room.
    """
    with wrap_disk_full(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        hidden = path.with_name(f".{uuid.uuid4().hex}.{path.name}")
        try:
            yield hidden
            commit_file(hidden, path, sync_folder=sync_folder)
        finally:
            hidden.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes, *, sync_folder: bool = True) -> None:
    """Write a file whole or not at all, over one that is there; see `replace_file`."""
    with replace_file(path, sync_folder=sync_folder) as hidden:
        hidden.write_bytes(content)


def commit_file(staged: Path, target: Path, *, sync_folder: bool = True) -> None:
    """Sync a finished file, rename it to `target` in the same folder, and sync the folder."""
    _fsync(staged)
    os.replace(staged, target)
    if sync_folder:
        fsync_dir(target.parent)


@contextlib.contextmanager
def lock_file(
    path: Path, wait_s: float | None = None, *, is_shared: bool = False
) -> Iterator[None]:
    """Hold a lock on a file during the block; a killed process lets go of it.

    Args:
        path: The lock file. It is created, with its folder, and never removed.
        wait_s: Longest wait for another process, seconds. 0 tries once, None waits for ever.
        is_shared: Others may hold it as well, but for one that wants it alone.

    Raises:
        LockTimeout: Another process still holds the lock.
        LocksUnsupported: The file system has no locks.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    mode = fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX
    with path.open("w") as file:
        try:
            if wait_s is None:
                fcntl.flock(file, mode)
            else:
                _poll_lock(file.fileno(), path, wait_s, mode)
        except OSError as error:
            if error.errno not in _NO_LOCKS_ERRNOS:
                raise
            raise LocksUnsupported(
                error.errno,
                f"{os.strerror(error.errno)}: this file system has no locks of files, without which"
                " two processes may write at once. Put it on a local disk, on NFS 4 or on a mount"
                " with locks",
                str(path),
            ) from error
        yield


def _poll_lock(handle: int, path: Path, wait_s: float, mode: int) -> None:
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(handle, mode | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() >= deadline:
                raise LockTimeout(
                    f"{path}: another process holds this lock for {wait_s:.0f} s"
                ) from error
            time.sleep(_LOCK_POLL_S)
        else:
            return


def find_lock_holder(path: Path) -> str | None:
    """Return the process on this machine that holds the lock of a file, in words.

    Args:
        path: The lock file.

    Returns:
        Its number and command; None where the system does not tell.
    """
    try:
        inode = path.stat().st_ino
        locks = Path("/proc/locks").read_text(encoding="utf-8").splitlines()
        # "1: FLOCK  ADVISORY  WRITE 321 08:01:5678 0 EOF"; a waiting process has "->" in front.
        rows = [line.split() for line in locks if " -> " not in line]
        pids = [row[4] for row in rows if row[5].rpartition(":")[2] == str(inode)]
        command = Path(f"/proc/{pids[0]}/cmdline").read_bytes()
    except (OSError, IndexError):
        return None
    words = " ".join(command.decode(errors="replace").split("\0")).strip()
    return f"process {pids[0]} ({words[:200]})"


def dir_identity(path: Path) -> DirIdentity | None:
    """Return what tells this folder from any that replaces it; None where there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns


@contextlib.contextmanager
def staging_dir(target: Path) -> Iterator[Path]:
    """Yield an empty hidden folder beside `target`, removed after the block unless committed.

    Folders that killed processes have left there are removed first. Folders that living ones
    fill are not touched.

    Args:
        target: Where `commit_dir` will move the folder: `<table>/run=<run>`.

    Raises:
        DiskFull: The disk has no room.
    """
    with wrap_disk_full(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        path = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
        with _lock_dir(target.parent):
            for leftover in target.parent.glob(".run=*"):
                _remove_if_abandoned(leftover)
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
    """Rename the filled folder to `target`, over the folder that stood there at the beginning.

    A kill leaves the old folder, the new one, or none.

    Args:
        staged: The filled and synced folder.
        target: Its final name, in the same parent.
        expected: `dir_identity(target)` when the work began.
        is_equal: Says if the folder that stands there by now equals ours. Then it stays.

    Raises:
        Superseded: Another folder stands there by now, and it differs from ours. It stays.
    """
    # Others look and rename one after the other, where the file system has locks on folders.
    with _lock_dir(target.parent):
        while not _rename_into_free(staged, target):
            present = dir_identity(target)
            if present is None:
                continue  # another process is replacing it at this moment
            if present != expected:
                if is_equal():
                    return
                raise superseded_error(target)
            old = target.with_name(f".{target.name}.old-{uuid.uuid4().hex}")
            with contextlib.suppress(FileNotFoundError):
                os.rename(target, old)
            if dir_identity(old) not in (None, expected) and _rename_into_free(old, target):
                continue  # another came between the look and the rename: it is back
            expected = None
            shutil.rmtree(old, ignore_errors=True)
    fsync_dir(target.parent)


def superseded_error(target: Path) -> Superseded:
    """Return the error of a writer whose target another has finished from other inputs."""
    return Superseded(
        f"{target}: another process has finished it from other inputs since this one began. Its"
        " result stands and nothing of this one is kept. If these inputs are the right ones, run"
        " the job again"
    )


def _rename_into_free(staged: Path, target: Path) -> bool:
    """Rename a folder; return False where another folder has that name."""
    try:
        os.rename(staged, target)
    except OSError as error:
        if error.errno not in _TARGET_EXISTS_ERRNOS:
            raise
        return False
    return True


@contextlib.contextmanager
def wrap_disk_full(path: Path) -> Iterator[None]:
    """Turn an OSError of the block that says the disk is full into a DiskFull of `path`."""
    try:
        yield
    except DiskFull:
        raise
    except OSError as error:
        if error.errno not in _DISK_FULL_ERRNOS:
            raise
        raise disk_full_error(path) from error


def disk_full_error(path: Path) -> DiskFull:
    """Return the error for a disk that has no room for `path`."""
    existing = next(p for p in (path, *path.parents) if p.exists())
    free_bytes = shutil.disk_usage(existing).free
    text = (
        f"{os.strerror(errno.ENOSPC)}: {free_bytes:,} bytes free. Make room there, or move"
        " data_dir, then run the same again"
    )
    return DiskFull(errno.ENOSPC, text, str(path))


def fsync_tree(path: Path) -> None:
    """Bring a folder and everything in it onto the disk."""
    for child in path.iterdir():
        if child.is_dir():
            fsync_tree(child)
        else:
            _fsync(child)
    _fsync(path)


def fsync_dir(path: Path) -> None:
    """Bring the names in a folder onto the disk."""
    _fsync(path)


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove_dir(path: Path) -> None:
    """Remove a folder: it is gone at once, and its files follow.

    A kill leaves the folder as it was, or a hidden one that the next `staging_dir` beside it or
    `remove_abandoned` removes.
    """
    hidden = path.with_name(f".{path.name}.gone-{uuid.uuid4().hex}")
    with contextlib.suppress(FileNotFoundError):
        os.rename(path, hidden)
        shutil.rmtree(hidden, ignore_errors=True)


def find_abandoned(folder: Path, min_age_s: float) -> Iterator[Path]:
    """Yield the hidden files and folders that killed processes left in a folder.

    Args:
        folder: The folder, which need not exist; its hidden folders are looked into no further.
        min_age_s: Younger ones may be in use where a file system has no locks, seconds.
    """
    newest_s = time.time() - min_age_s
    for path in sorted(folder.glob(".*")):
        with contextlib.suppress(FileNotFoundError):
            if _HIDDEN_NAME.fullmatch(path.name) and path.stat().st_mtime < newest_s:
                yield path


def remove_abandoned(path: Path) -> None:
    """Remove a hidden file or folder that no living process holds."""
    if path.is_dir():
        _remove_if_abandoned(path)
    else:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def _lock_dir(folder: Path) -> Iterator[None]:
    """Keep other processes from creating or removing hidden folders there during the block.

    A folder would otherwise be seen between its creation and its lock, and be removed.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        _try_lock(handle, wait=True)
        yield
    finally:
        os.close(handle)


def _try_lock(handle: int, wait: bool = False) -> bool:
    """Return whether the lock was taken.

    Some network file systems have no locks on folders. Nothing is taken for abandoned there.
    """
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        return False
    return True


def _remove_if_abandoned(path: Path) -> None:
    """Remove a hidden folder that no living process holds."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return
    try:
        if _try_lock(handle):
            shutil.rmtree(path, ignore_errors=True)
    finally:
        os.close(handle)
