"""Labelled pictures of every kind as one record, and what the detector's trainer is shown of them.

Street photos come with masks. A catalogue photo of one thing on plain ground has one for free: what stands out. Such things are
shown as they are and cut out, several together, on parts of street photos where nobody stands. Every scene is a function of a
seed alone, so a training that stops and goes on sees what it would have seen.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from scipy import ndimage

from wearalike.detection.classes import CLASS_NAMES, GARMENT_CLASS_BY_NAME
from wearalike.imaging import colour, decode
from wearalike.tables import SuperCategory

# Pictures are kept at most this large while training: more than any network here looks at, to allow for zooming in.
MAX_SIDE_PX = 640
_MASK_SIDE_PX = 128
# A part of a mask smaller than this share of its largest part is a slip of the labeller's brush.
_SPECK_RATIO = 0.1
# More of an item's pixels than this of the colour of skin: it is worn by somebody, who stands out as well.
_MAX_SKIN_RATIO = 0.02
# What is photographed alone whatever its colour: most leather has the colour of skin.
_UNWORN_SUPER_CATEGORIES = (SuperCategory.FOOT_WEAR, SuperCategory.BAGS, SuperCategory.ACCESSORIES)
_MIN_BACKGROUND_RATIO = 0.15


@dataclass(frozen=True, slots=True)
class LabelledScene:
    """A picture and its items. rgb: uint8 (h, w, 3). items: uint8 (h, w), 0 where none is, i where item i is, from 1.
    classes: int64 (n,), positions in classes.CLASS_NAMES; row i is item i + 1."""

    rgb: NDArray[np.uint8]
    instance_map: NDArray[np.uint8]
    classes: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class CompressedScene:
    """A labelled picture as it is kept in memory: two small files and its classes."""

    rgb_jpeg: bytes
    instance_map_png: bytes
    classes: tuple[int, ...]

    def decompress(self) -> LabelledScene:
        return LabelledScene(
            decode.decode_image(self.rgb_jpeg),
            np.asarray(Image.open(io.BytesIO(self.instance_map_png))),
            np.array(self.classes, np.int64),
        )


@dataclass(frozen=True, slots=True)
class SceneSource:
    """Pictures of one kind. chances: float64 (n,), summing to 1, how often each is shown. share: how often this source is, against
    the others. together: how many are cut out and laid on a ground of another picture, at most; 0: they are shown as they are."""

    name: str
    pictures: Sequence[CompressedScene]
    probabilities: NDArray[np.float64]
    share: float
    max_pasted_items: int = 0


@dataclass(frozen=True, slots=True)
class SceneAugmentationConfig:
    """How far scenes stray from their pictures. zoom: half width of the logarithm's uniform range; turn_degrees, shift_ratio:
    half widths; light, tint: standard deviations of the logarithm of the channels' gain, of all and of each."""

    zoom_in: float = 0.6
    zoom_out: float = 0.25
    turn_degrees: float = 6.0
    shift_ratio: float = 0.15
    light: float = 0.2
    tint: float = 0.05


def scene_from_mask(
    rgb: NDArray[np.uint8], mask: NDArray[np.uint8], class_names: Sequence[str | None]
) -> LabelledScene:
    """A photo with a mask. mask: uint8 (h, w), a label's number a pixel. class_of: the class of each label's number, None for ground
    and what is ignored. A class worn in pairs gives an item for each connected part, another one item a label."""
    items = np.zeros(mask.shape, np.uint8)
    classes: list[int] = []
    for number in np.unique(mask).tolist():
        name = class_names[number]
        if name is None:
            continue
        parts, count = ndimage.label(mask == number, np.ones((3, 3)))
        sizes = np.bincount(parts.ravel(), minlength=count + 1)[1:]
        kept = np.flatnonzero(sizes >= _SPECK_RATIO * sizes.max()) + 1
        for group in (
            [[k] for k in kept] if GARMENT_CLASS_BY_NAME[name].is_worn_in_pairs else [kept]
        ):
            if len(classes) < 255:
                classes.append(CLASS_NAMES.index(name))
                items[np.isin(parts, group)] = len(classes)
    return LabelledScene(rgb, items, np.array(classes, np.int64))


