"""Labelled photos -> examples of views (tables.ImageView).

A column `view` gives them directly. The public datasets have no such column, but they imply views.
A mask with head and shoes belongs to a whole figure; parts of the figure and pieces of its garments
can be cropped. In a catalogue, skin shows that somebody wears a thing. Nothing implies a back view,
and the classifier never predicts a view without examples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wearalike.datasets import layouts
from wearalike.datasets.labelled_photos import LabelledDataset, LabelledPhoto
from wearalike.datasets.layouts import BadDataset
from wearalike.detection import classes
from wearalike.detection.classes import GarmentClass, UnknownLabel
from wearalike.imaging import decode
from wearalike.tables import ImageView, SuperCategory
from wearalike.training.augmentation import alpha_blend
from wearalike.training.detector import scenes
from wearalike.training.encoder.augment import TrainingImage, prepare_image
from wearalike.training.encoder.item_crops import crop_item

# Examples of one view that a set gives at most.
MAX_EXAMPLES_PER_VIEW = 1200
# Views that each public dataset can show, so that no more photos are opened than needed.
_VIEWS_BY_KIND = {
    layouts.CCP: (ImageView.FIGURE, ImageView.FRONT, ImageView.DETAIL),
    layouts.FASHION_PRODUCT_IMAGES: (ImageView.FRONT, ImageView.DETAIL, ImageView.FLAT),
    layouts.CLOTHING_DATASET: (ImageView.FLAT,),
}
# Side of a detail's square window, in shares of the thing's longer side.
_DETAIL_SIDE_RATIOS = (0.18, 0.38)
# Range of the share of the window that the thing must fill.
_DETAIL_FILL_RATIOS = (0.6, 1.0)
_DETAIL_TRIES = 8
# Smaller windows show nothing.
_MIN_DETAIL_SIDE_PX = 24
# Parts of a figure's box, from its ends, that must show head and feet.
_ENDS_RATIO = 0.15
# Where a figure is cut, in shares of its height: below the hip, or above the knee.
_UPPER_PART_END_RATIOS = (0.45, 0.75)
_LOWER_PART_START_RATIOS = (0.3, 0.5)
_HEAD_TAGS = frozenset({"hair", "skin", "hat"})
_WHITE = 255

ViewExample = tuple[TrainingImage, ImageView]


def iterate_examples(
    kind: str, labelled: LabelledDataset, seed: int = 0, split: str = "train"
) -> Iterator[ViewExample]:
    """Yield the examples of views in a labelled set.

    Args:
        kind: Kind of the set (layouts.DATASET_KINDS).
        labelled: The set.
        seed: Seed of the crops and of the order of photos.
        split: Split of the set.

    Yields:
        An image and its view, at most MAX_EXAMPLES_PER_VIEW of each view.

    Raises:
        BadDataset: A column `view` has a word that is no view.
    """
    photos = [p for p in labelled.photos if p.split == split]
    wanted_views = _VIEWS_BY_KIND.get(kind, tuple(ImageView))
    counts = dict.fromkeys(ImageView, 0)
    for image, view in _all_examples(kind, labelled, photos, seed):
        if counts[view] < MAX_EXAMPLES_PER_VIEW:
            counts[view] += 1
            yield image, view
        elif all(counts[v] >= MAX_EXAMPLES_PER_VIEW for v in wanted_views):
            return


def _all_examples(
    kind: str, labelled: LabelledDataset, photos: Sequence[LabelledPhoto], seed: int
) -> Iterator[ViewExample]:
    """Yield the examples that a set's column `view` or its kind gives."""
    rng = np.random.default_rng([seed, len(photos)])
    if any(photo.view for photo in labelled.photos):
        yield from _labelled_examples(photos)
    elif kind == layouts.CCP:
        for path in dict.fromkeys(p.path for p in photos):
            yield from _figure_examples(path, rng)
    elif kind == layouts.FASHION_PRODUCT_IMAGES:
        for i in rng.permutation(len(photos)):
            yield from _product_examples(photos[i], rng)
    elif kind == layouts.CLOTHING_DATASET:
        for i in rng.permutation(len(photos))[:MAX_EXAMPLES_PER_VIEW]:
            yield prepare_image(crop_item(photos[i].path, photos[i].box)), ImageView.FLAT


def _labelled_examples(photos: Sequence[LabelledPhoto]) -> Iterator[ViewExample]:
    """Yield the photos that have a word in the column `view`."""
    for photo in photos:
        word = photo.view
        if not word:
            continue
        if word not in tuple(ImageView):
            raise BadDataset(f"{photo.path}: view {word!r}, wanted {', '.join(ImageView)}")
        yield prepare_image(crop_item(photo.path, photo.box)), ImageView(word)


