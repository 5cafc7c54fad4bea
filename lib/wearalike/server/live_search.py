"""What is computed when it is asked for, over the published run: a product's list at other weights, what is alike a photo.

The search is the night's, with its rules and the merchandiser's, over the run's own tables in the root. Codes and models are
loaded once, when first asked for, and again when another run is published.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from wearalike import catalog
from wearalike import search as search_module
from wearalike.models import registry
from wearalike.search import gallery_store
from wearalike.search.photo_search import MAX_K, MAX_WEIGHT, Networks, PhotoSearch, Wish
from wearalike.server.snapshot import Snapshot
from wearalike.settings import Settings
from wearalike.storage import run_tables
from wearalike.tables import ENTRIES, MATCHES
from wearalike.warehouse import publish

__all__ = ["MAX_K", "MAX_WEIGHT", "Live", "LiveList", "NotHere", "Wish"]


class NotHere(LookupError):
    """The root lacks the tables of the published run, or holds others of its name, so it cannot be searched."""


@dataclass(frozen=True, slots=True)
class LiveList:
    """rows: as of tables.SIMILAR_PRODUCTS, each with the recommended product as `product`, as in Snapshot.similar.
    short_reason: matches.ShortReason, None for a full list."""

    rows: list[dict[str, Any]]
    short_reason: str | None


class Live:
    """May be asked by several threads; each asks about the publication that it sees."""

    def __init__(self, place: Settings) -> None:
        self._place = place
        self._room: _Room | None = None
        self._lock = threading.Lock()

    def similar(
        self,
        s: Snapshot,
        product: dict[str, Any],
        weights: tuple[int, int] | None = None,
        k: int = 20,
    ) -> LiveList:
        """The list of a product of the snapshot. weights: of shape and colour, 0..10, not both 0; None: the category's. k: 1..100.

        Raises NotHere, indexes.BadIndex; ValueError for other weights or k.
        """
        Wish(k=k, weights=weights)
        w_shape, w_colour = weights or (product["w_shape"], product["w_colour"])
        room = self._room_of(s)
        shelf = room.shelf(product["super_category"])
        row = _row(shelf.gallery, product["product_id"]) if shelf else None
        if shelf is None or row is None:
            return LiveList([], search_module.ShortReason.NO_CODE)
        gallery = replace(
            shelf.gallery,
            w_shape=_with(shelf.gallery.w_shape, row, w_shape),
            w_colour=_with(shelf.gallery.w_colour, row, w_colour),
        )
        found = search_module.table(
            gallery,
            list(
                search_module.search(
                    gallery, row, row + 1, replace(room.rules, k=k), room.merchandise
                )
            ),
        )
        asking = pa.table(
            {"product_id": [product["product_id"]], "w_shape": [w_shape], "w_colour": [w_colour]}
        )
        table = search_module.similar_products(
            pa.Table.from_batches([found]), asking, room.detector, room.encoder
        )
        return LiveList(
            s.with_products(table.to_pylist(), "similar_product_id"),
            found["short_reason"][0].as_py(),
        )

    def shelf(self, s: Snapshot, super_category: str) -> gallery_store.Shelf | None:
        """What of a super-category can be found; None where nothing of it has a code. Raises NotHere, indexes.BadIndex."""
        return self._room_of(s).shelf(super_category)

    def photo_search(self, s: Snapshot) -> PhotoSearch:
        """The search for photos in what the snapshot shows. Raises NotHere, and as PhotoSearch."""
        return self._room_of(s).search()

    def _room_of(self, s: Snapshot) -> _Room:
        with self._lock:
            if self._room is None or (self._room.run, self._room.signature) != (s.run, s.signature):
                self._room = _Room(
                    self._place, s.run, s.signature, self._room.networks if self._room else None
                )
            return self._room


class _Room:
    """One run, loaded piece by piece."""

    def __init__(
        self, place: Settings, run: str, signature: str, networks: Networks | None
    ) -> None:
        """networks: those of the run before, where they were loaded. Raises NotHere."""
        self.run, self.signature, self._place, self.networks = run, signature, place, networks
        self._check()
        try:
            made = run_tables.made(place.root, ENTRIES, run)
            parameters = dict(run_tables.made(place.root, MATCHES, run)["parameters"])
        except run_tables.NotMade as error:
            raise NotHere(str(error)) from error
        self.detector, self.encoder = made["detector"], made["encoder"]
        self.merchandise = [catalog.Rule(**rule) for rule in parameters.pop("merchandise", [])]
        self.rules = search_module.Rules(**parameters)
        self._shelves: dict[str, gallery_store.Shelf] = {}
        self._search: PhotoSearch | None = None
        self._lock, self._loading = threading.Lock(), threading.Lock()

    def shelf(self, super_category: str) -> gallery_store.Shelf | None:
        """None where nothing of the super-category has a code."""
        with self._lock:
            if (
                super_category not in self._shelves
                and super_category in gallery_store.super_categories(self._place.root, self.run)
            ):
                self._shelves[super_category] = gallery_store.shelf(
                    self._place.root, self.run, super_category
                )
                self._check()
            return self._shelves.get(super_category)

    def search(self) -> PhotoSearch:
        """Raises NotHere, also where the detector's package is not installed."""
        # Of its own lock: networks load for seconds, in which lists can be asked for.
        with self._loading:
            if self._search is None:
                try:
                    self._search = PhotoSearch(
                        self._place,
                        self.run,
                        shelf=self._held,
                        networks=self.networks,
                        exact_up_to=self._place.serve.exact_up_to,
                    )
                except (ImportError, registry.BadModel) as error:
                    raise NotHere(f"photos: {error}") from error
                self.networks = self._search.networks
            return self._search

    def _held(self, super_category: str) -> gallery_store.Shelf:
        shelf = self.shelf(super_category)
        if shelf is None:
            raise NotHere(f"{self._place.root}: run {self.run} was made anew and not published")
        return shelf

    def _check(self) -> None:
        """The root still holds what was published. Raises NotHere."""
        try:
            found = publish.signature_of(self._place.root, self.run)
        except run_tables.NotMade as error:
            raise NotHere(
                f"{error}; the server searches the root's tables of the published run"
            ) from error
        if found != self.signature:
            raise NotHere(
                f"{self._place.root}: other tables of run {self.run} than those that were published; publish it again"
            )


def _row(gallery: search_module.Gallery, product_id: str) -> int | None:
    row = int(np.searchsorted(gallery.product_ids, product_id))
    return row if row < len(gallery) and gallery.product_ids[row] == product_id else None


def _with(values: np.ndarray[Any, Any], row: int, value: int) -> np.ndarray[Any, Any]:
    changed = values.copy()
    changed[row] = value
    return changed
