"""A shopper's photo to products: every item found in it, and what a run holds that is most alike.

The one room that calls several stages. A photo's item has no category, so it takes the one that most of its ten nearest
in shape have, and with it the category's weights, unless others are asked for.
"""

from __future__ import annotations

import hashlib
import io
import json
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from wearalike import search
from wearalike.detection import detect
from wearalike.encoding import encoders
from wearalike.imaging import decode
from wearalike.metrics.boxes import box_corners, box_iou, item_scores
from wearalike.models import registry
from wearalike.models.files import ModelKind
from wearalike.search import gallery_store, inverted_multi_index
from wearalike.settings import Settings
from wearalike.storage import run_tables
from wearalike.tables import CODES, AgeGroup, Gender

# Of a photo of many people the largest and surest items are looked for.
MAX_PHOTO_ITEMS = 8
MAX_K = 100
# Boxes that share so much of both (intersection over union) are of one thing, whatever each is taken for.
DUPLICATE_IOU = 0.7
# Whatever a detector takes it for: where light varies less than so much (standard deviation, of 255) there is nothing to see.
_MIN_CONTRAST = 3.0
MAX_WEIGHT = 10
ANNOTATED_SIDE_PX = 1280
# Told apart by people who see colours differently (Okabe and Ito).
_OUTLINE_COLOURS = (
    "#d55e00",
    "#0072b2",
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
    "#000000",
    "#f0e442",
)


@dataclass(frozen=True, slots=True)
class PhotoQuery:
    """What a shopper asks for. k: results an item, 1..100. weights: shape and colour, 0..10 each and not both 0; None: the
    category's. gender, age_group: whom it is for; None: anybody. Raises ValueError."""

    k: int = 10
    weights: tuple[int, int] | None = None
    gender: Gender | None = None
    age_group: AgeGroup | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.k <= MAX_K:
            raise ValueError(f"k: wanted 1 to {MAX_K}, got {self.k}")
        if self.weights is not None and not (
            all(0 <= w <= MAX_WEIGHT for w in self.weights) and any(self.weights)
        ):
            raise ValueError(
                f"weights: wanted two numbers of 0 to {MAX_WEIGHT}, not both 0, got {self.weights[0]}:{self.weights[1]}"
            )


def parse_weights(text: str) -> tuple[int, int]:
    """(shape, colour) of "2:8". Raises ValueError."""
    shape, _, colour = text.partition(":")
    if not (shape.isdecimal() and colour.isdecimal() and len(text) <= 5):
        raise ValueError(f"weights {text!r}: wanted SHAPE:COLOUR, e.g. 2:8")
    return PhotoQuery(weights=(int(shape), int(colour))).weights or (0, 0)


@dataclass(frozen=True, slots=True)
class SimilarProduct:
    """A product and why it is here: the scores, 0..1, bigger is more alike, and the distances of 0..128 bits that they are made
    of. The rest is gallery_store.DISPLAY_COLUMNS."""

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
    """One item of the photo: int pixels of the photo upright, x1 and y1 outside; confidence 0..1. category: that of most of its
    nearest in shape; None where the run holds nothing to compare it with. results: best first."""

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
    """What was found for a photo of that sha256. No items: no garment, shoe or bag was seen."""

    query_id: str
    run: str
    photo_id: str
    width_px: int
    height_px: int
    detector: str
    encoder: str
    items: tuple[DetectedItem, ...]

    def to_json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False, indent=1) + "\n"


@dataclass(frozen=True, slots=True)
class PhotoNetworks:
    """What sees and encodes a photo, loaded. turn: who holds it may use them."""

    encoder: encoders.Encoder
    detector: detect.Detector
    lock: threading.Lock


