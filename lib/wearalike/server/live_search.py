"""Live search in the published run: a product's list at other weights, and search by photo.

It is the search of the nightly run, with the same rules and merchandising, over the run's tables in
the data folder. Codes and models are loaded at the first request, and again when another run is
published.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from wearalike import search as search_module
from wearalike.catalog.product_conditions import ProductConditions
from wearalike.models import registry
from wearalike.search import gallery_store
from wearalike.search.condition_masks import match_conditions
from wearalike.search.photo_query import MAX_K, MAX_WEIGHT, PhotoQuery, Weights
from wearalike.search.photo_search import PhotoNetworks, PhotoSearch
from wearalike.search.ranked_lists import filtered_list_rules
from wearalike.server.snapshot import Snapshot
from wearalike.settings import Settings
from wearalike.storage import run_tables
from wearalike.tables import INDEXES, MATCHES
from wearalike.warehouse import publish

__all__ = ["MAX_K", "MAX_WEIGHT", "LiveList", "LiveSearch", "PhotoQuery", "RunNotSearchable"]
_NO_FILTERS = ProductConditions()


class RunNotSearchable(LookupError):
    """The data folder lacks the published run's tables, or holds others under its name."""


@dataclass(frozen=True, slots=True)
class LiveList:
    """A list of similar products, best first.

    Attributes:
        rows: Rows like those of tables.SIMILAR_PRODUCTS, each with its product as `product`.
        shortfall_reason: A search.ShortfallReason; None for a full list.
    """

    rows: list[dict[str, Any]]
    shortfall_reason: str | None


