"""A photo's items, and the products nearest to each by one descriptor, exactly or by Faiss."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from wearalike import search
from wearalike.evaluation.descriptors.base import FeatureRows
from wearalike.evaluation.descriptors.described_gallery import (
    DescribedGallery,
    DescriptorSearch,
    Nearest,
)
from wearalike.evaluation.descriptors.versions import DescriberPool
from wearalike.imaging import decode
from wearalike.search.float_index import FloatIndexKind
from wearalike.search.gallery_store import GalleryWithProducts
from wearalike.search.photo_query import DetectedItem, PhotoQuery
from wearalike.search.photo_search import PhotoSearch
from wearalike.tables import AgeGroup, Gender, SuperCategory


class Distance(StrEnum):
    """Distances of descriptors."""

    COSINE = "cosine"
    EUCLIDEAN = "euclidean"
    MANHATTAN = "manhattan"
    HAMMING = "hamming"


class NotApplicable(ValueError):
    """The distance or the index that is asked for does not apply to the descriptor."""


class NotDescribed(ValueError):
    """The descriptor that is asked for has described nothing of the run."""


@dataclass(frozen=True, slots=True)
class NeighbourQuery:
    """A question about a photo.

    Attributes:
        descriptor: Version of a descriptor that has described the run.
        distance: The distance; None for the descriptor's first.
        index: A Faiss index in place of every distance; it is Euclidean.
        k: Results an item, 1..100.
        gender: For whom the products are; None for anybody.
        age_group: For whom the products are; None for anybody.
    """

    descriptor: str
    distance: Distance | None = None
    index: FloatIndexKind | None = None
    k: int = 5
    gender: Gender | None = None
    age_group: AgeGroup | None = None

    def __post_init__(self) -> None:
        if self.index is not None and self.distance not in (None, Distance.EUCLIDEAN):
            raise NotApplicable(
                f"distance {self.distance}: an index is {Distance.EUCLIDEAN}; leave one of them out"
            )


@dataclass(frozen=True, slots=True)
class NeighbourProduct:
    """A product with its distance; the other attributes are columns of tables.PRODUCTS."""

    product_id: str
    distance: float
    shop_id: str
    title: str
    brand: str | None
    url: str | None
    image_url: str | None
    price_cents: int
    old_price_cents: int | None
    currency: str
    category: str
    availability: str


@dataclass(frozen=True, slots=True)
class NeighbourItem:
    """An item of a photo and the products nearest to it.

    Attributes:
        x0: Left edge, pixels of the upright photo.
        y0: Top edge, pixels.
        x1: Right edge, pixels; the first column outside.
        y1: Bottom edge, pixels; the first row outside.
        confidence: The detector's, 0..1.
        super_category: A `tables.SuperCategory` value.
        recall: Share of the exact list that the index found; None without an index.
        results: The products, nearest first, one of each article.
    """

    x0: int
    y0: int
    x1: int
    y1: int
    confidence: float
    super_category: str
    recall: float | None
    results: tuple[NeighbourProduct, ...]


@dataclass(frozen=True, slots=True)
class PhotoNeighbours:
    """The result of a query.

    Attributes:
        run: The run that was searched.
        photo_id: sha256 of the file.
        width_px: Width of the upright photo.
        height_px: Height of the upright photo.
        detector: Version of the detector.
        descriptor: Version of the descriptor.
        distance: The distance of the results.
        index: The Faiss index, or None.
        bytes_per_item: Bytes that are kept of a product; None without an item.
        items: The items found.
    """

    run: str
    photo_id: str
    width_px: int
    height_px: int
    detector: str
    descriptor: str
    distance: str
    index: FloatIndexKind | None
    bytes_per_item: int | None
    items: tuple[NeighbourItem, ...]


def find_photo_neighbours(
    photo_search: PhotoSearch,
    load_gallery: Callable[[str], GalleryWithProducts | None],
    descriptors: DescriptorSearch,
    describers: DescriberPool,
    content: bytes,
    query: NeighbourQuery,
) -> PhotoNeighbours:
    """Find the items of a photo, and the products nearest to each by a descriptor.

    Args:
        photo_search: Finds the items.
        load_gallery: Returns the gallery of a super-category with what lists show.
        descriptors: The described galleries of the same run.
        describers: Describe the items.
        content: Bytes of the photo's file.
        query: The query.

    Raises:
        BadPixels: The file is no picture that can be decoded.
        BadModel: The descriptor cannot be loaded.
        NotDescribed: The descriptor has described nothing of the run.
        NotApplicable: The distance or the index does not apply to the descriptor.
    """
    distance = _check_query(descriptors, query)
    wanted = PhotoQuery(k=query.k, gender=query.gender, age_group=query.age_group)
    found = photo_search.search(content, wanted)
    boxes = [(item.x0, item.y0, item.x1, item.y1) for item in found.items]
    crops = decode.crop_boxes(content, boxes) if boxes else []
    rows: Sequence[FeatureRows] = []
    if boxes:
        rows = list(describers.describe(query.descriptor, crops))
    items, sizes = [], []
    for item, row in zip(found.items, rows, strict=True):
        held = load_gallery(item.super_category)
        described = descriptors.described(item.super_category, query.descriptor)
        if held is None or described is None:
            items.append(_build_item(item, None, ()))
            continue
        nearest, recall, size = _search_item(described, row, distance, query)
        sizes.append(size)
        items.append(_build_item(item, recall, _build_products(held, nearest)))
    return PhotoNeighbours(
        found.run,
        hashlib.sha256(content).hexdigest(),
        found.width_px,
        found.height_px,
        found.detector,
        query.descriptor,
        distance,
        query.index,
        max(sizes, default=None),
        tuple(items),
    )


def _check_query(descriptors: DescriptorSearch, query: NeighbourQuery) -> str:
    """Return the distance to use. Raises NotDescribed or NotApplicable."""
    version = query.descriptor
    galleries = [descriptors.described(name, version) for name in SuperCategory]
    described = next((gallery for gallery in galleries if gallery is not None), None)
    if described is None:
        known = ", ".join(descriptors.versions()) or "none"
        raise NotDescribed(
            f"descriptor {version!r}: it has described nothing of the run; those that have "
            f"described anything: {known}; wearalike describe-items adds others"
        )
    if query.index is not None:
        if described.distances == ("hamming",):
            raise NotApplicable(
                f"index {query.index}: it takes floats, {version} describes by bits"
            )
        return str(Distance.EUCLIDEAN)
    distance: str = query.distance or described.distances[0]
    if distance not in described.distances:
        raise NotApplicable(f"distance {distance}: {version} has {', '.join(described.distances)}")
    return distance


def _search_item(
    described: DescribedGallery, row: FeatureRows, distance: str, query: NeighbourQuery
) -> tuple[Nearest, float | None, int]:
    """Return the nearest products, the index's recall, and bytes of an item."""
    may_show = search.eligible_candidates(described.gallery, query.age_group, query.gender)
    exact = described.nearest(row, distance, may_show, query.k)
    if query.index is None or not described.supports(query.index):
        return exact, None, described.bytes_per_item
    found = described.nearest_by_index(row, query.index, may_show, query.k)
    common = len(set(found.rows.tolist()) & set(exact.rows.tolist()))
    recall = common / len(exact.rows) if len(exact.rows) else None
    return found, recall, described.index(query.index).bytes_per_item


def _build_item(
    item: DetectedItem, recall: float | None, products: tuple[NeighbourProduct, ...]
) -> NeighbourItem:
    corners = (item.x0, item.y0, item.x1, item.y1)
    return NeighbourItem(*corners, item.confidence, item.super_category, recall, products)


def _build_products(held: GalleryWithProducts, nearest: Nearest) -> tuple[NeighbourProduct, ...]:
    return tuple(
        NeighbourProduct(distance=max(0.0, distance), **product)
        for product, distance in zip(
            held.display_rows(nearest.rows), nearest.distances.tolist(), strict=True
        )
    )
