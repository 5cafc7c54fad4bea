"""Networks that see garments in pictures: one module an architecture, all trained and used alike.

Every picture is looked at alone on a white square of one side (decode.letterbox), so what is found in it depends on no other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from wearalike.models.files import BadModel, Model, check_shapes

if TYPE_CHECKING:
    import torch

# The names of the architectures are written into model files.
YOLO, MASK_RCNN = "yolo-lite0-seg", "mask-rcnn-lite0"
ARCHITECTURES = (YOLO, MASK_RCNN)
# What the names of a model's tensors begin with that belong to its second look.
BOX_HEAD_PREFIX = "second."
# Two boxes of one group that overlap more are two sights of one thing, of which the surer stays.
_NMS_IOU = 0.5
MAX_DETECTIONS = 50


@dataclass(frozen=True, slots=True)
class Detections:
    """What was seen in one picture, surest first. corners: float64 (n, 4), x0 y0 x1 y1 in px of the picture, inside it. classes:
    int64 (n,), positions in the model's classes. confidences: float64 (n,), 0..1. masks: bool (n, h, w), or None where they were
    not asked for."""

    boxes: NDArray[np.float64]
    classes: NDArray[np.int64]
    confidences: NDArray[np.float64]
    masks: NDArray[np.bool_] | None = None


@dataclass(frozen=True, slots=True)
class RawDetections:
    """What a network sees in a square, before doubles are left out. corners: float64 (n, 4) in px of the square; classes,
    confidences: (n,); logits: gives of some rows the mask's logits, float32 (n, m, m), over the whole square."""

    boxes: NDArray[np.float64]
    classes: NDArray[np.int64]
    confidences: NDArray[np.float64]
    mask_logits: Any


@dataclass(frozen=True, slots=True)
class DetectionTargets:
    """What is to be seen in n pictures with m items in all. scene_ids: int64 (m,), in which picture, ascending. classes: int64
    (m,). boxes: float64 (m, 4), x0 y0 x1 y1 in px of the square. items: uint8 (n, side, side), which of its items, from 1, a
    pixel of a picture is of; 0 none."""

    scene_ids: NDArray[np.int64]
    classes: NDArray[np.int64]
    boxes: NDArray[np.float64]
    instance_maps: NDArray[np.uint8]


class DetectionNetwork(Protocol):
    """A network ready to look. side_px: of the square it takes."""

    side_px: int

    def raw_detections(
        self, squares: NDArray[np.uint8], min_confidence: float
    ) -> list[RawDetections]:
        """What is seen in each square of uint8 (n, side, side, 3), no surer than that left out; none depends on the others."""
        ...


class TrainableDetector(Protocol):
    """A network that learns. side_px: of the squares it takes. trunk, heads: what learns, at two rates; while the trunk is
    `still`, only the heads do."""

    side_px: int
    backbone_parameters: list[torch.nn.Parameter]
    head_parameters: list[torch.nn.Parameter]

    @property
    def network(self) -> torch.nn.Module: ...

    def frozen_features(self, pictures: NDArray[np.float32], is_backbone_frozen: bool) -> Any:
        """What the part of the network that learns nothing makes of pictures, float32 (n, 3, side, side), -1..1."""
        ...

    def losses(
        self, features: Any, targets: DetectionTargets, with_masks: bool
    ) -> Mapping[str, torch.Tensor]:
        """What is wrong with what the network sees, to be summed. with_masks: of masks too, which takes longer."""
        ...


def load_detection_network(model: Model, device: str = "cpu") -> DetectionNetwork:
    """The network of a model file, on "cpu" or "cuda". Raises BadModel where architecture or tensors are not ours."""
    if model.architecture == YOLO:
        from wearalike.detection.networks import yolo

        return yolo.YoloInference(model, device)
    if model.architecture == MASK_RCNN:
        from wearalike.detection.networks import mask_rcnn

        return mask_rcnn.MaskRcnnInference(model, device)
    raise BadModel(
        f"detector {model.version}: architecture {model.architecture!r}, known are {', '.join(ARCHITECTURES)}"
    )


def new_trainable_detector(
    architecture: str, classes_count: int, device: str = "cpu"
) -> TrainableDetector:
    """A network to be trained, its trunk as ImageNet made it, on "cpu" or "cuda". Raises BadModel."""
    if architecture == YOLO:
        from wearalike.detection.networks import yolo

        return yolo.TrainableYolo(classes_count, device)
    if architecture == MASK_RCNN:
        from wearalike.detection.networks import mask_rcnn

        return mask_rcnn.TrainableMaskRcnn(classes_count, device)
    raise BadModel(f"architecture {architecture!r}, known are {', '.join(ARCHITECTURES)}")


