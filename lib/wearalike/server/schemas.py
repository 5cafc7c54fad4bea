"""What the API answers, as pydantic models; what is a column of a table is described by tables.py alone."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import Any

import pyarrow as pa
from pydantic import BaseModel, Field, create_model

from wearalike.search import photo_search
from wearalike.server.snapshot import BRIEF
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

_KINDS: dict[str, Any] = {
    "availability": Availability,
    "gender": Gender,
    "age_group": AgeGroup,
    "super_category": SuperCategory,
}
_IMAGE_URL = (str | None, Field(description="the main picture, as the shop serves it"))


def _model(name: str, doc: str, columns: Iterable[Column], **more: Any) -> type[BaseModel]:
    """A model of the columns, with more fields after them."""
    fields: dict[str, Any] = {
        column.name: (_type(column), Field(description=column.meaning)) for column in columns
    }
    return create_model(name, __doc__=doc, **(fields | more))


def _type(column: Column) -> Any:
    if pa.types.is_list(column.type):
        return list[str]
    plain = (
        int
        if pa.types.is_integer(column.type)
        else float
        if pa.types.is_floating(column.type)
        else str
    )
    kind = _KINDS.get(column.name, plain)
    return kind | None if column.nullable else kind


def _columns(table: Table, *left_out: str) -> list[Column]:
    return [column for column in table.columns if column.name not in left_out]


class Answer(BaseModel):
    """What every answer says first."""

    run: str = Field(description="the run that is published, and that all of this answer is from")
    published_at: datetime = Field(description="when the run was published, UTC")


Brief = _model(
    "Brief",
    "What a list shows of a product.",
    [c for c in PRODUCTS.columns if c.name in BRIEF],
    image_url=_IMAGE_URL,
)
FullProduct = _model(
    "FullProduct", "All that is known of a product.", PRODUCTS.columns, image_url=_IMAGE_URL
)
_PRODUCT = (Brief, Field(description="the recommended product"))
Similar = _model(
    "Similar", SIMILAR_PRODUCTS.meaning, _columns(SIMILAR_PRODUCTS, "product_id"), product=_PRODUCT
)
Look = _model(
    "Look", LOOK_PRODUCTS.meaning, _columns(LOOK_PRODUCTS, "product_id"), product=_PRODUCT
)
Measure = _model("Measure", QUALITY.meaning, QUALITY.columns)
PastMeasure = _model(
    "PastMeasure",
    "A measure of one run.",
    QUALITY.columns,
    run=(str, Field(description="the run measured")),
)


class Products(Answer):
    """A page of products, in order of product_id."""

    products: list[Brief]  # type: ignore[valid-type]
    next_after: str | None = Field(description="`after` of the next page; null on the last")


class Product(Answer):
    """One product, and how many recommendations it has."""

    product: FullProduct  # type: ignore[valid-type]
    similar_count: int = Field(description="recommendations published for it")
    short_reason: str | None = Field(
        description="why they are fewer than asked for (matches.ShortReason); null for a full list"
    )


class Source(StrEnum):
    PUBLISHED = "published"
    LIVE = "live"


class SimilarList(Answer):
    """The products most alike one, best first."""

    product_id: str = Field(description="the product asked about")
    source: Source = Field(
        description="published: made by the night; live: searched now, at the weights asked for"
    )
    short_reason: str | None = Field(
        description="why there are fewer than asked for (matches.ShortReason); null for a full list"
    )
    results: list[Similar] = Field(description="by rank")  # type: ignore[valid-type]


class LookList(Answer):
    """The products that complete the look: alike what is worn with the product in its own pictures."""

    product_id: str = Field(description="the product asked about")
    results: list[Look] = Field(description="by super-category and rank")  # type: ignore[valid-type]


class Run(BaseModel):
    """A run that is loaded."""

    run: str = Field(description="its name")
    loaded_at: datetime = Field(description="UTC")
    published_at: datetime | None = Field(
        description="when it was published last, UTC; null: never"
    )
    is_published: bool = Field(description="whether it is what the site reads now")
    counts: dict[str, int] = Field(description="rows by table")


class Runs(BaseModel):
    """Every run that is loaded."""

    runs: list[Run] = Field(description="newest first")


class Quality(Answer):
    """How good the published run is, by its own measures."""

    measures: list[Measure] = Field(description="by measure and scope")  # type: ignore[valid-type]


class QualityHistory(BaseModel):
    """One measure through the runs."""

    measure: str
    scope: str
    history: list[PastMeasure] = Field(description="by run, those that were dropped since too")  # type: ignore[valid-type]


class PhotoAnswer(Answer):
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
    items: list[photo_search.SeenItem] = Field(
        description="the surest and largest first, at most 8"
    )


class Health(Answer):
    """The server can answer."""

    status: str = Field(description="ok")
