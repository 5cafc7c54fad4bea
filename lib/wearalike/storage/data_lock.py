"""Keep `wearalike prune` and the stages of runs apart, which share the data folder.

A stage looks what is kept, works for minutes, and reads what was kept at the beginning. So each
holds the lock of the folder together with others, and pruning holds it alone. The kernel drops a
lock with its process.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

from wearalike.storage import atomic

LOCK_NAME = ".data.lock"

log = logging.getLogger("wearalike")


class DataInUse(ValueError):
    """A stage of a run is at work on the data folder."""


@contextlib.contextmanager
def use_data(root: Path) -> Iterator[None]:
    """Keep pruning out during the block; it waits until a pruning that is at work has ended.

    Where the folder cannot be locked the block runs all the same: nothing is pruned there.

    Args:
        root: The data folder.
    """
    if not root.is_dir():  # the first run makes it; there is nothing to prune
        yield
        return
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(atomic.lock_file(root / LOCK_NAME, 0, is_shared=True))
        except atomic.LockTimeout:
            log.info("%s: waiting for `wearalike prune`", root)
            stack.enter_context(atomic.lock_file(root / LOCK_NAME, is_shared=True))
        except OSError as error:
            log.debug("%s is not locked: %s", root, error)
        yield


@contextlib.contextmanager
def own_data(root: Path) -> Iterator[None]:
    """Keep the stages of runs out during the block.

    Args:
        root: The data folder.

    Raises:
        DataInUse: A stage is at work.
        atomic.LocksUnsupported: The file system has no locks, so nobody knows.
    """
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(atomic.lock_file(root / LOCK_NAME, 0))
        except atomic.LockTimeout as error:
            holder = atomic.find_lock_holder(root / LOCK_NAME)
            raise DataInUse(
                f"{root}: a run is at work on it{f': {holder}' if holder else ''};"
                " try again when it has ended"
            ) from error
        yield
