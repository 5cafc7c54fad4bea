"""Torchvision's Mask R-CNN (He et al., ICCV 2017) on EfficientNet-Lite0 with a feature pyramid.

It is slower than the YOLO network beside it. It needs only torchvision, for those who cannot accept
the AGPL licence of Ultralytics.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import cast

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
)
from wearalike.detection.networks.base import (
    DetectionTargets,
    RawDetections,
    load_model_arrays,
    normalize_for_backbone,
)
from wearalike.detection.networks.postprocess import MAX_DETECTIONS
from wearalike.models.files import Model

SIDE_PX = 416
_PYRAMID_CHANNELS = 64
_HIDDEN_UNITS = 256
# Torchvision drops less confident detections before they leave the network.
_MIN_CONFIDENCE = 0.02
_PYRAMID_LEVELS = ("0", "1", "2")
# Anchor size at each pyramid level, and the ratios of its sides.
_ANCHORS_PX = ((24,), (56,), (120,), (240,))
_ANCHOR_RATIOS = (0.5, 1.0, 2.0)
# Cells a side that torchvision's RoI pooling reads, and its samples a cell side.
_BOX_CELLS = 7
_MASK_CELLS = 14
_SAMPLES = 2


class _PyramidBackbone(nn.Module):
    """Backbone and feature pyramid: pictures to maps by level.

    Attributes:
        features_override: Maps of the backbone that a trainer has already computed. Torchvision
            passes pictures through from end to end, so they cannot be given as an argument. A tuple
            of all three maps, or of the stem's map alone; None computes them from the pictures.
    """

    def __init__(self) -> None:
        super().__init__()
        self.trunk = MultiScaleBackbone()
        self.pyramid = FeaturePyramidNetwork(list(CHANNELS), _PYRAMID_CHANNELS, LastLevelMaxPool())
        self.out_channels = _PYRAMID_CHANNELS
        self.features_override: tuple[Tensor, ...] | None = None

    def forward(self, pictures: Tensor) -> OrderedDict[str, Tensor]:
        """Return the pyramid's maps by level."""
        if self.features_override is None:
            maps: tuple[Tensor, ...] = self.trunk(pictures)
        elif len(self.features_override) == len(CHANNELS):
            maps = self.features_override
        else:
            maps = self.trunk.forward_from_stem(self.features_override[0])
        levels: OrderedDict[str, Tensor] = self.pyramid(
            OrderedDict(zip(_PYRAMID_LEVELS, maps, strict=True))
        )
        return levels


def build_mask_rcnn(classes_count: int) -> MaskRCNN:
    """Build the network with untrained heads.

    It takes squares of -1..1, which torchvision neither scales nor shifts again.

    Args:
        classes_count: How many classes it is to tell apart, background not counted.
    """
    channels = _PYRAMID_CHANNELS
    ratios = (_ANCHOR_RATIOS,) * len(_ANCHORS_PX)
    return MaskRCNN(
        _PyramidBackbone(),
        min_size=SIDE_PX,
        max_size=SIDE_PX,
        image_mean=[0.0] * 3,
        image_std=[1.0] * 3,
        rpn_anchor_generator=AnchorGenerator(_ANCHORS_PX, ratios),
        box_roi_pool=MultiScaleRoIAlign(_PYRAMID_LEVELS, _BOX_CELLS, _SAMPLES),
        box_head=TwoMLPHead(channels * _BOX_CELLS * _BOX_CELLS, _HIDDEN_UNITS),
        box_predictor=FastRCNNPredictor(_HIDDEN_UNITS, classes_count + 1),
        box_score_thresh=_MIN_CONFIDENCE,
        box_detections_per_img=MAX_DETECTIONS,
        mask_roi_pool=MultiScaleRoIAlign(_PYRAMID_LEVELS, _MASK_CELLS, _SAMPLES),
        mask_head=MaskRCNNHeads(channels, (channels, channels), 1),
        mask_predictor=MaskRCNNPredictor(channels, channels, classes_count + 1),
    )


class MaskRcnnInference:
    """The network of a model file, ready to detect (base.DetectionNetwork).

    It takes one square at a time, so that no float sum depends on what else is in a batch.
    """

    side_px = SIDE_PX
    crop_margin_ratio = 0.0

    def __init__(self, model: Model, device: str = "cpu") -> None:
        """Load the network.

        Args:
            model: A detector of this architecture.
            device: "cpu" or "cuda".

        Raises:
            BadModel: The tensors do not fit.
        """
        self._network = load_model_arrays(build_mask_rcnn(len(model.classes)), model).to(device)
        self._device = device
        self._lock = threading.Lock()

    def raw_detections(
        self, squares: NDArray[np.uint8], min_confidence: float
    ) -> list[RawDetections]:
        """Return the detections in each square, see base.DetectionNetwork."""
        with self._lock, torch.inference_mode():
            return [
                self._detect_square(torch.from_numpy(square).to(self._device), min_confidence)
                for square in normalize_for_backbone(squares)
            ]

    def _detect_square(self, square: Tensor, min_confidence: float) -> RawDetections:
        """Return the detections in one square, float32 (3, side, side), -1..1."""
        (output,) = self._network([square])
        is_confident = output["scores"] > min_confidence
        corners, labels, scores, masks = (
            output[name][is_confident].cpu().numpy()
            for name in ("boxes", "labels", "scores", "masks")
        )
        # Torchvision's class 0 is background, and its masks are probabilities, cut at 0.5.
        return RawDetections(
            corners.astype(np.float64),
            labels.astype(np.int64) - 1,
            scores.astype(np.float64),
            lambda rows: masks[rows, 0] - 0.5,
        )


class TrainableMaskRcnn:
    """A Mask R-CNN that learns (base.TrainableDetector).

    Masks cost little beside the rest, so they are always learned.
    """

    side_px = SIDE_PX

    def __init__(self, classes_count: int, device: str) -> None:
        """Build the network, its backbone with the weights of ImageNet.

        Args:
            classes_count: How many classes it is to tell apart.
            device: "cpu" or "cuda".
        """
        self.network = build_mask_rcnn(classes_count)
        self._body = cast(_PyramidBackbone, self.network.backbone)
        self._body.trunk.load_imagenet_weights()
        self.network.to(device)
        self.backbone_parameters = self._body.trunk.trainable_parameters()
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
        """Return the losses of a batch by name, see base.TrainableDetector."""
        # The backbone's maps are given, so torchvision only asks the size of the pictures.
        scenes_count, *size = targets.instance_maps.shape
        blank = [torch.zeros(3, *size, device=self._device)] * scenes_count
        labels = [self._scene_labels(targets, scene_id) for scene_id in range(scenes_count)]
        self._body.features_override = features
        try:
            values: dict[str, Tensor] = self.network.train()(blank, labels)
        finally:
            self._body.features_override = None
        return {name.removeprefix("loss_"): value for name, value in values.items()}

    def _scene_labels(self, targets: DetectionTargets, scene_id: int) -> dict[str, Tensor]:
        """Return the ground truth of one scene as torchvision takes it."""
        rows = targets.scene_ids == scene_id
        numbers = np.arange(1, rows.sum() + 1)[:, None, None]
        masks = (targets.instance_maps[scene_id] == numbers).astype(np.uint8)
        labels = {
            "boxes": torch.from_numpy(targets.boxes[rows]).float(),
            "labels": torch.from_numpy(targets.classes[rows] + 1),
            "masks": torch.from_numpy(masks),
        }
        return {name: tensor.to(self._device) for name, tensor in labels.items()}
