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
from wearalike.detection import detect, looks
from wearalike.encoding import encoders
from wearalike.imaging import decode
from wearalike.models import registry
from wearalike.models.files import Kind
from wearalike.search import gallery_store, inverted_multi_index
from wearalike.settings import Settings
from wearalike.storage import run_tables
from wearalike.tables import CODES, AgeGroup, Gender

# Of a photo of many people the largest and surest items are looked for.
MAX_ITEMS = 8
MAX_K = 100
# Boxes that share so much of both (intersection over union) are of one thing, whatever each is taken for.
SAME_THING = 0.7
# Whatever a detector takes it for: where light varies less than so much (standard deviation, of 255) there is nothing to see.
_LEAST_CONTRAST = 3.0
MAX_WEIGHT = 10
ANNOTATED_SIDE_PX = 1280
# Told apart by people who see colours differently (Okabe and Ito).
_COLOURS = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#f0e442")


@dataclass(frozen=True, slots=True)
class Wish:
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


def weights(text: str) -> tuple[int, int]:
    """(shape, colour) of "2:8". Raises ValueError."""
    shape, _, colour = text.partition(":")
    if not (shape.isdecimal() and colour.isdecimal() and len(text) <= 5):
        raise ValueError(f"weights {text!r}: wanted SHAPE:COLOUR, e.g. 2:8")
    return Wish(weights=(int(shape), int(colour))).weights or (0, 0)


@dataclass(frozen=True, slots=True)
class Alike:
    """A product and why it is here: the scores, 0..1, bigger is more alike, and the distances of 0..128 bits that they are made
    of. The rest is shelves.SHOWN."""

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
class SeenItem:
    """One item of the photo: int pixels of the photo upright, x1 and y1 outside; confidence 0..1. category: that of most of its
    nearest in shape; None where the run holds nothing to compare it with. results: best first."""

    x0: int
    y0: int
    x1: int
    y1: int
    confidence: float
    super_category: str
    category: str | None
    w_shape: int
    w_colour: int
    results: tuple[Alike, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """What was found for a photo of that sha256. No items: no garment, shoe or bag was seen."""

    query_id: str
    run: str
    photo_id: str
    width_px: int
    height_px: int
    detector: str
    encoder: str
    items: tuple[SeenItem, ...]

    def json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False, indent=1) + "\n"


@dataclass(frozen=True, slots=True)
class Networks:
    """What sees and encodes a photo, loaded. turn: who holds it may use them."""

    encoder: encoders.Encoder
    detector: detect.Detector
    turn: threading.Lock


