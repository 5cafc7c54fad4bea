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
from wearalike.search.photo_query import MAX_K, MAX_WEIGHT, PhotoQuery
from wearalike.search.photo_search import PhotoNetworks, PhotoSearch
from wearalike.server.snapshot import Snapshot
from wearalike.settings import Settings
from wearalike.storage import run_tables
from wearalike.tables import INDEXES, MATCHES
from wearalike.warehouse import publish

__all__ = ["MAX_K", "MAX_WEIGHT", "LiveList", "LiveSearch", "PhotoQuery", "RunNotSearchable"]


class RunNotSearchable(LookupError):
    """The root lacks the tables of the published run, or holds others of its name, so it cannot be searched."""


@dataclass(frozen=True, slots=True)
class LiveList:
    """rows: as of tables.SIMILAR_PRODUCTS, each with the recommended product as `product`, as in Snapshot.similar.
    shortfall_reason: matches.ShortfallReason, None for a full list."""

    rows: list[dict[str, Any]]
    shortfall_reason: str | None


class LiveSearch:
    """May be asked by several threads; each asks about the publication that it sees."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._loaded_run: LoadedRun | None = None
        self._lock = threading.Lock()

    def similar(
        self,
        s: Snapshot,
        product: dict[str, Any],
        weights: tuple[int, int] | None = None,
        k: int = 20,
    ) -> LiveList:
        """The list of a product of the snapshot. weights: of shape and colour, 0..10, not both 0; None: the category's. k: 1..100.

        Raises RunNotSearchable, indexes.BadIndex; ValueError for other weights or k.
        """
        PhotoQuery(k=k, weights=weights)
        shape_weight, colour_weight = weights or (product["shape_weight"], product["colour_weight"])
        room = self._load_run(s)
        shelf = room.load_gallery(product["super_category"])
        row = _find_row(shelf.gallery, product["product_id"]) if shelf else None
        if shelf is None or row is None:
            return LiveList([], search_module.ShortfallReason.NO_CODE)
        gallery = replace(
            shelf.gallery,
            shape_weight=_replace_value(shelf.gallery.shape_weight, row, shape_weight),
            colour_weight=_replace_value(shelf.gallery.colour_weight, row, colour_weight),
        )
        found = search_module.build_matches(
            gallery,
            list(
                search_module.search_gallery(
                    gallery, row, row + 1, replace(room.rules, k=k), room.merchandising_rules
                )
            ),
        )
        asking = pa.table(
            {
                "product_id": [product["product_id"]],
                "shape_weight": [shape_weight],
                "colour_weight": [colour_weight],
            }
        )
        table = search_module.build_similar_products(
            pa.Table.from_batches([found]), asking, room.detector, room.encoder
        )
        return LiveList(
            s.attach_products(table.to_pylist(), "similar_product_id"),
            found["shortfall_reason"][0].as_py(),
        )

    def load_gallery(
        self, s: Snapshot, super_category: str
    ) -> gallery_store.GalleryWithProducts | None:
        """What of a super-category can be found; None where nothing of it has a code. Raises RunNotSearchable, indexes.BadIndex."""
        return self._load_run(s).load_gallery(super_category)

    def photo_search(self, s: Snapshot) -> PhotoSearch:
        """The search for photos in what the snapshot shows. Raises RunNotSearchable, and as PhotoSearch."""
        return self._load_run(s).load_photo_search()

    def _load_run(self, s: Snapshot) -> LoadedRun:
        with self._lock:
            if self._loaded_run is None or (self._loaded_run.run, self._loaded_run.signature) != (
                s.run,
                s.signature,
            ):
                self._loaded_run = LoadedRun(
                    self._settings,
                    s.run,
                    s.signature,
                    self._loaded_run.networks if self._loaded_run else None,
                )
            return self._loaded_run


class LoadedRun:
    """One run, loaded piece by piece."""

    def __init__(
        self, settings: Settings, run: str, signature: str, networks: PhotoNetworks | None
    ) -> None:
        """networks: those of the run before, where they were loaded. Raises RunNotSearchable."""
        self.run, self.signature, self._settings, self.networks = run, signature, settings, networks
        self._check_signature()
        try:
            made = run_tables.read_manifest(settings.data_dir, INDEXES, run)
            parameters = dict(
                run_tables.read_manifest(settings.data_dir, MATCHES, run)["parameters"]
            )
        except run_tables.TableNotFound as error:
            raise RunNotSearchable(str(error)) from error
        self.detector, self.encoder = made["detector"], made["encoder"]
        self.merchandising_rules = [
            catalog.MerchandisingRule(**rule) for rule in parameters.pop("merchandise", [])
        ]
        self.rules = search_module.ListRules(**parameters)
        self._galleries: dict[str, gallery_store.GalleryWithProducts] = {}
        self._photo_search: PhotoSearch | None = None
        self._lock, self._photo_search_lock = threading.Lock(), threading.Lock()

    def load_gallery(self, super_category: str) -> gallery_store.GalleryWithProducts | None:
        """None where nothing of the super-category has a code."""
        with self._lock:
            if (
                super_category not in self._galleries
                and super_category
                in gallery_store.list_super_categories(self._settings.data_dir, self.run)
            ):
                self._galleries[super_category] = gallery_store.load_gallery_with_products(
                    self._settings.data_dir, self.run, super_category
                )
                self._check_signature()
            return self._galleries.get(super_category)

    def load_photo_search(self) -> PhotoSearch:
        """Raises RunNotSearchable, also where the detector's package is not installed."""
        # Of its own lock: networks load for seconds, in which lists can be asked for.
        with self._photo_search_lock:
            if self._photo_search is None:
                try:
                    self._photo_search = PhotoSearch(
                        self._settings,
                        self.run,
                        load_gallery=self._require_gallery,
                        networks=self.networks,
                        exact_search_max_products=self._settings.serve.exact_search_max_products,
                    )
                except (ImportError, registry.BadModel) as error:
                    raise RunNotSearchable(f"photos: {error}") from error
                self.networks = self._photo_search.networks
            return self._photo_search

    def _require_gallery(self, super_category: str) -> gallery_store.GalleryWithProducts:
        shelf = self.load_gallery(super_category)
        if shelf is None:
            raise RunNotSearchable(
                f"{self._settings.data_dir}: run {self.run} was made anew and not published"
            )
        return shelf

    def _check_signature(self) -> None:
        """The root still holds what was published. Raises RunNotSearchable."""
        try:
            found = publish.run_signature(self._settings.data_dir, self.run)
        except run_tables.TableNotFound as error:
            raise RunNotSearchable(
                f"{error}; the server searches the root's tables of the published run"
            ) from error
        if found != self.signature:
            raise RunNotSearchable(
                f"{self._settings.data_dir}: other tables of run {self.run} than those that were published; publish it again"
            )


def _find_row(gallery: search_module.Gallery, product_id: str) -> int | None:
    row = int(np.searchsorted(gallery.product_ids, product_id))
    return row if row < len(gallery) and gallery.product_ids[row] == product_id else None


def _replace_value(values: np.ndarray[Any, Any], row: int, value: int) -> np.ndarray[Any, Any]:
    changed = values.copy()
    changed[row] = value
    return changed