def copy_state(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Copies of what a model file keeps of a network: parameters and running statistics, not how many batches those have seen."""
    return {
        name: t.detach().clone()
        for name, t in network.state_dict().items()
        if t.is_floating_point()
    }


def load_arrays(network: torch.nn.Module, arrays: Mapping[str, NDArray[np.floating]]) -> None:
    """Gives a network the arrays of a model file, which fit."""
    import torch

    network.load_state_dict(
        network.state_dict()
        | {n: torch.from_numpy(a.astype(np.float32)) for n, a in arrays.items()}
    )


def load_model_arrays(network: torch.nn.Module, model: Model) -> torch.nn.Module:
    """The network with the tensors of a model file, in evaluation mode. Raises BadModel where they do not fit."""
    check_shapes(model, {name: tuple(t.shape) for name, t in copy_state(network).items()})
    load_arrays(network, model.arrays)
    return network.eval()


def detect_garments(
    network: DetectionNetwork,
    pictures: Sequence[NDArray[np.uint8]],
    min_confidence: float,
    groups: NDArray[np.int64] | None = None,
    with_masks: bool = False,
) -> list[Detections]:
    """What is seen in each picture, uint8 (h, w, 3).

    groups: int64 (classes,), the group of each class; of two boxes of one group on the same thing the surer stays. None: every
    class is a group of its own. At most MOST_ITEMS are given.
    """
    from wearalike.imaging import decode

    if not pictures:
        return []
    squares = np.stack([decode.letterbox(p, network.side_px) for p in pictures])
    sights = network.raw_detections(squares, min_confidence)
    return [
        _postprocess(s, groups, p.shape[0], p.shape[1], network.side_px, with_masks)
        for s, p in zip(sights, pictures, strict=True)
    ]


def _postprocess(
    sight: RawDetections,
    groups: NDArray[np.int64] | None,
    height: int,
    width: int,
    side: int,
    with_masks: bool,
) -> Detections:
    import torch
    from torchvision.ops import batched_nms

    group = sight.classes if groups is None else groups[sight.classes]
    # Ties fall the same way everywhere: by place.
    order = np.argsort(-sight.confidences, kind="stable")
    boxes, scores = (
        torch.from_numpy(sight.boxes[order]),
        torch.from_numpy(sight.confidences[order]),
    )
    kept = order[
        batched_nms(boxes, scores, torch.from_numpy(group[order]), _NMS_IOU).numpy()[
            :MAX_DETECTIONS
        ]
    ]
    scale = side / max(height, width)
    inner = max(1, round(height * scale)), max(1, round(width * scale))
    top, left = (side - inner[0]) // 2, (side - inner[1]) // 2
    corners = (
        (sight.boxes[kept] - (left, top, left, top))
        / np.array([inner[1], inner[0]] * 2)
        * np.array([width, height] * 2)
    )
    corners = np.clip(corners, 0, np.array([width, height] * 2))
    # What lies beside the picture on its square is no part of it.
    is_there = ((corners[:, 2:] - corners[:, :2]) >= 1).all(axis=1)
    kept, corners = kept[is_there], corners[is_there]
    masks = (
        _paste_masks(sight.mask_logits(kept), corners, (top, left), inner, side, height, width)
        if with_masks
        else None
    )
    return Detections(corners, sight.classes[kept], sight.confidences[kept], masks)


def _paste_masks(
    logits: NDArray[np.float32],
    corners: NDArray[np.float64],
    origin: tuple[int, int],
    inner: tuple[int, int],
    side: int,
    height: int,
    width: int,
) -> NDArray[np.bool_]:
    """Masks over the picture, bool (n, h, w), each cut at its box."""
    from PIL import Image

    per_px = logits.shape[1] / side if len(logits) else 1.0
    (top, left), (high, wide) = origin, inner
    part = (left * per_px, top * per_px, (left + wide) * per_px, (top + high) * per_px)
    made = np.zeros((len(logits), height, width), bool)
    for mask, plane, (x0, y0, x1, y1) in zip(
        made, logits, corners.round().astype(int).tolist(), strict=True
    ):
        grown = (
            np.asarray(
                Image.fromarray(plane).resize((width, height), Image.Resampling.BILINEAR, box=part)
            )
            > 0
        )
        mask[y0:y1, x0:x1] = grown[y0:y1, x0:x1]
    return made
