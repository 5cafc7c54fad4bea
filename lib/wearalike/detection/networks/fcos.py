"""An anchor-free detector on EfficientNet-Lite0, after FCOS (Tian et al., ICCV 2019).

Every cell of one map at 1/8 of the square names the garment that it belongs to, or none. It also
tells how far the garment reaches from there. So the cells of a garment are its mask, and any of
them gives its box. It needs torch and torchvision alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import batched_nms, box_iou

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

# It detects on larger squares than it trains on, because augmentation that zooms in makes objects
# look larger in training (Touvron et al., Fixing the train-test resolution discrepancy,
# NeurIPS 2019).
SIDE_PX = 320
TRAINING_SIDE_PX = 256
STRIDE = 8
# How many numbers of the backbone the head reads at a cell.
FEATURES_COUNT = sum(CHANNELS) + CHANNELS[-1]
_WIDTH = 192
# Boxes of one item of a class are averaged if their IoU with the best is at least this.
_VOTE_IOU = 0.6
_MAX_CANDIDATES = 600
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
        # (classes, classes): 1 where two classes are of one super-category.
        self._same_group = np.array([[a == b for b in names] for a in names], np.float32)
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
            found += [
                self._detect_square([torch.from_numpy(o[i]) for o in outputs], min_confidence)
                for i in range(len(part))
            ]
        return found

    def _detect_square(self, outputs: list[Tensor], min_confidence: float) -> RawDetections:
        """Return the detections in one square."""
        class_logits, distances, quality = outputs
        probabilities = class_logits.double().softmax(dim=0)[1:]
        confidences = (probabilities * quality.double().sigmoid()).sqrt().flatten(1)
        classes, cells = torch.nonzero(confidences > min_confidence, as_tuple=True)
        scores = confidences[classes, cells]
        order = torch.sort(scores, descending=True, stable=True).indices[:_MAX_CANDIDATES]
        classes, scores = classes[order], scores[order]
        corners = decode_boxes(distances[None])[0].double()[cells[order]]
        best = batched_nms(corners, scores, classes, _VOTE_IOU)
        voted = _vote_boxes(corners, scores, classes, best)
        summed = torch.from_numpy(self._same_group).double() @ probabilities.flatten(1)
        shares = summed.reshape(probabilities.shape).numpy().astype(np.float32)
        kept_classes = classes[best].numpy()

        def mask_logits(rows: NDArray[np.int64]) -> NDArray[np.float32]:
            # A pixel is of the item if its super-category is more likely than all else.
            logits: NDArray[np.float32] = shares[kept_classes[rows]] - np.float32(0.5)
            return logits

        return RawDetections(voted.numpy(), kept_classes, scores[best].numpy(), mask_logits)


def _vote_boxes(corners: Tensor, scores: Tensor, classes: Tensor, best: Tensor) -> Tensor:
    """Return the mean of the boxes that say the same as each best one, weighted by confidence."""
    overlaps = box_iou(corners[best], corners)
    agrees = (overlaps >= _VOTE_IOU) & (classes[best][:, None] == classes[None])
    weights = agrees * scores[None] ** 2
    return weights @ corners / weights.sum(dim=1, keepdim=True).clamp(min=1e-9)


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
