"""Labelled photos -> what tells views (tables.ImageView) from a trained encoder's pooled features: one linear layer, learned last.

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

from wearalike.datasets import layouts
from wearalike.datasets.labelled_photos import LabelledDataset, LabelledPhoto
from wearalike.datasets.layouts import BadDataset
from wearalike.detection import classes
from wearalike.detection.classes import GarmentClass, UnknownLabel
from wearalike.encoding import encoders, hashnet
from wearalike.encoding.hashnet import INPUT_PX, VIEW_PREFIX
from wearalike.imaging import decode
from wearalike.models.registry import EFFICIENTNET_LITE0
from wearalike.tables import ImageView, SuperCategory
from wearalike.training.detector import scenes
from wearalike.training.encoder.augment import (
    AugmentationConfig,
    TrainingImage,
    augment_image,
    prepare_image,
)
from wearalike.training.encoder.dataset import crop_item

# Of one kind of example that a set gives so many are enough.
MAX_EXAMPLES_PER_VIEW = 1200
_AUGMENTATION = AugmentationConfig(zoom=0.15, turn_degrees=5.0, recolour_ratio=0.0)
_BATCH_SIZE = 64
# What the published sets can say, so that no more photos are opened than are wanted.
_VIEWS_BY_KIND = {
    layouts.CCP: (ImageView.FIGURE, ImageView.FRONT, ImageView.DETAIL),
    layouts.FASHION_PRODUCT_IMAGES: (ImageView.FRONT, ImageView.DETAIL, ImageView.FLAT),
    layouts.CLOTHING_DATASET: (ImageView.FLAT,),
}
# A detail is a square window of so much of a thing's longer side, so much of it filled by the thing.
_DETAIL_SIDE_RATIOS, _DETAIL_FILL_RATIOS = (0.18, 0.38), (0.6, 1.0)
# Windows are coarse; that what is coarse is no detail yet, pictures teach that were made coarse themselves.
_BLUR_PROBABILITY, _BLUR_SIDE_PX = 0.5, (56, 128)
# Smaller windows show nothing.
_MIN_DETAIL_SIDE_PX = 24
# A figure's head and feet show so far from the ends of its box.
_ENDS_RATIO = 0.15
# Where a figure is cut, in shares of its height: below the hip, or above the knee.
_UPPER_PART_END_RATIOS, _LOWER_PART_START_RATIOS = (0.45, 0.75), (0.3, 0.5)
_WEIGHT_DECAY = 2e-2
_ABSENT_VIEW_LOGIT = -1e4

ViewExample = tuple[TrainingImage, ImageView]


def iterate_examples(
    kind: str, labelled: LabelledDataset, seed: int = 0, split: str = "train"
) -> Iterator[ViewExample]:
    """What a set of a kind (layouts.DATASET_KINDS) says of views: pictures and what each shows, at most MAX_EXAMPLES_PER_VIEW of each view. Raises
    BadDataset for a word of a column `view` that is none."""
    photos = [p for p in labelled.photos if p.split == split]
    rng = np.random.default_rng([seed, len(photos)])
    if VIEW_PREFIX in labelled.label_names:
        found = _labelled_examples(photos)
    elif kind == layouts.CCP:
        found = (
            e for path in dict.fromkeys(p.path for p in photos) for e in _figure_examples(path, rng)
        )
    elif kind == layouts.FASHION_PRODUCT_IMAGES:
        found = (e for i in rng.permutation(len(photos)) for e in _product_examples(photos[i], rng))
    elif kind == layouts.CLOTHING_DATASET:
        found = (
            (prepare_image(crop_item(photos[i])), ImageView.FLAT)
            for i in rng.permutation(len(photos))[:MAX_EXAMPLES_PER_VIEW]
        )
    else:
        return
    counts = dict.fromkeys(ImageView, 0)
    for picture, shows in found:
        if counts[shows] < MAX_EXAMPLES_PER_VIEW:
            counts[shows] += 1
            yield picture, shows
        elif all(counts[v] >= MAX_EXAMPLES_PER_VIEW for v in _VIEWS_BY_KIND.get(kind, ImageView)):
            return


def _labelled_examples(photos: Sequence[LabelledPhoto]) -> Iterator[ViewExample]:
    for photo in photos:
        if (word := photo.labels.get(VIEW_PREFIX)) is not None:
            if word not in tuple(ImageView):
                raise BadDataset(f"{photo.path}: view {word!r}, wanted {', '.join(ImageView)}")
            yield prepare_image(crop_item(photo)), ImageView(word)


def _figure_examples(path: Path, rng: np.random.Generator) -> Iterator[ViewExample]:
    """Of a photo with a mask of a whole figure: the photo, the figure cut out, parts of both, and a piece of the largest garment."""
    folder = path.parents[1]
    mask_path = layouts.DATASET_LAYOUTS[layouts.CCP].mask_path(folder, path.stem)
    if not mask_path.is_file():
        return
    rgb, mask = decode.decode_image(path.read_bytes()), decode.decode_mask(mask_path.read_bytes())
    words = (folder / "labels.txt").read_text(encoding="utf-8").split()
    y0, y1, x0, x1 = _mask_bounds(mask > 0)
    ends = round(_ENDS_RATIO * (y1 - y0))
    head = {words[n] for n in np.unique(mask[y0 : y0 + ends])}
    feet = {
        g
        for n in np.unique(mask[y1 - ends : y1])
        if (g := _find_garment(classes.class_of_ccp_tag, words[n]))
    }
    if not head & {"hair", "skin", "hat"} or SuperCategory.FOOT_WEAR not in {
        g.super_category for g in feet
    }:
        return
    alpha = (mask > 0).astype(np.uint8) * 255
    figure, outline = rgb[y0:y1, x0:x1], alpha[y0:y1, x0:x1]
    yield prepare_image(rgb), ImageView.FIGURE
    yield _paste_on_white(figure, outline), ImageView.FIGURE
    for cut in (
        slice(0, round(rng.uniform(*_UPPER_PART_END_RATIOS) * (y1 - y0))),
        slice(round(rng.uniform(*_LOWER_PART_START_RATIOS) * (y1 - y0)), None),
    ):
        yield (
            (
                _paste_on_white(figure[cut], outline[cut])
                if rng.random() < 0.5
                else prepare_image(figure[cut])
            ),
            ImageView.FRONT,
        )
    sizes = np.bincount(mask.ravel(), minlength=len(words))
    worn = [n for n in np.flatnonzero(sizes) if _find_garment(classes.class_of_ccp_tag, words[n])]
    if (
        worn
        and (piece := _crop_detail(rgb, mask == max(worn, key=lambda n: sizes[n]), rng)) is not None
    ):
        yield prepare_image(piece), ImageView.DETAIL


def _product_examples(photo: LabelledPhoto, rng: np.random.Generator) -> Iterator[ViewExample]:
    """Of a catalogue photo on plain ground: whether somebody wears the thing, and a piece of it."""
    garment = (
        _find_garment(classes.class_of_article_type, photo.labels["type"])
        if "type" in photo.labels
        else None
    )
    rgb = decode.decode_image(photo.path.read_bytes())
    where = scenes.foreground_mask(rgb)
    if garment is None or where is None:
        return
    yield (
        prepare_image(crop_item(photo)),
        ImageView.FRONT if scenes.is_worn(rgb, where, garment.name) else ImageView.FLAT,
    )
    if (piece := _crop_detail(rgb, where, rng)) is not None:
        yield prepare_image(piece), ImageView.DETAIL


def _find_garment(class_of: Callable[[str], GarmentClass | None], word: str) -> GarmentClass | None:
    """What a set's word means; None where it is nothing worn, or a word of its own."""
    try:
        return class_of(word)
    except UnknownLabel:
        return None


