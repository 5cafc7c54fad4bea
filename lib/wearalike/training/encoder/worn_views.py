"""Draw a flat garment as worn by somebody in a street photo.

The garment is laid over the figure's own, the rest of which is painted as skin. Folds and shadows
of what was worn there stay; hair, hands and the neck go on top.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wearalike.training.augmentation import alpha_blend
from wearalike.training.encoder.garment_regions import GarmentRegion
from wearalike.training.encoder.item_cutout import (
    Pixels,
    Span,
    fit_on_square,
    jitter_span,
    mask_span,
)
from wearalike.training.encoder.opencv import import_opencv
from wearalike.training.encoder.photometry import degrade, recolour, relight, warp
from wearalike.training.encoder.street_figures import StreetFigures, WearingPlace, torso_width
from wearalike.training.encoder.view_generators import SKIN_TONES, View, draw_plain_ground

# Height to which what a figure wears is scaled, in px.
_GARMENT_PX = 160
# Rows of a flat garment between which its torso is measured, as shares of its height.
_TORSO_ROWS = {
    GarmentRegion.UPPER: (0.6, 0.95),
    GarmentRegion.LOWER: (0.05, 0.3),
    GarmentRegion.FULL: (0.3, 0.5),
}
# Greatest height of a garment, in shares of _GARMENT_PX.
_MAX_HEIGHT_RATIOS = {
    GarmentRegion.UPPER: 1.35,
    GarmentRegion.LOWER: 1.8,
    GarmentRegion.FULL: 2.4,
}
# Fewer pixels of the garment than this, before and after the occlusions, are no view of it.
_MIN_GARMENT_AREA_PX = 1500
_MIN_VISIBLE_AREA_PX = 1200
_MIN_SKIN_AREA_PX = 50


@dataclass(slots=True)
class _Stage:
    """The piece of a street photo in which a garment is worn.

    Attributes:
        rgb: uint8 (h, w, 3). The piece as it is.
        labels: uint8 (h, w). Its labels.
        is_replaced: bool (h, w). Where what is worn there may be replaced.
        top: Upper end of what is worn there, in px.
        centre: Its middle from the left, in px.
        torso: Its width, in px.
        skin: Colour of the figure's skin, (3,).
    """

    rgb: Pixels
    labels: NDArray[np.uint8]
    is_replaced: NDArray[np.bool_]
    top: float
    centre: float
    torso: float
    skin: NDArray[np.floating]


def draw_worn_view(
    rgba: Pixels,
    region: GarmentRegion,
    street: StreetFigures,
    rng: np.random.Generator,
    is_recoloured: bool = False,
) -> View | None:
    """Draw a garment as worn by a figure.

    Args:
        rgba: The garment, cut out, uint8 (h, w, 4).
        region: Where it is worn.
        street: The figures.
        rng: Source of randomness.
        is_recoloured: Change the garment's colours.

    Returns:
        The view; None if the garment does not fit the figure, or nobody wears such a thing.
    """
    places = street.wearing_places(region)
    if not places:
        return None
    place = places[int(rng.integers(len(places)))]
    stage = _build_stage(street, place, region)
    height, width = stage.labels.shape
    photo = stage.rgb
    if rng.random() < 0.55:
        person = _soften(stage.labels > 0, 1.2)
        photo = alpha_blend(photo, draw_plain_ground(rng, height, width), person)
    if is_recoloured:
        rgba = np.dstack([recolour(rgba[..., :3], rng), rgba[..., 3]])
    garment, neckline = _place_garment(rgba, region, stage, rng)
    alpha = garment[..., 3].copy()
    if (alpha > 128).sum() < _MIN_GARMENT_AREA_PX:
        return None
    stage.skin = _skin_tone(street, stage, photo, rng)
    if not stage.is_replaced.any():
        return None
    photo = _paint_skin(photo, region, stage, rng)
    if rng.random() < 0.6:
        _copy_folds(garment, stage)
    view = alpha_blend(garment[..., :3], _cast_shadow(photo, alpha), alpha)
    view, alpha = _cover(view, alpha, region, street, stage, neckline, rng)
    if (alpha > 128).sum() < _MIN_VISIBLE_AREA_PX:
        return None
    span = _draw_span(alpha, stage, rng)
    gain = np.exp(rng.normal(0, 0.08) + rng.normal(0, 0.02, 3)).astype(np.float32)
    lit = np.clip(view * gain, 0, 255).astype(np.uint8)
    return fit_on_square(degrade(lit, rng), span, alpha)


def _build_stage(street: StreetFigures, place: WearingPlace, region: GarmentRegion) -> _Stage:
    """Cut the piece about what a figure wears, scaled to _GARMENT_PX."""
    cv2 = import_opencv()
    figure = street.figures[place.figure]
    y0, y1, x0, x1 = place.span
    own_height = y1 - y0
    margin_y, margin_x = int(own_height * 0.5), int(max(x1 - x0, own_height) * 0.45)
    below = int(own_height * 0.8) if region is GarmentRegion.FULL else margin_y
    rows = slice(max(0, y0 - margin_y), min(figure.rgb.shape[0], y1 + below))
    columns = slice(max(0, x0 - margin_x), min(figure.rgb.shape[1], x1 + margin_x))
    scale = _GARMENT_PX / max(own_height, 60)
    size = int((columns.stop - columns.start) * scale), int((rows.stop - rows.start) * scale)
    labels = cv2.resize(figure.labels[rows, columns], size, interpolation=cv2.INTER_NEAREST)
    return _Stage(
        rgb=cv2.resize(figure.rgb[rows, columns], size, interpolation=cv2.INTER_LINEAR),
        labels=labels,
        is_replaced=np.isin(labels, street.worn_labels(region)),
        top=(y0 - rows.start) * scale,
        centre=(place.centre_px - columns.start) * scale,
        torso=place.torso_px * scale,
        skin=SKIN_TONES[0],
    )


def _place_garment(
    rgba: Pixels, region: GarmentRegion, stage: _Stage, rng: np.random.Generator
) -> tuple[Pixels, NDArray[np.float64]]:
    """Lay a garment on the stage's torso: RGBA of the stage's size, and its neckline x, y."""
    height, width = rgba.shape[:2]
    torso, centre = torso_width(rgba[..., 3] > 128, *_TORSO_ROWS[region])
    scale = stage.torso / max(torso, 8) * float(rng.uniform(0.95, 1.3))
    least, most = 0.5 * _GARMENT_PX / height, _MAX_HEIGHT_RATIOS[region] * _GARMENT_PX / height
    scale = float(np.clip(scale, least, most))
    scale_y = scale * float(np.exp(rng.normal(0.03, 0.08)))
    angle = np.deg2rad(rng.normal(0, 5))
    mirror = -1.0 if rng.random() < 0.5 else 1.0
    cosine, sine = np.cos(angle), np.sin(angle)
    inverse = np.array(
        [
            [mirror * cosine / scale, mirror * sine / scale],
            [-sine / scale_y, cosine / scale_y],
        ]
    )
    neckline = np.array(
        [
            stage.centre + rng.normal(0, 0.03) * stage.torso,
            stage.top - rng.uniform(0.0, 0.05) * _GARMENT_PX,
        ]
    )
    matrix = np.column_stack([inverse, np.array([centre, 0.0]) - inverse @ neckline])
    item = np.dstack([relight(rgba[..., :3], rng, 1.2), rgba[..., 3]])
    garment = warp(item, stage.labels.shape, matrix, 0.022 * max(height, width), rng)
    return garment, neckline


def _skin_tone(
    street: StreetFigures, stage: _Stage, photo: Pixels, rng: np.random.Generator
) -> NDArray[np.floating]:
    """Return the figure's mean skin, or some other where it shows too little."""
    skin = photo[stage.labels == street.skin]
    if len(skin) > _MIN_SKIN_AREA_PX:
        return skin.mean(0)
    return SKIN_TONES[int(rng.integers(len(SKIN_TONES)))]


