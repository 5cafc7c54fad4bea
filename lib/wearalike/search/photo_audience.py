"""For whom the things in a photo are: the products nearest to its items vote."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from wearalike.tables import Gender

# Nearest products of each item that vote.
VOTERS_PER_ITEM = 10
# Fewer votes, or a smaller majority, decide nothing.
MIN_VOTES = 5
MIN_MAJORITY = 0.7


def guess_gender(genders: Iterable[str | None]) -> Gender | None:
    """Return the gender that most products are made for; None if they disagree.

    Args:
        genders: tables.Gender of each product. Those for everybody, or unknown, do not vote.

    Example:
        >>> guess_gender(["female"] * 6 + ["male", "unisex", None])
        <Gender.FEMALE: 'female'>
    """
    votes = Counter(g for g in genders if g in (Gender.FEMALE, Gender.MALE))
    if votes.total() < MIN_VOTES:
        return None
    winner, count = votes.most_common(1)[0]
    return Gender(winner) if count >= MIN_MAJORITY * votes.total() else None
