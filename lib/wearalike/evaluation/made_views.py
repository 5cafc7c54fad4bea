"""Other views of one picture, made by a seed: for sets that have no second picture of a product.

A made view is the picture's crop turned, tilted, cut closer, mirrored and relit. It is easier than
a second photo: it says only that an encoder does not mind such changes.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from wearalike.datasets.labelled_photos import LabelledDataset

# The view's word, and the end of its photo's id; the number changes with what is made.
MADE_VIEW = "made view 1"
SET_SUFFIX = ", made views"
MAX_VIEWS = 400
MAX_PICTURES = 1000
_MAX_TURN_DEGREES = 10.0
_MAX_TILT_RATIO = 0.08
_MIN_SIDE_RATIO = 0.8
_MAX_LIGHT_CHANGE = 0.2
_MAX_TINT_CHANGE = 0.06
# Sides of a crop smaller than this are left as they are.
_MIN_SIDE_PX = 16


def add_made_views(labelled: LabelledDataset, seed: int = 0) -> LabelledDataset:
    """Return pictures of a set, with a made view of some, which asks for its picture.

    Args:
        labelled: The labelled set.
        seed: Seed of the drawn pictures.

    Returns:
        At most MAX_PICTURES pictures and MAX_VIEWS views, under a name with SET_SUFFIX.
    """
    order = np.random.default_rng(seed).permutation(len(labelled.photos))[:MAX_PICTURES].tolist()
    pictures = [labelled.photos[i] for i in order]
    known = [replace(photo, group=photo.id, product=photo.id, view="") for photo in pictures]
    made = [
        replace(photo, id=f"{photo.id}#{MADE_VIEW}", view=MADE_VIEW) for photo in known[:MAX_VIEWS]
    ]
    ordered = tuple(sorted([*known, *made], key=lambda photo: photo.id))
    return LabelledDataset(
        labelled.name + SET_SUFFIX, ordered, (), frozenset(photo.id for photo in made)
    )


def make_view(crop: NDArray[np.uint8], photo_id: str) -> NDArray[np.uint8]:
    """Make another view of a crop; the same id gives the same view.

    Args:
        crop: uint8 (height, width, 3).
        photo_id: The photo's id, which is the seed.

    Returns:
        uint8 (height, width, 3), of about the same size.
    """
    digest = hashlib.sha256(photo_id.encode()).digest()
    rng = np.random.default_rng(int.from_bytes(digest[:8], "big"))
    image = Image.fromarray(crop)
    ground = tuple(np.median(_rim(crop), axis=0).astype(int).tolist())
    if rng.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    turn = float(rng.uniform(-_MAX_TURN_DEGREES, _MAX_TURN_DEGREES))
    image = image.rotate(turn, Image.Resampling.BILINEAR, expand=True, fillcolor=ground)
    width, height = image.size
    if min(width, height) >= _MIN_SIDE_PX:
        tilts = rng.uniform(-_MAX_TILT_RATIO, _MAX_TILT_RATIO, 2)
        tilt = (1, float(tilts[0]), 0, float(tilts[1]), 1, 0)
        image = image.transform(
            image.size, Image.Transform.AFFINE, tilt, Image.Resampling.BILINEAR, fillcolor=ground
        )
        sides = (rng.uniform(_MIN_SIDE_RATIO, 1, 2) * (width, height)).astype(int)
        x0 = int(rng.integers(0, width - sides[0] + 1))
        y0 = int(rng.integers(0, height - sides[1] + 1))
        image = image.crop((x0, y0, x0 + int(sides[0]), y0 + int(sides[1])))
    light, contrast = rng.uniform(1 - _MAX_LIGHT_CHANGE, 1 + _MAX_LIGHT_CHANGE, 2).tolist()
    image = ImageEnhance.Contrast(ImageEnhance.Brightness(image).enhance(light)).enhance(contrast)
    tint = rng.uniform(1 - _MAX_TINT_CHANGE, 1 + _MAX_TINT_CHANGE, 3)
    return np.clip(np.asarray(image, np.float32) * tint, 0, 255).astype(np.uint8)


def _rim(crop: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the outermost pixels, uint8 (n, 3)."""
    return np.concatenate([crop[0], crop[-1], crop[:, 0], crop[:, -1]])
