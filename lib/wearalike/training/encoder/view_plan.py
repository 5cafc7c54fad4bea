"""Draw the numbered views of a training picture, each a function of a seed alone.

| view | garment cut out of a plain ground | other picture | garment of a street photo |
|---|---|---|---|
| 0 | as the nightly run lays it | the same | where it is worn |
| 1 | on another ground | moved | cut out, on another ground |
| 2 | worn by a street figure | moved | where it is worn |
| 3 | worn or on another ground, recoloured | moved, recoloured | either, recoloured |
| 4 | worn by another street figure | moved | cut out, on another ground |
| 5 | the picture with the item dyed | none | cut out, recoloured |

Recoloured views teach shape alone. A garment that does not fit a figure, and one that somebody
wears already, is laid on another ground instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wearalike.training.encoder.item_crops import crop_item
from wearalike.training.encoder.item_cutout import (
    SIDE_PX,
    Pixels,
    cut_out_item,
    skin_ratio,
)
from wearalike.training.encoder.opencv import import_opencv
from wearalike.training.encoder.street_figures import StreetFigures
from wearalike.training.encoder.training_pictures import TrainingPicture
from wearalike.training.encoder.view_generators import (
    cut_out_garment,
    draw_clean_view,
    draw_moved_view,
    draw_sibling_view,
    draw_street_view,
    draw_warped_view,
)
from wearalike.training.encoder.worn_views import draw_worn_view

VIEWS_COUNT = 6
CLEAN_VIEW, RECOLOURED_VIEW, DYED_VIEW = 0, 3, 5
_WORN_VIEWS = (2, 4)
_STREET_VIEWS = (0, 2)
# Somebody wears a thing of which more has the colour of skin.
_MAX_FLAT_SKIN_RATIO = 0.03
# JPEG quality of the clean view, and the range of the others.
_CLEAN_QUALITY = 95
_QUALITIES = (45, 96)


@dataclass(frozen=True, slots=True)
class DrawnView:
    """A view of a picture.

    Attributes:
        number: Which of VIEWS_COUNT.
        square: uint8 (224, 224, 3), as the network takes it.
        mask: The item's share of each cell, uint8 (28, 28); None if it is not known.
        has_true_colours: The colours are the item's own.
    """

    number: int
    square: Pixels
    mask: NDArray[np.uint8] | None
    has_true_colours: bool


@dataclass(frozen=True, slots=True)
class ViewScenery:
    """Street figures that may wear garments, and photos whose rims are grounds.

    Attributes:
        street: The figures; None for none.
        floors: Photos of things on floors and beds, uint8 (h, w, 3) each.
    """

    street: StreetFigures | None
    floors: Sequence[Pixels]


def draw_views(
    picture: TrainingPicture,
    scenery: ViewScenery,
    seed: Sequence[int],
    numbers: Sequence[int] = tuple(range(VIEWS_COUNT)),
) -> list[DrawnView]:
    """Draw views of a picture.

    Args:
        picture: The picture.
        scenery: Figures and grounds.
        seed: Seed of the picture; the number of the view is added to it.
        numbers: Numbers of the views.

    Returns:
        The views that the picture can have, in order.

    Raises:
        ValueError: The picture cannot be read, or nothing is found in it.
    """
    crop = crop_item(picture.path, picture.box, SIDE_PX) if picture.path else None
    rgba = cut_out_item(crop) if crop is not None else None
    views = []
    for number in numbers:
        rng = np.random.default_rng([*seed, number])
        view: DrawnView | None
        if crop is None:
            view = _draw_garment(picture, scenery, number, rng)
        else:
            view = _draw_item(picture, crop, rgba, scenery, number, rng)
        if view is not None:
            views.append(view)
    return views


def _draw_garment(
    picture: TrainingPicture, scenery: ViewScenery, number: int, rng: np.random.Generator
) -> DrawnView:
    """Draw a view of a garment in a street photo."""
    if scenery.street is None or picture.garment is None:
        raise ValueError("a garment of a street photo needs the photos")
    street, is_true = scenery.street, _has_true_colours(number)
    if number in _STREET_VIEWS or (number == RECOLOURED_VIEW and rng.random() < 0.5):
        square, mask = draw_street_view(street, picture.garment, rng, not is_true)
    else:
        rgba = cut_out_garment(street, picture.garment)
        square, mask = draw_warped_view(rgba, street, scenery.floors, rng, not is_true)
    return DrawnView(number, _compress(square, number, rng), mask, is_true)


def _draw_item(
    picture: TrainingPicture,
    crop: Pixels,
    rgba: Pixels | None,
    scenery: ViewScenery,
    number: int,
    rng: np.random.Generator,
) -> DrawnView | None:
    """Draw a view of a cropped item; None if the picture cannot have it."""
    is_true = _has_true_colours(number)
    is_flat = rgba is not None and _is_flat(picture, rgba)
    mask: NDArray[np.uint8] | None
    if number == CLEAN_VIEW:
        square, mask = draw_clean_view(crop, rng)
        mask = mask if is_flat else None
    elif number == DYED_VIEW:
        dyed = draw_sibling_view(crop, rng)
        if dyed is None:
            return None
        square, mask = dyed[0], None
    else:
        square, mask = _draw_changed(picture, crop, rgba, is_flat, scenery, number, rng)
    return DrawnView(number, _compress(square, number, rng), mask, is_true)


def _draw_changed(
    picture: TrainingPicture,
    crop: Pixels,
    rgba: Pixels | None,
    is_flat: bool,
    scenery: ViewScenery,
    number: int,
    rng: np.random.Generator,
) -> tuple[Pixels, NDArray[np.uint8] | None]:
    """Draw a view that is worn, laid on another ground, or moved."""
    is_recoloured = not _has_true_colours(number)
    if rgba is None:
        return draw_moved_view(crop, rng, is_recoloured)
    may_wear = is_flat and picture.region is not None and scenery.street is not None
    if may_wear and (number in _WORN_VIEWS or (number == RECOLOURED_VIEW and rng.random() < 0.5)):
        worn = draw_worn_view(rgba, picture.region, scenery.street, rng, is_recoloured)  # type: ignore[arg-type]
        if worn is not None:
            return worn
    if not is_flat and rng.random() < 0.5:
        return draw_moved_view(crop, rng, is_recoloured)
    square, mask = draw_warped_view(rgba, scenery.street, scenery.floors, rng, is_recoloured)
    return square, mask if is_flat else None


def _has_true_colours(number: int) -> bool:
    """Tell if a view has the item's own colours."""
    return number not in (RECOLOURED_VIEW, DYED_VIEW)


def _is_flat(picture: TrainingPicture, rgba: Pixels) -> bool:
    """Tell if nobody wears the thing: as the set says, else by the skin that shows."""
    if picture.is_flat is not None:
        return picture.is_flat
    return skin_ratio(rgba) < _MAX_FLAT_SKIN_RATIO


def _compress(square: Pixels, number: int, rng: np.random.Generator) -> Pixels:
    """Save a view as JPEG and read it: shops' pictures have been through that."""
    cv2 = import_opencv()
    quality = int(rng.integers(*_QUALITIES)) if number else _CLEAN_QUALITY
    bgr = cv2.cvtColor(square, cv2.COLOR_RGB2BGR)
    _, content = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.cvtColor(cv2.imdecode(content, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