class LiveSearch:
    """Search the published run; threads may share it, each with its own snapshot.

    Args:
        settings: Settings of the deployment.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._loaded_run: LoadedRun | None = None
        self._lock = threading.Lock()

    def similar(
        self,
        s: Snapshot,
        product: dict[str, Any],
        weights: Weights | tuple[int, int] | None = None,
        k: int = 20,
        filters: ProductConditions = _NO_FILTERS,
    ) -> LiveList:
        """Search the products most similar to one of the snapshot.

        Args:
            s: The snapshot.
            product: A row of tables.PRODUCTS.
            weights: Weights of shape, colour and kind, 0..10, not both first ones 0; a kind that is
                not named weighs 0. None for the category's.
            k: Most results, 1..100.
            filters: Conditions on the results. They act before the cut to k; where they name
                brands, the limit on one brand does not.

        Returns:
            The list, with the reason if it is short.

        Raises:
            RunNotSearchable: The data folder does not hold the published tables.
            BadIndex: An index file is corrupt.
            ValueError: Other weights or k.
        """
        wanted = PhotoQuery(k=k, weights=weights).named_weights
        run = self._load_run(s)
        loaded = run.load_gallery(product["super_category"])
        row = _find_row(loaded.gallery, product["product_id"]) if loaded else None
        if loaded is None or row is None:
            return LiveList([], search_module.ShortfallReason.NO_CODE)
        gallery = loaded.gallery
        if wanted is not None:
            gallery = replace(
                gallery,
                shape_weight=_replace_value(gallery.shape_weight, row, wanted.shape),
                colour_weight=_replace_value(gallery.colour_weight, row, wanted.colour),
                kind_weight=_replace_value(gallery.kind_weight, row, wanted.kind),
            )
        rules = replace(run.rules, k=k)
        if filters:
            # A product that the filters leave out is as good as sold out.
            is_wanted = match_conditions(filters, gallery.attributes)
            gallery = replace(gallery, is_in_stock=gallery.is_in_stock & is_wanted)
            rules = filtered_list_rules(rules, filters)
        ranked = search_module.search_gallery(gallery, row, row + 1, rules, run.merchandising_rules)
        matches = search_module.build_matches(gallery, list(ranked))
        query = pa.table(
            {
                "product_id": [product["product_id"]],
                "shape_weight": gallery.shape_weight[[row]],
                "colour_weight": gallery.colour_weight[[row]],
                "kind_weight": gallery.kind_weight[[row]],
                "colour_names": [product["colour_names"]],
            }
        )
        table = search_module.build_similar_products(
            pa.Table.from_batches([matches]), query, run.detector, run.encoder
        )
        return LiveList(
            s.attach_products(table.to_pylist(), "similar_product_id"),
            matches["shortfall_reason"][0].as_py(),
        )

    def load_gallery(
        self, s: Snapshot, super_category: str
    ) -> gallery_store.GalleryWithProducts | None:
        """Return the gallery of a super-category; None if none of its products has a code.

        Raises:
            RunNotSearchable: The data folder does not hold the published tables.
            BadIndex: An index file is corrupt.
        """
        return self._load_run(s).load_gallery(super_category)

    def photo_search(self, s: Snapshot) -> PhotoSearch:
        """Return the photo search over the snapshot's run, with its networks loaded.

        Raises:
            RunNotSearchable: The data folder does not hold the published tables, or a network
                cannot be loaded.
        """
        return self._load_run(s).load_photo_search()

    def _load_run(self, s: Snapshot) -> LoadedRun:
        with self._lock:
            loaded = self._loaded_run
            if loaded is None or (loaded.run, loaded.signature) != (s.run, s.signature):
                networks = loaded.networks if loaded else None
                loaded = LoadedRun(self._settings, s.run, s.signature, networks)
                self._loaded_run = loaded
            return loaded


class LoadedRun:
    """One published run, whose galleries and networks are loaded as they are needed.

    Args:
        settings: Settings of the deployment.
        run: The run's name.
        signature: Signature of the tables that were published.
        networks: Networks of the run before, to be reused; None if none were loaded.

    Raises:
        RunNotSearchable: The data folder does not hold the published tables.
    """

    def __init__(
        self, settings: Settings, run: str, signature: str, networks: PhotoNetworks | None
    ) -> None:
        self.run = run
        self.signature = signature
        self.networks = networks
        self._settings = settings
        self._check_signature()
        try:
            index_manifest = run_tables.read_manifest(settings.data_dir, INDEXES, run)
            match_manifest = run_tables.read_manifest(settings.data_dir, MATCHES, run)
        except run_tables.TableNotFound as error:
            raise RunNotSearchable(str(error)) from error
        self.detector: str = index_manifest["detector"]
        self.encoder: str = index_manifest["encoder"]
        self.merchandising_rules = gallery_store.load_merchandising_rules(settings.data_dir, run)
        parameters = dict(match_manifest["parameters"])
        parameters.pop("merchandise", None)
        self.rules = search_module.ListRules(**parameters)
        self._galleries: dict[str, gallery_store.GalleryWithProducts] = {}
        self._photo_search: PhotoSearch | None = None
        self._lock = threading.Lock()
        # A lock of its own: networks load for seconds, and lists must not wait for them.
        self._photo_search_lock = threading.Lock()

    def load_gallery(self, super_category: str) -> gallery_store.GalleryWithProducts | None:
        """Return the gallery of a super-category; None if none of its products has a code.

        Raises:
            RunNotSearchable: The data folder does not hold the published tables.
            BadIndex: An index file is corrupt.
        """
        root = self._settings.data_dir
        with self._lock:
            if super_category in self._galleries:
                return self._galleries[super_category]
            if super_category not in gallery_store.list_super_categories(root, self.run):
                return None
            gallery = gallery_store.load_gallery_with_products(root, self.run, super_category)
            self._galleries[super_category] = gallery
            self._check_signature()
            return gallery

    def load_photo_search(self) -> PhotoSearch:
        """Return the photo search, with its networks loaded.

        Raises:
            RunNotSearchable: A network cannot be loaded, or its package is not installed.
        """
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
        """Return a gallery that the run listed. Raises RunNotSearchable if it is gone."""
        gallery = self.load_gallery(super_category)
        if gallery is None:
            raise RunNotSearchable(
                f"{self._settings.data_dir}: run {self.run} was built again and not published"
            )
        return gallery

    def _check_signature(self) -> None:
        """Raise RunNotSearchable if the data folder no longer holds the published tables."""
        try:
            found = publish.run_signature(self._settings.data_dir, self.run)
        except run_tables.TableNotFound as error:
            raise RunNotSearchable(
                f"{error}; the server searches the published run's tables in the data folder"
            ) from error
        if found != self.signature:
            raise RunNotSearchable(
                f"{self._settings.data_dir}: other tables of run {self.run} than those that were "
                "published; publish it again"
            )


def _find_row(gallery: search_module.Gallery, product_id: str) -> int | None:
    """Return the gallery row of a product; None if it has no code."""
    row = int(np.searchsorted(gallery.product_ids, product_id))
    return row if row < len(gallery) and gallery.product_ids[row] == product_id else None


def _replace_value(values: np.ndarray[Any, Any], row: int, value: int) -> np.ndarray[Any, Any]:
    """Return a copy of the values with one row replaced."""
    changed = values.copy()
    changed[row] = value
    return changed
