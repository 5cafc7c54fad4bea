"""Cut an item out of a plain ground, and lay items on grounds and on the network's square."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wearalike.models.registry import EFFICIENTNET_LITE0
from wearalike.training.encoder.opencv import import_opencv

SIDE_PX = EFFICIENTNET_LITE0.input_px
# Side of an item's mask, in cells.
MASK_CELLS = 28
Pixels = NDArray[np.uint8]
# y0, y1, x0, x1 in px; y1 and x1 outside.
Span = tuple[int, int, int, int]

# A rim pixel nearer than this to the rim's median colour is of the ground, in CIELAB.
_GROUND_DELTA_E = 8.0
# Share of the rim that must be of the ground, else the ground is not plain.
_MIN_PLAIN_RIM_RATIO = 0.55
# A pixel farther than this from the ground's colour is of the item, in CIELAB.
_ITEM_DELTA_E = 4.5
# Shares of the picture between which an item must cover it.
_ITEM_RATIOS = (0.02, 0.97)
# A small item with more holes than this is only seams of a thing as pale as the ground.
_MIN_SOLID_RATIO = 0.6
_SMALL_ITEM_RATIO = 0.08
# A pixel farther than this from the ground, in sums of 8-bit Lab steps, is of the item.
_ITEM_LAB_STEPS = 12
# Ranges of Cr and Cb, and the least Y, of skin.
_SKIN_CR, _SKIN_CB, _SKIN_MIN_Y = (138, 175), (85, 127), 60


def cut_out_item(rgb: Pixels) -> Pixels | None:
    """Cut the item out of a picture with a plain ground.

    Args:
        rgb: uint8 (height, width, 3).

    Returns:
        RGBA of the item's box, uint8 (h, w, 4), holes filled; None if the ground is not plain.
    """
    cv2 = import_opencv()
    lab = cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB).astype(np.float32)
    lab[..., 0] *= 100 / 255
    height, width = lab.shape[:2]
    y, x = max(2, height // 32), max(2, width // 32)
    # Without the lower rim, which long things and worn things touch.
    rim = np.concatenate([part.reshape(-1, 3) for part in (lab[:y], lab[:, :x], lab[:, -x:])])
    ground = np.median(rim, axis=0)
    if (np.linalg.norm(rim - ground, axis=1) < _GROUND_DELTA_E).mean() < _MIN_PLAIN_RIM_RATIO:
        return None
    mask = (np.linalg.norm(lab - ground, axis=2) > _ITEM_DELTA_E).astype(np.uint8)
    mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((7, 7), np.uint8))
    mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    solid = _fill_holes(mask)
    ratio = solid.mean()
    if not _ITEM_RATIOS[0] <= ratio <= _ITEM_RATIOS[1]:
        return None
    from_left = np.maximum.accumulate(solid, 1)
    from_right = np.maximum.accumulate(solid[:, ::-1], 1)[:, ::-1]
    is_holed = solid.sum() < _MIN_SOLID_RATIO * (from_left & from_right).sum()
    if is_holed and ratio < _SMALL_ITEM_RATIO:
        return None
    y0, y1, x0, x1 = mask_span(solid)
    alpha = cv2.GaussianBlur(cv2.erode(solid, np.ones((4, 4), np.uint8)) * 255, (0, 0), 0.8)
    return np.dstack([rgb, alpha])[y0:y1, x0:x1]


def find_item_alpha(rgb: Pixels) -> Pixels | None:
    """Return where the item of a picture with a plain ground is, its holes left open.

    Args:
        rgb: uint8 (height, width, 3).

    Returns:
        uint8 (height, width), 255 for the item; None if the ground is not plain.
    """
    cv2 = import_opencv()
    if cut_out_item(rgb) is None:
        return None
    lab = cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB).astype(np.int16)
    ground = np.median(np.concatenate([lab[:2].reshape(-1, 3), lab[:, :2].reshape(-1, 3)]), axis=0)
    mask = (np.abs(lab - ground).sum(2) > _ITEM_LAB_STEPS).astype(np.uint8)
    return cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((7, 7), np.uint8)) * 255


def _fill_holes(mask: Pixels) -> Pixels:
    """Fill what a mask's outside cannot reach: uint8 0 or 1 (height, width) to the same."""
    cv2 = import_opencv()
    height, width = mask.shape
    padded = np.zeros((height + 2, width + 2), np.uint8)
    padded[1:-1, 1:-1] = mask
    filled = padded.copy()
    cv2.floodFill(filled, np.zeros((height + 4, width + 4), np.uint8), (0, 0), 1)
    return ((filled == 0) | (padded == 1))[1:-1, 1:-1].astype(np.uint8)