def scene_from_plain_photo(rgb: NDArray[np.uint8], name: str) -> LabelledScene | None:
    """A photo of one thing on plain ground: all that stands out is the item. None where the ground is not plain, or where skin
    shows that somebody wears it."""
    found = foreground_mask(rgb)
    if found is None or is_worn(rgb, found, name):
        return None
    return LabelledScene(rgb, found.astype(np.uint8), np.array([CLASS_NAMES.index(name)], np.int64))


def scene_from_boxes(
    rgb: NDArray[np.uint8], boxes: NDArray[np.floating], classes: NDArray[np.int64]
) -> LabelledScene:
    """A photo with boxes, float (n, 4), x0 y0 x1 y1 in px: all that stands out inside them, smaller ones before larger ones."""
    found = foreground_mask(rgb)
    items = np.zeros(rgb.shape[:2], np.uint8)
    sizes = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    for i in np.argsort(-sizes):
        x0, y0, x1, y1 = (round(float(v)) for v in boxes[i])
        part = (slice(max(0, y0), max(0, y1)), slice(max(0, x0), max(0, x1)))
        items[part][np.ones_like(items[part], bool) if found is None else found[part]] = i + 1
    return LabelledScene(rgb, items, classes)


def foreground_mask(rgb: NDArray[np.uint8]) -> NDArray[np.bool_] | None:
    """Where a picture differs from its plain ground, bool (h, w), holes closed; None where the ground is not plain."""
    height, width = rgb.shape[:2]
    scale = min(1.0, _MASK_SIDE_PX / max(height, width))
    small = decode.resize(rgb, max(1, round(width * scale)), max(1, round(height * scale)))
    mask = colour.foreground_mask(colour.rgb_to_lab(small))
    if mask is None:
        return None
    closed = (
        Image.fromarray(mask.astype(np.uint8) * 255)
        .filter(ImageFilter.MaxFilter(5))
        .filter(ImageFilter.MinFilter(5))
    )
    solid = np.asarray(closed.resize((width, height), Image.Resampling.BILINEAR)) > 127
    return solid if solid.any() else None


def is_worn(rgb: NDArray[np.uint8], mask: NDArray[np.bool_], name: str) -> bool:
    """Whether somebody wears what stands out, `where`: skin shows it, but in a photo of a shoe or a bag."""
    return (
        GARMENT_CLASS_BY_NAME[name].super_category not in _UNWORN_SUPER_CATEGORIES
        and skin_ratio(rgb, mask) > _MAX_SKIN_RATIO
    )


def skin_ratio(rgb: NDArray[np.uint8], mask: NDArray[np.bool_]) -> float:
    """Share of the pixels `where` that have the colour of skin, dark or light (Chai and Ngan, IEEE TCSVT 1999: Cb 77..127,
    Cr 133..173)."""
    r, g, b = rgb[mask].astype(np.float32).T
    cb, cr = 128 - 0.169 * r - 0.331 * g + 0.5 * b, 128 + 0.5 * r - 0.419 * g - 0.081 * b
    return float(((cb >= 77) & (cb <= 127) & (cr >= 133) & (cr <= 173)).mean())


def compress_scene(picture: LabelledScene) -> CompressedScene:
    """The picture at most KEPT_PX large, as a JPEG, and its items as a PNG."""
    scale = min(1.0, MAX_SIDE_PX / max(picture.instance_map.shape))
    size = tuple(max(1, round(n * scale)) for n in reversed(picture.instance_map.shape))
    rgb, items = io.BytesIO(), io.BytesIO()
    Image.fromarray(picture.rgb).resize(size, Image.Resampling.BILINEAR).save(
        rgb, "JPEG", quality=92
    )
    Image.fromarray(picture.instance_map).resize(size, Image.Resampling.NEAREST).save(
        items, "PNG", compress_level=1
    )
    return CompressedScene(rgb.getvalue(), items.getvalue(), tuple(picture.classes.tolist()))


