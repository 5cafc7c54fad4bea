"""The search of a gallery, and what the rules do to it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from wearalike import kernel, merchandising
from wearalike.categories.rules import Rule
from wearalike.matches.galleries import Gallery
from wearalike.matches.scores import distances, limit
from wearalike.tables import Gender


class ShortReason(StrEnum):
    NO_CODE = "no_code"  # the product has no code; `refused` says why
    FEW_CANDIDATES = "few_candidates"  # too few products in stock for this audience in the super-category
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


@dataclass(slots=True)
class _Pick:
    """One place of a list: a position among the candidates, and what put it there."""

    position: int
    rule: str | None = None
    fallback: Fallback | None = None


# Queries that share a pass over the candidates: their notes stay in cache together with a tile of codes.
_BLOCK_QUERIES = 32
# So many of the nearest in shape say what a code is of that no category is known of.
_VOTERS = 10


def search(gallery: Gallery, start: int, stop: int, rules: Rules, merchandise: Sequence[Rule] = ()) -> Iterator[Found]:
    """The lists of rows start..stop of the gallery, each once, in no promised order. merchandise: the merchandiser's rules."""
    rows = np.arange(start, min(stop, len(gallery)))
    rulings = merchandising.Rulings(merchandise, gallery.pages)
    audiences = {(gallery.age_group[r], gallery.gender[r]) for r in rows}
    for age_group, gender in sorted(audiences):
        asking = rows[(gallery.age_group[rows] == age_group) & (gallery.gender[rows] == gender)]
        candidates = np.flatnonzero(may_answer(gallery, age_group, gender))
        hunt = _Hunt(gallery, candidates, gallery.codes[candidates], rules, rulings)
        for block in np.split(asking, range(_BLOCK_QUERIES, len(asking), _BLOCK_QUERIES)):
            yield from hunt.lists(block, 4 * rules.k)


def alike(gallery: Gallery, candidates: NDArray[np.int64], code: NDArray[np.uint64], w_shape: int, w_colour: int, rules: Rules) -> Found:
    """The list for a code that no product of the gallery has, such as a photo's; its row is -1.

    candidates: int64 (m,), ascending rows of the gallery that may be shown. code: uint64 (4,).
    """
    return next(all_alike(gallery, candidates, code[None], np.array([w_shape], np.int32), np.array([w_colour], np.int32), rules))


def all_alike(
    gallery: Gallery,
    candidates: NDArray[np.int64],
    codes: NDArray[np.uint64],
    w_shape: NDArray[np.int32],
    w_colour: NDArray[np.int32],
    rules: Rules,
) -> Iterator[Found]:
    """The lists that `alike` gives for each of several codes in turn. codes: uint64 (n, 4). w_shape, w_colour: int32 (n,)."""
    hunt = _Hunt(gallery, candidates, gallery.codes[candidates], rules, merchandising.Rulings((), gallery.pages))
    for start in range(0, len(codes), _BLOCK_QUERIES):
        block = slice(start, start + _BLOCK_QUERIES)
        yield from hunt.of_codes(codes[block], w_shape[block], w_colour[block], 4 * rules.k)


def voted(gallery: Gallery, candidates: NDArray[np.int64], codes: NDArray[np.uint64]) -> NDArray[np.int64]:
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


def may_answer(gallery: Gallery, age_group: str, gender: str) -> NDArray[np.bool_]:
    """Whom an audience may be shown: in stock, the same age group, the same gender or either one unisex."""
    fits = (gallery.gender == gender) | (gallery.gender == Gender.UNISEX) | (gender == Gender.UNISEX)
    return gallery.is_in_stock & (gallery.age_group == age_group) & fits


