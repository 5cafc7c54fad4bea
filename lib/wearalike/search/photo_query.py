"""A photo query and its result, as data."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, NamedTuple

from wearalike.catalog.product_conditions import ProductConditions
from wearalike.search.reasons import ALIKE_BITS
from wearalike.tables import AgeGroup, Gender

MAX_K = 100
_NO_FILTERS = ProductConditions()
MAX_WEIGHT = 10
# "10:10:10" is the longest text of weights.
_MAX_WEIGHTS_CHARACTERS = 8


class Weights(NamedTuple):
    """Weights of shape, colour and kind in the distance, 0..10 each, not both first ones 0."""

    shape: int
    colour: int
    kind: int = 0

    def __str__(self) -> str:
        """Return the weights as SHAPE:COLOUR:KIND; a kind of 0 is left out."""
        return ":".join(map(str, self if self.kind else self[:2]))


@dataclass(frozen=True, slots=True)
class PhotoQuery:
    """A shopper's wishes.

    Attributes:
        k: Results an item, 1..100.
        weights: Weights of shape, colour and, where it is named, kind; None for the category's.
        gender: For whom the products are; None for anybody.
        age_group: For whom the products are; None for anybody.
        category: Leaf of the taxonomy that items of its super-category are of. Without it an item's
            kind is not known, and does not count.
        on_shop: The shop whose page asks, for merchandising rules; None if none does.
        on_brand: The brand whose page asks, for merchandising rules; None if none does.
        filters: Conditions on the results, which act before the cut to k.
        guesses_gender: Without a gender, take that of the products nearest to the photo's items,
            where they agree.
        keeps_kind: The kind counts as much beside these weights as beside the category's own.
            Without it, a kind that the weights do not name does not count.

    Raises:
        ValueError: k or weights are out of range.
    """

    k: int = 10
    weights: Weights | tuple[int, int] | tuple[int, int, int] | None = None
    gender: Gender | None = None
    age_group: AgeGroup | None = None
    category: str | None = None
    on_shop: str | None = None
    on_brand: str | None = None
    filters: ProductConditions = _NO_FILTERS
    guesses_gender: bool = False
    keeps_kind: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.k <= MAX_K:
            raise ValueError(f"k: wanted 1 to {MAX_K}, got {self.k}")
        if self.weights is None:
            return
        in_range = all(0 <= weight <= MAX_WEIGHT for weight in self.weights)
        if not in_range or not any(self.weights[:2]):
            raise ValueError(
                f"weights: wanted two or three numbers of 0 to {MAX_WEIGHT}, the first two not "
                f"both 0, got {':'.join(map(str, self.weights))}"
            )

    @property
    def named_weights(self) -> Weights | None:
        """The weights by name; a kind that is not named weighs 0."""
        return None if self.weights is None else Weights(*self.weights)

    def weigh(self, own: Weights) -> Weights:
        """Return the weights of an item.

        Args:
            own: Those of its category.

        Example:
            >>> PhotoQuery(weights=(8, 2), keeps_kind=True).weigh(Weights(1, 1, 1))
            Weights(shape=8, colour=2, kind=5)
        """
        named = self.named_weights or own
        if not self.keeps_kind or self.weights is None:
            return named
        kind = round(own.kind * (named.shape + named.colour) / (own.shape + own.colour))
        return named._replace(kind=min(kind, MAX_WEIGHT))


def parse_weights(text: str) -> Weights:
    """Return the weights of shape, colour and kind in a text.

    Args:
        text: Two or three numbers of 0 to 10, the first two not both 0, with colons between them.
            Without the third, kinds are not compared.

    Raises:
        ValueError: The text is something else.

    Example:
        >>> parse_weights("2:8")
        Weights(shape=2, colour=8, kind=0)
    """
    parts = text.split(":")
    are_numbers = all(part.isdecimal() for part in parts) and len(text) <= _MAX_WEIGHTS_CHARACTERS
    if len(parts) not in (2, 3) or not are_numbers:
        raise ValueError(f"weights {text!r}: wanted SHAPE:COLOUR or SHAPE:COLOUR:KIND, e.g. 2:8:5")
    weights = Weights(*map(int, parts))
    PhotoQuery(weights=weights)  # checks the range
    return weights


@dataclass(frozen=True, slots=True)
class SimilarProduct:
    """A product that is alike, and how much.

    The scores are 0..1, bigger is more alike. They come from the distances: 0..128 bits of shape
    and colour, 0..64 of kind. Those of kind are None where the item's kind is not known. The other
    attributes are columns of tables.PRODUCTS; image_url is the first of image_urls.
    """

    product_id: str
    score: float
    shape_score: float
    colour_score: float
    shape_distance: int
    colour_distance: int
    kind_score: float | None
    kind_distance: int | None
    reason: str
    reason_ru: str
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
        category: The one asked for, else that of most of its nearest in shape; None if the run has
            nothing to compare.
        shape_weight: Weight that it was searched with.
        colour_weight: Weight that it was searched with.
        kind_weight: Weight that it was searched with; 0 where the category was not asked for.
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
    kind_weight: int
    results: tuple[SimilarProduct, ...]

    @property
    def has_much_alike(self) -> bool:
        """True if a result is alike in shape and in colour, as `search.reasons` says it."""
        return any(
            max(row.shape_distance, row.colour_distance) <= ALIKE_BITS for row in self.results
        )


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
        gender: For whom the products are; None for anybody.
        is_gender_guessed: True if that was guessed from the photo.
    """

    query_id: str
    run: str
    photo_id: str
    width_px: int
    height_px: int
    detector: str
    encoder: str
    items: tuple[DetectedItem, ...]
    gender: Gender | None = None
    is_gender_guessed: bool = False

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
    weights = photo_query.named_weights
    return {
        "query_id": result.query_id,
        "asked_at": asked_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "photo_id": result.photo_id,
        "width_px": result.width_px,
        "height_px": result.height_px,
        "k": photo_query.k,
        "weights": None if weights is None else str(weights),
        "gender": photo_query.gender,
        "age_group": photo_query.age_group,
        "items_count": len(result.items),
        "results_count": sum(len(item.results) for item in result.items),
        "detector": result.detector,
        "encoder": result.encoder,
        "answer": result.to_json(),
    }
