"""Tell small work, for which no JVM starts, from work for Spark."""

from __future__ import annotations

import logging


def is_small(
    log: logging.Logger, master: str, count: int, min_count: int, counted: str, reason: str = ""
) -> bool:
    """Tell if work is done in this process rather than by Spark; log which, and why.

    Args:
        log: the stage's logger.
        master: Spark's master; work for a cluster is never small.
        count: the size of the work.
        min_count: the size from which Spark starts, of the settings.
        counted: the things that are counted, e.g. "products".
        reason: another reason for Spark; empty for none.

    Returns:
        True for this process.
    """
    is_cluster = not master.startswith("local") or master.startswith("local-cluster")
    if is_cluster:
        reason = "the master is a cluster"
    elif count >= min_count:
        reason = f"{count} {counted}, {min_count} or more"
    if reason:
        log.info("by Spark on %s: %s", master, reason)
        return False
    log.info("in this process, without Spark: %d %s, fewer than %d", count, counted, min_count)
    return True