def skin_ratio(rgba: Pixels) -> float:
    """Return the share of an item's pixels that have the colour of skin.

    Args:
        rgba: uint8 (h, w, 4), as `cut_out_item` returns it.
    """
    cv2 = import_opencv()
    rgb = np.ascontiguousarray(rgba[..., :3])
    pixels = cv2.cvtColor(rgb, cv2.COLOR_RGB2YCrCb)[rgba[..., 3] > 128]
    if not len(pixels):
        return 0.0
    luma, cr, cb = pixels.T
    is_skin = (cr > _SKIN_CR[0]) & (cr < _SKIN_CR[1]) & (cb > _SKIN_CB[0]) & (cb < _SKIN_CB[1])
    return float((is_skin & (luma > _SKIN_MIN_Y)).mean())


def mask_span(mask: NDArray[np.generic]) -> Span:
    """Return the box of a mask that is not empty, as y0, y1, x0, x1 in px."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def jitter_span(span: Span, rng: np.random.Generator, outwards: float, inwards: float) -> Span:
    """Move each side of a box at random; it may reach beyond the picture.

    Args:
        span: The box.
        rng: Source of randomness.
        outwards: Greatest move outwards, as a share of the box's side.
        inwards: Greatest move inwards, as a share of the box's side.
    """
    height, width = span[1] - span[0], span[3] - span[2]
    moves = rng.uniform(-inwards, outwards, 4)
    return (
        int(span[0] - moves[0] * height),
        int(span[1] + moves[1] * height),
        int(span[2] - moves[2] * width),
        int(span[3] + moves[3] * width),
    )


def fit_on_square(
    rgb: Pixels, span: Span, mask: NDArray[np.generic] | None
) -> tuple[Pixels, Pixels | None]:
    """Fit a part of a picture on the network's white square, with its mask.

    Args:
        rgb: uint8 (height, width, 3).
        span: The part; what lies beyond the picture is cut off.
        mask: uint8 (height, width), 255 for the item; None if it is not known.

    Returns:
        uint8 (SIDE_PX, SIDE_PX, 3), and the item's share of each cell, uint8 0..255
        (MASK_CELLS, MASK_CELLS), or None.
    """
    cv2 = import_opencv()
    y0, y1 = max(0, span[0]), min(rgb.shape[0], span[1])
    x0, x1 = max(0, span[2]), min(rgb.shape[1], span[3])
    part = rgb[y0:y1, x0:x1]
    scale = SIDE_PX / max(part.shape[:2])
    height, width = (max(1, round(n * scale)) for n in part.shape[:2])
    top, left = (SIDE_PX - height) // 2, (SIDE_PX - width) // 2
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    square = np.full((SIDE_PX, SIDE_PX, 3), 255, np.uint8)
    place = slice(top, top + height), slice(left, left + width)
    square[place] = cv2.resize(part, (width, height), interpolation=way)
    if mask is None:
        return square, None
    whole = np.zeros((SIDE_PX, SIDE_PX), np.uint8)
    whole[place] = cv2.resize(mask[y0:y1, x0:x1], (width, height), interpolation=way)
    return square, cv2.resize(whole, (MASK_CELLS, MASK_CELLS), interpolation=cv2.INTER_AREA)
