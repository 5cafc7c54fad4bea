"""A YOLO segmentation network of nano width on EfficientNet-Lite0, with an optional box head.

Neck and head are Ultralytics' own modules (AGPL-3.0). Ultralytics is imported only here and in
`yolo_training`, when it is used. It neither writes to HOME nor asks the network.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from wearalike.detection.networks import box_head
from wearalike.detection.networks.backbone import (
    CHANNELS,
    STRIDES,
    MultiScaleBackbone,
)
from wearalike.detection.networks.base import (
    BOX_HEAD_PREFIX,
    RawDetections,
    load_model_arrays,
)
from wearalike.detection.networks.square_network import SquareNetwork
from wearalike.detection.networks.ultralytics_import import isolated_ultralytics_import
from wearalike.models.files import Model

# It detects on larger squares than it trains on, because augmentation that zooms in makes objects
# look larger in training (Touvron et al., Fixing the train-test resolution discrepancy,
# NeurIPS 2019).
SIDE_PX = 416
TRAINING_SIDE_PX = 320
_NECK_CHANNELS = (64, 128, 128)
_MASK_COEFFICIENTS = 16
_PROTOTYPE_CHANNELS = 32
# A box side is a distribution over so many distances, 0..7 cells.
_DFL_BINS = 8
# A proposal must be of some class with more confidence than this.
_MIN_PROPOSAL_CONFIDENCE = 0.03


class GarmentYolo(nn.Module):
    """The network: pictures to seven tensors for `a` anchor points and `c` classes.

    Input: float32 (n, 3, side, side), -1..1, side a multiple of 32. Output, in this order:

    - box distances (n, 4 * 8, a): left, top, right and down, as logits over 0..7 cells
    - class logits (n, c, a)
    - mask coefficients (n, 16, a)
    - mask prototypes (n, 16, side / 4, side / 4)
    - for the box head: the neck's maps at 1/8 (n, 64, ..) and 1/32 (n, 128, ..), and the
      backbone's last map (n, 320, ..)
    """

    def __init__(self, classes_count: int) -> None:
        super().__init__()
        with isolated_ultralytics_import():
            from ultralytics.nn.modules import SPPF, C3k2, Conv, Segment

        eighth, sixteenth, thirtysecond = CHANNELS
        small, medium, large = _NECK_CHANNELS
        self.trunk = MultiScaleBackbone()
        self.pool = SPPF(thirtysecond, large)
        self.down4 = C3k2(large + sixteenth, medium, 1, False)
        self.down3 = C3k2(medium + eighth, small, 1, False)
        self.step4 = Conv(small, small, 3, 2)
        self.up4 = C3k2(small + medium, medium, 1, False)
        self.step5 = Conv(medium, medium, 3, 2)
        self.up5 = C3k2(medium + large, large, 1, True)
        self.head = Segment(
            classes_count, _MASK_COEFFICIENTS, _PROTOTYPE_CHANNELS, _DFL_BINS, False, _NECK_CHANNELS
        )
        self.head.stride = torch.tensor(STRIDES, dtype=torch.float32)
        self.head.bias_init()

    def forward(self, pictures: Tensor) -> tuple[Tensor, ...]:
        """Return the seven tensors of a batch of pictures."""
        maps = self.trunk(pictures)
        levels = self.neck(*maps)
        raw = self.head_outputs(levels, with_masks=True)
        return (
            raw["boxes"],
            raw["scores"],
            raw["mask_coefficient"],
            raw["proto"],
            levels[0],
            levels[2],
            maps[2],
        )

    def head_outputs(self, levels: list[Tensor], with_masks: bool) -> dict[str, Any]:
        """Return the head's predictions from the neck's maps, as Ultralytics' losses take them."""
        heads = self.head.one2many if with_masks else self.head.one2many | {"mask_head": None}
        raw = self.head.forward_head(levels, **heads)
        return raw | {"proto": self.head.proto(levels[0])} if with_masks else raw

    def neck(self, eighth: Tensor, sixteenth: Tensor, thirtysecond: Tensor) -> list[Tensor]:
        """Return maps at 1/8, 1/16 and 1/32 of the side, each fused with the coarser ones."""
        c5 = self.pool(thirtysecond)
        c4 = self.down4(torch.cat([_upsample_2x(c5), sixteenth], dim=1))
        p3 = self.down3(torch.cat([_upsample_2x(c4), eighth], dim=1))
        p4 = self.up4(torch.cat([self.step4(p3), c4], dim=1))
        p5 = self.up5(torch.cat([self.step5(p4), c5], dim=1))
        return [p3, p4, p5]