def _mask_bounds(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def _paste_on_white(rgb: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> TrainingImage:
    """A thing on white."""
    share = alpha[..., None].astype(np.float32) / 255
    return prepare_image((rgb * share + 255 * (1 - share)).astype(np.uint8))


def _crop_detail(
    rgb: NDArray[np.uint8], mask: NDArray[np.bool_], rng: np.random.Generator
) -> NDArray[np.uint8] | None:
    """A square window that a thing fills; None where none was found."""
    y0, y1, x0, x1 = _mask_bounds(mask)
    for _ in range(8):
        side = round(max(y1 - y0, x1 - x0) * rng.uniform(*_DETAIL_SIDE_RATIOS))
        y, x = (
            int(rng.integers(low, max(low + 1, high - side))) for low, high in ((y0, y1), (x0, x1))
        )
        if side >= _MIN_DETAIL_SIDE_PX and mask[y : y + side, x : x + side].mean() >= rng.uniform(
            *_DETAIL_FILL_RATIOS
        ):
            return rgb[y : y + side, x : x + side]
    return None


def train_view_classifier(
    sets: Sequence[tuple[str, LabelledDataset]],
    arrays: Mapping[str, NDArray[np.floating]],
    seed: int,
    device: str,
    on_images: Callable[[int], None] = lambda count: None,
) -> dict[str, NDArray[np.float16]]:
    """The tensors that let an encoder of these arrays tell views, by name; none where the sets say nothing of views, or of one alone.

    sets: each with its kind. device: "cpu" or "cuda". looked: called with how many more pictures were looked at. Raises BadDataset.
    """
    see = encoders.InferenceRunner(
        "views",
        _PooledHashNet(hashnet.load_hashnet(hashnet.drop_view_arrays(arrays))),
        EFFICIENTNET_LITE0,
        device,
    )
    rows: list[NDArray[np.float32]] = []
    views: list[ImageView] = []
    waiting: list[NDArray[np.uint8]] = []

    def look() -> None:
        if waiting:
            rows.append(see(waiting))
            on_images(len(waiting))
            waiting.clear()

    for kind, labelled in sets:
        for picture, shows in iterate_examples(kind, labelled, seed):
            waiting.append(augment_and_blur(picture, [seed, len(views)]))
            views.append(shows)
            if len(waiting) == _BATCH_SIZE:
                look()
    look()
    return fit_logistic_regression(np.concatenate(rows), views) if len(set(views)) > 1 else {}


def augment_and_blur(picture: TrainingImage, seed: Sequence[int]) -> NDArray[np.uint8]:
    """A picture as the layer learns from it, uint8 (side, side, 3): moved a little, lit otherwise, at times coarse."""
    rng = np.random.default_rng(list(seed))
    made = augment_image(picture, (), _AUGMENTATION, INPUT_PX, rng)[0]
    if rng.random() >= _BLUR_PROBABILITY:
        return made
    side = int(rng.integers(*_BLUR_SIDE_PX))
    return decode.resize(decode.resize(made, side, side), INPUT_PX, INPUT_PX)


def confusion_counts(
    sets: Sequence[tuple[str, LabelledDataset]],
    arrays: Mapping[str, NDArray[np.floating]],
    seed: int,
    device: str,
    split: str = "test",
) -> Counter[tuple[ImageView, ImageView | None]]:
    """How often an encoder of these arrays, which tells views, says the second (None: it is not sure) of what shows the first, in a split
    of the sets."""
    encoder = encoders.HashNetEncoder("views", arrays, device)
    counts: Counter[tuple[ImageView, ImageView | None]] = Counter()
    for kind, labelled in sets:
        found = list(iterate_examples(kind, labelled, seed, split))
        for start in range(0, len(found), _BATCH_SIZE):
            part = found[start : start + _BATCH_SIZE]
            counts.update(
                zip(
                    (v for _, v in part),
                    encoder.encode([p.rgb for p, _ in part]).views,
                    strict=True,
                )
            )
    return counts


class _PooledHashNet(nn.Module):
    def __init__(self, network: hashnet.HashNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, squares: Tensor) -> Tensor:
        return self.network.upper_features(self.network.stem(squares))[1]


def fit_logistic_regression(
    features: NDArray[np.float32], views: Sequence[ImageView]
) -> dict[str, NDArray[np.float16]]:
    """The tensors that tell views, float16 by name, as an encoder's file keeps them: logistic regression on pooled features, float32
    (n, 1280), in which every view that has examples counts the same."""
    labels = torch.tensor([list(ImageView).index(v) for v in views])
    counts = torch.bincount(labels, minlength=len(ImageView)).float()
    weights = torch.where(counts > 0, len(labels) / counts.clamp(min=1), 0.0)
    mean, spread = (
        torch.from_numpy(features.mean(axis=0)),
        torch.from_numpy(features.std(axis=0) + 1e-2),
    )
    rows = (torch.from_numpy(features) - mean) / spread
    weight, bias = (
        torch.zeros(len(ImageView), rows.shape[1], requires_grad=True),
        torch.zeros(len(ImageView), requires_grad=True),
    )
    never = torch.where(counts > 0, 0.0, _ABSENT_VIEW_LOGIT)
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
        made = {
            f"{VIEW_PREFIX}.weight": scaled,
            f"{VIEW_PREFIX}.bias": bias + never - scaled @ mean,
        }
    return {name: tensor.numpy().astype(np.float16) for name, tensor in made.items()}
