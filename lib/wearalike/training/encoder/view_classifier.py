"""Labelled photos -> what tells views (tables.View) from a trained encoder's pooled features: one linear layer, learned last.

Where a set has a column `view`, that is what is learned. The published sets have none, but know enough to tell: a mask with head and
shoes is of a whole figure, of which a part can be cut, or a piece of a garment; in a catalogue, skin says that somebody wears a thing.
Nobody's back is among what is made so: of a view without examples the layer never speaks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from wearalike.datasets.labelled_photos import LAYOUTS, BadSet, LabelledSet, Photo
from wearalike.detection import classes
from wearalike.detection.classes import BadWord, Garment
from wearalike.encoding import encoders, hashnet
from wearalike.encoding.hashnet import INPUT_PX, VIEW
from wearalike.imaging import decode
from wearalike.models.registry import EFFICIENTNET_LITE0
from wearalike.tables import SuperCategory, View
from wearalike.training.detector import scenes
from wearalike.training.encoder.augment import Picture, Variation, prepare, view
from wearalike.training.encoder.dataset import item

# Of one kind of example that a set gives so many are enough.
MOST_OF_A_KIND = 1200
_VARIATION = Variation(zoom=0.15, turn_degrees=5.0, recolour_ratio=0.0)
_AT_ONCE = 64
# What the published sets can say, so that no more photos are opened than are wanted.
_SHOWN_IN = {
    "masks": (View.FIGURE, View.FRONT, View.DETAIL),
    "catalogue": (View.FRONT, View.DETAIL, View.FLAT),
    "own": (View.FLAT,),
}
# A detail is a square window of so much of a thing's longer side, so much of it filled by the thing.
_DETAIL_SIDE, _DETAIL_FILLED = (0.18, 0.38), (0.6, 1.0)
# Windows are coarse; that what is coarse is no detail yet, pictures teach that were made coarse themselves.
_COARSE_RATIO, _COARSE_PX = 0.5, (56, 128)
# Smaller windows show nothing.
_LEAST_DETAIL_PX = 24
# A figure's head and feet show so far from the ends of its box.
_ENDS_RATIO = 0.15
# Where a figure is cut, in shares of its height: below the hip, or above the knee.
_CUT_BELOW, _CUT_ABOVE = (0.45, 0.75), (0.3, 0.5)
_WEIGHT_DECAY = 2e-2
_NEVER = -1e4

Example = tuple[Picture, View]


def examples(
    kind: str, labelled: LabelledSet, seed: int = 0, split: str = "train"
) -> Iterator[Example]:
    """What a set of a kind (labelled.KINDS) says of views: pictures and what each shows, at most MOST_OF_A_KIND of each view. Raises
    BadSet for a word of a column `view` that is none."""
    photos = [p for p in labelled.photos if p.split == split]
    rng = np.random.default_rng([seed, len(photos)])
    if VIEW in labelled.label_names:
        found = _told(photos)
    elif kind == "masks":
        found = (e for path in dict.fromkeys(p.path for p in photos) for e in _of_figure(path, rng))
    elif kind == "catalogue":
        found = (e for i in rng.permutation(len(photos)) for e in _of_product(photos[i], rng))
    elif kind == "own":
        found = (
            (prepare(item(photos[i])), View.FLAT)
            for i in rng.permutation(len(photos))[:MOST_OF_A_KIND]
        )
    else:
        return
    counts = dict.fromkeys(View, 0)
    for picture, shows in found:
        if counts[shows] < MOST_OF_A_KIND:
            counts[shows] += 1
            yield picture, shows
        elif all(counts[v] >= MOST_OF_A_KIND for v in _SHOWN_IN.get(kind, View)):
            return


def _told(photos: Sequence[Photo]) -> Iterator[Example]:
    for photo in photos:
        if (word := photo.labels.get(VIEW)) is not None:
            if word not in tuple(View):
                raise BadSet(f"{photo.path}: view {word!r}, wanted {', '.join(View)}")
            yield prepare(item(photo)), View(word)


def _of_figure(path: Path, rng: np.random.Generator) -> Iterator[Example]:
    """Of a photo with a mask of a whole figure: the photo, the figure cut out, parts of both, and a piece of the largest garment."""
    folder = path.parents[1]
    mask_path = folder / str(LAYOUTS["masks"].masks).format(path.stem)
    if not mask_path.is_file():
        return
    rgb, mask = decode.decode(path.read_bytes()), decode.decode_mask(mask_path.read_bytes())
    words = (folder / "labels.txt").read_text(encoding="utf-8").split()
    y0, y1, x0, x1 = _span(mask > 0)
    ends = round(_ENDS_RATIO * (y1 - y0))
    head = {words[n] for n in np.unique(mask[y0 : y0 + ends])}
    feet = {
        g for n in np.unique(mask[y1 - ends : y1]) if (g := _garment(classes.of_street, words[n]))
    }
    if not head & {"hair", "skin", "hat"} or SuperCategory.FOOT_WEAR not in {
        g.super_category for g in feet
    }:
        return
    alpha = (mask > 0).astype(np.uint8) * 255
    figure, outline = rgb[y0:y1, x0:x1], alpha[y0:y1, x0:x1]
    yield prepare(rgb), View.FIGURE
    yield _cut_out(figure, outline), View.FIGURE
    for cut in (
        slice(0, round(rng.uniform(*_CUT_BELOW) * (y1 - y0))),
        slice(round(rng.uniform(*_CUT_ABOVE) * (y1 - y0)), None),
    ):
        yield (
            (_cut_out(figure[cut], outline[cut]) if rng.random() < 0.5 else prepare(figure[cut])),
            View.FRONT,
        )
    sizes = np.bincount(mask.ravel(), minlength=len(words))
    worn = [n for n in np.flatnonzero(sizes) if _garment(classes.of_street, words[n])]
    if worn and (piece := _piece(rgb, mask == max(worn, key=lambda n: sizes[n]), rng)) is not None:
        yield prepare(piece), View.DETAIL


def _of_product(photo: Photo, rng: np.random.Generator) -> Iterator[Example]:
    """Of a catalogue photo on plain ground: whether somebody wears the thing, and a piece of it."""
    garment = (
        _garment(classes.of_catalogue, photo.labels["type"]) if "type" in photo.labels else None
    )
    rgb = decode.decode(photo.path.read_bytes())
    where = scenes.standing_out(rgb)
    if garment is None or where is None:
        return
    yield (
        prepare(item(photo)),
        View.FRONT if scenes.is_worn(rgb, where, garment.name) else View.FLAT,
    )
    if (piece := _piece(rgb, where, rng)) is not None:
        yield prepare(piece), View.DETAIL


def _garment(of: Callable[[str], Garment | None], word: str) -> Garment | None:
    """What a set's word means; None where it is nothing worn, or a word of its own."""
    try:
        return of(word)
    except BadWord:
        return None


