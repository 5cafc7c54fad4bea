"""An anchor-free detector on EfficientNet-Lite0, after FCOS (Tian et al., ICCV 2019).

Every cell of one map at 1/8 of the square names the garment that it belongs to, or none. It also
tells how far the garment reaches from there. So the cells of a garment are its mask, and any of
them gives its box. It needs torch and torchvision alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import batched_nms, box_iou, generalized_box_iou_loss

from wearalike.detection.classes import GARMENT_CLASS_BY_NAME
from wearalike.detection.networks.backbone import (
    CHANNELS,
    FrozenFeatures,
    MultiScaleBackbone,
    normalize_for_backbone,
)
from wearalike.detection.networks.base import DetectionTargets, RawDetections, load_model_arrays
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
            self._network = _gpu_forward(network)
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


def _gpu_forward(
    network: nn.Module,
) -> Callable[[NDArray[np.float32]], list[NDArray[np.float32]]]:
    """Return the network as a function on the GPU."""
    on_gpu = network.to("cuda").to(memory_format=torch.channels_last)

    def forward(batch: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        pictures = torch.from_numpy(batch).to("cuda")
        with torch.inference_mode():
            outputs = on_gpu(pictures.contiguous(memory_format=torch.channels_last))
        return [output.cpu().numpy() for output in outputs]

    return forward
