"""Labelled images of every kind as one record: an image and a map of its items.

Street photos come with masks. A catalogue photo of one thing on plain ground has a mask for free:
its foreground.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from scipy import ndimage

from wearalike.detection.classes import CLASS_NAMES, GARMENT_CLASS_BY_NAME
from wearalike.imaging import colour, decode
from wearalike.metrics import colour_space
from wearalike.tables import SuperCategory

# Longer side of a scene in memory, in px: more than any network here takes, to allow for zooms.
MAX_SIDE_PX = 640
# An instance map is uint8, and 0 means no item.
MAX_ITEMS = 255
# Longer side of the image in which the foreground is found, in px.
_MASK_SIDE_PX = 128
# A part of a mask smaller than this share of its largest part is a slip of the labeller's brush.
_SPECK_RATIO = 0.1
# Share of the plain grounds that are not white.
_TINTED_GROUND_SHARE = 0.5
# If more of an item's pixels have the colour of skin, somebody wears it and is foreground as well.
_MAX_SKIN_RATIO = 0.02
# These are photographed alone whatever their colour: most leather has the colour of skin.
_UNWORN_SUPER_CATEGORIES = (SuperCategory.FOOT_WEAR, SuperCategory.BAGS, SuperCategory.ACCESSORIES)


@dataclass(frozen=True, slots=True)
class LabelledScene:
    """An image and its items.

    Attributes:
        rgb: uint8 (h, w, 3).
        instance_map: uint8 (h, w). 0 where there is no item, i where item i is, from 1.
        classes: int64 (n,). Positions in classes.CLASS_NAMES; row i is item i + 1.
    """

    rgb: NDArray[np.uint8]
    instance_map: NDArray[np.uint8]
    classes: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class CompressedScene:
    """A labelled scene as it is kept in memory.

    Attributes:
        rgb_jpeg: The image as a JPEG file.
        instance_map_png: The instance map as a PNG file.
        classes: Positions in classes.CLASS_NAMES; entry i is item i + 1.
    """

    rgb_jpeg: bytes
    instance_map_png: bytes
    classes: tuple[int, ...]

    def decompress(self) -> LabelledScene:
        """Decode the scene.

        Returns:
            The scene.
        """
        return LabelledScene(
            decode.decode_image(self.rgb_jpeg),
            np.asarray(Image.open(io.BytesIO(self.instance_map_png))),
            np.array(self.classes, np.int64),
        )


def compress_scene(scene: LabelledScene) -> CompressedScene:
    """Encode a scene, scaled down to MAX_SIDE_PX.

    Args:
        scene: The scene.

    Returns:
        The encoded scene.
    """
    height, width = scene.instance_map.shape
    scale = min(1.0, MAX_SIDE_PX / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    jpeg = io.BytesIO()
    png = io.BytesIO()
    image = Image.fromarray(scene.rgb).resize(size, Image.Resampling.BILINEAR)
    image.save(jpeg, "JPEG", quality=92)
    items = Image.fromarray(scene.instance_map).resize(size, Image.Resampling.NEAREST)
    items.save(png, "PNG", compress_level=1)
    return CompressedScene(jpeg.getvalue(), png.getvalue(), tuple(scene.classes.tolist()))


def scene_from_mask(
    rgb: NDArray[np.uint8], mask: NDArray[np.uint8], class_names: Sequence[str | None]
) -> LabelledScene:
    """Build a scene from a photo with a mask.

    A class worn in pairs gives an item for each connected part; any other gives one item a label.

    Args:
        rgb: uint8 (h, w, 3).
        mask: uint8 (h, w). Number of a label a pixel.
        class_names: The class of each label; None for background and labels to ignore.

    Returns:
        The scene, with at most MAX_ITEMS items.
    """
    instance_map = np.zeros(mask.shape, np.uint8)
    classes: list[int] = []
    for number in np.unique(mask).tolist():
        name = class_names[number]
        if name is None:
            continue
        parts, count = ndimage.label(mask == number, np.ones((3, 3)))
        sizes = np.bincount(parts.ravel(), minlength=count + 1)[1:]
        large = np.flatnonzero(sizes >= _SPECK_RATIO * sizes.max()) + 1
        is_paired = GARMENT_CLASS_BY_NAME[name].is_worn_in_pairs
        for group in [[part] for part in large] if is_paired else [large]:
            if len(classes) < MAX_ITEMS:
                classes.append(CLASS_NAMES.index(name))
                instance_map[np.isin(parts, group)] = len(classes)
    return LabelledScene(rgb, instance_map, np.array(classes, np.int64))


def lay_on_plain_ground(rgb: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Replace all but a figure by a plain, light ground, as shops photograph it.

    Args:
        rgb: uint8 (h, w, 3).
        mask: bool (h, w). The figure with all that it wears.

    Returns:
        uint8 (h, w, 3). The ground's colour depends on the picture alone; half of them are white.
    """
    rng = np.random.default_rng(zlib.crc32(rgb[::16, ::16].tobytes()))
    ground = np.full(3, 255.0)
    if rng.random() < _TINTED_GROUND_SHARE:
        ground = rng.uniform(190, 250) + rng.uniform(-6, 6, 3)
    alpha = Image.fromarray(mask.astype(np.uint8) * 255).filter(ImageFilter.GaussianBlur(1))
    share = np.asarray(alpha, np.float32)[..., None] / 255
    laid: NDArray[np.uint8] = (rgb * share + ground * (1 - share)).clip(0, 255).astype(np.uint8)
    return laid


