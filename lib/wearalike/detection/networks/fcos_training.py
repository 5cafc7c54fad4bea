"""Train the anchor-free detector: the ground truth of its cells, and its losses."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torchvision.ops import generalized_box_iou_loss

from wearalike.detection.networks.backbone import FrozenFeatures
from wearalike.detection.networks.base import DetectionTargets
from wearalike.detection.networks.fcos import TRAINING_SIDE_PX, GarmentFcos, decode_boxes
from wearalike.detection.networks.fcos_inference import STRIDE

# Weights of the losses.
_CLASS_GAIN = 2.0
_BOX_GAIN = 2.0
_QUALITY_GAIN = 0.5
# The cell of an item counts in its class loss as the square root of this, divided by its cells.
_TYPICAL_CELLS = 60.0
_CELL_WEIGHTS = (0.5, 4.0)
# An item of fewer cells takes every cell that it covers by this share.
_SMALL_ITEM_CELLS = 6
_MIN_COVER_RATIO = 0.25


def weighted_losses(
    logits: Tensor,
    classes: Tensor,
    class_weights: Tensor,
    seen: Tensor,
    wanted: Tensor,
    quality: Tensor,
    box_weights: Tensor,
) -> dict[str, Tensor]:
    """Return the losses of cells by name.

    Args:
        logits: (n, 1 + classes).
        classes: int64 (n,). 0 for no garment.
        class_weights: (n,). How much each cell counts.
        seen: (m, 4). Boxes of the cells that are on an item.
        wanted: (m, 4). Their ground truth.
        quality: (m,). Logits of their quality.
        box_weights: (m,). How much each counts.
    """
    named = functional.cross_entropy(logits, classes, reduction="none")
    losses = {"class": _CLASS_GAIN * (named * class_weights).sum() / class_weights.sum()}
    total = box_weights.sum().clamp(min=1e-9)
    box = generalized_box_iou_loss(seen, wanted, reduction="none")
    losses["box"] = _BOX_GAIN * (box * box_weights).sum() / total
    overlap = paired_box_iou(seen.detach(), wanted)
    told = functional.binary_cross_entropy_with_logits(quality, overlap, reduction="none")
    losses["quality"] = _QUALITY_GAIN * (told * box_weights).sum() / total
    return losses


class TrainableFcos:
    """A network that learns (base.TrainableDetector). Its classes are its masks."""

    side_px = TRAINING_SIDE_PX

    def __init__(self, classes_count: int, device: str) -> None:
        """Build the network, its backbone with the weights of ImageNet.

        Args:
            classes_count: How many classes it is to tell apart.
            device: "cpu" or "cuda".
        """
        self.network = GarmentFcos(classes_count)
        self.network.trunk.load_imagenet_weights()
        self.network.to(device).to(memory_format=torch.channels_last)
        self.backbone_parameters = self.network.trunk.trainable_parameters()
        self.head_parameters = [
            p for name, p in self.network.named_parameters() if not name.startswith("trunk.")
        ]
        self.frozen_features = FrozenFeatures(self.network.trunk, device)
        self._device = device

    def losses(
        self, features: tuple[Tensor, ...], targets: DetectionTargets, with_masks: bool
    ) -> dict[str, Tensor]:
        """Return the mean losses of a batch by name, see base.TrainableDetector."""
        del with_masks  # the classes are learned at every cell, so the masks always are
        eighth, *upper = features
        maps = (eighth, *upper) if upper else self.network.trunk.forward_from_stem(eighth)
        logits, distances, quality = (m.float() for m in self.network.head_outputs(*maps))
        cells = cell_targets(targets)
        at = np.flatnonzero(cells.classes)
        wanted = cells.boxes.reshape(-1, 4)[at]
        on_items = torch.from_numpy(at).to(self._device)
        return weighted_losses(
            logits.flatten(2).transpose(1, 2).flatten(0, 1),
            torch.from_numpy(cells.classes.ravel()).to(self._device),
            torch.from_numpy(cells.class_weights.ravel()).to(self._device),
            decode_boxes(distances).flatten(0, 1)[on_items],
            torch.from_numpy(wanted).to(self._device),
            quality.flatten()[on_items],
            torch.from_numpy(cells.box_weights.ravel()[at]).to(self._device),
        )


class CellTargets(NamedTuple):
    """Ground truth at each of m cells of n scenes.

    Attributes:
        classes: int64 (n, m). 0 for no garment, else 1 + position in the model's classes.
        class_weights: float32 (n, m). How much a cell counts in the class loss.
        boxes: float32 (n, m, 4). Box of the cell's item in px, zeros without one.
        box_weights: float32 (n, m). How much a cell counts in the box loss: 1 in all an item.
    """

    classes: NDArray[np.int64]
    class_weights: NDArray[np.float32]
    boxes: NDArray[np.float32]
    box_weights: NDArray[np.float32]


def cell_targets(targets: DetectionTargets) -> CellTargets:
    """Return the ground truth of cells: a cell is of the item at its centre.

    Small items take every cell that they cover a good part of.

    Args:
        targets: Ground truth of scenes.
    """
    scenes_count, side, _ = targets.instance_maps.shape
    cells = side // STRIDE
    classes = np.zeros((scenes_count, cells, cells), np.int64)
    class_weights = np.ones(classes.shape, np.float32)
    boxes = np.zeros((*classes.shape, 4), np.float32)
    box_weights = np.zeros(classes.shape, np.float32)
    half = STRIDE // 2
    for scene_id in range(scenes_count):
        instances = targets.instance_maps[scene_id]
        centres = instances[half::STRIDE, half::STRIDE]
        rows = np.flatnonzero(targets.scene_ids == scene_id)
        masks = []
        for number in range(1, len(rows) + 1):
            mask = centres == number
            if mask.sum() < _SMALL_ITEM_CELLS:
                parts = (instances == number).reshape(cells, STRIDE, cells, STRIDE)
                mask = mask | (parts.mean(axis=(1, 3)) >= _MIN_COVER_RATIO)
            masks.append((int(mask.sum()), number, mask))
        # Smaller items last, so that they keep their cells.
        for count, number, mask in sorted(masks, key=lambda m: -m[0]):
            if not count:
                continue
            row = rows[number - 1]
            classes[scene_id][mask] = 1 + targets.classes[row]
            weight = np.clip(np.sqrt(_TYPICAL_CELLS / count), *_CELL_WEIGHTS)
            class_weights[scene_id][mask] = weight
            boxes[scene_id][mask] = targets.boxes[row]
            box_weights[scene_id][mask] = 1 / count
    flat = (scenes_count, cells * cells)
    return CellTargets(
        classes.reshape(flat),
        class_weights.reshape(flat),
        boxes.reshape(*flat, 4),
        box_weights.reshape(flat),
    )


def paired_box_iou(boxes: Tensor, others: Tensor) -> Tensor:
    """Return the IoU of each box with the other of the same row, (n,).

    Args:
        boxes: (n, 4). x0, y0, x1, y1.
        others: (n, 4).
    """
    low = torch.maximum(boxes[:, :2], others[:, :2])
    high = torch.minimum(boxes[:, 2:], others[:, 2:])
    common = (high - low).clamp(min=0).prod(dim=1)
    areas = [(b[:, 2:] - b[:, :2]).prod(dim=1) for b in (boxes, others)]
    return common / (areas[0] + areas[1] - common).clamp(min=1e-9)
