"""A YOLO segmentation network of nano width on EfficientNet-Lite0, and the second look that may stand behind it.

Neck and head are Ultralytics' own modules (AGPL-3.0), and so are the losses. ultralytics is imported here alone, when it is
used, and it neither writes to HOME nor asks the network.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from wearalike.detection.networks import box_head
from wearalike.detection.networks.backbone import (
    CHANNELS,
    STRIDES,
    FrozenFeatures,
    MultiScaleBackbone,
    normalize_for_backbone,
)
from wearalike.detection.networks.base import (
    BOX_HEAD_PREFIX,
    DetectionTargets,
    RawDetections,
    load_model_arrays,
)
from wearalike.models import registry
from wearalike.models.files import Model

# It looks at larger squares than it learned on: things in training, zoomed in, look larger than they are (Touvron et al., Fixing
# the train-test resolution discrepancy, NeurIPS 2019).
SIDE_PX, TRAINING_SIDE_PX = 416, 320
_NECK_CHANNELS = (64, 128, 128)
_MASK_COEFFICIENTS, _PROTOTYPE_CHANNELS, _DFL_BINS = 16, 32, 8
# Gains of the losses of boxes (and masks), classes and box borders: Ultralytics' defaults.
_LOSS_GAINS = SimpleNamespace(box=7.5, cls=0.5, dfl=1.5, overlap_mask=True)
_GPU_BATCH_SIZE = 32
# So sure must the first look be of anything at all.
_MIN_PROPOSAL_CONFIDENCE = 0.03


class GarmentYolo(nn.Module):
    """float32 (n, 3, side, side), -1..1, side a multiple of 32 -> seven tensors, of each of `a` places: how far its box reaches
    (n, 4 * 8, a), left, top, right and down, as logits over 0..7 cells; its classes (n, c, a), logits; the weights of its mask
    (n, 16, a); what they weigh, (n, 16, side / 4, side / 4); and for a second look the neck's maps at an eighth (n, 64, ..) and a
    thirty-second (n, 128, ..), and the trunk's last (n, 320, ..)."""

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
        """The head's predictions, as Ultralytics' losses take them, from the neck's maps."""
        heads = self.head.one2many if with_masks else self.head.one2many | {"mask_head": None}
        raw = self.head.forward_head(levels, **heads)
        return raw | {"proto": self.head.proto(levels[0])} if with_masks else raw

    def neck(self, eighth: Tensor, sixteenth: Tensor, thirtysecond: Tensor) -> list[Tensor]:
        c5 = self.pool(thirtysecond)
        c4 = self.down4(torch.cat([_upsample_2x(c5), sixteenth], dim=1))
        p3 = self.down3(torch.cat([_upsample_2x(c4), eighth], dim=1))
        p4 = self.up4(torch.cat([self.step4(p3), c4], dim=1))
        p5 = self.up5(torch.cat([self.step5(p4), c5], dim=1))
        return [p3, p4, p5]


def new_box_head(classes_count: int) -> box_head.BoxHead:
    """The head of a second look at what this network sees, which knows nothing yet."""
    return box_head.BoxHead(
        box_head.roi_features_count((_NECK_CHANNELS[0], _NECK_CHANNELS[2]), CHANNELS[2]),
        classes_count,
    )


@dataclass(frozen=True, slots=True)
class NetworkOutput:
    """What the network makes of one square. reach, logits, weights, planes: its numbers (GarmentYolo, without n). features: gives
    what stands inside boxes, float64 (n, 4) in px of the square, as box_head.roi_features does."""

    box_logits: NDArray[np.float32]
    class_logits: NDArray[np.float32]
    mask_coefficients: NDArray[np.float32]
    mask_prototypes: NDArray[np.float32]
    roi_features: Callable[[NDArray[np.float64]], Tensor]