def scene_from_plain_photo(rgb: NDArray[np.uint8], name: str) -> LabelledScene | None:
    """Build a scene from a photo of one thing on plain ground: the foreground is the item.

    Args:
        rgb: uint8 (h, w, 3).
        name: Class of the thing.

    Returns:
        The scene; None if the ground is not plain, or skin shows that somebody wears the thing.
    """
    mask = foreground_mask(rgb)
    if mask is None or is_worn(rgb, mask, name):
        return None
    classes = np.array([CLASS_NAMES.index(name)], np.int64)
    return LabelledScene(rgb, mask.astype(np.uint8), classes)


def scene_from_boxes(
    rgb: NDArray[np.uint8], boxes: NDArray[np.floating], classes: NDArray[np.int64]
) -> LabelledScene:
    """Build a scene from a photo with boxes: the foreground inside a box is its item.

    Smaller boxes cover larger ones. Where the ground is not plain, all of a box is its item.

    Args:
        rgb: uint8 (h, w, 3).
        boxes: float (n, 4). x0 y0 x1 y1 in px.
        classes: int64 (n,). Positions in classes.CLASS_NAMES.

    Returns:
        The scene.
    """
    mask = foreground_mask(rgb)
    instance_map = np.zeros(rgb.shape[:2], np.uint8)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    for i in np.argsort(-areas):
        x0, y0, x1, y1 = (round(float(v)) for v in boxes[i])
        window = (slice(max(0, y0), max(0, y1)), slice(max(0, x0), max(0, x1)))
        target = instance_map[window]
        target[np.ones_like(target, bool) if mask is None else mask[window]] = i + 1
    return LabelledScene(rgb, instance_map, classes)


def foreground_mask(rgb: NDArray[np.uint8]) -> NDArray[np.bool_] | None:
    """Find where an image differs from its plain ground.

    Args:
        rgb: uint8 (h, w, 3).

    Returns:
        bool (h, w), holes closed; None if the ground is not plain or nothing differs from it.
    """
    height, width = rgb.shape[:2]
    scale = min(1.0, _MASK_SIDE_PX / max(height, width))
    small = decode.resize(rgb, max(1, round(width * scale)), max(1, round(height * scale)))
    mask = colour.foreground_mask(colour_space.rgb_to_lab(small))
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
    """Tell if somebody wears a thing: skin shows, and it is no shoe, bag or accessory.

    Args:
        rgb: uint8 (h, w, 3).
        mask: bool (h, w). The foreground.
        name: Class of the thing.

    Returns:
        True if the thing is worn.
    """
    if GARMENT_CLASS_BY_NAME[name].super_category in _UNWORN_SUPER_CATEGORIES:
        return False
    return skin_ratio(rgb, mask) > _MAX_SKIN_RATIO


def skin_ratio(rgb: NDArray[np.uint8], mask: NDArray[np.bool_]) -> float:
    """Return the share of pixels that have the colour of skin, dark or light.

    That is Cb 77..127 and Cr 133..173 (Chai and Ngan, IEEE TCSVT 1999).

    Args:
        rgb: uint8 (h, w, 3).
        mask: bool (h, w). The pixels to count.

    Returns:
        0..1.
    """
    r, g, b = rgb[mask].astype(np.float32).T
    cb = 128 - 0.169 * r - 0.331 * g + 0.5 * b
    cr = 128 + 0.5 * r - 0.419 * g - 0.081 * b
    return float(((cb >= 77) & (cb <= 127) & (cr >= 133) & (cr <= 173)).mean())


def instance_boxes(instance_map: NDArray[np.uint8], count: int) -> NDArray[np.float64]:
    """Return the boxes of the items of a map.

    Args:
        instance_map: uint8 (h, w). It has every item from 1 to `count`.
        count: Number of items.

    Returns:
        float64 (count, 4). x0 y0 x1 y1 in px.
    """
    slices = ndimage.find_objects(instance_map, count)
    corners = [(x.start, y.start, x.stop, y.stop) for y, x in slices]
    return np.array(corners, np.float64).reshape(count, 4)
