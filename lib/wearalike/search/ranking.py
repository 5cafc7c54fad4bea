"""The search of a gallery, and what the rules do to it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from wearalike.catalog.merchandising_rules import Rule
from wearalike.search import merchandising
from wearalike.search.gallery import Candidates, Gallery
from wearalike.search.incremental import Near, Recall, choose, merged, weighted
from wearalike.search.scores import distances, limit, limits, pairs


class ShortReason(StrEnum):
    NO_CODE = "no_code"  # the product has no code; `refused` says why
    FEW_CANDIDATES = (
        "few_candidates"  # too few products in stock for this audience in the super-category
    )
    RULES = "rules"  # one result a group, max_per_brand and the merchandiser's rules left no more
    MIN_SCORE = "min_score"  # the rest is not alike enough


class Fallback(StrEnum):
    LESS_ALIKE = "less_alike"  # its score is below min_score
    SAME_BRAND = "same_brand"  # beyond max_per_brand


@dataclass(frozen=True, slots=True)
class Rules:
    """What may stand in a list. k: its length. min_score: 0..1, less alike is left out. max_per_brand: of one brand."""

    k: int = 20
    min_score: float = 0.1
    max_per_brand: int = 10


@dataclass(frozen=True, slots=True)
class Found:
    """The list of one product: rows of the gallery, best first, with their distances, int arrays of one length.

    rules, fallbacks: for each result the merchandiser's rule that moved it, and the kind of fallback it is; None for neither.
    """

    row: int
    results: NDArray[np.int64]
    shape: NDArray[np.int32]
    colour: NDArray[np.int32]
    short_reason: ShortReason | None
    rules: list[str | None]
    fallbacks: list[Fallback | None]


@dataclass(frozen=True, slots=True)
class Lists:
    """The lists of m products, near.asking, as Found holds that of one: what is of a result has t entries, one list's after another's.

    starts: int64 (m + 1,), where each list starts. short_reasons: object (m,); rules, fallbacks: object (t,). near: what they
    were chosen from, as far as the next run is to remember it.
    """

    near: Near
    starts: NDArray[np.int64]
    results: NDArray[np.int64]
    shape: NDArray[np.int32]
    colour: NDArray[np.int32]
    short_reasons: NDArray[np.object_]
    rules: NDArray[np.object_]
    fallbacks: NDArray[np.object_]

    def __iter__(self) -> Iterator[Found]:
        for i, row in enumerate(self.near.asking.tolist()):
            its = slice(self.starts[i], self.starts[i + 1])
            listed = self.results[its], self.shape[its], self.colour[its]
            yield Found(
                row,
                *listed,
                self.short_reasons[i],
                self.rules[its].tolist(),
                self.fallbacks[its].tolist(),
            )


@dataclass(slots=True)
class _Pick:
    """One place of a list: a row of the gallery, and what put it there."""

    row: int
    rule: str | None = None
    fallback: Fallback | None = None


# Queries that are searched for together.
_BLOCK_QUERIES = 1024
# A list is chosen from this many times its length of candidates; of what has arrived since the last run as many may be nearer.
_LOOKED_AT = 4
# So many of the nearest in shape say what a code is of that no category is known of.
_VOTERS = 10


def search(
    gallery: Gallery,
    start: int,
    stop: int,
    rules: Rules,
    merchandise: Sequence[Rule] = (),
    recall: Recall | None = None,
) -> Iterator[Lists]:
    """The lists of rows start..stop of the gallery, each once, in no promised order, some at a time.

    merchandise: the merchandiser's rules. recall: what another run remembers; the lists are the same without it, and take longer.
    """
    rows = np.arange(start, min(stop, len(gallery)))
    rulings = merchandising.Rulings(merchandise, gallery.pages)
    audiences, audience = gallery.audiences
    for number in sorted(np.unique(audience[rows]).tolist(), key=audiences.__getitem__):
        asking = rows[audience[rows] == number]
        hunt = _Hunt(gallery, gallery.shown_to(*audiences[number]), rules, rulings)
        known = np.zeros(len(asking), bool) if recall is None else recall.changes.then[asking] >= 0
        if recall is not None and known.any():
            came = hunt.candidates[recall.changes.has_arrived[hunt.candidates]]
            arrived = _Hunt(gallery, Candidates(gallery, came), rules, rulings)
            for block in _blocks(asking[known]):
                remembered, limits = recall.of(block), hunt.limits(block)
                news = arrived.look(
                    block, _LOOKED_AT * rules.k, np.minimum(limits, remembered.farthest)
                )
                yield from hunt.lists(
                    merged(gallery, remembered, limits, news), _LOOKED_AT * rules.k
                )
        for block in _blocks(asking[~known]):
            yield from hunt.lists(hunt.look(block, _LOOKED_AT * rules.k), _LOOKED_AT * rules.k)


def _blocks(rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    return np.split(rows, range(_BLOCK_QUERIES, len(rows), _BLOCK_QUERIES)) if len(rows) else []


def alike(
    gallery: Gallery,
    candidates: NDArray[np.int64],
    code: NDArray[np.uint64],
    w_shape: int,
    w_colour: int,
    rules: Rules,
) -> Found:
    """The list for a code that no product of the gallery has, such as a photo's; its row is -1.

    candidates: int64 (m,), ascending rows of the gallery that may be shown. code: uint64 (4,).
    """
    return next(
        all_alike(
            gallery,
            candidates,
            code[None],
            np.array([w_shape], np.int32),
            np.array([w_colour], np.int32),
            rules,
        )
    )


def all_alike(
    gallery: Gallery,
    candidates: NDArray[np.int64],
    codes: NDArray[np.uint64],
    w_shape: NDArray[np.int32],
    w_colour: NDArray[np.int32],
    rules: Rules,
) -> Iterator[Found]:
    """The lists that `alike` gives for each of several codes in turn. codes: uint64 (n, 4). w_shape, w_colour: int32 (n,)."""
    hunt = _Hunt(
        gallery, Candidates(gallery, candidates), rules, merchandising.Rulings((), gallery.pages)
    )
    for start in range(0, len(codes), _BLOCK_QUERIES):
        block = slice(start, start + _BLOCK_QUERIES)
        yield from hunt.of_codes(
            codes[block], w_shape[block], w_colour[block], _LOOKED_AT * rules.k
        )


def voted(
    gallery: Gallery, candidates: NDArray[np.int64], codes: NDArray[np.uint64]
) -> NDArray[np.int64]:
    """For each code a row of the gallery that says of which category such a thing is, and so how it is weighted: the nearest in
    shape of the category that most of the ten nearest have; of the nearest's where several have as many.

    candidates: int64 (m,), m >= 1, as for `alike`. codes: uint64 (n, 4). int64 (n,).
    """
    ones = np.ones(len(codes), np.int32)
    rules = Rules(_VOTERS, min_score=0, max_per_brand=_VOTERS)
    rows = np.empty(len(codes), np.int64)
    for i, found in enumerate(all_alike(gallery, candidates, codes, ones, 0 * ones, rules)):
        category = Counter(gallery.pages.category[found.results].tolist()).most_common(1)[0][0]
        rows[i] = next(r for r in found.results if gallery.pages.category[r] == category)
    return rows


@dataclass(frozen=True)
class _Hunt:
    """The search for one audience, which may be shown what is `shown`."""

    gallery: Gallery
    shown: Candidates
    rules: Rules
    rulings: merchandising.Rulings

    @property
    def candidates(self) -> NDArray[np.int64]:
        return self.shown.rows

    def limits(self, asking: NDArray[np.int64]) -> NDArray[np.int64]:
        """The distance of min_score for each of the rows, int64 (m,)."""
        return limits(
            self.gallery.w_shape[asking] + self.gallery.w_colour[asking], self.rules.min_score
        )

    def look(
        self, asking: NDArray[np.int64], looked_at: int, limits: NDArray[np.int64] | None = None
    ) -> Near:
        """The best `looked_at` candidates of each of the rows, within its limit."""
        gallery, limits = self.gallery, self.limits(asking) if limits is None else limits
        w_shape, w_colour = gallery.w_shape[asking], gallery.w_colour[asking]
        counts, nearest = self.shown.nearest(
            gallery.codes[asking], w_shape, w_colour, limits, looked_at
        )
        starts, rows = np.concatenate([[0], np.cumsum(counts)]), nearest.astype(np.int32)
        farthest, before, is_cut = (
            (limits + 1).astype(np.int32),
            np.zeros(len(asking), np.int32),
            counts == looked_at,
        )
        last = rows[starts[1:][is_cut] - 1]
        farthest[is_cut], before[is_cut] = weighted(gallery, asking[is_cut], last), last + 1
        return Near(asking, starts, rows, farthest, before)

    def lists(self, near: Near, looked_at: int) -> Iterator[Lists]:
        """The lists of a block of rows from their best `looked_at` candidates; where the rules leave too few, from more."""
        is_all, is_ruled = (
            near.farthest > self.limits(near.asking),
            self.rulings.is_ruled[near.asking],
        )
        plain, ruled = np.flatnonzero(~is_ruled), np.flatnonzero(is_ruled)
        lists, is_short = self._plain(near.take(plain), is_all[plain])
        yield lists
        unfinished = [near.asking[plain[is_short]]]
        if len(ruled):
            picks = [
                self._ruled(int(near.asking[i]), near.of(i), bool(is_all[i]))
                for i in ruled.tolist()
            ]
            is_done = np.array([found is not None for found in picks])
            yield self._merchandised(
                near.take(ruled[is_done]), [found for found in picks if found is not None]
            )
            unfinished.append(near.asking[ruled[~is_done]])
        if len(again := np.concatenate(unfinished)):
            yield from self.lists(self.look(again, 8 * looked_at), 8 * looked_at)

    def _plain(self, near: Near, is_all: NDArray[np.bool_]) -> tuple[Lists, NDArray[np.bool_]]:
        """The lists on which no rule of the merchandiser acts, and which rows need more candidates, bool (m,)."""
        gallery, k = self.gallery, self.rules.k
        chosen, counts = choose(
            near.asking,
            near.starts,
            near.rows,
            gallery.groups,
            gallery.brands,
            k,
            self.rules.max_per_brand,
        )
        is_done = (counts == k) | is_all
        is_listed = np.arange(k) < counts[is_done, None]
        results = near.rows[chosen[is_done][is_listed]].astype(np.int64)
        used = np.where(counts == k, chosen[:, -1] - near.starts[:-1] + 1, np.diff(near.starts))[
            is_done
        ]
        nothing = np.full(len(results), None, dtype=object)
        return self._told(
            near.take(np.flatnonzero(is_done)), counts[is_done], results, nothing, nothing, used
        ), ~is_done

    def _merchandised(self, near: Near, picks: list[list[_Pick]]) -> Lists:
        """The lists as the merchandiser's rules made them."""
        places = [place for of_one in picks for place in of_one]
        results = np.array([place.row for place in places], np.int64)
        rules, fallbacks = (
            np.array([getattr(place, name) for place in places], dtype=object)
            for name in ("rule", "fallback")
        )
        counts = np.array([len(of_one) for of_one in picks], np.int64)
        return self._told(near, counts, results, rules, fallbacks, np.diff(near.starts))

    def _told(
        self,
        near: Near,
        counts: NDArray[np.int64],
        results: NDArray[np.int64],
        rules: NDArray[np.object_],
        fallbacks: NDArray[np.object_],
        used: NDArray[np.int64],
    ) -> Lists:
        """counts: of results in each list. used: how many candidates it took; the next run is to remember twice as many."""
        k, candidates = self.rules.k, self.candidates
        others = len(candidates) - self.gallery.is_in_stock[near.asking]
        reasons = np.full(len(near), None, dtype=object)
        reasons[counts < k] = ShortReason.MIN_SCORE
        reasons[(counts < k) & (np.diff(near.starts) == len(candidates))] = ShortReason.RULES
        reasons[(counts < k) & (others < k)] = ShortReason.FEW_CANDIDATES
        known = near.first(np.clip(2 * used, _LOOKED_AT * k, 8 * _LOOKED_AT * k), self.gallery)
        starts = np.concatenate([[0], np.cumsum(counts)])
        shape, colour = pairs(self.gallery.codes, near.asking, starts, results)
        return Lists(known, starts, results, shape, colour, reasons, rules, fallbacks)

    def of_codes(
        self,
        codes: NDArray[np.uint64],
        w_shape: NDArray[np.int32],
        w_colour: NDArray[np.int32],
        looked_at: int,
    ) -> Iterator[Found]:
        """The lists of codes that are nobody's, as `lists`; see `alike`."""
        counts, nearest = self.shown.nearest(
            codes, w_shape, w_colour, limits(w_shape + w_colour, self.rules.min_score), looked_at
        )
        for i, (code, rows) in enumerate(
            zip(codes, np.split(nearest, np.cumsum(counts)[:-1]), strict=True)
        ):
            chosen = self._allowed(-1, rows, self.rules.k, set())
            if len(rows) == looked_at and len(chosen) < self.rules.k:
                yield from self.of_codes(
                    codes[i : i + 1], w_shape[i : i + 1], w_colour[i : i + 1], 8 * looked_at
                )
                continue
            results = np.array(chosen, np.int64)
            shape, colour = distances(code[None], self.gallery.codes[results])
            reason = _short(
                len(results), len(self.candidates), len(rows) == len(self.candidates), self.rules
            )
            yield Found(
                -1,
                results,
                shape[0],
                colour[0],
                reason,
                [None] * len(results),
                [None] * len(results),
            )

    def _allowed(
        self, row: int, ordered: NDArray[np.int64], count: int, groups: set[int]
    ) -> list[int]:
        """The first `count` of the ordered rows that the rules allow beside `groups`, which it adds to."""
        brands: dict[int, int] = {}
        chosen: list[int] = []
        for candidate in ordered.tolist() if count else []:
            group, brand = int(self.gallery.groups[candidate]), int(self.gallery.brands[candidate])
            if (
                candidate == row
                or group in groups
                or brands.get(brand, 0) >= self.rules.max_per_brand
            ):
                continue
            groups.add(group)
            brands[brand] = brands.get(brand, 0) + 1
            chosen.append(candidate)
            if len(chosen) == count:
                break
        return chosen

    def _distances(self, row: int, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Weighted, int64 (m,)."""
        return weighted(self.gallery, np.full(len(rows), row), rows).astype(np.int64)

    def _ruled(self, row: int, alike: NDArray[np.int64], is_all: bool) -> list[_Pick] | None:
        """The list as the merchandiser's rules want it; None where candidates not looked at could stand in it."""
        ruling = self.rulings.of(row)
        weights = int(self.gallery.w_shape[row] + self.gallery.w_colour[row])
        groups = {int(self.gallery.groups[row])}
        pins = self._pinned(ruling, groups)
        wanted = self.rules.k - len(pins)
        far = self._distances(row, alike)
        boosts, said = ruling.boosts(alike, weights)
        order = np.lexsort((alike, far - boosts))
        order = order[~ruling.hidden[alike[order]]]
        chosen = self._allowed(row, alike[order], wanted, groups)
        at = {int(candidate): i for i, candidate in enumerate(alike)}
        if not is_all:
            # What was not looked at is at least as far as the last seen, and could go before by the largest boost.
            least = (int(far[-1]) if len(far) else 0) - ruling.largest_boost(weights)
            last = max((int(far[at[c]] - boosts[at[c]]) for c in chosen), default=0)
            if len(chosen) < wanted or (ruling.preferences and wanted and last >= least):
                return None
        picks = [_Pick(candidate, said[at[candidate]]) for candidate in chosen]
        if ruling.is_filled and len(picks) < wanted:
            picks += self._filling(
                row, ruling, groups, wanted - len(picks), limit(weights, self.rules.min_score)
            )
        for rank, candidate, text in pins:
            picks.insert(rank - 1, _Pick(candidate, text))
        return picks

    def _pinned(self, ruling: merchandising.Ruling, groups: set[int]) -> list[tuple[int, int, str]]:
        """(rank, row, rule) of the pins that this audience may be shown, by rank; adds their groups to `groups`."""
        pins: list[tuple[int, int, str]] = []
        for rank, candidate, text in ruling.pins:
            position, group = (
                int(np.searchsorted(self.candidates, candidate)),
                int(self.gallery.groups[candidate]),
            )
            is_shown = position < len(self.candidates) and self.candidates[position] == candidate
            if (
                is_shown
                and group not in groups
                and rank <= self.rules.k
                and len(pins) < self.rules.k
            ):
                groups.add(group)
                pins.append((rank, candidate, text))
        return pins

    def _filling(
        self, row: int, ruling: merchandising.Ruling, groups: set[int], count: int, limit: int
    ) -> list[_Pick]:
        """What fills a short list: the most alike of the rest, whatever its score or brand. limit: distance of min_score."""
        far = self._distances(row, self.candidates)
        picks: list[_Pick] = []
        for position in np.argsort(far, kind="stable").tolist():
            candidate = int(self.candidates[position])
            group = int(self.gallery.groups[candidate])
            if len(picks) == count:
                break
            if candidate == row or group in groups or ruling.hidden[candidate]:
                continue
            groups.add(group)
            picks.append(
                _Pick(
                    candidate,
                    None,
                    Fallback.LESS_ALIKE if far[position] > limit else Fallback.SAME_BRAND,
                )
            )
        return picks


def _short(count: int, others: int, are_all_alike: bool, rules: Rules) -> ShortReason | None:
    if count >= rules.k:
        return None
    if others < rules.k:
        return ShortReason.FEW_CANDIDATES
    return ShortReason.RULES if are_all_alike else ShortReason.MIN_SCORE
