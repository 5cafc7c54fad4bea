"""A Mask R-CNN of torchvision's (He et al., ICCV 2017) on EfficientNet-Lite0 with a feature pyramid.

Slower than the YOLO network beside it, and for those who cannot take its licence: it needs torchvision alone.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.ops import FeaturePyramidNetwork, MultiScaleRoIAlign
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from wearalike.detection.networks.backbone import (
    CHANNELS,
    FrozenFeatures,
    MultiScaleBackbone,
    normalize_for_backbone,
)
from wearalike.detection.networks.base import (
    MAX_DETECTIONS,
    DetectionTargets,
    RawDetections,
    load_model_arrays,
)
from wearalike.models.files import Model

SIDE_PX = 416
_PYRAMID_CHANNELS, _HIDDEN_UNITS = 64, 256
_MIN_CONFIDENCE = 0.02
_PYRAMID_LEVELS = ("0", "1", "2")
_ANCHORS_PX = ((24,), (56,), (120,), (240,))


class _PyramidBackbone(nn.Module):
    """Pictures, or what a trunk has made of them, to the pyramid's maps by name."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = MultiScaleBackbone()
        self.pyramid = FeaturePyramidNetwork(list(CHANNELS), _PYRAMID_CHANNELS, LastLevelMaxPool())
        self.out_channels = _PYRAMID_CHANNELS
        # What a learner has seen already, for torchvision hands pictures through from end to end.
        self.seen: tuple[Tensor, ...] | None = None

    def forward(self, pictures: Tensor) -> OrderedDict[str, Tensor]:
        if self.seen is None:
            maps: tuple[Tensor, ...] = self.trunk(pictures)
        else:
            maps = (
                self.seen
                if len(self.seen) == len(CHANNELS)
                else self.trunk.forward_from_stem(self.seen[0])
            )
        found: OrderedDict[str, Tensor] = self.pyramid(
            OrderedDict(zip(_PYRAMID_LEVELS, maps, strict=True))
        )
        return found


def build_mask_rcnn(classes_count: int) -> MaskRCNN:
    """The network, its heads knowing nothing. It takes squares of -1..1, which it neither scales nor shifts again."""
    return MaskRCNN(
        _PyramidBackbone(),
        min_size=SIDE_PX,
        max_size=SIDE_PX,
        image_mean=[0.0] * 3,
        image_std=[1.0] * 3,
        rpn_anchor_generator=AnchorGenerator(_ANCHORS_PX, ((0.5, 1.0, 2.0),) * len(_ANCHORS_PX)),
        box_roi_pool=MultiScaleRoIAlign(_PYRAMID_LEVELS, 7, 2),
        box_head=TwoMLPHead(_PYRAMID_CHANNELS * 7 * 7, _HIDDEN_UNITS),
        box_predictor=FastRCNNPredictor(_HIDDEN_UNITS, classes_count + 1),
        box_score_thresh=_MIN_CONFIDENCE,
        box_detections_per_img=MAX_DETECTIONS,
        mask_roi_pool=MultiScaleRoIAlign(_PYRAMID_LEVELS, 14, 2),
        mask_head=MaskRCNNHeads(_PYRAMID_CHANNELS, (_PYRAMID_CHANNELS, _PYRAMID_CHANNELS), 1),
        mask_predictor=MaskRCNNPredictor(_PYRAMID_CHANNELS, _PYRAMID_CHANNELS, classes_count + 1),
    )


class MaskRcnnInference:
    """Looks with a network (base.DetectionNetwork), a square at a time, so that no float sum depends on what shares a batch."""

    side_px = SIDE_PX

    def __init__(self, model: Model, device: str = "cpu") -> None:
        """Raises BadModel where the tensors do not fit."""
        self._network = load_model_arrays(build_mask_rcnn(len(model.classes)), model).to(device)
        self._device = device
        self._one_at_a_time = threading.Lock()

    def raw_detections(
        self, squares: NDArray[np.uint8], min_confidence: float
    ) -> list[RawDetections]:
        with self._one_at_a_time, torch.inference_mode():
            return [
                self._detect_square(torch.from_numpy(s).to(self._device), min_confidence)
                for s in normalize_for_backbone(squares)
            ]

    def _detect_square(self, square: Tensor, min_confidence: float) -> RawDetections:
        (found,) = self._network([square])
        is_sure = found["scores"] > min_confidence
        corners, labels, scores, masks = (
            found[n][is_sure].cpu().numpy() for n in ("boxes", "labels", "scores", "masks")
        )
        return RawDetections(
            corners.astype(np.float64),
            labels.astype(np.int64) - 1,
            scores.astype(np.float64),
            lambda rows: masks[rows, 0] - 0.5,
        )


class TrainableMaskRcnn:
    """Trains a network (base.TrainableDetector). Its masks cost little beside the rest: they are always learned."""

    side_px = SIDE_PX

    def __init__(self, classes_count: int, device: str) -> None:
        self.network = build_mask_rcnn(classes_count)
        self._body: Any = self.network.backbone
        self._body.trunk.know_imagenet()
        self.network.to(device)
        self.backbone_parameters = self._body.trunk.learning()
        self.head_parameters = [
            p
            for name, p in self.network.named_parameters()
            if not name.startswith("backbone.trunk.")
        ]
        self.frozen_features = FrozenFeatures(self._body.trunk, device)
        self._device = device

    def losses(
        self, features: tuple[Tensor, ...], targets: DetectionTargets, with_masks: bool
    ) -> dict[str, Tensor]:
        # The trunk's maps are there: of the pictures torchvision only asks the size.
        blank = [torch.zeros(3, *targets.instance_maps.shape[1:], device=self._device)] * len(
            targets.instance_maps
        )
        wanted = []
        for number, items in enumerate(targets.instance_maps):
            mine = targets.scene_ids == number
            labels = {
                "boxes": torch.from_numpy(targets.boxes[mine]).float(),
                "labels": torch.from_numpy(targets.classes[mine] + 1),
                "masks": torch.from_numpy(
                    (items == np.arange(1, mine.sum() + 1)[:, None, None]).astype(np.uint8)
                ),
            }
            wanted.append({name: t.to(self._device) for name, t in labels.items()})
        self._body.seen = features
        try:
            found: dict[str, Tensor] = self.network.train()(blank, wanted)
        finally:
            self._body.seen = None
        return {name.removeprefix("loss_"): value for name, value in found.items()}