class PhotoSearch:
    """A run, ready to be asked; may be asked by several threads."""

    def __init__(
        self,
        settings: Settings,
        run: str,
        detector: str | None = None,
        load_gallery: Callable[[str], gallery_store.GalleryWithProducts] | None = None,
        networks: PhotoNetworks | None = None,
        exact_search_max_products: int | None = None,
    ) -> None:
        """detector: a trained one's name or version; None: the promoted one, else the packaged. shelf: the run's shelf of a
        super-category, where somebody holds it already. networks: another search's, taken where they are of the same versions.
        exact_search_max_products: where more products of a super-category may be shown, a photo's item is compared with a shortlist of them;
        None: with all of them. Loads models and codes once.

        Raises run_tables.TableNotFound, models.BadModel, indexes.BadIndex; ValueError for a detector that does not name what it sees.
        """
        device = registry.resolve_device(settings.device)
        self.run, self._root = run, settings.data_dir
        encoder = registry.find_by_version(
            settings.data_dir,
            ModelKind.ENCODER,
            run_tables.read_manifest(settings.data_dir, CODES, run)["encoder"],
        )
        seer = detect.classifying_detector(settings.data_dir, detector)
        is_same = networks is not None and networks.encoder.version == encoder.version
        self._encoder = (
            networks.encoder
            if networks and is_same
            else encoders.build_encoder(encoder.read(), device)
        )
        is_same = networks is not None and networks.detector.version == seer.version
        self._detector = (
            networks.detector
            if networks and is_same
            else detect.NetworkDetector(seer.read(), device)
        )
        load_gallery = load_gallery or partial(
            gallery_store.load_gallery_with_products, settings.data_dir, run
        )
        self._galleries = {
            s: load_gallery(s) for s in gallery_store.list_super_categories(settings.data_dir, run)
        }
        self._exact_up_to = exact_search_max_products
        many = [
            s
            for s, held in self._galleries.items()
            if exact_search_max_products is not None
            and len(held.gallery) > exact_search_max_products
        ]
        self._shortlists = {
            s: inverted_multi_index.build_inverted_multi_index(self._galleries[s].gallery.codes)
            for s in many
        }
        # Networks take a photo at a time: two at once would each take twice as long.
        self._models = networks.lock if networks else threading.Lock()

    @property
    def networks(self) -> PhotoNetworks:
        """For the search of another run."""
        return PhotoNetworks(self._encoder, self._detector, self._models)

    def search(self, content: bytes, photo_query: PhotoQuery | None = None) -> PhotoResult:
        """What is alike the items of a photo. content: the file's bytes. Raises pixels.BadPixels."""
        photo_query = photo_query or PhotoQuery()
        header, photo_id = decode.read_header(content), hashlib.sha256(content).hexdigest()
        decode.decode_image(
            content, self._detector.side_px
        )  # to its end: what cannot be is refused here, not a photo of nothing
        with self._models:
            rows = [
                r
                for r in detect.detect_items(self._detector, photo_id, content)
                if r.get("super_category")
            ]
            cut = decode.crop_boxes(content, [_box_corners(r) for r in rows], self._encoder.side_px)
            crops = dict(zip((r["item_id"] for r in rows), cut, strict=True))
            rows = [
                r for r in rows if crops[r["item_id"]][::4, ::4].mean(axis=2).std() >= _MIN_CONTRAST
            ]
            best_first = np.argsort(-item_scores(rows), kind="stable")
            rows = _suppress_duplicates([rows[i] for i in best_first])[:MAX_PHOTO_ITEMS]
            seen = self._encoder.encode([crops[r["item_id"]] for r in rows]) if rows else None
        both = (
            np.concatenate([seen.shape, seen.colour], axis=1)
            if seen
            else np.empty((0, 32), np.uint8)
        )
        words = np.ascontiguousarray(both).view(np.uint64)
        query = [
            self.run,
            photo_id,
            self._detector.version,
            self._encoder.version,
            asdict(photo_query),
        ]
        return PhotoResult(
            hashlib.sha256(json.dumps(query).encode()).hexdigest()[:32],
            self.run,
            photo_id,
            header.width_px,
            header.height_px,
            self._detector.version,
            self._encoder.version,
            tuple(
                self._search_item(row, code, photo_query)
                for row, code in zip(rows, words, strict=True)
            ),
        )

    def _search_item(
        self, row: dict[str, Any], code: NDArray[np.uint64], photo_query: PhotoQuery
    ) -> DetectedItem:
        where = (*_box_corners(row), float(row["confidence"]), str(row["super_category"]))
        shelf = self._galleries.get(row["super_category"])
        candidates = _eligible_rows(shelf.gallery, photo_query) if shelf else np.empty(0, np.int64)
        if shelf is None or not len(candidates):
            return DetectedItem(*where, None, *(photo_query.weights or (1, 1)), ())
        (like,) = search.vote_category_weights(
            shelf.gallery, self._shortlist_candidates(where[-1], candidates, code, 1, 0), code[None]
        )
        category = str(shelf.gallery.attributes.category[like])
        shape_weight, colour_weight = photo_query.weights or (
            int(shelf.gallery.shape_weight[like]),
            int(shelf.gallery.colour_weight[like]),
        )
        near = self._shortlist_candidates(where[-1], candidates, code, shape_weight, colour_weight)
        found = search.search_code(
            shelf.gallery,
            near,
            code,
            shape_weight,
            colour_weight,
            search.ListRules(k=photo_query.k),
        )
        score = search.score(
            shape_weight * found.shape + colour_weight * found.colour, shape_weight + colour_weight
        )
        why: dict[str, NDArray[np.number]] = {
            "score": score,
            "shape_score": search.score(found.shape, 1),
            "colour_score": search.score(found.colour, 1),
            "shape_distance": found.shape,
            "colour_distance": found.colour,
        }
        told = zip(*(values.tolist() for values in why.values()), strict=True)
        facts = shelf.display_rows(found.results)
        results = tuple(
            SimilarProduct(**dict(zip(why, values, strict=True)), **fact)
            for values, fact in zip(told, facts, strict=True)
        )
        return DetectedItem(*where, category, shape_weight, colour_weight, results)

    def _shortlist_candidates(
        self,
        super_category: str,
        candidates: NDArray[np.int64],
        code: NDArray[np.uint64],
        shape_weight: int,
        colour_weight: int,
    ) -> NDArray[np.int64]:
        """The candidates themselves, or those that could be near the code."""
        if self._exact_up_to is None or len(candidates) <= self._exact_up_to:
            return candidates
        return self._shortlists[super_category].shortlist(
            code,
            shape_weight,
            colour_weight,
            candidates,
            inverted_multi_index.min_shortlist_size(len(candidates)),
        )


