"""A photo query and its result, as data."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from wearalike.tables import AgeGroup, Gender

MAX_K = 100
MAX_WEIGHT = 10
# "10:10" is the longest pair of weights.
_MAX_WEIGHTS_CHARACTERS = 5


@dataclass(frozen=True, slots=True)
class PhotoQuery:
    """A shopper's wishes.

    Attributes:
        k: Results an item, 1..100.
        weights: Weights of shape and colour, 0..10 each and not both 0; None for the category's.
        gender: For whom the products are; None for anybody.
        age_group: For whom the products are; None for anybody.

    Raises:
        ValueError: k or weights are out of range.
    """

    k: int = 10
    weights: tuple[int, int] | None = None
    gender: Gender | None = None
    age_group: AgeGroup | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.k <= MAX_K:
            raise ValueError(f"k: wanted 1 to {MAX_K}, got {self.k}")
        if self.weights is None:
            return
        if not all(0 <= weight <= MAX_WEIGHT for weight in self.weights) or not any(self.weights):
            raise ValueError(
                f"weights: wanted two numbers of 0 to {MAX_WEIGHT}, not both 0, "
                f"got {self.weights[0]}:{self.weights[1]}"
            )


def parse_weights(text: str) -> tuple[int, int]:
    """Return the weights of shape and colour in a text.

    Args:
        text: Two numbers of 0 to 10, not both 0, with a colon between them.

    Raises:
        ValueError: The text is something else.

    Example:
        >>> parse_weights("2:8")
        (2, 8)
    """
    shape, _, colour = text.partition(":")
    is_pair = shape.isdecimal() and colour.isdecimal() and len(text) <= _MAX_WEIGHTS_CHARACTERS
    if not is_pair:
        raise ValueError(f"weights {text!r}: wanted SHAPE:COLOUR, e.g. 2:8")
    weights = (int(shape), int(colour))
    PhotoQuery(weights=weights)  # checks the range
    return weights


@dataclass(frozen=True, slots=True)
class SimilarProduct:
    """A product that is alike, and how much.

    The scores are 0..1, bigger is more alike. They come from the distances, 0..128 bits. The other
    attributes are columns of tables.PRODUCTS; image_url is the first of image_urls.
    """

    product_id: str
    score: float
    shape_score: float
    colour_score: float
    shape_distance: int
    colour_distance: int
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
class DetectedItem:
    """One item of a photo and the products most alike it.

    Attributes:
        x0: Left edge, pixels of the upright photo.
        y0: Top edge, pixels.
        x1: Right edge, pixels; the first column outside.
        y1: Bottom edge, pixels; the first row outside.
        confidence: The detector's, 0..1.
        super_category: A `tables.SuperCategory` value.
        category: That of most of its nearest in shape; None if the run has nothing to compare.
        shape_weight: Weight that it was searched with.
        colour_weight: Weight that it was searched with.
        results: The products, best first.
    """

    x0: int
    y0: int
    x1: int
    y1: int
    confidence: float
    super_category: str
    category: str | None
    shape_weight: int
    colour_weight: int
    results: tuple[SimilarProduct, ...]


@dataclass(frozen=True, slots=True)
class PhotoResult:
    """The result of a photo query.

    Attributes:
        query_id: Equal for equal queries: run, photo, models and wishes.
        run: The run that was searched.
        photo_id: sha256 of the file.
        width_px: Width of the upright photo.
        height_px: Height of the upright photo.
        detector: Version of the detector.
        encoder: Version of the encoder.
        items: The items found; none if there is no garment, shoe or bag.
    """

    query_id: str
    run: str
    photo_id: str
    width_px: int
    height_px: int
    detector: str
    encoder: str
    items: tuple[DetectedItem, ...]

    def to_json(self) -> str:
        """Return the result as indented JSON, as answer.json holds it."""
        return json.dumps(asdict(self), ensure_ascii=False, indent=1) + "\n"


def photo_query_row(
    result: PhotoResult, photo_query: PhotoQuery, asked_at: datetime
) -> dict[str, Any]:
    """Return the row of tables.PHOTO_QUERIES for a result.

    Args:
        result: The result.
        photo_query: The query.
        asked_at: When it was asked, UTC.
    """
    weights = photo_query.weights
    return {
        "query_id": result.query_id,
        "asked_at": asked_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "photo_id": result.photo_id,
        "width_px": result.width_px,
        "height_px": result.height_px,
        "k": photo_query.k,
        "weights": None if weights is None else f"{weights[0]}:{weights[1]}",
        "gender": photo_query.gender,
        "age_group": photo_query.age_group,
        "items_count": len(result.items),
        "results_count": sum(len(item.results) for item in result.items),
        "detector": result.detector,
        "encoder": result.encoder,
        "answer": result.to_json(),
    }