def sampling_probabilities(classes: Sequence[int]) -> NDArray[np.float64]:
    """Chances of pictures of one class each, such that a class is shown as often as the square root of its number."""
    numbers = np.bincount(classes)
    chances = 1 / np.sqrt(numbers[np.asarray(classes)])
    return chances / chances.sum()


def compose_scene(
    sources: Sequence[SceneSource],
    backgrounds: Sequence[CompressedScene],
    variation: SceneAugmentationConfig,
    side_px: int,
    rng: np.random.Generator,
) -> LabelledScene:
    """A scene of side_px x side_px. grounds: photos of which parts without any item are laid behind what is cut out."""
    shares = np.array([s.share for s in sources])
    source = sources[int(rng.choice(len(sources), p=shares / shares.sum()))]
    if not source.max_pasted_items or not backgrounds:
        return augment_scene(
            source.pictures[
                int(rng.choice(len(source.pictures), p=source.probabilities))
            ].decompress(),
            variation,
            side_px,
            rng,
        )
    numbers = rng.choice(
        len(source.pictures),
        int(rng.integers(1, source.max_pasted_items + 1)),
        p=source.probabilities,
    )
    made = crop_background(
        backgrounds[int(rng.integers(len(backgrounds)))].decompress(), side_px, rng
    )
    for number in numbers.tolist():
        made = _paste_item(
            made, jitter_colours(source.pictures[number].decompress(), variation, rng), rng
        )
    return made


def augment_scene(
    picture: LabelledScene,
    variation: SceneAugmentationConfig,
    side_px: int,
    rng: np.random.Generator,
) -> LabelledScene:
    """The picture on a white square as `decode.letterbox` would lay it, but zoomed, turned, shifted, lit otherwise, perhaps mirrored."""
    v, (height, width) = variation, picture.rgb.shape[:2]
    zoom = side_px / max(height, width) * float(np.exp(rng.uniform(-v.zoom_out, v.zoom_in)))
    angle = np.deg2rad(rng.uniform(-v.turn_degrees, v.turn_degrees))
    # Zoomed in, the window may wander over all of the picture.
    spare = np.maximum(0, np.array([width, height]) * zoom - side_px) / 2 + v.shift_ratio * side_px
    shift = rng.uniform(-spare, spare)
    mirror = -1.0 if rng.random() < 0.5 else 1.0
    # Pillow wants the way back: from a pixel of the square to one of the picture.
    c, s = np.cos(angle) / zoom, np.sin(angle) / zoom
    back = np.array([[mirror * c, mirror * s], [-s, c]])
    origin = np.array([width / 2, height / 2]) - back @ (side_px / 2 + shift)
    matrix = (back[0, 0], back[0, 1], origin[0], back[1, 0], back[1, 1], origin[1])
    rgb, items = (
        np.asarray(
            Image.fromarray(a).transform(
                (side_px, side_px), Image.Transform.AFFINE, matrix, how, fillcolor=fill
            )
        )
        for a, how, fill in (
            (picture.rgb, Image.Resampling.BILINEAR, (255, 255, 255)),
            (picture.instance_map, Image.Resampling.NEAREST, 0),
        )
    )
    sizes = np.bincount(picture.instance_map.ravel(), minlength=256) * zoom**2
    return _drop_hidden_items(
        jitter_colours(LabelledScene(rgb, items, picture.classes), v, rng), sizes
    )


def jitter_colours(
    picture: LabelledScene, variation: SceneAugmentationConfig, rng: np.random.Generator
) -> LabelledScene:
    gains = np.exp(rng.normal(0, variation.light) + rng.normal(0, variation.tint, 3)).astype(
        np.float32
    )
    return LabelledScene(
        np.clip(picture.rgb * gains, 0, 255).astype(np.uint8), picture.instance_map, picture.classes
    )