class PhotoSearch:
    """A run, ready to be asked; may be asked by several threads."""

    def __init__(
        self,
        place: Settings,
        run: str,
        detector: str | None = None,
        shelf: Callable[[str], gallery_store.Shelf] | None = None,
        networks: Networks | None = None,
        exact_up_to: int | None = None,
    ) -> None:
        """detector: a trained one's name or version; None: the promoted one, else the packaged. shelf: the run's shelf of a
        super-category, where somebody holds it already. networks: another search's, taken where they are of the same versions.
        exact_up_to: where more products of a super-category may be shown, a photo's item is compared with a shortlist of them;
        None: with all of them. Loads models and codes once.

        Raises store.NotMade, models.BadModel, indexes.BadIndex; ValueError for a detector that does not name what it sees.
        """
        device = registry.device(place.device)
        self.run, self._root = run, place.root
        encoder = registry.of_version(
            place.root, Kind.ENCODER, run_tables.made(place.root, CODES, run)["encoder"]
        )
        seer = detect.naming_model(place.root, detector)
        is_same = networks is not None and networks.encoder.version == encoder.version
        self._encoder = (
            networks.encoder if networks and is_same else encoders.of(encoder.read(), device)
        )
        is_same = networks is not None and networks.detector.version == seer.version
        self._detector = (
            networks.detector if networks and is_same else detect.Trained(seer.read(), device)
        )
        shelf = shelf or partial(gallery_store.shelf, place.root, run)
        self._shelves = {s: shelf(s) for s in gallery_store.super_categories(place.root, run)}
        self._exact_up_to = exact_up_to
        many = [
            s
            for s, held in self._shelves.items()
            if exact_up_to is not None and len(held.gallery) > exact_up_to
        ]
        self._shortlists = {
            s: inverted_multi_index.build(self._shelves[s].gallery.codes) for s in many
        }
        # Networks take a photo at a time: two at once would each take twice as long.
        self._models = networks.turn if networks else threading.Lock()

    @property
    def networks(self) -> Networks:
        """For the search of another run."""
        return Networks(self._encoder, self._detector, self._models)

    def find(self, content: bytes, wish: Wish | None = None) -> Answer:
        """What is alike the items of a photo. content: the file's bytes. Raises pixels.BadPixels."""
        wish = wish or Wish()
        header, photo_id = decode.read_header(content), hashlib.sha256(content).hexdigest()
        decode.decode(
            content, self._detector.side_px
        )  # to its end: what cannot be is refused here, not a photo of nothing
        with self._models:
            rows = [
                r for r in detect.look(self._detector, photo_id, content) if r.get("super_category")
            ]
            cut = decode.crops(content, [_corners(r) for r in rows], self._encoder.side_px)
            crops = dict(zip((r["item_id"] for r in rows), cut, strict=True))
            rows = [
                r
                for r in rows
                if crops[r["item_id"]][::4, ::4].mean(axis=2).std() >= _LEAST_CONTRAST
            ]
            rows = _apart(sorted(rows, key=looks.worth, reverse=True))[:MAX_ITEMS]
            seen = self._encoder.encode([crops[r["item_id"]] for r in rows]) if rows else None
        both = (
            np.concatenate([seen.shape, seen.colour], axis=1)
            if seen
            else np.empty((0, 32), np.uint8)
        )
        words = np.ascontiguousarray(both).view(np.uint64)
        query = [self.run, photo_id, self._detector.version, self._encoder.version, asdict(wish)]
        return Answer(
            hashlib.sha256(json.dumps(query).encode()).hexdigest()[:32],
            self.run,
            photo_id,
            header.width_px,
            header.height_px,
            self._detector.version,
            self._encoder.version,
            tuple(self._seen(row, code, wish) for row, code in zip(rows, words, strict=True)),
        )

    def _seen(self, row: dict[str, Any], code: NDArray[np.uint64], wish: Wish) -> SeenItem:
        where = (*_corners(row), float(row["confidence"]), str(row["super_category"]))
        shelf = self._shelves.get(row["super_category"])
        candidates = _candidates(shelf.gallery, wish) if shelf else np.empty(0, np.int64)
        if shelf is None or not len(candidates):
            return SeenItem(*where, None, *(wish.weights or (1, 1)), ())
        (like,) = search.voted(
            shelf.gallery, self._looked_at(where[-1], candidates, code, 1, 0), code[None]
        )
        category = str(shelf.gallery.pages.category[like])
        w_shape, w_colour = wish.weights or (
            int(shelf.gallery.w_shape[like]),
            int(shelf.gallery.w_colour[like]),
        )
        near = self._looked_at(where[-1], candidates, code, w_shape, w_colour)
        found = search.alike(shelf.gallery, near, code, w_shape, w_colour, search.Rules(k=wish.k))
        score = search.score(w_shape * found.shape + w_colour * found.colour, w_shape + w_colour)
        why: dict[str, NDArray[np.number]] = {
            "score": score,
            "shape_score": search.score(found.shape, 1),
            "colour_score": search.score(found.colour, 1),
            "shape_distance": found.shape,
            "colour_distance": found.colour,
        }
        told = zip(*(values.tolist() for values in why.values()), strict=True)
        facts = shelf.shown(found.results)
        results = tuple(
            Alike(**dict(zip(why, values, strict=True)), **fact)
            for values, fact in zip(told, facts, strict=True)
        )
        return SeenItem(*where, category, w_shape, w_colour, results)

    def _looked_at(
        self,
        super_category: str,
        candidates: NDArray[np.int64],
        code: NDArray[np.uint64],
        w_shape: int,
        w_colour: int,
    ) -> NDArray[np.int64]:
        """The candidates themselves, or those that could be near the code."""
        if self._exact_up_to is None or len(candidates) <= self._exact_up_to:
            return candidates
        return self._shortlists[super_category].of(
            code, w_shape, w_colour, candidates, inverted_multi_index.least(len(candidates))
        )