def _span(where: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(where.any(axis=1)), np.flatnonzero(where.any(axis=0))
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def _cut_out(rgb: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> Picture:
    """A thing on white."""
    share = alpha[..., None].astype(np.float32) / 255
    return prepare((rgb * share + 255 * (1 - share)).astype(np.uint8))


def _piece(
    rgb: NDArray[np.uint8], where: NDArray[np.bool_], rng: np.random.Generator
) -> NDArray[np.uint8] | None:
    """A square window that a thing fills; None where none was found."""
    y0, y1, x0, x1 = _span(where)
    for _ in range(8):
        side = round(max(y1 - y0, x1 - x0) * rng.uniform(*_DETAIL_SIDE))
        y, x = (
            int(rng.integers(low, max(low + 1, high - side))) for low, high in ((y0, y1), (x0, x1))
        )
        if side >= _LEAST_DETAIL_PX and where[y : y + side, x : x + side].mean() >= rng.uniform(
            *_DETAIL_FILLED
        ):
            return rgb[y : y + side, x : x + side]
    return None


def teach(
    sets: Sequence[tuple[str, LabelledSet]],
    arrays: Mapping[str, NDArray[np.floating]],
    seed: int,
    device: str,
    looked: Callable[[int], None] = lambda count: None,
) -> dict[str, NDArray[np.float16]]:
    """The tensors that let an encoder of these arrays tell views, by name; none where the sets say nothing of views, or of one alone.

    sets: each with its kind. device: "cpu" or "cuda". looked: called with how many more pictures were looked at. Raises BadSet.
    """
    see = encoders.Forward(
        "views", _Pooled(hashnet.load(hashnet.without_views(arrays))), EFFICIENTNET_LITE0, device
    )
    rows: list[NDArray[np.float32]] = []
    views: list[View] = []
    waiting: list[NDArray[np.uint8]] = []

    def look() -> None:
        if waiting:
            rows.append(see(waiting))
            looked(len(waiting))
            waiting.clear()

    for kind, labelled in sets:
        for picture, shows in examples(kind, labelled, seed):
            waiting.append(varied(picture, [seed, len(views)]))
            views.append(shows)
            if len(waiting) == _AT_ONCE:
                look()
    look()
    return learn(np.concatenate(rows), views) if len(set(views)) > 1 else {}


def varied(picture: Picture, seed: Sequence[int]) -> NDArray[np.uint8]:
    """A picture as the layer learns from it, uint8 (side, side, 3): moved a little, lit otherwise, at times coarse."""
    rng = np.random.default_rng(list(seed))
    made = view(picture, (), _VARIATION, INPUT_PX, rng)[0]
    if rng.random() >= _COARSE_RATIO:
        return made
    side = int(rng.integers(*_COARSE_PX))
    return decode.resize(decode.resize(made, side, side), INPUT_PX, INPUT_PX)


def told(
    sets: Sequence[tuple[str, LabelledSet]],
    arrays: Mapping[str, NDArray[np.floating]],
    seed: int,
    device: str,
    split: str = "test",
) -> Counter[tuple[View, View | None]]:
    """How often an encoder of these arrays, which tells views, says the second (None: it is not sure) of what shows the first, in a split
    of the sets."""
    encoder = encoders.Trained("views", arrays, device)
    counts: Counter[tuple[View, View | None]] = Counter()
    for kind, labelled in sets:
        found = list(examples(kind, labelled, seed, split))
        for start in range(0, len(found), _AT_ONCE):
            part = found[start : start + _AT_ONCE]
            counts.update(
                zip(
                    (v for _, v in part),
                    encoder.encode([p.rgb for p, _ in part]).views,
                    strict=True,
                )
            )
    return counts


class _Pooled(nn.Module):
    def __init__(self, network: hashnet.HashNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, squares: Tensor) -> Tensor:
        return self.network.upper(self.network.stem(squares))[1]


def learn(found: NDArray[np.float32], views: Sequence[View]) -> dict[str, NDArray[np.float16]]:
    """The tensors that tell views, float16 by name, as an encoder's file keeps them: logistic regression on pooled features, float32
    (n, 1280), in which every view that has examples counts the same."""
    labels = torch.tensor([list(View).index(v) for v in views])
    counts = torch.bincount(labels, minlength=len(View)).float()
    weights = torch.where(counts > 0, len(labels) / counts.clamp(min=1), 0.0)
    mean, spread = torch.from_numpy(found.mean(axis=0)), torch.from_numpy(found.std(axis=0) + 1e-2)
    rows = (torch.from_numpy(found) - mean) / spread
    weight, bias = (
        torch.zeros(len(View), rows.shape[1], requires_grad=True),
        torch.zeros(len(View), requires_grad=True),
    )
    never = torch.where(counts > 0, 0.0, _NEVER)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        wrong = functional.cross_entropy(rows @ weight.T + bias + never, labels, weights)
        total = wrong + _WEIGHT_DECAY * weight.square().sum()
        total.backward()
        return total

    optimizer.step(loss)
    with torch.no_grad():
        scaled = weight / spread
        made = {f"{VIEW}.weight": scaled, f"{VIEW}.bias": bias + never - scaled @ mean}
    return {name: tensor.numpy().astype(np.float16) for name, tensor in made.items()}
