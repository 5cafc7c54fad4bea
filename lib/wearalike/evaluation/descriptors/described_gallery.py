"""The products of a gallery that a version has described, ranked by its distances."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wearalike.evaluation.descriptors import cache
from wearalike.evaluation.descriptors.base import FeatureRows
from wearalike.search import Gallery
from wearalike.search.float_index import (
    FloatIndex,
    FloatIndexKind,
    build_float_index,
    kind_min_rows,
)
from wearalike.storage import content_cache

# Results of an index that are looked through at first for each that is wanted: of one article
# only one product is shown.
_SPARE = 4


@dataclass(frozen=True)
class Nearest:
    """Rows of a gallery, nearest first, one of each article.

    Attributes:
        rows: Rows of the gallery, int64 (k,).
        distances: float64 (k,).
    """

    rows: NDArray[np.int64]
    distances: NDArray[np.float64]


@dataclass(frozen=True)
class DescribedGallery:
    """Descriptors of a gallery's products by one version; threads may share it.

    Attributes:
        version: The version.
        gallery: The products.
        positions: Rows of the gallery that are described, int64 (m,), ascending.
        rows: Their descriptors: float32 (m, d), or bits packed as uint8 (m, b).
        distances: Distances that apply to the rows.
    """

    version: str
    gallery: Gallery
    positions: NDArray[np.int64]
    rows: FeatureRows
    distances: tuple[str, ...]
    _indexes: dict[FloatIndexKind, FloatIndex] = field(default_factory=dict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def bytes_per_item(self) -> int:
        """Bytes of one descriptor."""
        return self.rows.shape[1] * self.rows.itemsize

    def row_of(self, gallery_row: int) -> FeatureRows | None:
        """Return the descriptor of a row of the gallery; None if it has none."""
        at = int(np.searchsorted(self.positions, gallery_row))
        is_there = at < len(self.positions) and self.positions[at] == gallery_row
        return self.rows[at] if is_there else None

    def supports(self, kind: FloatIndexKind) -> bool:
        """Return whether an index can be built: bits have none, and some need several rows."""
        return self.rows.dtype == np.float32 and len(self.rows) >= kind_min_rows(kind)

    def nearest(
        self,
        query: FeatureRows,
        distance: str,
        may_show: NDArray[np.bool_],
        count: int,
        like_row: int | None = None,
    ) -> Nearest:
        """Return the products nearest to a descriptor, exactly.

        Args:
            query: (d,). The descriptor, of the type of the rows.
            distance: One of `distances`.
            may_show: bool (n,). Rows of the gallery that may be shown.
            count: Most products.
            like_row: The row of the gallery that is asked about; its article is left out. None for
                a photo.
        """
        candidates = self._candidates(may_show)
        values = cache.compute_distances(query, self.rows[candidates], distance)
        # Sums of equal rows may differ in the last digits; rounded, they tie.
        order = np.lexsort((candidates, np.round(values, 9)))
        rows, ranked = self.positions[candidates[order]], values[order]
        return self._one_per_article(rows, ranked, count, like_row)

    def nearest_by_index(
        self,
        query: FeatureRows,
        kind: FloatIndexKind,
        may_show: NDArray[np.bool_],
        count: int,
        like_row: int | None = None,
    ) -> Nearest:
        """Return the products nearest to a descriptor, as a Faiss index finds them.

        Args:
            query: float32 (d,).
            kind: The index; it is built when it is first asked for.
            may_show: As for `nearest`.
            count: As for `nearest`.
            like_row: As for `nearest`.
        """
        index = self.index(kind)
        floats = np.asarray(query, np.float32)
        candidates = self._candidates(may_show)
        wanted = _SPARE * count
        while True:
            found, distances = index.search(floats, wanted, candidates)
            nearest = self._one_per_article(self.positions[found], distances, count, like_row)
            if len(nearest.rows) == count or len(found) == len(candidates):
                return nearest
            wanted *= 2

    def index(self, kind: FloatIndexKind) -> FloatIndex:
        """Return the index of a kind, built on the first call. Raises ValueError for bits."""
        if self.rows.dtype != np.float32:
            raise ValueError(f"{self.version}: {kind.faiss_name} takes floats, these are bits")
        with self._lock:
            if kind not in self._indexes:
                self._indexes[kind] = build_float_index(np.asarray(self.rows, np.float32), kind)
            return self._indexes[kind]

    def _candidates(self, may_show: NDArray[np.bool_]) -> NDArray[np.int64]:
        return np.flatnonzero(may_show[self.positions])

    def _one_per_article(
        self,
        rows: NDArray[np.int64],
        distances: NDArray[np.float64],
        count: int,
        like_row: int | None,
    ) -> Nearest:
        groups = self.gallery.groups[rows]
        is_other = np.ones(len(rows), bool)
        if like_row is not None:
            is_other = groups != self.gallery.groups[like_row]
        _, first = np.unique(groups, return_index=True)
        is_first = np.zeros(len(rows), bool)
        is_first[first] = True
        kept = np.flatnonzero(is_other & is_first)[:count]
        return Nearest(rows[kept], distances[kept])


class DescriptorSearch:
    """The galleries of a run, ranked by the versions that have described them.

    Args:
        root: The data folder.
        load_gallery: Returns the gallery of a super-category; None if it has none.
    """

    def __init__(self, root: Path, load_gallery: Callable[[str], Gallery | None]) -> None:
        self._root = root
        self._load_gallery = load_gallery
        # As many as are worth their memory; a key changes when more items are described.
        self._read = lru_cache(16)(self._read_described)
        self._lock = threading.Lock()

    def versions(self) -> list[str]:
        """Return the versions that have described anything, by name."""
        return cache.cached_versions(self._root)

    def described(self, super_category: str, version: str) -> DescribedGallery | None:
        """Return what a version has described of a super-category; None if that is nothing.

        Args:
            super_category: A `tables.SuperCategory` value.
            version: Version of a descriptor.

        Raises:
            BadModel: The cached rows have more than one kind or width.
        """
        files = content_cache.cached_files(self._root, cache.CACHE_KIND, version)
        with self._lock:
            return self._read(super_category, version, files)

    def _read_described(
        self, super_category: str, version: str, files: tuple[str, ...]
    ) -> DescribedGallery | None:
        gallery = self._load_gallery(super_category)
        if gallery is None or not files:
            return None
        item_ids = np.array(gallery.item_ids.tolist(), dtype=object)
        found = cache.read_cached_descriptors(self._root, version, item_ids.tolist())
        if not found.item_ids:
            return None
        described_ids = np.asarray(found.item_ids, dtype=object)
        at = np.minimum(np.searchsorted(described_ids, item_ids), len(described_ids) - 1)
        positions = np.flatnonzero(described_ids[at] == item_ids)
        rows = found.rows[at[positions]]
        return DescribedGallery(version, gallery, positions, rows, found.distances)