def _apart(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows without those that lie on one before them: a skirt and a dress in one place are one thing."""
    kept: list[dict[str, Any]] = []
    for row in rows:
        if all(looks.overlap(row, other) < SAME_THING for other in kept):
            kept.append(row)
    return kept


def _corners(row: dict[str, Any]) -> tuple[int, int, int, int]:
    return row["x0"], row["y0"], row["x1"], row["y1"]


def _candidates(gallery: search.Gallery, wish: Wish) -> NDArray[np.int64]:
    """Rows in stock, for those it is asked for."""
    fits = gallery.is_in_stock.copy()
    if wish.gender not in (None, Gender.UNISEX):
        fits &= (gallery.gender == wish.gender) | (gallery.gender == Gender.UNISEX)
    if wish.age_group is not None:
        fits &= gallery.age_group == wish.age_group
    return np.flatnonzero(fits)


def row(answer: Answer, wish: Wish, asked_at: datetime) -> dict[str, Any]:
    """The answer's row of tables.PHOTO_QUERIES."""
    return {
        "query_id": answer.query_id,
        "asked_at": asked_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "photo_id": answer.photo_id,
        "width_px": answer.width_px,
        "height_px": answer.height_px,
        "k": wish.k,
        "weights": wish.weights and f"{wish.weights[0]}:{wish.weights[1]}",
        "gender": wish.gender,
        "age_group": wish.age_group,
        "items_count": len(answer.items),
        "results_count": sum(len(item.results) for item in answer.items),
        "detector": answer.detector,
        "encoder": answer.encoder,
        "answer": answer.json(),
    }


def annotated(content: bytes, answer: Answer) -> bytes:
    """The photo with its items outlined and numbered from 1, JPEG, at most 1280 px a side. Raises pixels.BadPixels."""
    image = Image.fromarray(decode.decode(content, ANNOTATED_SIDE_PX))
    scale = max(image.size) / max(answer.width_px, answer.height_px)
    draw, line = ImageDraw.Draw(image), max(2, max(image.size) // 300)
    font = ImageFont.load_default(max(14, max(image.size) // 36))
    for number, item in reversed(list(enumerate(answer.items, 1))):
        box = [round(v * scale) for v in (item.x0, item.y0, item.x1, item.y1)]
        draw.rectangle(
            [box[0] - 1, box[1] - 1, box[2] + 1, box[3] + 1], outline="white", width=line + 2
        )
        draw.rectangle(box, outline=(colour := colour_of(number)), width=line)
        left, top, right, bottom = draw.textbbox(
            (box[0] + 2 * line, box[1] + 2 * line), str(number), font=font
        )
        draw.rectangle(
            [left - 2 * line, top - 2 * line, right + 2 * line, bottom + 2 * line], fill=colour
        )
        draw.text(
            (box[0] + 2 * line, box[1] + 2 * line),
            str(number),
            fill="white" if number != len(_COLOURS) else "black",
            font=font,
        )
    out = io.BytesIO()
    image.save(out, "JPEG", quality=88)
    return out.getvalue()


def colour_of(number: int) -> str:
    """The colour, #rrggbb, that the item of that number, from 1, is outlined in."""
    return _COLOURS[(number - 1) % len(_COLOURS)]
