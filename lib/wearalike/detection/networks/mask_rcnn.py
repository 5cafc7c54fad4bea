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

from wearalike.detection.networks.backbone import CHANNELS, Still, Trunk, scaled
from wearalike.detection.networks.base import MOST_ITEMS, Sight, Targets, filled
from wearalike.models.files import Model

SIDE_PX = 416
_WIDTH, _HIDDEN = 64, 256
_LEAST_CONFIDENCE = 0.02
_LEVELS = ("0", "1", "2")
_ANCHORS_PX = ((24,), (56,), (120,), (240,))


class _Body(nn.Module):
    """Pictures, or what a trunk has made of them, to the pyramid's maps by name."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = Trunk()
        self.pyramid = FeaturePyramidNetwork(list(CHANNELS), _WIDTH, LastLevelMaxPool())
        self.out_channels = _WIDTH
        # What a learner has seen already, for torchvision hands pictures through from end to end.
        self.seen: tuple[Tensor, ...] | None = None

    def forward(self, pictures: Tensor) -> OrderedDict[str, Tensor]:
        if self.seen is None:
            maps: tuple[Tensor, ...] = self.trunk(pictures)
        else:
            maps = self.seen if len(self.seen) == len(CHANNELS) else self.trunk.upper(self.seen[0])
        found: OrderedDict[str, Tensor] = self.pyramid(OrderedDict(zip(_LEVELS, maps, strict=True)))
        return found


def network(classes_count: int) -> MaskRCNN:
    """The network, its heads knowing nothing. It takes squares of -1..1, which it neither scales nor shifts again."""
    return MaskRCNN(
        _Body(),
        min_size=SIDE_PX,
        max_size=SIDE_PX,
        image_mean=[0.0] * 3,
        image_std=[1.0] * 3,
        rpn_anchor_generator=AnchorGenerator(_ANCHORS_PX, ((0.5, 1.0, 2.0),) * len(_ANCHORS_PX)),
        box_roi_pool=MultiScaleRoIAlign(_LEVELS, 7, 2),
        box_head=TwoMLPHead(_WIDTH * 7 * 7, _HIDDEN),
        box_predictor=FastRCNNPredictor(_HIDDEN, classes_count + 1),
        box_score_thresh=_LEAST_CONFIDENCE,
        box_detections_per_img=MOST_ITEMS,
        mask_roi_pool=MultiScaleRoIAlign(_LEVELS, 14, 2),
        mask_head=MaskRCNNHeads(_WIDTH, (_WIDTH, _WIDTH), 1),
        mask_predictor=MaskRCNNPredictor(_WIDTH, _WIDTH, classes_count + 1),
    )


class MaskRcnn:
    """Looks with a network (detectors.Seer), a square at a time, so that no float sum depends on what shares a batch."""

    side_px = SIDE_PX

    def __init__(self, model: Model, device: str = "cpu") -> None:
        """Raises BadModel where the tensors do not fit."""
        self._network = filled(network(len(model.classes)), model).to(device)
        self._device = device
        self._one_at_a_time = threading.Lock()

    def sights(self, squares: NDArray[np.uint8], least_confidence: float) -> list[Sight]:
        with self._one_at_a_time, torch.inference_mode():
            return [
                self._look(torch.from_numpy(s).to(self._device), least_confidence)
                for s in scaled(squares)
            ]

    def _look(self, square: Tensor, least_confidence: float) -> Sight:
        (found,) = self._network([square])
        is_sure = found["scores"] > least_confidence
        corners, labels, scores, masks = (
            found[n][is_sure].cpu().numpy() for n in ("boxes", "labels", "scores", "masks")
        )
        return Sight(
            corners.astype(np.float64),
            labels.astype(np.int64) - 1,
            scores.astype(np.float64),
            lambda rows: masks[rows, 0] - 0.5,
        )


class Learner:
    """Trains a network (detectors.Learner). Its masks cost little beside the rest: they are always learned."""

    side_px = SIDE_PX

    def __init__(self, classes_count: int, device: str) -> None:
        self.network = network(classes_count)
        self._body: Any = self.network.backbone
        self._body.trunk.know_imagenet()
        self.network.to(device)
        self.trunk = self._body.trunk.learning()
        self.heads = [
            p
            for name, p in self.network.named_parameters()
            if not name.startswith("backbone.trunk.")
        ]
        self.seen = Still(self._body.trunk, device)
        self._device = device

    def losses(
        self, seen: tuple[Tensor, ...], targets: Targets, with_masks: bool
    ) -> dict[str, Tensor]:
        # The trunk's maps are there: of the pictures torchvision only asks the size.
        blank = [torch.zeros(3, *targets.items.shape[1:], device=self._device)] * len(targets.items)
        wanted = []
        for number, items in enumerate(targets.items):
            mine = targets.scene_ids == number
            labels = {
                "boxes": torch.from_numpy(targets.boxes[mine]).float(),
                "labels": torch.from_numpy(targets.classes[mine] + 1),
                "masks": torch.from_numpy(
                    (items == np.arange(1, mine.sum() + 1)[:, None, None]).astype(np.uint8)
                ),
            }
            wanted.append({name: t.to(self._device) for name, t in labels.items()})
        self._body.seen = seen
        try:
            found: dict[str, Tensor] = self.network.train()(blank, wanted)
        finally:
            self._body.seen = None
        return {name.removeprefix("loss_"): value for name, value in found.items()}
