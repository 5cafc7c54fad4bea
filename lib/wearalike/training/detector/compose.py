"""Scenes that the detector's trainer draws from labelled images.

An image is shown as it is, moved and lit otherwise. Or items are cut out of several images and
pasted on a part of a street photo where nobody stands (copy-paste augmentation). Every scene is a
function of a seed alone, so a training that stops and resumes sees the same scenes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wearalike.imaging import decode
from wearalike.training.augmentation import (
    alpha_blend,
    output_to_input_affine,
    random_channel_gains,
    random_mirror,
)
from wearalike.training.detector.scenes import CompressedScene, LabelledScene, instance_boxes

# Smallest and largest part of a photo that becomes a background, in shares of its sides.
_MIN_BACKGROUND_RATIO = 0.15
_MAX_BACKGROUND_HEIGHT_RATIO = 0.7
_MAX_BACKGROUND_WIDTH_RATIO = 0.5
# Tries to find a part without an item.
_BACKGROUND_TRIES = 8
# Longer side of a pasted item, in shares of the scene's side.
_PASTED_SIDE_RATIOS = (0.2, 0.75)
# An item is dropped if less of it is visible than this share of its pixels, or this many px.
_MIN_VISIBLE_RATIO = 0.2
_MIN_VISIBLE_PX = 60


@dataclass(frozen=True, slots=True)
class SceneSource:
    """Images of one kind.

    Attributes:
        name: Name of the source.
        pictures: The images.
        probabilities: float64 (n,). How often each image is drawn; they sum to 1.
        share: How often this source is drawn, against the others.
        max_pasted_items: Most items that are cut out and pasted on the ground of another image.
            0 shows the images as they are.
    """

    name: str
    pictures: Sequence[CompressedScene]
    probabilities: NDArray[np.float64]
    share: float
    max_pasted_items: int = 0


@dataclass(frozen=True, slots=True)
class SceneAugmentationConfig:
    """Strength of the augmentation of scenes.

    Attributes:
        zoom_in: Largest logarithm of the scale.
        zoom_out: Smallest logarithm of the scale, negated.
        turn_degrees: Half width of the turn, in degrees.
        shift_ratio: Half width of the shift, in shares of the square's side.
        light: Standard deviation of the logarithm of the gain of all channels.
        tint: Standard deviation of the logarithm of the gain of each channel.
    """

    zoom_in: float = 1.0
    zoom_out: float = 0.25
    turn_degrees: float = 6.0
    shift_ratio: float = 0.15
    light: float = 0.2
    tint: float = 0.05


def sampling_probabilities(classes: Sequence[int]) -> NDArray[np.float64]:
    """Return probabilities that show a class as often as the square root of its count.

    Args:
        classes: The class of each image.

    Returns:
        float64 (n,), summing to 1.
    """
    counts = np.bincount(classes)
    weights = 1 / np.sqrt(counts[np.asarray(classes)])
    return weights / weights.sum()


def compose_scene(
    sources: Sequence[SceneSource],
    backgrounds: Sequence[CompressedScene],
    config: SceneAugmentationConfig,
    side_px: int,
    rng: np.random.Generator,
) -> LabelledScene:
    """Draw a scene.

    Args:
        sources: Sources to draw from.
        backgrounds: Photos whose parts without any item are laid behind pasted items.
        config: Strength of the augmentation.
        side_px: Side of the scene in px.
        rng: Source of randomness.

    Returns:
        A scene of side_px x side_px.
    """
    shares = np.array([source.share for source in sources])
    source = sources[int(rng.choice(len(sources), p=shares / shares.sum()))]
    pictures_count = len(source.pictures)
    if not source.max_pasted_items or not backgrounds:
        number = int(rng.choice(pictures_count, p=source.probabilities))
        return augment_scene(source.pictures[number].decompress(), config, side_px, rng)
    items_count = int(rng.integers(1, source.max_pasted_items + 1))
    numbers = rng.choice(pictures_count, items_count, p=source.probabilities)
    background = backgrounds[int(rng.integers(len(backgrounds)))].decompress()
    scene = crop_background(background, side_px, rng)
    for number in numbers.tolist():
        item = jitter_colours(source.pictures[number].decompress(), config, rng)
        scene = _paste_item(scene, item, rng)
    return scene


def augment_scene(
    scene: LabelledScene, config: SceneAugmentationConfig, side_px: int, rng: np.random.Generator
) -> LabelledScene:
    """Lay a scene on a white square as `decode.letterbox` does, but moved and lit otherwise.

    Args:
        scene: The scene.
        config: Strength of the augmentation.
        side_px: Side of the square in px.
        rng: Source of randomness.

    Returns:
        The scene, without the items that have almost left it.
    """
    height, width = scene.rgb.shape[:2]
    fit = side_px / max(height, width)
    zoom = fit * float(np.exp(rng.uniform(-config.zoom_out, config.zoom_in)))
    angle = np.deg2rad(rng.uniform(-config.turn_degrees, config.turn_degrees))
    # Zoomed in, the window may wander over all of the image.
    overhang = np.maximum(0, np.array([width, height]) * zoom - side_px) / 2
    reach = overhang + config.shift_ratio * side_px
    shift = rng.uniform(-reach, reach)
    affine = output_to_input_affine(
        (width, height), side_px, zoom=zoom, angle=angle, shift=shift, mirror=random_mirror(rng)
    )
    rgb, instance_map = (
        np.asarray(
            Image.fromarray(array).transform(
                (side_px, side_px), Image.Transform.AFFINE, affine, resampling, fillcolor=fill
            )
        )
        for array, resampling, fill in (
            (scene.rgb, Image.Resampling.BILINEAR, (255, 255, 255)),
            (scene.instance_map, Image.Resampling.NEAREST, 0),
        )
    )
    whole_sizes = np.bincount(scene.instance_map.ravel(), minlength=256) * zoom**2
    warped = LabelledScene(rgb, instance_map, scene.classes)
    return _drop_hidden_items(jitter_colours(warped, config, rng), whole_sizes)


def jitter_colours(
    scene: LabelledScene, config: SceneAugmentationConfig, rng: np.random.Generator
) -> LabelledScene:
    """Change the light and the tint of a scene.

    Args:
        scene: The scene.
        config: Strength of the augmentation.
        rng: Source of randomness.

    Returns:
        The scene in other light.
    """
    gains = random_channel_gains(config.light, config.tint, rng).astype(np.float32)
    rgb = np.clip(scene.rgb * gains, 0, 255).astype(np.uint8)
    return LabelledScene(rgb, scene.instance_map, scene.classes)


def crop_background(photo: LabelledScene, side_px: int, rng: np.random.Generator) -> LabelledScene:
    """Crop a part of a photo without any item, at its left or right edge, stretched to a square.

    Args:
        photo: The photo.
        side_px: Side of the square in px.
        rng: Source of randomness.

    Returns:
        A scene without items; of one colour if no such part was found.
    """
    no_items = np.zeros((side_px, side_px), np.uint8)
    no_classes = np.zeros(0, np.int64)
    height, width = photo.instance_map.shape
    for _ in range(_BACKGROUND_TRIES):
        h = int(height * rng.uniform(_MIN_BACKGROUND_RATIO, _MAX_BACKGROUND_HEIGHT_RATIO))
        w = int(width * rng.uniform(_MIN_BACKGROUND_RATIO, _MAX_BACKGROUND_WIDTH_RATIO))
        y = int(rng.integers(height - h + 1))
        x = int(rng.choice([0, width - w]))
        if not photo.instance_map[y : y + h, x : x + w].any():
            part = decode.resize(photo.rgb[y : y + h, x : x + w], side_px, side_px)
            return LabelledScene(part, no_items, no_classes)
    plain_colour = rng.integers(90, 256, 3).astype(np.uint8)
    plain = np.broadcast_to(plain_colour, (side_px, side_px, 3)).copy()
    return LabelledScene(plain, no_items, no_classes)


def _paste_item(
    target: LabelledScene, source: LabelledScene, rng: np.random.Generator
) -> LabelledScene:
    """Cut an item out of its image and paste it somewhere on a scene."""
    (box,) = instance_boxes((source.instance_map > 0).astype(np.uint8), 1).astype(int)
    x0, y0, x1, y1 = box
    window = (slice(y0, y1), slice(x0, x1))
    side = target.rgb.shape[0]
    is_mirrored = rng.random() < 0.5
    low, high = np.log(_PASTED_SIDE_RATIOS)
    scale = side * float(np.exp(rng.uniform(low, high))) / max(x1 - x0, y1 - y0)
    width = max(2, round((x1 - x0) * scale))
    height = max(2, round((y1 - y0) * scale))
    mask = (source.instance_map[window] > 0).astype(np.uint8) * 255
    rgb, alpha = (
        np.asarray(
            Image.fromarray(np.ascontiguousarray(array[:, ::-1] if is_mirrored else array)).resize(
                (width, height), Image.Resampling.BILINEAR
            )
        )
        for array in (source.rgb[window], mask)
    )
    y = int(rng.integers(side - height + 1))
    x = int(rng.integers(side - width + 1))
    where = (slice(y, y + height), slice(x, x + width))
    pasted = target.rgb.copy()
    instance_map = target.instance_map.copy()
    whole_sizes = np.bincount(instance_map.ravel(), minlength=256)
    number = len(target.classes) + 1
    pasted[where] = alpha_blend(rgb, pasted[where], alpha)
    instance_map[where][alpha > 127] = number
    whole_sizes[number] = 0
    classes = np.append(target.classes, source.classes[:1])
    return _drop_hidden_items(LabelledScene(pasted, instance_map, classes), whole_sizes)


def _drop_hidden_items(scene: LabelledScene, whole_sizes: NDArray[np.number]) -> LabelledScene:
    """Drop the items of which too little is visible.

    Args:
        scene: The scene.
        whole_sizes: (256,). Pixels of each item when it was whole.
    """
    visible_sizes = np.bincount(scene.instance_map.ravel(), minlength=256)
    visible = [
        i
        for i in range(1, len(scene.classes) + 1)
        if visible_sizes[i] >= max(_MIN_VISIBLE_PX, _MIN_VISIBLE_RATIO * whole_sizes[i])
    ]
    new_numbers = np.zeros(256, np.uint8)
    new_numbers[visible] = np.arange(1, len(visible) + 1)
    classes = scene.classes[np.array(visible, np.int64) - 1]
    return LabelledScene(scene.rgb, new_numbers[scene.instance_map], classes)