@dataclass(frozen=True, slots=True)
class _Hunt:
    """The search for one audience. candidates: int64 (n,), rows it may be shown, in order; codes: theirs, uint64 (n, 4)."""

    gallery: Gallery
    candidates: NDArray[np.int64]
    codes: NDArray[np.uint64]
    rules: Rules
    rulings: merchandising.Rulings

    def lists(self, asking: NDArray[np.int64], looked_at: int) -> Iterator[Found]:
        """The lists of a block of rows from their best `looked_at` candidates; where the rules leave too few, from more."""
        gallery, rules = self.gallery, self.rules
        w_shape, w_colour = gallery.w_shape[asking], gallery.w_colour[asking]
        limits = np.array([limit(int(weights), rules.min_score) for weights in w_shape + w_colour])
        nearest = kernel.nearest(gallery.codes[asking], self.codes, w_shape, w_colour, limits, looked_at)
        for i, (row, alike) in enumerate(zip(asking.tolist(), nearest, strict=True)):
            is_all = len(alike) < looked_at
            ruling = self.rulings.of(row)
            if ruling is None:
                chosen = self._allowed(row, alike, rules.k, {int(gallery.groups[row])})
                picks = [_Pick(position) for position in chosen] if is_all or len(chosen) == rules.k else None
            else:
                picks = self._ruled(row, alike, ruling, is_all)
            if picks is None:
                yield from self.lists(asking[i : i + 1], 8 * looked_at)
                continue
            yield self._found(row, gallery.codes[row], picks, len(alike) == len(self.candidates))

    def of_codes(
        self, codes: NDArray[np.uint64], w_shape: NDArray[np.int32], w_colour: NDArray[np.int32], looked_at: int
    ) -> Iterator[Found]:
        """The lists of codes that are nobody's, as `lists`; see `alike`."""
        limits = np.array([limit(int(weights), self.rules.min_score) for weights in w_shape + w_colour])
        nearest = kernel.nearest(codes, self.codes, w_shape, w_colour, limits, looked_at)
        for i, (code, alike) in enumerate(zip(codes, nearest, strict=True)):
            chosen = self._allowed(-1, alike, self.rules.k, set())
            if len(alike) == looked_at and len(chosen) < self.rules.k:
                yield from self.of_codes(codes[i : i + 1], w_shape[i : i + 1], w_colour[i : i + 1], 8 * looked_at)
                continue
            yield self._found(-1, code, [_Pick(position) for position in chosen], len(alike) == len(self.candidates))

    def _found(self, row: int, code: NDArray[np.uint64], picks: list[_Pick], are_all_alike: bool) -> Found:
        chosen = np.array([pick.position for pick in picks], np.int64)
        shape, colour = distances(code[None], self.codes[chosen])
        others = len(self.candidates) - int(np.count_nonzero(self.candidates == row))
        return Found(
            row,
            self.candidates[chosen],
            shape[0],
            colour[0],
            _short(len(picks), others, are_all_alike, self.rules),
            [pick.rule for pick in picks],
            [pick.fallback for pick in picks],
        )

    def _allowed(self, row: int, ordered: NDArray[np.int64], count: int, groups: set[int]) -> list[int]:
        """The first `count` of the ordered positions that the rules allow beside `groups`, which it adds to."""
        brands: dict[int, int] = {}
        chosen: list[int] = []
        for position in ordered.tolist() if count else []:
            candidate = self.candidates[position]
            group, brand = int(self.gallery.groups[candidate]), int(self.gallery.brands[candidate])
            if candidate == row or group in groups or brands.get(brand, 0) >= self.rules.max_per_brand:
                continue
            groups.add(group)
            brands[brand] = brands.get(brand, 0) + 1
            chosen.append(position)
            if len(chosen) == count:
                break
        return chosen

    def _distances(self, row: int, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Weighted, int64 (m,)."""
        shape, colour = distances(self.gallery.codes[row : row + 1], self.codes[positions])
        return (self.gallery.w_shape[row] * shape[0] + self.gallery.w_colour[row] * colour[0]).astype(np.int64)

    def _ruled(self, row: int, alike: NDArray[np.int64], ruling: merchandising.Ruling, is_all: bool) -> list[_Pick] | None:
        """The list as the merchandiser's rules want it; None where candidates not looked at could stand in it."""
        weights = int(self.gallery.w_shape[row] + self.gallery.w_colour[row])
        groups = {int(self.gallery.groups[row])}
        pins = self._pinned(ruling, groups)
        wanted = self.rules.k - len(pins)
        far = self._distances(row, alike)
        boosts, said = ruling.boosts(self.candidates[alike], weights)
        order = np.lexsort((alike, far - boosts))
        order = order[~ruling.hidden[self.candidates[alike[order]]]]
        chosen = self._allowed(row, alike[order], wanted, groups)
        at = {int(position): i for i, position in enumerate(alike)}
        if not is_all:
            # What was not looked at is at least as far as the last seen, and could go before by the largest boost.
            least = int(far[-1]) - ruling.largest_boost(weights)
            last = max((int(far[at[c]] - boosts[at[c]]) for c in chosen), default=0)
            if len(chosen) < wanted or (ruling.preferences and wanted and last >= least):
                return None
        picks = [_Pick(position, said[at[position]]) for position in chosen]
        if ruling.is_filled and len(picks) < wanted:
            picks += self._filling(row, ruling, groups, wanted - len(picks), limit(weights, self.rules.min_score))
        for rank, position, text in pins:
            picks.insert(rank - 1, _Pick(position, text))
        return picks

    def _pinned(self, ruling: merchandising.Ruling, groups: set[int]) -> list[tuple[int, int, str]]:
        """(rank, position, rule) of the pins that this audience may be shown, by rank; adds their groups to `groups`."""
        pins: list[tuple[int, int, str]] = []
        for rank, candidate, text in ruling.pins:
            position, group = int(np.searchsorted(self.candidates, candidate)), int(self.gallery.groups[candidate])
            is_shown = position < len(self.candidates) and self.candidates[position] == candidate
            if is_shown and group not in groups and rank <= self.rules.k and len(pins) < self.rules.k:
                groups.add(group)
                pins.append((rank, position, text))
        return pins

    def _filling(self, row: int, ruling: merchandising.Ruling, groups: set[int], count: int, limit: int) -> list[_Pick]:
        """What fills a short list: the most alike of the rest, whatever its score or brand. limit: distance of min_score."""
        positions = np.arange(len(self.candidates))
        far = self._distances(row, positions)
        picks: list[_Pick] = []
        for position in np.lexsort((positions, far)).tolist():
            candidate = int(self.candidates[position])
            group = int(self.gallery.groups[candidate])
            if len(picks) == count:
                break
            if candidate == row or group in groups or ruling.hidden[candidate]:
                continue
            groups.add(group)
            picks.append(_Pick(position, None, Fallback.LESS_ALIKE if far[position] > limit else Fallback.SAME_BRAND))
        return picks


def _short(count: int, others: int, are_all_alike: bool, rules: Rules) -> ShortReason | None:
    if count >= rules.k:
        return None
    if others < rules.k:
        return ShortReason.FEW_CANDIDATES
    return ShortReason.RULES if are_all_alike else ShortReason.MIN_SCORE
