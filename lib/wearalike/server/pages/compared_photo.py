"""A photo's items, ranked by the published codes and by every model that describes the run."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from starlette.datastructures import State

from wearalike import search
from wearalike.evaluation.descriptors.versions import DescriberPool
from wearalike.imaging import decode
from wearalike.models.files import BadModel
from wearalike.search import photo_annotation
from wearalike.search.float_index import FloatIndexKind
from wearalike.search.page_rules import CompiledRules
from wearalike.search.photo_query import DetectedItem, PhotoQuery, PhotoResult
from wearalike.search.product_attributes import build_photo_page
from wearalike.server.loaded_run import LoadedRun
from wearalike.server.pages import photo_form, photo_texts
from wearalike.server.pages.ranking_columns import (
    RankingColumn,
    RankingQuery,
    apply_rules,
    build_score_rows,
    build_version_columns,
)
from wearalike.server.photos import DecodedPhoto
from wearalike.server.snapshot import Snapshot

# The largest and surest items; each costs a description by every model.
MAX_COMPARED_ITEMS = 3
RESULTS_PER_COLUMN = 5


@dataclass(frozen=True, slots=True)
class ComparedItem:
    """An item of a photo with its rankings.

    Attributes:
        item: The item, its box in pixels of the decoded photo.
        colour: Colour of its outline.
        columns: The rankings, that of the photo page first.
    """

    item: DetectedItem
    colour: str
    columns: list[RankingColumn]


@dataclass(frozen=True, slots=True)
class ComparedPhoto:
    """A photo with the rankings of its items.

    Attributes:
        result: The result of the photo page's search.
        preview: The photo as a data: URL.
        audience: For whom the products are, in words.
        items: The items that are compared.
        left_count: Items that were found and are not compared.
        failures: Versions that cannot describe a photo, each with the reason.
    """

    result: PhotoResult
    preview: str
    audience: str
    items: list[ComparedItem]
    left_count: int
    failures: list[str]

    @property
    def shown_ids(self) -> list[str]:
        """The products of all columns."""
        columns = [column for item in self.items for column in item.columns]
        return [row["product"]["product_id"] for column in columns for row in column.rows]


def compare_photo(
    state: State, s: Snapshot, content: bytes, index: FloatIndexKind | None
) -> ComparedPhoto:
    """Find the items of a photo as the photo page does, and rank them by every model.

    Args:
        state: The app's state.
        s: The snapshot.
        content: Bytes of the photo's file.
        index: A Faiss index in place of the exact distances; None for those.

    Raises:
        BadPixels: The file is no picture that can be decoded.
        RunNotSearchable: The data folder does not hold the published tables.
    """
    loaded = state.live_search.photo_run(s)
    decoded = DecodedPhoto(content, state.photo_decoders)
    wanted = PhotoQuery(RESULTS_PER_COLUMN, guesses_gender=True)
    result = loaded.load_photo_search().search(decoded.picture, wanted)
    items = [item for item in result.items if item.results]
    compared = items[:MAX_COMPARED_ITEMS]
    boxes = [(item.x0, item.y0, item.x1, item.y1) for item in compared]
    crops = decode.crop_boxes(decoded.picture, boxes) if boxes else []
    rankings = _PhotoRankings(s, loaded, state.describers, index, result)
    columns = rankings.rank(compared, crops)
    return ComparedPhoto(
        result,
        photo_form.preview_url(decoded),
        photo_texts.describe_audience(result, may_choose=False),
        [
            ComparedItem(item, photo_annotation.outline_colour(number), columns_of_item)
            for number, (item, columns_of_item) in enumerate(zip(compared, columns, strict=True), 1)
        ],
        len(result.items) - len(compared),
        rankings.failures,
    )


class _PhotoRankings:
    """Ranks the items of one photo."""

    def __init__(
        self,
        s: Snapshot,
        loaded: LoadedRun,
        describers: DescriberPool,
        index: FloatIndexKind | None,
        result: PhotoResult,
    ) -> None:
        self.failures: list[str] = []
        self._snapshot = s
        self._rules = loaded.merchandising_rules
        self._descriptors = loaded.descriptors
        self._describers = describers
        self._index = index
        self._result = result

    def rank(
        self, items: list[DetectedItem], crops: list[NDArray[np.uint8]]
    ) -> list[list[RankingColumn]]:
        """Return the columns of each item."""
        columns = [[self._published_column(item)] for item in items]
        for version in self._descriptors.versions():
            galleries = [
                self._descriptors.described(item.super_category, version) for item in items
            ]
            if not any(galleries):
                continue
            try:
                rows = self._describers.describe(version, crops)
            except BadModel as error:
                self.failures.append(str(error))
                continue
            for item, mine, described, row in zip(items, columns, galleries, rows, strict=True):
                if described is None:
                    continue
                eligible = search.eligible_candidates(described.gallery, None, self._result.gender)
                page = build_photo_page(str(item.category))
                rules = CompiledRules(self._rules, described.gallery.attributes, page)
                may_show = apply_rules(eligible, rules, 0)
                shared = {r["product"]["product_id"] for r in mine[0].rows}
                query = RankingQuery(may_show, shared, RESULTS_PER_COLUMN, None, self._index)
                mine += build_version_columns(self._snapshot, described, row, query)
        return columns

    def _published_column(self, item: DetectedItem) -> RankingColumn:
        """Return the list of the photo page."""
        weights = f"shape {item.shape_weight} : colour {item.colour_weight}"
        weights += f" : kind {item.kind_weight}" if item.kind_weight else ""
        rows: list[dict[str, Any]] = [
            {**asdict(row), "product": asdict(row)} for row in item.results
        ]
        shared = {row.product_id for row in item.results}
        caption = f"{weights}, {self._result.encoder}"
        return RankingColumn("As the photo page", caption, build_score_rows(rows, shared), True)