class YoloInference:
    """Looks with a network (base.DetectionNetwork): on a CPU compiled, a square at a time, one a core; on a GPU in batches of one size,
    the last one filled up, for float sums depend on it. Where the model holds a second look, its classes are that one's."""

    side_px = SIDE_PX

    def __init__(self, model: Model, device: str = "cpu") -> None:
        """Raises BadModel where the tensors do not fit."""
        first = {n: a for n, a in model.arrays.items() if not n.startswith(BOX_HEAD_PREFIX)}
        again = {
            n.removeprefix(BOX_HEAD_PREFIX): a
            for n, a in model.arrays.items()
            if n.startswith(BOX_HEAD_PREFIX)
        }
        network = load_model_arrays(GarmentYolo(len(model.classes)), replace(model, arrays=first))
        self._box_head = (
            load_model_arrays(new_box_head(len(model.classes)), replace(model, arrays=again))
            if again
            else None
        )
        self._batch_size = _GPU_BATCH_SIZE if device == "cuda" else 1
        self._threads_count = 1 if device == "cuda" else len(os.sched_getaffinity(0))
        shape = (1, 3, SIDE_PX, SIDE_PX)
        self._network = (
            _gpu_forward(network)
            if device == "cuda"
            else registry.compile_network(network, shape, self._threads_count)
        )
        self._version = model.version

    def raw_detections(
        self, squares: NDArray[np.uint8], min_confidence: float
    ) -> list[RawDetections]:
        return [
            self._detect_square(glance, min_confidence) for glance in self.network_outputs(squares)
        ]

    def network_outputs(self, squares: NDArray[np.uint8]) -> Iterator[NetworkOutput]:
        """What the network makes of each square of uint8 (n, side, side, 3). Raises BadModel where it gives what is no number."""
        for start in range(0, len(squares), self._batch_size):
            here = squares[start : start + self._batch_size]
            batch = np.zeros((self._batch_size, *squares.shape[1:]), np.uint8)
            batch[: len(here)] = here
            outputs = self._network(normalize_for_backbone(batch))
            if not all(np.isfinite(o).all() for o in outputs):
                raise registry.BadModel(f"detector {self._version}: it gives what is no number")
            for i in range(len(here)):
                reach, logits, weights, planes, *maps = (o[i] for o in outputs)
                fine, coarse, top = (torch.from_numpy(m)[None] for m in maps)
                yield NetworkOutput(
                    reach,
                    logits,
                    weights,
                    planes,
                    partial(box_head.roi_features, fine, coarse, top, side_px=SIDE_PX),
                )

    def _detect_square(self, glance: NetworkOutput, min_confidence: float) -> RawDetections:
        if self._box_head is None:
            return decode_detections(glance, min_confidence)
        places, corners = proposals(glance)
        if not len(places):
            return _build_detections(glance, places, places, np.zeros(0))
        with torch.inference_mode():
            second = self._box_head(glance.roi_features(corners)).double().softmax(dim=1).numpy()
        sure = box_head.fuse_confidences(_sigmoid(glance.class_logits[:, places].T), second)
        rows, classes = np.nonzero(sure > min_confidence)
        return _build_detections(glance, places[rows], classes, sure[rows, classes])


def decode_detections(glance: NetworkOutput, min_confidence: float) -> RawDetections:
    """What the network's numbers of one square mean. A place may be of several classes."""
    classes, places = np.nonzero(glance.class_logits > _logit(min_confidence))
    return _build_detections(
        glance, places, classes, _sigmoid(glance.class_logits[classes, places])
    )