def new_box_head(classes_count: int) -> box_head.BoxHead:
    """Return an untrained box head that fits this network's maps."""
    fine, _, coarse = _NECK_CHANNELS
    features_count = box_head.roi_features_count((fine, coarse), CHANNELS[2])
    return box_head.BoxHead(features_count, classes_count)


@dataclass(frozen=True, slots=True)
class NetworkOutput:
    """Output of the network for one square: GarmentYolo's tensors without their first axis.

    Attributes:
        box_logits: float32 (4 * 8, a).
        class_logits: float32 (c, a).
        mask_coefficients: float32 (16, a).
        mask_prototypes: float32 (16, side / 4, side / 4).
        roi_features: Takes boxes, float64 (n, 4) in px of the square, and returns what
            box_head.roi_features reads inside them, float32 (n, d).
    """

    box_logits: NDArray[np.float32]
    class_logits: NDArray[np.float32]
    mask_coefficients: NDArray[np.float32]
    mask_prototypes: NDArray[np.float32]
    roi_features: Callable[[NDArray[np.float64]], Tensor]


class YoloInference:
    """The network of a model file, ready to detect (base.DetectionNetwork).

    If the model holds a box head, the classes are the box head's.
    """

    side_px = SIDE_PX
    crop_margin_ratio = 0.0

    def __init__(self, model: Model, device: str = "cpu", root: Path | None = None) -> None:
        """Load the network.

        Args:
            model: A detector of this architecture.
            device: "cpu" or "cuda".
            root: The data folder, which keeps the converted network for the next job.

        Raises:
            BadModel: The tensors do not fit.
            ImportError: Ultralytics is not installed.
        """
        # Where it is kept, the network works without; what a run finds must not depend on that.
        if importlib.util.find_spec("ultralytics") is None:
            raise ModuleNotFoundError("No module named 'ultralytics'", name="ultralytics")
        classes_count = len(model.classes)
        network_arrays = {}
        head_arrays = {}
        for name, array in model.arrays.items():
            if name.startswith(BOX_HEAD_PREFIX):
                head_arrays[name.removeprefix(BOX_HEAD_PREFIX)] = array
            else:
                network_arrays[name] = array

        def build() -> nn.Module:
            return load_model_arrays(
                GarmentYolo(classes_count), replace(model, arrays=network_arrays)
            )

        self._box_head: nn.Module | None = None
        if head_arrays:
            self._box_head = load_model_arrays(
                new_box_head(classes_count), replace(model, arrays=head_arrays)
            )
        self._network = SquareNetwork(build, model, SIDE_PX, device, root)

    def raw_detections(
        self, squares: NDArray[np.uint8], min_confidence: float
    ) -> list[RawDetections]:
        """Return the detections in each square, see base.DetectionNetwork.

        Raises:
            BadModel: The network returns numbers that are not finite.
        """
        return [
            self._detect_square(output, min_confidence) for output in self.network_outputs(squares)
        ]

    def network_outputs(self, squares: NDArray[np.uint8]) -> Iterator[NetworkOutput]:
        """Yield the network's output for each square.

        Args:
            squares: uint8 (n, SIDE_PX, SIDE_PX, 3) RGB.

        Raises:
            BadModel: The network returns numbers that are not finite.
        """
        for box_logits, class_logits, coefficients, prototypes, *maps in self._network.outputs(
            squares
        ):
            fine, coarse, top = (torch.from_numpy(m)[None] for m in maps)
            features = partial(box_head.roi_features, fine, coarse, top, side_px=SIDE_PX)
            yield NetworkOutput(box_logits, class_logits, coefficients, prototypes, features)

    def _detect_square(self, output: NetworkOutput, min_confidence: float) -> RawDetections:
        """Return the detections in one square, classified by the box head if there is one."""
        if self._box_head is None:
            return decode_detections(output, min_confidence)
        anchors, corners = proposals(output)
        if not len(anchors):
            return _build_detections(output, anchors, anchors, np.zeros(0))
        with torch.inference_mode():
            logits = self._box_head(output.roi_features(corners))
            probabilities = logits.double().softmax(dim=1).numpy()
        proposed = _sigmoid(output.class_logits[:, anchors].T)
        confidences = box_head.fuse_confidences(proposed, probabilities)
        rows, classes = np.nonzero(confidences > min_confidence)
        return _build_detections(output, anchors[rows], classes, confidences[rows, classes])


