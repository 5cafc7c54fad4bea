"""Tell small work, for which no JVM starts, from work for Spark."""

from __future__ import annotations

import logging


def is_cluster(master: str) -> bool:
    """Return whether Spark's master is a cluster, not this machine."""
    return not master.startswith("local") or master.startswith("local-cluster")


def needs_spark(log: logging.Logger, master: str, count: int, min_count: int, counted: str) -> bool:
    """Tell if Spark does the work, and log why; a choice for this process is not logged.

    Args:
        log: the stage's logger.
        master: Spark's master; a cluster's does all work.
        count: the size of the work, or of what is known of it.
        min_count: the size from which Spark starts, of the settings.
        counted: the things that are counted, e.g. "products".
    """
    if is_cluster(master):
        reason = "the master is a cluster"
    elif count >= min_count:
        reason = f"{count} {counted}, {min_count} or more"
    else:
        return False
    log.info("by Spark on %s: %s", master, reason)
    return True


def is_small(log: logging.Logger, master: str, count: int, min_count: int, counted: str) -> bool:
    """Tell if work is done in this process rather than by Spark; log which, and why.

    Args:
        log: the stage's logger.
        master: Spark's master; work for a cluster is never small.
        count: the size of the work.
        min_count: the size from which Spark starts, of the settings.
        counted: the things that are counted, e.g. "products".

    Returns:
        True for this process.
    """
    if needs_spark(log, master, count, min_count, counted):
        return False
    log.info("in this process, without Spark: %d %s, fewer than %d", count, counted, min_count)
    return True