def _suppress_duplicates(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows without those that lie on one before them: a skirt and a dress in one place are one thing."""
    corners = box_corners(rows)
    overlaps = box_iou(corners, corners)
    kept: list[int] = []
    for i in range(len(rows)):
        if (overlaps[i, kept] < DUPLICATE_IOU).all():
            kept.append(i)
    return [rows[i] for i in kept]


def _box_corners(row: dict[str, Any]) -> tuple[int, int, int, int]:
    return row["x0"], row["y0"], row["x1"], row["y1"]


def _eligible_rows(gallery: search.Gallery, photo_query: PhotoQuery) -> NDArray[np.int64]:
    """Rows in stock, for those it is asked for."""
    fits = gallery.is_in_stock.copy()
    if photo_query.gender not in (None, Gender.UNISEX):
        fits &= (gallery.gender == photo_query.gender) | (gallery.gender == Gender.UNISEX)
    if photo_query.age_group is not None:
        fits &= gallery.age_group == photo_query.age_group
    return np.flatnonzero(fits)


def photo_query_row(
    result: PhotoResult, photo_query: PhotoQuery, asked_at: datetime
) -> dict[str, Any]:
    """The answer's row of tables.PHOTO_QUERIES."""
    return {
        "query_id": result.query_id,
        "asked_at": asked_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "photo_id": result.photo_id,
        "width_px": result.width_px,
        "height_px": result.height_px,
        "k": photo_query.k,
        "weights": photo_query.weights and f"{photo_query.weights[0]}:{photo_query.weights[1]}",
        "gender": photo_query.gender,
        "age_group": photo_query.age_group,
        "items_count": len(result.items),
        "results_count": sum(len(item.results) for item in result.items),
        "detector": result.detector,
        "encoder": result.encoder,
        "answer": result.to_json(),
    }


def annotate_photo(content: bytes, result: PhotoResult) -> bytes:
    """The photo with its items outlined and numbered from 1, JPEG, at most 1280 px a side. Raises pixels.BadPixels."""
    image = Image.fromarray(decode.decode_image(content, ANNOTATED_SIDE_PX))
    scale = max(image.size) / max(result.width_px, result.height_px)
    draw, line = ImageDraw.Draw(image), max(2, max(image.size) // 300)
    font = ImageFont.load_default(max(14, max(image.size) // 36))
    for number, item in reversed(list(enumerate(result.items, 1))):
        box = [round(v * scale) for v in (item.x0, item.y0, item.x1, item.y1)]
        draw.rectangle(
            [box[0] - 1, box[1] - 1, box[2] + 1, box[3] + 1], outline="white", width=line + 2
        )
        draw.rectangle(box, outline=(colour := outline_colour(number)), width=line)
        left, top, right, bottom = draw.textbbox(
            (box[0] + 2 * line, box[1] + 2 * line), str(number), font=font
        )
        draw.rectangle(
            [left - 2 * line, top - 2 * line, right + 2 * line, bottom + 2 * line], fill=colour
        )
        draw.text(
            (box[0] + 2 * line, box[1] + 2 * line),
            str(number),
            fill="white" if number != len(_OUTLINE_COLOURS) else "black",
            font=font,
        )
    out = io.BytesIO()
    image.save(out, "JPEG", quality=88)
    return out.getvalue()


def outline_colour(number: int) -> str:
    """The colour, #rrggbb, that the item of that number, from 1, is outlined in."""
    return _OUTLINE_COLOURS[(number - 1) % len(_OUTLINE_COLOURS)]