def decode_detections(output: NetworkOutput, min_confidence: float) -> RawDetections:
    """Decode a square's detections; one anchor point may be of several classes.

    Args:
        output: The network's output for the square.
        min_confidence: Detections must be more confident than this, 0..1.
    """
    classes, anchors = np.nonzero(output.class_logits > _logit(min_confidence))
    confidences = _sigmoid(output.class_logits[classes, anchors])
    return _build_detections(output, anchors, classes, confidences)


def proposals(output: NetworkOutput) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the boxes that the box head is to classify, one for each item of any class.

    Args:
        output: The network's output for the square.

    Returns:
        The anchor points, int64 (n,), and their boxes, float64 (n, 4) in px of the square.
    """
    highest = output.class_logits.max(axis=0)
    anchors = np.flatnonzero(highest > _logit(_MIN_PROPOSAL_CONFIDENCE))
    corners = _decode_boxes(output, anchors)
    kept = box_head.nms_class_agnostic(corners, _sigmoid(highest[anchors]))
    return anchors[kept], corners[kept]


def _decode_boxes(output: NetworkOutput, anchors: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the boxes of anchor points, float64 (n, 4) in px of the square.

    The distance to a side is the mean of its distribution over cells (Li et al., Generalized Focal
    Loss, NeurIPS 2020).
    """
    bins = output.box_logits.reshape(4, _DFL_BINS, -1)[:, :, anchors].astype(np.float64)
    weights = np.exp(bins - bins.max(axis=1, keepdims=True))
    cells = (weights * np.arange(_DFL_BINS)[:, None]).sum(axis=1) / weights.sum(axis=1)
    centre, stride = _anchor_points(output.mask_prototypes.shape[1] * 4)
    return np.tile(centre[anchors], 2) + np.array([-1, -1, 1, 1]) * cells.T * stride[anchors, None]


def _build_detections(
    output: NetworkOutput,
    anchors: NDArray[np.int64],
    classes: NDArray[np.int64],
    confidences: NDArray[np.float64],
) -> RawDetections:
    """Return detections at anchor points, a class and a confidence each."""

    def mask_logits(rows: NDArray[np.int64]) -> NDArray[np.float32]:
        coefficients = output.mask_coefficients.T[anchors[rows]]
        return np.einsum("nk,khw->nhw", coefficients, output.mask_prototypes)

    return RawDetections(
        _decode_boxes(output, anchors), classes.astype(np.int64), confidences, mask_logits
    )


def _logit(confidence: float) -> float:
    return float(np.log(confidence / (1 - confidence)))


def _sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-logits.astype(np.float64)))


def _anchor_points(side: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return each anchor point, float64 (a, 2) x y in px, and its stride, float64 (a,)."""
    grids = []
    for stride in STRIDES:
        centres = np.arange(side // stride) + 0.5
        grids.append(np.stack(np.meshgrid(centres, centres), axis=-1).reshape(-1, 2) * stride)
    return np.concatenate(grids), np.repeat(np.array(STRIDES, np.float64), [len(g) for g in grids])


def _upsample_2x(maps: Tensor) -> Tensor:
    return functional.interpolate(maps, scale_factor=2.0, mode="nearest")
