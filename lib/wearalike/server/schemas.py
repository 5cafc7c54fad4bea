"""Answers of the API as pydantic models.

Fields that are columns of a table take name, type and description from tables.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import Any

import pyarrow as pa
from pydantic import BaseModel, Field, create_model

from wearalike.evaluation.descriptors import photo_neighbours
from wearalike.search import photo_query
from wearalike.search.float_index import FloatIndexKind
from wearalike.server.snapshot import PRODUCT_SUMMARY_COLUMNS
from wearalike.server.warm_up import PhotoState
from wearalike.tables import (
    LOOK_PRODUCTS,
    PRODUCT_VARIANTS,
    PRODUCTS,
    QUALITY,
    SIMILAR_PRODUCTS,
    AgeGroup,
    Availability,
    Column,
    Gender,
    LookSource,
    SuperCategory,
    Table,
)

_ENUM_TYPES: dict[str, Any] = {
    "availability": Availability,
    "gender": Gender,
    "age_group": AgeGroup,
    "super_category": SuperCategory,
    "source": LookSource,
}
_IMAGE_URL_FIELD = (str | None, Field(description="the main picture, as the shop serves it"))


def _create_row_model(
    name: str, doc: str, columns: Iterable[Column], **more: Any
) -> type[BaseModel]:
    """Create a pydantic model of columns, followed by more fields."""
    fields: dict[str, Any] = {
        c.name: (_field_type(c), _field_description(c.meaning)) for c in columns
    }
    return create_model(name, __doc__=doc, **(fields | more))


def _field_description(meaning: str) -> Any:
    """Return a field with a description."""
    return Field(description=meaning)


def _field_type(column: Column) -> Any:
    """Return the Python type of a column: its enum, or that of its Arrow type."""
    plain: Any = str
    if pa.types.is_list(column.type):
        plain = list[str]
    elif pa.types.is_integer(column.type):
        plain = int
    elif pa.types.is_floating(column.type):
        plain = float
    kind = _ENUM_TYPES.get(column.name, plain)
    return kind | None if column.nullable else kind


def _columns_except(table: Table, *left_out: str) -> list[Column]:
    """Return a table's columns without those named."""
    return [column for column in table.columns if column.name not in left_out]


class PublishedAnswer(BaseModel):
    """Fields of every answer from the published run."""

    run: str = Field(description="the published run, from which all of this answer comes")
    published_at: datetime = Field(description="when the run was published, UTC")


ProductSummary = _create_row_model(
    "Brief",
    "A product as lists show it.",
    [c for c in PRODUCTS.columns if c.name in PRODUCT_SUMMARY_COLUMNS],
    image_url=_IMAGE_URL_FIELD,
)
ProductRecord = _create_row_model(
    "FullProduct", "A product with all its columns.", PRODUCTS.columns, image_url=_IMAGE_URL_FIELD
)
_PRODUCT_FIELD = (ProductSummary, Field(description="the recommended product"))
SimilarProductRow = _create_row_model(
    "Similar",
    SIMILAR_PRODUCTS.meaning,
    _columns_except(SIMILAR_PRODUCTS, "product_id"),
    team=(
        str | None,
        Field(
            None,
            description="in interleaved lists: the variant, or control, that picked it; null once "
            "one of both has no more",
        ),
    ),
    product=_PRODUCT_FIELD,
)
LookProductRow = _create_row_model(
    "Look",
    LOOK_PRODUCTS.meaning,
    _columns_except(LOOK_PRODUCTS, "product_id"),
    product=_PRODUCT_FIELD,
)
ProductVariantRow = _create_row_model(
    "Variant",
    PRODUCT_VARIANTS.meaning,
    PRODUCT_VARIANTS.columns,
    product=(ProductSummary, Field(description="the variant")),
)
MetricRow = _create_row_model("Measure", QUALITY.meaning, QUALITY.columns)
RunMetricRow = _create_row_model(
    "PastMeasure",
    "A metric of one run.",
    QUALITY.columns,
    run=(str, Field(description="the run measured")),
)


class ProductsAnswer(PublishedAnswer):
    """A page of products, in order of product_id."""

    products: list[ProductSummary]  # type: ignore[valid-type]
    next_after: str | None = Field(description="`after` of the next page; null on the last")


class ProductAnswer(PublishedAnswer):
    """One product, and how many recommendations it has."""

    product: ProductRecord  # type: ignore[valid-type]
    similar_count: int = Field(description="recommendations published for it")
    shortfall_reason: str | None = Field(
        description="why the list is short (search.ShortfallReason); null for a full list"
    )


class ListSource(StrEnum):
    """Origin of a list: the nightly run, or a search at request time."""

    PUBLISHED = "published"
    LIVE = "live"


