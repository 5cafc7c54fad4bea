"""An anchor-free detector on EfficientNet-Lite0, after FCOS (Tian et al., ICCV 2019).

Every cell of one map at 1/8 of the square names the garment that it belongs to, or none. So the
cells of a garment are its mask, and the pieces of a super-category's mask are its items. In
training a cell also learns how far the garment reaches from there. As boxes these reaches are worse
than the masks' own, so detection does without them. It needs torch and torchvision alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional

from wearalike.detection.classes import GARMENT_CLASS_BY_NAME
from wearalike.detection.networks.backbone import (
    CHANNELS,
    MultiScaleBackbone,
    compile_for_gpu,
    normalize_for_backbone,
)
from wearalike.detection.networks.base import RawDetections, load_model_arrays
from wearalike.models import registry
from wearalike.models.files import Model
from wearalike.tables import SuperCategory

# It detects on larger squares than it trains on, because augmentation that zooms in makes objects
# look larger in training (Touvron et al., Fixing the train-test resolution discrepancy,
# NeurIPS 2019).
SIDE_PX = 320
TRAINING_SIDE_PX = 256
STRIDE = 8
# How many numbers of the backbone the head reads at a cell.
FEATURES_COUNT = sum(CHANNELS) + CHANNELS[-1]
_WIDTH = 192
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
# Bounds of a box's reach from a cell, in cells: of its logarithm, and in ground truth.
_MAX_LOG_REACH = 6.0
_MIN_REACH = 0.01
_TYPICAL_LOG_REACH = 1.6
_GPU_BATCH_SIZE = 32


class GarmentFcos(nn.Module):
    """The network: pictures to one map of cells for `c` classes.

    Every cell is read by the same two layers from the backbone's maps over it and their mean over
    the picture. Input: float32 (n, 3, side, side), -1..1, side a multiple of 32. Output:

    - class logits (n, 1 + c, side / 8, side / 8); the first one is "no garment"
    - box distances (n, 4, ..): logarithms of left, top, right and bottom, in cells
    - quality logits (n, 1, ..): the box's expected IoU
    """

    def __init__(self, classes_count: int) -> None:
        super().__init__()
        self.trunk = MultiScaleBackbone()
        self.lateral = nn.ModuleList(nn.Conv2d(c, _WIDTH, 1) for c in CHANNELS)
        self.context = nn.Conv2d(CHANNELS[-1], _WIDTH, 1, bias=False)
        self.inner = nn.Conv2d(_WIDTH, _WIDTH, 1)
        self.outer = nn.Conv2d(_WIDTH, 1 + classes_count + 4 + 1, 1)
        self._sizes = (1 + classes_count, 4, 1)
        with torch.no_grad():
            # Boxes begin at the size of a garment: from tiny ones the loss learns slowly.
            cast(Tensor, self.outer.bias)[1 + classes_count :][:4] = _TYPICAL_LOG_REACH

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the three maps of a batch of pictures."""
        return self.head_outputs(*self.trunk(pictures))

    def head_outputs(
        self, eighth: Tensor, sixteenth: Tensor, thirtysecond: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the three maps, given those of the backbone."""
        mean = thirtysecond.mean(dim=(2, 3), keepdim=True)
        sums = self.context(mean) + self.lateral[0](eighth)
        # To enlarge after the layer gives the same as before it, with less work.
        sums = sums + _enlarge(self.lateral[1](sixteenth), 2)
        return self._read_cells(sums + _enlarge(self.lateral[2](thirtysecond), 4))

    def cell_outputs(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the outputs of single cells, given their features (n, FEATURES_COUNT, 1, 1)."""
        *levels, mean = features.split([*CHANNELS, CHANNELS[-1]], dim=1)
        sums = self.context(mean)
        for layer, level in zip(self.lateral, levels, strict=True):
            sums = sums + layer(level)
        return self._read_cells(sums)

    def _read_cells(self, sums: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        hidden = functional.silu(sums)
        hidden = hidden + functional.silu(self.inner(hidden))
        classes, boxes, quality = self.outer(hidden).split(self._sizes, dim=1)
        return classes, boxes, quality


def cell_features(eighth: Tensor, sixteenth: Tensor, thirtysecond: Tensor) -> Tensor:
    """Return what the head reads of each cell, (n, FEATURES_COUNT, side / 8, side / 8).

    Args:
        eighth: The backbone's map at 1/8 of the side.
        sixteenth: That at 1/16.
        thirtysecond: That at 1/32; its mean is part of every cell.
    """
    mean = thirtysecond.mean(dim=(2, 3), keepdim=True).expand(-1, -1, *eighth.shape[2:])
    return torch.cat([eighth, _enlarge(sixteenth, 2), _enlarge(thirtysecond, 4), mean], dim=1)


def _enlarge(maps: Tensor, times: int) -> Tensor:
    return functional.interpolate(
        maps, scale_factor=float(times), mode="bilinear", align_corners=False
    )


class FcosInference:
    """The network of a model file, ready to detect (base.DetectionNetwork).

    On a CPU it is compiled for one square, and each of several threads runs its own.
    """

    side_px = SIDE_PX
    # The rim of a garment's mask is seen least surely.
    crop_margin_ratio = 0.1

    def __init__(self, model: Model, device: str = "cpu") -> None:
        """Load the network.

        Args:
            model: A detector of this architecture.
            device: "cpu" or "cuda".

        Raises:
            BadModel: The tensors do not fit.
        """
        network = load_model_arrays(GarmentFcos(len(model.classes)), model)
        self._version = model.version
        names = [GARMENT_CLASS_BY_NAME[name].super_category for name in model.classes]
        self._groups = np.array([list(SuperCategory).index(name) for name in names])
        self._network: Callable[[NDArray[np.float32]], list[NDArray[np.float32]]]
        if device == "cuda":
            self._batch_size = _GPU_BATCH_SIZE
            self._network = compile_for_gpu(network)
        else:
            self._batch_size = 1
            cores_count = len(os.sched_getaffinity(0))
            shape = (1, 3, SIDE_PX, SIDE_PX)
            self._network = registry.compile_network(network, shape, cores_count)

    def raw_detections(
        self, squares: NDArray[np.uint8], min_confidence: float
    ) -> list[RawDetections]:
        """Return the detections in each square, see base.DetectionNetwork.

        Raises:
            BadModel: The network returns numbers that are not finite.
        """
        found = []
        for start in range(0, len(squares), self._batch_size):
            part = squares[start : start + self._batch_size]
            batch = np.zeros((self._batch_size, *squares.shape[1:]), np.uint8)
            batch[: len(part)] = part
            outputs = self._network(normalize_for_backbone(batch))
            if not all(np.isfinite(o).all() for o in outputs):
                raise registry.BadModel(
                    f"detector {self._version}: its output holds numbers that are not finite"
                )
            found += [self._detect_square(outputs[0][i], min_confidence) for i in range(len(part))]
        return found

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


def decode_boxes(distances: Tensor) -> Tensor:
    """Return the box that each cell sees.

    Args:
        distances: (n, 4, h, w). Logarithms of left, top, right and bottom, in cells.

    Returns:
        (n, h * w, 4). x0, y0, x1, y1 in px of the square.
    """
    height, width = distances.shape[2:]
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    centre = torch.stack([x, y], dim=2).reshape(1, -1, 2).to(distances) + 0.5
    return reach_to_boxes(centre, distances.flatten(2).transpose(1, 2)) * STRIDE


def reach_to_boxes(centre: Tensor, distances: Tensor) -> Tensor:
    """Return boxes that reach from a point, in cells.

    Args:
        centre: (..., 2). x, y.
        distances: (..., 4). Logarithms of left, top, right and bottom.
    """
    reach = distances.clamp(-_MAX_LOG_REACH, _MAX_LOG_REACH).exp()
    return torch.cat([centre - reach[..., :2], centre + reach[..., 2:]], dim=-1)


def encode_boxes(
    boxes: NDArray[np.float32], cells: NDArray[np.int64], side_px: int
) -> NDArray[np.float32]:
    """Return what `decode_boxes` turns into boxes.

    Args:
        boxes: float32 (n, 4). x0, y0, x1, y1 in px of the square.
        cells: int64 (n,). Number of the cell that sees each, row by row.
        side_px: Side of the square.

    Returns:
        float32 (n, 4). A cell at the rim of a box is a hundredth of a cell inside it.
    """
    columns = side_px // STRIDE
    centre = np.stack([cells % columns, cells // columns], axis=1) + 0.5
    reach = np.concatenate([centre - boxes[:, :2] / STRIDE, boxes[:, 2:] / STRIDE - centre], axis=1)
    return np.log(np.maximum(reach, _MIN_REACH)).astype(np.float32)
