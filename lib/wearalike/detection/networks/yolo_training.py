"""Training of the YOLO network, with the losses of Ultralytics (AGPL-3.0)."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import torch
from torch import Tensor, nn

from wearalike.detection.networks.backbone import FrozenFeatures
from wearalike.detection.networks.base import DetectionTargets
from wearalike.detection.networks.ultralytics_import import isolated_ultralytics_import
from wearalike.detection.networks.yolo import TRAINING_SIDE_PX, GarmentYolo

# Weights of the losses of boxes (and masks), classes and box borders: Ultralytics' defaults.
_LOSS_GAINS = SimpleNamespace(box=7.5, cls=0.5, dfl=1.5, overlap_mask=True)
_LOSS_NAMES = ("box", "class", "border")
_LOSS_NAMES_WITH_MASKS = ("box", "mask", "class", "border")
# The losses take masks at a quarter of the square's side.
_MASK_STRIDE = 4


class TrainableYolo:
    """A YOLO network that learns (base.TrainableDetector)."""

    side_px = TRAINING_SIDE_PX

    def __init__(self, classes_count: int, device: str) -> None:
        """Build the network, its backbone with the weights of ImageNet.

        Args:
            classes_count: How many classes it is to tell apart.
            device: "cpu" or "cuda".
        """
        with isolated_ultralytics_import():
            from ultralytics.utils.loss import v8DetectionLoss, v8SegmentationLoss

        self.network = GarmentYolo(classes_count)
        self.network.trunk.load_imagenet_weights()
        self.network.to(device).to(memory_format=torch.channels_last)
        self.backbone_parameters = self.network.trunk.trainable_parameters()
        self.head_parameters = [
            p for name, p in self.network.named_parameters() if not name.startswith("trunk.")
        ]
        self.frozen_features = FrozenFeatures(self.network.trunk, device)
        # The losses read these attributes of a whole Ultralytics model.
        model = SimpleNamespace(
            args=_LOSS_GAINS, model=[self.network.head], parameters=self.network.head.parameters
        )
        self._losses = {
            False: v8DetectionLoss(cast(nn.Module, model)),
            True: v8SegmentationLoss(cast(nn.Module, model)),
        }
        self._device = device

    def losses(
        self, features: tuple[Tensor, ...], targets: DetectionTargets, with_masks: bool
    ) -> dict[str, Tensor]:
        """Return the mean losses of a batch by name, see base.TrainableDetector."""
        eighth, *upper = features
        maps = (eighth, *upper) if upper else self.network.trunk.forward_from_stem(eighth)
        network = self.network.train()
        raw = network.head_outputs(network.neck(*maps), with_masks)
        raw = {
            name: [m.float() for m in v] if isinstance(v, list) else v.float()
            for name, v in raw.items()
        }
        labels = {n: t.to(self._device) for n, t in _loss_targets(targets).items()}
        values, _ = self._losses[with_masks].loss(raw, labels)
        names = _LOSS_NAMES_WITH_MASKS if with_masks else _LOSS_NAMES
        scenes_count = len(targets.instance_maps)
        return {name: value / scenes_count for name, value in zip(names, values, strict=False)}


def _loss_targets(targets: DetectionTargets) -> dict[str, Tensor]:
    """Return ground truth as Ultralytics' losses take it: boxes as centre and size, 0..1."""
    side = targets.instance_maps.shape[1]
    x0, y0, x1, y1 = torch.from_numpy(targets.boxes / side).float().T
    masks = targets.instance_maps[:, 2::_MASK_STRIDE, 2::_MASK_STRIDE]
    return {
        "batch_idx": torch.from_numpy(targets.scene_ids),
        "cls": torch.from_numpy(targets.classes).float(),
        "bboxes": torch.stack([(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0], dim=1),
        "masks": torch.from_numpy(masks.copy()),
    }