def proposals(glance: NetworkOutput) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Where a second look is worth while: places, int64 (n,), that show different things, whatever these are, and their boxes,
    float64 (n, 4) in px of the square."""
    surest = glance.class_logits.max(axis=0)
    places = np.flatnonzero(surest > _logit(_MIN_PROPOSAL_CONFIDENCE))
    corners = _decode_boxes(glance, places)
    kept = box_head.nms_class_agnostic(corners, _sigmoid(surest[places]))
    return places[kept], corners[kept]


def _decode_boxes(glance: NetworkOutput, places: NDArray[np.int64]) -> NDArray[np.float64]:
    """The boxes of places, float64 (n, 4) in px of the square.

    How far a box reaches is the mean of its distribution over cells (Li et al., Generalized Focal Loss, NeurIPS 2020).
    """
    bins = glance.box_logits.reshape(4, _DFL_BINS, -1)[:, :, places].astype(np.float64)
    shares = np.exp(bins - bins.max(axis=1, keepdims=True))
    cells = (shares * np.arange(_DFL_BINS)[:, None]).sum(axis=1) / shares.sum(axis=1)
    centre, stride = _anchor_points(glance.mask_prototypes.shape[1] * 4)
    return np.tile(centre[places], 2) + np.array([-1, -1, 1, 1]) * cells.T * stride[places, None]


def _build_detections(
    glance: NetworkOutput,
    places: NDArray[np.int64],
    classes: NDArray[np.int64],
    confidences: NDArray[np.float64],
) -> RawDetections:
    """What stands at places, a class and a confidence each."""

    def mask_logits(rows: NDArray[np.int64]) -> NDArray[np.float32]:
        return np.einsum(
            "nk,khw->nhw", glance.mask_coefficients.T[places[rows]], glance.mask_prototypes
        )

    return RawDetections(
        _decode_boxes(glance, places), classes.astype(np.int64), confidences, mask_logits
    )


def _logit(confidence: float) -> float:
    return float(np.log(confidence / (1 - confidence)))


def _sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-logits.astype(np.float64)))


def _anchor_points(side: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The middle of every place, float64 (a, 2) x y in px of the square, and its stride, float64 (a,)."""
    grids = [
        np.stack(np.meshgrid(*[np.arange(side // s) + 0.5] * 2), axis=-1).reshape(-1, 2) * s
        for s in STRIDES
    ]
    return np.concatenate(grids), np.repeat(np.array(STRIDES, np.float64), [len(g) for g in grids])


class TrainableYolo:
    """Trains a network (base.TrainableDetector)."""

    side_px = TRAINING_SIDE_PX

    def __init__(self, classes_count: int, device: str) -> None:
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
        of = SimpleNamespace(
            args=_LOSS_GAINS, model=[self.network.head], parameters=self.network.head.parameters
        )
        self._losses = {
            False: v8DetectionLoss(cast(nn.Module, of)),
            True: v8SegmentationLoss(cast(nn.Module, of)),
        }
        self._device = device

    def losses(
        self, features: tuple[Tensor, ...], targets: DetectionTargets, with_masks: bool
    ) -> dict[str, Tensor]:
        eighth, *upper = features
        maps = (eighth, *upper) if upper else self.network.trunk.forward_from_stem(eighth)
        network = self.network.train()
        raw = network.head_outputs(network.neck(*maps), with_masks)
        raw = {
            name: [m.float() for m in v] if isinstance(v, list) else v.float()
            for name, v in raw.items()
        }
        x0, y0, x1, y1 = torch.from_numpy(targets.boxes / targets.instance_maps.shape[1]).float().T
        labels = {
            "batch_idx": torch.from_numpy(targets.scene_ids),
            "cls": torch.from_numpy(targets.classes).float(),
            "bboxes": torch.stack([(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0], dim=1),
            "masks": torch.from_numpy(targets.instance_maps[:, 2::4, 2::4].copy()),
        }
        found, _ = self._losses[with_masks].loss(
            raw, {n: t.to(self._device) for n, t in labels.items()}
        )
        names = ("box", "mask", "class", "border") if with_masks else ("box", "class", "border")
        return {
            name: value / len(targets.instance_maps)
            for name, value in zip(names, found, strict=False)
        }


def _upsample_2x(maps: Tensor) -> Tensor:
    return functional.interpolate(maps, scale_factor=2.0, mode="nearest")


def _gpu_forward(network: nn.Module) -> Any:
    there = network.to("cuda").to(memory_format=torch.channels_last)

    def forward(batch: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        with torch.inference_mode():
            return [
                o.cpu().numpy()
                for o in there(
                    torch.from_numpy(batch).to("cuda").contiguous(memory_format=torch.channels_last)
                )
            ]

    return forward


@contextlib.contextmanager
def isolated_ultralytics_import() -> Iterator[None]:
    """For the import of ultralytics: it asks no server whether there is a network, installs nothing, its settings go to a folder
    that is gone afterwards, and what it puts in place of other libraries' functions (one asks for a package where bytes are no
    picture) is taken back."""
    opened, saved = Image.open, torch.save
    with tempfile.TemporaryDirectory() as folder:
        switches = {"YOLO_OFFLINE": "1", "YOLO_AUTOINSTALL": "false", "YOLO_VERBOSE": "false"}
        wanted = {**switches, "YOLO_CONFIG_DIR": folder, "MPLCONFIGDIR": folder}
        before = {name: os.environ.get(name) for name in wanted}
        os.environ.update(wanted)
        try:
            yield
        finally:
            Image.open, torch.save = opened, saved
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value
