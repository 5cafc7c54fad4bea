"""The candidates nearest to a product, from which its list is chosen; remembered from one run to the next.

What is nearest depends on codes, weights, audiences and stock alone, not on the rules. So the next run looks only for what
has changed: products that are new or changed search everything; the others search what has arrived, and forget what has
left. How far their candidates are complete is remembered with them, and a list that needs more is searched for anew: lists
are chosen from the same candidates as if everything had been searched, and come out the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numba import njit
from numpy.typing import NDArray

from wearalike import kernel
from wearalike.matches.galleries import Gallery
from wearalike.matches.scores import pairs


def runs(firsts: NDArray[np.int64], counts: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Runs of entries, from its first so many each, one after the other: where each starts then, int64 (m + 1,), and the entries."""
    starts = np.concatenate([[0], np.cumsum(counts)])
    return starts, np.arange(starts[-1]) + np.repeat(firsts - starts[:-1], counts)


@dataclass(frozen=True, slots=True)
class Near:
    """The nearest candidates of m products; i is one of them.

    asking: int64 (m,), their rows. starts: int64 (m + 1,), rows: int32 (t,): rows[starts[i] : starts[i + 1]] are the candidates,
    by distance, then row. farthest, before: int32 (m,): every candidate whose (distance, row) is less is among them.
    """

    asking: NDArray[np.int64]
    starts: NDArray[np.int64]
    rows: NDArray[np.int32]
    farthest: NDArray[np.int32]
    before: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.asking)

    def of(self, i: int) -> NDArray[np.int64]:
        return self.rows[self.starts[i] : self.starts[i + 1]].astype(np.int64)

    def take(self, places: NDArray[np.int64]) -> Near:
        starts, entries = runs(self.starts[places], np.diff(self.starts)[places])
        return Near(self.asking[places], starts, self.rows[entries], self.farthest[places], self.before[places])

    def first(self, counts: NDArray[np.int64], gallery: Gallery) -> Near:
        """With at most so many candidates each, int64 (m,), at least 1."""
        kept = np.minimum(counts, np.diff(self.starts))
        starts, entries = runs(self.starts[:-1], kept)
        rows = self.rows[entries]
        farthest, before = self.farthest.copy(), self.before.copy()
        cut = kept < np.diff(self.starts)
        last = rows[starts[1:][cut] - 1]
        farthest[cut], before[cut] = weighted(gallery, self.asking[cut], last), last + 1
        return Near(self.asking, starts, rows, farthest, before)


def joined(parts: Sequence[Near]) -> Near:
    """All of them as one, in the order of the products' rows."""
    counts = np.concatenate([np.diff(part.starts) for part in parts])
    columns = [np.concatenate([getattr(part, name) for part in parts]) for name in ("asking", "rows", "farthest", "before")]
    asking, rows, farthest, before = columns
    near = Near(asking, np.concatenate([[0], np.cumsum(counts)]), rows, farthest, before)
    return near.take(np.argsort(asking))


def near_table(near: Near) -> pa.Table:
    """As columns, a row a product; what rows it speaks of, its gallery says."""
    rows = pa.ListArray.from_arrays(pa.array(near.starts, pa.int32()), pa.array(near.rows))
    return pa.table({"asking": near.asking, "rows": rows, "farthest": near.farthest, "before": near.before})


def near_of(table: pa.Table) -> Near:
    """What near_table made a table of, or some rows of it."""
    table = table.sort_by("asking").combine_chunks()
    starts = np.concatenate([[0], np.cumsum(pc.list_value_length(table["rows"]).to_numpy())]).astype(np.int64)
    asking, farthest, before = (table[name].to_numpy() for name in ("asking", "farthest", "before"))
    return Near(asking, starts, pc.list_flatten(table["rows"]).to_numpy(), farthest, before)


def weighted(gallery: Gallery, asking: NDArray[np.int64], rows: NDArray[np.integer]) -> NDArray[np.int32]:
    """The distance of row i of `asking` to row i of `rows`, int32 (m,)."""
    shape, colour = pairs(gallery.codes[asking], gallery.codes[rows])
    return gallery.w_shape[asking] * shape + gallery.w_colour[asking] * colour


@dataclass(frozen=True, slots=True)
class Changes:
    """How a gallery has changed since another run.

    then: int64 (n,), of each product that asks for the same as then its row then, else -1. has_arrived: bool (n,), candidates that
    were none then, or another. now: int64 (m,), of each candidate of then that is the same now its row now, else -1.
    cut: int64 (m + 1,), how many products of now stand before row i of then.
    """

    then: NDArray[np.int64]
    has_arrived: NDArray[np.bool_]
    now: NDArray[np.int64]
    cut: NDArray[np.int64]

    @property
    def is_worth_it(self) -> bool:
        """Whether the search of what changed is less work than the search of everything."""
        return bool(np.count_nonzero(self.then < 0) + np.count_nonzero(self.has_arrived) < len(self.then))