def instance_boxes(instance_map: NDArray[np.uint8], count: int) -> NDArray[np.float64]:
    """The boxes of the items 1..count of a map, uint8 (h, w): float64 (count, 4), x0 y0 x1 y1 in px. Each must be there."""
    found = ndimage.find_objects(instance_map, count)
    return np.array([(x.start, y.start, x.stop, y.stop) for y, x in found], np.float64).reshape(
        count, 4
    )


def _drop_hidden_items(
    picture: LabelledScene,
    sizes: NDArray[np.number],
    min_visible_ratio: float = 0.2,
    min_visible_px: int = 60,
) -> LabelledScene:
    """The picture without the items of which too little is left. sizes: (256,), how many pixels each had when whole."""
    left = np.bincount(picture.instance_map.ravel(), minlength=256)
    kept = [
        i
        for i in range(1, len(picture.classes) + 1)
        if left[i] >= max(min_visible_px, min_visible_ratio * sizes[i])
    ]
    numbers = np.zeros(256, np.uint8)
    numbers[kept] = np.arange(1, len(kept) + 1)
    return LabelledScene(
        picture.rgb, numbers[picture.instance_map], picture.classes[np.array(kept, np.int64) - 1]
    )


def crop_background(photo: LabelledScene, side_px: int, rng: np.random.Generator) -> LabelledScene:
    """A part of a photo that has no item in it, stretched to the square; plain where there is no such part."""
    nobody = np.zeros((side_px, side_px), np.uint8)
    height, width = photo.instance_map.shape
    for _ in range(8):
        h, w = (
            int(height * rng.uniform(_MIN_BACKGROUND_RATIO, 0.7)),
            int(width * rng.uniform(_MIN_BACKGROUND_RATIO, 0.5)),
        )
        y, x = int(rng.integers(height - h + 1)), int(rng.choice([0, width - w]))
        if not photo.instance_map[y : y + h, x : x + w].any():
            return LabelledScene(
                decode.resize(photo.rgb[y : y + h, x : x + w], side_px, side_px),
                nobody,
                np.zeros(0, np.int64),
            )
    plain = np.broadcast_to(rng.integers(90, 256, 3).astype(np.uint8), (side_px, side_px, 3))
    return LabelledScene(plain.copy(), nobody, np.zeros(0, np.int64))


def _paste_item(
    target: LabelledScene, source: LabelledScene, rng: np.random.Generator
) -> LabelledScene:
    """A thing cut out and laid somewhere on a scene."""
    (box,) = instance_boxes((source.instance_map > 0).astype(np.uint8), 1).astype(int)
    part = (slice(box[1], box[3]), slice(box[0], box[2]))
    side, mirror = target.rgb.shape[0], rng.random() < 0.5
    scale = (
        side
        * float(np.exp(rng.uniform(np.log(0.2), np.log(0.75))))
        / max(box[2] - box[0], box[3] - box[1])
    )
    size = max(2, round((box[2] - box[0]) * scale)), max(2, round((box[3] - box[1]) * scale))
    rgb, alpha = (
        np.asarray(
            Image.fromarray(np.ascontiguousarray(a[:, ::-1] if mirror else a)).resize(
                size, Image.Resampling.BILINEAR
            )
        )
        for a in (source.rgb[part], (source.instance_map[part] > 0).astype(np.uint8) * 255)
    )
    y, x = int(rng.integers(side - size[1] + 1)), int(rng.integers(side - size[0] + 1))
    there = (slice(y, y + size[1]), slice(x, x + size[0]))
    made, items = target.rgb.copy(), target.instance_map.copy()
    before = np.bincount(items.ravel(), minlength=256)
    share = alpha[..., None].astype(np.float32) / 255
    made[there] = (rgb * share + made[there] * (1 - share)).astype(np.uint8)
    items[there][alpha > 127] = len(target.classes) + 1
    before[len(target.classes) + 1] = 0
    return _drop_hidden_items(
        LabelledScene(made, items, np.append(target.classes, source.classes[:1])), before
    )
