"""Live search in the published run: a product's list at other weights, and search by photo.

It is the search of the nightly run, with the same rules and merchandising, over the run's tables in
the data folder. Codes and models are loaded at the first request, or before it by `warm_up`. When
another run is published, photos are searched in the run before until the new one is loaded.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from wearalike import search as search_module
from wearalike.catalog.merchandising_rules import MerchandisingRule
from wearalike.catalog.product_conditions import ProductConditions
from wearalike.evaluation.descriptors.described_gallery import DescriptorSearch
from wearalike.search import gallery_store
from wearalike.search.condition_masks import match_conditions
from wearalike.search.photo_query import MAX_K, MAX_WEIGHT, PhotoQuery, Weights
from wearalike.search.ranked_lists import filtered_list_rules
from wearalike.server.live_looks import search_look
from wearalike.server.loaded_run import LoadedRun, RunNotSearchable
from wearalike.server.snapshot import Snapshot
from wearalike.settings import Settings

log = logging.getLogger(__name__)
__all__ = ["MAX_K", "MAX_WEIGHT", "LiveList", "LiveSearch", "PhotoQuery", "RunNotSearchable"]
_NO_FILTERS = ProductConditions()


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
        # The run whose photo search is loaded, of the last publication where that could be.
        self._photo_run: LoadedRun | None = None
        self._loading: threading.Thread | None = None
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

    def look(
        self, s: Snapshot, product: dict[str, Any], filters: ProductConditions
    ) -> list[dict[str, Any]]:
        """Search the look of a product of the snapshot, among the products that filters leave.

        Args:
            s: The snapshot.
            product: A row of tables.PRODUCTS.
            filters: Conditions on the results, which act before the cut to k.

        Returns:
            Rows as `Snapshot.look` returns them.

        Raises:
            RunNotSearchable: The data folder does not hold the published tables.
            BadIndex: An index file is corrupt.
        """
        published = s.look(product["product_id"])
        if not published:
            return []
        root = self._settings.data_dir
        rows = search_look(self._load_run(s), root, product, published, filters)
        return s.attach_products(rows, "look_product_id")

    def load_gallery(
        self, s: Snapshot, super_category: str
    ) -> gallery_store.GalleryWithProducts | None:
        """Return the gallery of a super-category; None if none of its products has a code.

        Raises:
            RunNotSearchable: The data folder does not hold the published tables.
            BadIndex: An index file is corrupt.
        """
        return self._load_run(s).load_gallery(super_category)

    def merchandising_rules(self, s: Snapshot) -> tuple[MerchandisingRule, ...]:
        """Return the merchandiser's rules that the run was matched by.

        Raises:
            RunNotSearchable: The data folder does not hold the published tables.
        """
        return self._load_run(s).merchandising_rules

    def descriptors(self, s: Snapshot) -> DescriptorSearch:
        """Return what ranks the products by other models.

        Raises:
            RunNotSearchable: The data folder does not hold the published tables.
        """
        return self._load_run(s).descriptors

    def photo_run(self, s: Snapshot) -> LoadedRun:
        """Return the run that photos are searched in, with its photo search loaded.

        It is the snapshot's. While that is being loaded in the background, it is the run that was
        published before.

        Raises:
            RunNotSearchable: The data folder does not hold the published tables, or a network
                cannot be loaded.
        """
        published = self._load_run(s)
        photo_run = self._photo_run
        if photo_run is None or photo_run is published or published.has_photo_search:
            published.load_photo_search()
            self._photo_run = published
            return published
        if published.begin_loading():
            self._loading = threading.Thread(
                target=self._take_over, args=(published,), name="load-run", daemon=True
            )
            self._loading.start()
        return photo_run

    def close(self) -> None:
        """Wait for what is being loaded: a process cannot end while a thread is in PyTorch."""
        if self._loading is not None:
            self._loading.join()

    def warm_up(self, s: Snapshot) -> LoadedRun:
        """Load the snapshot's run and use it once; photos are searched in it from then on.

        Raises:
            RunNotSearchable: As for `photo_run`.
        """
        published = self._load_run(s)
        if self._photo_run is not published:
            published.load_photo_search().warm_up()
            self._photo_run = published
        return published

    def _take_over(self, published: LoadedRun) -> None:
        """Load a run's photo search; if that fails, the next photo's request says why."""
        try:
            published.load_photo_search().warm_up()
        except Exception:
            log.exception("run %s cannot be loaded", published.run)
            self._photo_run = None
        else:
            self._photo_run = published

    def _load_run(self, s: Snapshot) -> LoadedRun:
        with self._lock:
            loaded = self._loaded_run
            if loaded is None or (loaded.run, loaded.signature) != (s.run, s.signature):
                before = self._photo_run or loaded
                networks = before.networks if before else None
                loaded = LoadedRun(self._settings, s.publication, s.signature, networks)
                self._loaded_run = loaded
            loaded.publication = s.publication
            return loaded


def _find_row(gallery: search_module.Gallery, product_id: str) -> int | None:
    """Return the gallery row of a product; None if it has no code."""
    row = int(np.searchsorted(gallery.product_ids, product_id))
    return row if row < len(gallery) and gallery.product_ids[row] == product_id else None


def _replace_value(values: np.ndarray[Any, Any], row: int, value: int) -> np.ndarray[Any, Any]:
    """Return a copy of the values with one row replaced."""
    changed = values.copy()
    changed[row] = value
    return changed
