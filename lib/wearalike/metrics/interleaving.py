"""Interleaved comparison of two lists by team draft, and the sign test of its wins.

Radlinski, Kurup and Joachims, "How Does Clickthrough Data Reflect Retrieval Quality?", CIKM 2008.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Iterator, Sequence
from typing import NamedTuple, TypeVar

T = TypeVar("T", bound=Hashable)


class DraftPick(NamedTuple):
    """One place of an interleaved list.

    Attributes:
        team: 0 or 1, the list that it comes from; None once the other list has no more to pick.
        position: Its place in that list, from 0.
        list_number: 0 or 1, the list that holds it at that position.
    """

    team: int | None
    position: int
    list_number: int


def draft_teams(first: Sequence[T], second: Sequence[T], k: int, seed: str) -> list[DraftPick]:
    """Interleave two lists by team draft.

    In each round both lists pick the best of theirs that is not there yet; the seed's coin says
    which picks first. Where one list has no more, the rest of the other follows without a team.

    Args:
        first: List 0, best first, without repeats.
        second: List 1, likewise.
        k: Length of the interleaved list, at most.
        seed: Text that decides every coin; the same seed gives the same list.

    Returns:
        The places, best first.

    Example:
        >>> [pick.team for pick in draft_teams("abc", "bcd", 4, "visitor-1 moda:7")]
        [1, 0, 1, None]
    """
    lists = (first, second)
    positions = [0, 0]
    taken: set[T] = set()
    picks: list[DraftPick] = []
    coins = _iter_coins(seed)

    def has_more(number: int) -> bool:
        """Move a list to its next value that is not taken; tell if there is one."""
        own = lists[number]
        while positions[number] < len(own) and own[positions[number]] in taken:
            positions[number] += 1
        return positions[number] < len(own)

    order: list[int] = []
    while len(picks) < k:
        open_lists = [number for number in (0, 1) if has_more(number)]
        if not open_lists:
            break
        if len(open_lists) == 1:
            (number,) = open_lists
            # The pick that a round still owes is its team's all the same.
            team = number if order == [number] else None
            order = []
        else:
            if not order:
                head = next(coins)
                order = [head, 1 - head]
            team = number = order.pop(0)
        picks.append(DraftPick(team, positions[number], number))
        taken.add(lists[number][positions[number]])
    return picks


def _iter_coins(seed: str) -> Iterator[int]:
    """Yield fair coins, 0 or 1: the bits of SHA-256 of "<seed>#<block>", block 0 first."""
    block = 0
    while True:
        for byte in hashlib.sha256(f"{seed}#{block}".encode()).digest():
            for shift in range(7, -1, -1):
                yield byte >> shift & 1
        block += 1


def sign_test(wins: int, losses: int) -> float:
    """Return the two-sided p-value of the sign test: how likely a fair coin is as uneven.

    Args:
        wins: Comparisons won, 0 or more; ties are left out.
        losses: Comparisons lost, 0 or more.

    Returns:
        0..1; 1 without any comparison.
    """
    # Its import takes most of a second.
    from scipy.stats import binomtest

    return float(binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0
