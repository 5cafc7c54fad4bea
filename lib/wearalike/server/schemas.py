"""What the API answers, as pydantic models; what is a column of a table is described by tables.py alone."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import Any

import pyarrow as pa
from pydantic import BaseModel, Field, create_model

from wearalike.search import photo_query
from wearalike.server.snapshot import PRODUCT_SUMMARY_COLUMNS
from wearalike.tables import (
    LOOK_PRODUCTS,
    PRODUCTS,
    QUALITY,
    SIMILAR_PRODUCTS,
    AgeGroup,
    Availability,
    Column,
    Gender,
    SuperCategory,
    Table,
)

_ENUM_TYPES: dict[str, Any] = {
    "availability": Availability,
    "gender": Gender,
    "age_group": AgeGroup,
    "super_category": SuperCategory,
}
_IMAGE_URL_FIELD = (str | None, Field(description="the main picture, as the shop serves it"))


def _create_row_model(
    name: str, doc: str, columns: Iterable[Column], **more: Any
) -> type[BaseModel]:
    """A model of the columns, with more fields after them."""
    fields: dict[str, Any] = {
        column.name: (_field_type(column), Field(description=column.meaning)) for column in columns
    }
    return create_model(name, __doc__=doc, **(fields | more))


def _field_type(column: Column) -> Any:
    if pa.types.is_list(column.type):
        return list[str]
    plain = (
        int
        if pa.types.is_integer(column.type)
        else float
        if pa.types.is_floating(column.type)
        else str
    )
    kind = _ENUM_TYPES.get(column.name, plain)
    return kind | None if column.nullable else kind


def _columns_except(table: Table, *left_out: str) -> list[Column]:
    return [column for column in table.columns if column.name not in left_out]


class PublishedAnswer(BaseModel):
    """What every answer says first."""

    run: str = Field(description="the run that is published, and that all of this answer is from")
    published_at: datetime = Field(description="when the run was published, UTC")


ProductSummary = _create_row_model(
    "Brief",
    "What a list shows of a product.",
    [c for c in PRODUCTS.columns if c.name in PRODUCT_SUMMARY_COLUMNS],
    image_url=_IMAGE_URL_FIELD,
)
ProductRecord = _create_row_model(
    "FullProduct", "All that is known of a product.", PRODUCTS.columns, image_url=_IMAGE_URL_FIELD
)
_PRODUCT_FIELD = (ProductSummary, Field(description="the recommended product"))
SimilarProductRow = _create_row_model(
    "Similar",
    SIMILAR_PRODUCTS.meaning,
    _columns_except(SIMILAR_PRODUCTS, "product_id"),
    product=_PRODUCT_FIELD,
)
LookProductRow = _create_row_model(
    "Look",
    LOOK_PRODUCTS.meaning,
    _columns_except(LOOK_PRODUCTS, "product_id"),
    product=_PRODUCT_FIELD,
)
MetricRow = _create_row_model("Measure", QUALITY.meaning, QUALITY.columns)
RunMetricRow = _create_row_model(
    "PastMeasure",
    "A measure of one run.",
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
        description="why they are fewer than asked for (matches.ShortfallReason); null for a full list"
    )


class ListSource(StrEnum):
    PUBLISHED = "published"
    LIVE = "live"


class SimilarAnswer(PublishedAnswer):
    """The products most alike one, best first."""

    product_id: str = Field(description="the product asked about")
    source: ListSource = Field(
        description="published: made by the night; live: searched now, at the weights asked for"
    )
    shortfall_reason: str | None = Field(
        description="why there are fewer than asked for (matches.ShortfallReason); null for a full list"
    )
    results: list[SimilarProductRow] = Field(description="by rank")  # type: ignore[valid-type]


class LookAnswer(PublishedAnswer):
    """The products that complete the look: alike what is worn with the product in its own pictures."""

    product_id: str = Field(description="the product asked about")
    results: list[LookProductRow] = Field(description="by super-category and rank")  # type: ignore[valid-type]


class RunSummary(BaseModel):
    """A run that is loaded."""

    run: str = Field(description="its name")
    loaded_at: datetime = Field(description="UTC")
    published_at: datetime | None = Field(
        description="when it was published last, UTC; null: never"
    )
    is_published: bool = Field(description="whether it is what the site reads now")
    counts: dict[str, int] = Field(description="rows by table")


class RunsAnswer(BaseModel):
    """Every run that is loaded."""

    runs: list[RunSummary] = Field(description="newest first")


class QualityAnswer(PublishedAnswer):
    """How good the published run is, by its own measures."""

    measures: list[MetricRow] = Field(description="by measure and scope")  # type: ignore[valid-type]


class QualityHistoryAnswer(BaseModel):
    """One measure through the runs."""

    metric: str
    scope: str
    history: list[RunMetricRow] = Field(description="by run, those that were dropped since too")  # type: ignore[valid-type]


class PhotoAnswer(PublishedAnswer):
    """The items seen in a photo and the products in stock most alike each."""

    query_id: str = Field(description="hash of run, photo, models and what was asked for")
    photo_id: str = Field(description="sha256 of the photo's bytes, hex")
    width_px: int = Field(description="after EXIF orientation")
    height_px: int = Field(description="after EXIF orientation")
    detector: str = Field(description="model that saw the items")
    encoder: str = Field(description="model that made the codes")
    note: str | None = Field(
        description="says so where no garment, shoe or bag was seen; else null"
    )
    items: list[photo_query.DetectedItem] = Field(
        description="the surest and largest first, at most 8"
    )


class HealthAnswer(PublishedAnswer):
    """The server can answer."""

    status: str = Field(description="ok")