def _figure_examples(path: Path, rng: np.random.Generator) -> Iterator[ViewExample]:
    """Yield examples of a photo whose mask shows a whole figure.

    They are the photo, the figure cut out, parts of both, and a piece of the largest garment.
    """
    folder = path.parents[1]
    mask_path = layouts.DATASET_LAYOUTS[layouts.CCP].mask_path(folder, path.stem)
    if not mask_path.is_file():
        return
    rgb = decode.decode_image(path.read_bytes())
    mask = decode.decode_mask(mask_path.read_bytes())
    tags = (folder / "labels.txt").read_text(encoding="utf-8").split()
    y0, y1, x0, x1 = _mask_bounds(mask > 0)
    if not _is_whole_figure(mask[y0:y1], tags):
        return
    alpha = (mask > 0).astype(np.uint8) * 255
    figure = rgb[y0:y1, x0:x1]
    outline = alpha[y0:y1, x0:x1]
    yield prepare_image(rgb), ImageView.FIGURE
    yield _paste_on_white(figure, outline), ImageView.FIGURE
    upper = slice(0, round(rng.uniform(*_UPPER_PART_END_RATIOS) * (y1 - y0)))
    lower = slice(round(rng.uniform(*_LOWER_PART_START_RATIOS) * (y1 - y0)), None)
    yield _figure_part(figure, outline, upper, rng), ImageView.FRONT
    yield _figure_part(figure, outline, lower, rng), ImageView.FRONT
    sizes = np.bincount(mask.ravel(), minlength=len(tags))
    worn = [n for n in np.flatnonzero(sizes) if _find_garment(classes.class_of_ccp_tag, tags[n])]
    if not worn:
        return
    largest = max(worn, key=lambda n: sizes[n])
    detail = _crop_detail(rgb, mask == largest, rng)
    if detail is not None:
        yield prepare_image(detail), ImageView.DETAIL


def _is_whole_figure(figure_mask: NDArray[np.uint8], tags: Sequence[str]) -> bool:
    """Tell if the upper end of a figure shows a head, and the lower end shoes."""
    ends = round(_ENDS_RATIO * len(figure_mask))
    upper_tags = {tags[n] for n in np.unique(figure_mask[:ends])}
    lower_tags = [tags[n] for n in np.unique(figure_mask[len(figure_mask) - ends :])]
    lower_garments = [_find_garment(classes.class_of_ccp_tag, tag) for tag in lower_tags]
    has_shoes = any(g and g.super_category == SuperCategory.FOOT_WEAR for g in lower_garments)
    return bool(upper_tags & _HEAD_TAGS) and has_shoes


def _figure_part(
    figure: NDArray[np.uint8],
    outline: NDArray[np.uint8],
    rows: slice,
    rng: np.random.Generator,
) -> TrainingImage:
    """Return some rows of a figure, cut out or on their own background with equal chance."""
    if rng.random() < 0.5:
        return _paste_on_white(figure[rows], outline[rows])
    return prepare_image(figure[rows])


def _product_examples(photo: LabelledPhoto, rng: np.random.Generator) -> Iterator[ViewExample]:
    """Yield a catalogue photo on plain ground, worn or flat, and a piece of its item."""
    garment = None
    if "type" in photo.labels:
        garment = _find_garment(classes.class_of_article_type, photo.labels["type"])
    rgb = decode.decode_image(photo.path.read_bytes())
    mask = scenes.foreground_mask(rgb)
    if garment is None or mask is None:
        return
    is_worn = scenes.is_worn(rgb, mask, garment.name)
    item = prepare_image(crop_item(photo.path, photo.box))
    yield item, ImageView.FRONT if is_worn else ImageView.FLAT
    detail = _crop_detail(rgb, mask, rng)
    if detail is not None:
        yield prepare_image(detail), ImageView.DETAIL


def _find_garment(class_of: Callable[[str], GarmentClass | None], word: str) -> GarmentClass | None:
    """Return the class of a set's word; None if nothing is worn, or the word is unknown."""
    try:
        return class_of(word)
    except UnknownLabel:
        return None


def _mask_bounds(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """Return first row, end row, first column and end column of a mask."""
    rows = np.flatnonzero(mask.any(axis=1))
    columns = np.flatnonzero(mask.any(axis=0))
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def _paste_on_white(rgb: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> TrainingImage:
    """Return a thing cut out and laid on white."""
    return prepare_image(alpha_blend(rgb, _WHITE, alpha))


def _crop_detail(
    rgb: NDArray[np.uint8], mask: NDArray[np.bool_], rng: np.random.Generator
) -> NDArray[np.uint8] | None:
    """Crop a square window that a thing mostly fills; None if none was found."""
    y0, y1, x0, x1 = _mask_bounds(mask)
    for _ in range(_DETAIL_TRIES):
        side = round(max(y1 - y0, x1 - x0) * rng.uniform(*_DETAIL_SIDE_RATIOS))
        y = int(rng.integers(y0, max(y0 + 1, y1 - side)))
        x = int(rng.integers(x0, max(x0 + 1, x1 - side)))
        if side < _MIN_DETAIL_SIDE_PX:
            continue
        filled_ratio = mask[y : y + side, x : x + side].mean()
        if filled_ratio >= rng.uniform(*_DETAIL_FILL_RATIOS):
            return rgb[y : y + side, x : x + side]
    return None