def changes(past: Gallery, gallery: Gallery) -> Changes:
    at = pc.index_in(pa.array(gallery.product_ids), pa.array(past.product_ids)).fill_null(-1).to_numpy().astype(np.int64)
    stays = np.flatnonzero(at >= 0)
    was = at[stays]
    is_same = (past.codes[was] == gallery.codes[stays]).all(axis=1)
    is_same &= (past.gender[was] == gallery.gender[stays]) & (past.age_group[was] == gallery.age_group[stays])
    has_same_weights = (past.w_shape[was] == gallery.w_shape[stays]) & (past.w_colour[was] == gallery.w_colour[stays])
    then = np.full(len(gallery), -1)
    then[stays[is_same & has_same_weights]] = was[is_same & has_same_weights]
    answers = is_same & past.is_in_stock[was] & gallery.is_in_stock[stays]
    now, has_arrived = np.full(len(past), -1), gallery.is_in_stock.copy()
    now[was[answers]], has_arrived[stays[answers]] = stays[answers], False
    cut = np.empty(len(past) + 1, np.int64)
    cut[was], cut[-1] = stays, len(gallery)
    gone = np.setdiff1d(np.arange(len(past)), was, assume_unique=True)
    cut[gone] = np.searchsorted(gallery.product_ids, past.product_ids[gone])
    return Changes(then, has_arrived, now, cut)


@dataclass(frozen=True, slots=True)
class Recall:
    """What is known from another run. near: of at least those rows of then whose products are asked for, ascending."""

    changes: Changes
    near: Near

    def of(self, asking: NDArray[np.int64]) -> Near:
        """The candidates of rows that `changes.then` knows as rows of now; -1 for those that have left."""
        near = self.near.take(np.searchsorted(self.near.asking, self.changes.then[asking]))
        rows, before = self.changes.now[near.rows].astype(np.int32), self.changes.cut[near.before].astype(np.int32)
        return Near(asking, near.starts, rows, near.farthest, before)


def merged(gallery: Gallery, known: Near, limits: NDArray[np.int64], arrived: Near) -> Near:
    """What is known of the products and the nearest of what has arrived, within the products' limits, int64 (m,)."""
    parts = [(near.starts, near.rows, near.farthest, near.before) for near in (known, arrived)]
    return Near(known.asking, *_merged(gallery.codes, gallery.w_shape, gallery.w_colour, known.asking, limits, *parts))


@njit(nogil=True, cache=True)
def _key(codes, w_shape, w_colour, asking, row):  # type: ignore[no-untyped-def]
    return np.int64(kernel.distance(codes[asking], codes[row], w_shape[asking], w_colour[asking])), np.int64(row)


@njit(nogil=True, cache=True)
def _merged(codes, w_shape, w_colour, asking, limits, known, new):  # type: ignore[no-untyped-def]
    """Two sorts of candidates as one, up to where both are complete. known: rows may be -1, for what has left."""
    (starts, rows, farthest, before), (new_starts, new_rows, new_farthest, new_before) = known, new
    merged_starts, merged_rows = np.zeros(len(asking) + 1, np.int64), np.empty(len(rows) + len(new_rows), np.int32)
    until, until_row, count = np.empty(len(asking), np.int32), np.empty(len(asking), np.int32), 0
    nothing = (np.int64(-1), np.int64(-1))
    for i in range(len(asking)):
        row = asking[i]
        end = (limits[i] + 1, np.int64(0))
        for other in ((np.int64(farthest[i]), np.int64(before[i])), (np.int64(new_farthest[i]), np.int64(new_before[i]))):
            if other < end:
                end = other
        # Each candidate's key is made once, when it comes to stand first; the end's own where there is no other.
        old, fresh, old_key, fresh_key = starts[i] - 1, new_starts[i] - 1, nothing, nothing
        while True:
            if old_key == nothing:
                old += 1
                while old < starts[i + 1] and rows[old] < 0:
                    old += 1
                old_key = _key(codes, w_shape, w_colour, row, rows[old]) if old < starts[i + 1] else end
            if fresh_key == nothing:
                fresh += 1
                fresh_key = _key(codes, w_shape, w_colour, row, new_rows[fresh]) if fresh < new_starts[i + 1] else end
            if old_key >= end and fresh_key >= end:
                break
            if old_key < fresh_key:
                merged_rows[count], old_key = old_key[1], nothing
            else:
                merged_rows[count], fresh_key = fresh_key[1], nothing
            count += 1
        merged_starts[i + 1] = count
        until[i], until_row[i] = end
    return merged_starts, merged_rows[:count], until, until_row


@njit(nogil=True, cache=True)
def choose(asking, starts, rows, groups, brands, k, max_per_brand):  # type: ignore[no-untyped-def]
    """The first k of each product's candidates that the rules allow: places in `rows`, int64 (m, k), and how many, int64 (m,)."""
    chosen, counts = np.zeros((len(asking), k), np.int64), np.zeros(len(asking), np.int64)
    for i in range(len(asking)):
        for place in range(starts[i], starts[i + 1]):
            row, of_brand = rows[place], 0
            is_taken = row == asking[i] or groups[row] == groups[asking[i]]
            for other in chosen[i, : counts[i]]:
                is_taken |= groups[rows[other]] == groups[row]
                of_brand += brands[rows[other]] == brands[row]
            if is_taken or of_brand >= max_per_brand:
                continue
            chosen[i, counts[i]] = place
            counts[i] += 1
            if counts[i] == k:
                break
    return chosen, counts