def _paint_skin(
    photo: Pixels, region: GarmentRegion, stage: _Stage, rng: np.random.Generator
) -> Pixels:
    """Paint what is left of the figure's own garment as skin; of an upper one, the sleeves."""
    cv2 = import_opencv()
    is_rest = stage.is_replaced
    sides = is_rest
    if region is GarmentRegion.UPPER:
        columns = np.arange(is_rest.shape[1])[None]
        sides = is_rest & (np.abs(columns - stage.centre) > 0.5 * stage.torso)
        if rng.random() >= 0.8:
            return photo
    tone = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY).astype(np.float32)
    tone = 1 + 0.25 * (tone - tone[is_rest].mean()) / (tone[is_rest].std() + 8)
    fill = np.clip(tone[..., None] * stage.skin, 0, 255).astype(np.uint8)
    return alpha_blend(fill, photo, _soften(sides, 1.5))


def _copy_folds(garment: Pixels, stage: _Stage) -> None:
    """Lay the folds and shadows of what was worn there on the garment, in place."""
    cv2 = import_opencv()
    height, width = stage.labels.shape
    grey = cv2.cvtColor(stage.rgb, cv2.COLOR_RGB2GRAY).astype(np.float32)
    smooth = cv2.GaussianBlur(cv2.resize(grey, (width // 4, height // 4)), (0, 0), 3.5)
    ratio = (grey + 20) / (cv2.resize(smooth, (width, height)) + 20)
    ratio = np.where(stage.is_replaced, ratio, 1.0)
    ratio = cv2.GaussianBlur(np.clip(ratio, 0.7, 1.3).astype(np.float32), (0, 0), 1.5)
    garment[..., :3] = np.clip(garment[..., :3] * (1 + 0.7 * (ratio - 1))[..., None], 0, 255)


def _cast_shadow(photo: Pixels, alpha: NDArray[np.uint8]) -> Pixels:
    """Darken a photo about a garment."""
    cv2 = import_opencv()
    height, width = alpha.shape
    small = cv2.GaussianBlur(cv2.resize(alpha, (width // 4, height // 4)), (0, 0), 1.0)
    shadow = cv2.resize(small, (width, height))[..., None].astype(np.float32) / 255
    return (photo * (1 - 0.25 * shadow)).astype(np.uint8)


def _cover(
    view: Pixels,
    alpha: NDArray[np.uint8],
    region: GarmentRegion,
    street: StreetFigures,
    stage: _Stage,
    neckline: NDArray[np.float64],
    rng: np.random.Generator,
) -> tuple[Pixels, NDArray[np.uint8]]:
    """Lay hair, hands, at times bags and a neck over the garment; their pixels leave the mask."""
    cv2 = import_opencv()
    height, width = stage.labels.shape
    is_low = np.arange(height)[:, None] > stage.top + 0.35 * _GARMENT_PX
    is_front = stage.labels == street.hair
    is_front |= (stage.labels == street.skin) & is_low
    if rng.random() < 0.3:
        is_front |= np.isin(stage.labels, street.bags)
    if region is not GarmentRegion.LOWER and rng.random() < 0.7:
        neck = np.zeros((height, width), np.uint8)
        axes = (
            int(stage.torso * rng.uniform(0.12, 0.24)),
            int(_GARMENT_PX * rng.uniform(0.04, 0.12)),
        )
        middle = int(neckline[0]), int(neckline[1])
        cv2.ellipse(neck, middle, axes, 0, 0, 360, 255, -1)
        neck = cv2.GaussianBlur(neck, (0, 0), 1.2)
        flesh = np.broadcast_to(stage.skin, view.shape).astype(np.uint8)
        view = alpha_blend(relight(flesh, rng, 0.5), view, neck)
        alpha = (alpha * (1 - neck.astype(np.float32) / 255)).astype(np.uint8)
    front = _soften(is_front, 1.0)
    view = alpha_blend(stage.rgb, view, front)
    return view, (alpha * (1 - front.astype(np.float32) / 255)).astype(np.uint8)


def _draw_span(alpha: NDArray[np.uint8], stage: _Stage, rng: np.random.Generator) -> Span:
    """Return the box of the view: about the garment, or about more of the figure."""
    span = mask_span(alpha > 128)
    if rng.random() >= 0.25:
        return jitter_span(span, rng, 0.12, 0.07)
    is_person = stage.labels > 0
    person = mask_span(is_person)
    wide = (
        person[0],
        min(len(is_person), span[1] + int(0.25 * _GARMENT_PX)),
        min(span[2], person[2]),
        max(span[3], person[3] - 1),
    )
    return jitter_span(wide, rng, 0.05, 0.03)


def _soften(mask: NDArray[np.bool_], sigma_px: float) -> NDArray[np.uint8]:
    """Return a mask with a soft rim, uint8."""
    return import_opencv().GaussianBlur(mask.astype(np.uint8) * 255, (0, 0), sigma_px)
