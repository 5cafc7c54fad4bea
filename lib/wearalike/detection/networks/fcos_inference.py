"""Detect with the network of `fcos`: the pieces of each super-category's mask are its items.

This module does without torch, which is slow to import, where the converted network is kept.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from wearalike.detection.classes import GARMENT_CLASS_BY_NAME
from wearalike.detection.networks.base import RawDetections, load_model_arrays
from wearalike.detection.networks.square_network import SquareNetwork
from wearalike.models.files import Model
from wearalike.tables import SuperCategory

if TYPE_CHECKING:
    import torch

# It detects on larger squares than it trains on, because augmentation that zooms in makes objects
# look larger in training (Touvron et al., Fixing the train-test resolution discrepancy,
# NeurIPS 2019).
SIDE_PX = 320
# Side of a cell, in px of the square.
STRIDE = 8
# An item is a piece of its super-category's mask: cells of at least this probability, on a map so
# many times as fine, of which one has at least the probability of a seed.
_MIN_MASK_SHARE = 0.4
_MIN_SEED_SHARE = 0.5
_MASK_ZOOM = 2
_MIN_PIECE_CELLS = 8
# Super-categories in which the two sides of an open garment are joined.
_JOINED_GROUPS = frozenset(
    list(SuperCategory).index(name)
    for name in (
        SuperCategory.UPPER_WEAR,
        SuperCategory.OUTERWEAR,
        SuperCategory.FULL_BODY,
        SuperCategory.LOWER_WEAR,
    )
)


class FcosInference:
    """The network of a model file, ready to detect (base.DetectionNetwork).

    On a CPU it is compiled for one square, and each of several threads runs its own.
    """

    side_px = SIDE_PX
    # The rim of a garment's mask is seen least surely.
    crop_margin_ratio = 0.1

    def __init__(self, model: Model, device: str = "cpu", root: Path | None = None) -> None:
        """Load the network.

        Args:
            model: A detector of this architecture.
            device: "cpu" or "cuda".
            root: The data folder, which keeps the converted network for the next job.

        Raises:
            BadModel: The tensors do not fit.
        """

        def build() -> torch.nn.Module:
            from wearalike.detection.networks.fcos import GarmentFcos

            return load_model_arrays(GarmentFcos(len(model.classes)), model)

        names = [GARMENT_CLASS_BY_NAME[name].super_category for name in model.classes]
        self._groups = np.array([list(SuperCategory).index(name) for name in names])
        self._network = SquareNetwork(build, model, SIDE_PX, device, root)

    def raw_detections(
        self, squares: NDArray[np.uint8], min_confidence: float
    ) -> list[RawDetections]:
        """Return the detections in each square, see base.DetectionNetwork.

        Raises:
            BadModel: The network returns numbers that are not finite.
        """
        return [
            self._detect_square(class_logits, min_confidence)
            for class_logits, *_ in self._network.outputs(squares)
        ]

    def _detect_square(
        self, class_logits: NDArray[np.float32], min_confidence: float
    ) -> RawDetections:
        """Return the detections in one square: the pieces of each super-category's mask."""
        logits = class_logits.astype(np.float64)
        probabilities = np.exp(logits - logits.max(axis=0))
        probabilities = (probabilities / probabilities.sum(axis=0))[1:]
        fine = ndimage.zoom(probabilities, (1, _MASK_ZOOM, _MASK_ZOOM), order=1)
        items: list[tuple[float, int, NDArray[np.bool_]]] = []
        for group in np.unique(self._groups).tolist():
            members = np.flatnonzero(self._groups == group)
            share = fine[members].sum(axis=0)
            if share.max() ** 2 <= min_confidence:
                continue
            for mask in _find_pieces(share, group in _JOINED_GROUPS):
                classes = fine[members][:, mask].sum(axis=1)
                confidence = float(share[mask].mean()) ** 2
                if confidence <= min_confidence:
                    continue
                items.append((confidence, int(members[classes.argmax()]), mask))
        items.sort(key=lambda item: -item[0])
        masks = np.array([mask for *_, mask in items], np.float32).reshape(-1, *fine.shape[1:])
        step = STRIDE / _MASK_ZOOM
        boxes = np.array([_mask_box(mask) for *_, mask in items], np.float64).reshape(-1, 4) * step

        def mask_logits(rows: NDArray[np.int64]) -> NDArray[np.float32]:
            logits: NDArray[np.float32] = masks[rows] - np.float32(0.5)
            return logits

        classes = np.array([class_id for _, class_id, _ in items], np.int64)
        return RawDetections(boxes, classes, np.array([c for c, *_ in items]), mask_logits)


def _find_pieces(share: NDArray[np.float64], is_joined: bool) -> list[NDArray[np.bool_]]:
    """Return the masks of the items of a super-category.

    Args:
        share: float64 (h, w), 0..1. How likely each cell is of it.
        is_joined: Join the sides of an open garment.
    """
    # Where nothing is sure the likeliest cells are an unsure item.
    seed = min(_MIN_SEED_SHARE, 0.9 * float(share.max()))
    labels, count = ndimage.label(share > min(_MIN_MASK_SHARE, 0.5 * float(share.max())))
    pieces = [labels == i for i in range(1, count + 1)]
    pieces = [p for p in pieces if share[p].max() >= seed and p.sum() >= _MIN_PIECE_CELLS]
    pieces.sort(key=lambda piece: -int(piece.sum()))
    joined: list[NDArray[np.bool_]] = []
    for piece in pieces:
        x0, y0, x1, y1 = _mask_box(piece)
        for i, other in enumerate(joined if is_joined else ()):
            left, top, right, bottom = _mask_box(other)
            overlap = min(y1, bottom) - max(y0, top)
            gap = max(x0, left) - min(x1, right)
            if overlap >= 0.5 * (y1 - y0) and gap <= 0.5 * (x1 - x0 + right - left):
                joined[i] = other | piece
                break
        else:
            joined.append(piece)
    return joined


def _mask_box(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """Return x0, y0, x1, y1 of a mask, in its cells."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