class SimilarList(BaseModel):
    """The products most similar to one, best first."""

    product_id: str = Field(description="the query product")
    source: ListSource = Field(
        description="published: from the nightly run; live: searched now, with the weights and "
        "filters requested"
    )
    shortfall_reason: str | None = Field(
        description="why the list is short (search.ShortfallReason); null for a full list"
    )
    experiment: str | None = Field(
        None, description="the published experiment, for a visitor or variant; null without one"
    )
    variant: str | None = Field(
        None,
        description="the variant whose list it is, control or interleaved, for a visitor or "
        "variant; a live list, which is the control's, has none",
    )
    results: list[SimilarProductRow] = Field(description="by rank")  # type: ignore[valid-type]


class SimilarAnswer(SimilarList, PublishedAnswer):
    """The products most similar to one, best first."""


class SimilarListsAnswer(PublishedAnswer):
    """The products most similar to each of several."""

    lists: list[SimilarList] = Field(description="in the order of the ids; each id once")
    missing: list[str] = Field(description="ids that are no product of the run")


class VariantsAnswer(PublishedAnswer):
    """The colours and sizes of a product's article, the product itself among them."""

    product_id: str = Field(description="the query product")
    results: list[ProductVariantRow] = Field(  # type: ignore[valid-type]
        description="by rank; none for a product in one colour and size"
    )


class LookAnswer(PublishedAnswer):
    """Products that complete the look, each with the source that says so."""

    product_id: str = Field(description="the query product")
    source: ListSource = Field(
        description="published: from the nightly run; live: searched now, with the filters "
        "requested"
    )
    results: list[LookProductRow] = Field(  # type: ignore[valid-type]
        description="by super-category and rank"
    )


class RunSummary(BaseModel):
    """A run in the warehouse."""

    run: str = Field(description="its name")
    loaded_at: datetime = Field(description="UTC")
    published_at: datetime | None = Field(
        description="when it was last published, UTC; null: never"
    )
    is_published: bool = Field(description="true for the run that the site reads now")
    counts: dict[str, int] = Field(description="rows by table")


class RunsAnswer(BaseModel):
    """Every run in the warehouse."""

    runs: list[RunSummary] = Field(description="newest first")


class QualityAnswer(PublishedAnswer):
    """The published run's quality metrics."""

    measures: list[MetricRow] = Field(  # type: ignore[valid-type]
        description="by metric and scope"
    )


class QualityHistoryAnswer(BaseModel):
    """One metric in every run."""

    metric: str
    scope: str
    history: list[RunMetricRow] = Field(  # type: ignore[valid-type]
        description="by run, including runs that were dropped since"
    )


class PhotoAnswer(PublishedAnswer):
    """Items detected in a photo, each with the most similar products in stock."""

    query_id: str = Field(description="hash of run, photo, models and parameters")
    photo_id: str = Field(description="sha256 of the photo's bytes, hex")
    width_px: int = Field(description="after EXIF orientation")
    height_px: int = Field(description="after EXIF orientation")
    detector: str = Field(description="model that detected the items")
    encoder: str = Field(description="model that encoded the items")
    gender: Gender | None = Field(description="for whom the products are; null for anybody")
    is_gender_guessed: bool = Field(description="whether the photo's items say for whom")
    note: str | None = Field(
        description="a sentence if no garment, shoe or bag was detected; else null"
    )
    items: list[photo_query.DetectedItem] = Field(
        description="most confident and largest first, at most 8"
    )


class PhotoNeighboursAnswer(PublishedAnswer):
    """Items detected in a photo, each with the products nearest to it by a descriptor."""

    photo_id: str = Field(description="sha256 of the photo's bytes, hex")
    width_px: int = Field(description="after EXIF orientation")
    height_px: int = Field(description="after EXIF orientation")
    detector: str = Field(description="model that detected the items")
    descriptor: str = Field(description="version of the descriptor")
    distance: str = Field(description="the distance of the results; smaller is more alike")
    index: FloatIndexKind | None = Field(description="the Faiss index; null: every distance")
    bytes_per_item: int | None = Field(
        description="bytes that are kept of a product; null without an item"
    )
    note: str | None = Field(
        description="a sentence if no garment, shoe or bag was detected; else null"
    )
    items: list[photo_neighbours.NeighbourItem] = Field(
        description="most confident and largest first, at most 8"
    )


class HealthAnswer(PublishedAnswer):
    """The server works."""

    status: str = Field(description="always ok")


class ReadyAnswer(PublishedAnswer):
    """The server has loaded whatever it needs."""

    status: str = Field(description="always ready")
    photos: PhotoState = Field(
        description="warm: photos are answered at once; cold: the first one loads networks and "
        "codes; unavailable: the server's log says why"
    )
