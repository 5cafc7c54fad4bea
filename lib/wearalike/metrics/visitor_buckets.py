"""The bucket of a visitor in an experiment: a stable hash, as in SQL and JavaScript."""

from __future__ import annotations

import hashlib

from wearalike.experiment_settings import BUCKETS_COUNT


def visitor_bucket(experiment: str, visitor: str) -> int:
    """Return the bucket of a visitor, 0..9999.

    It is the first four bytes of the SHA-256 of "<experiment>:<visitor>" in UTF-8, as a big-endian
    number, modulo 10,000. Equal visitors stay in their bucket whatever the shares are.

    Args:
        experiment: Name of the experiment, which has no colon.
        visitor: Id of the visitor or of the visit, any text.

    Example:
        >>> visitor_bucket("winter", "visitor-7")
        1829
    """
    digest = hashlib.sha256(f"{experiment}:{visitor}".encode()).digest()
    return int.from_bytes(digest[:4]) % BUCKETS_COUNT
