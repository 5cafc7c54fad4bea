"""Interfaces of detection networks, the records they exchange, and their tensors.

`registry` names the architectures; `postprocess` turns a network's output into detections.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from wearalike.models import registry
from wearalike.models.files import Model, check_shapes
from wearalike.models.registry import EFFICIENTNET_LITE0

if TYPE_CHECKING:
    import torch

# The names of the box head's tensors in a model file begin with this.
BOX_HEAD_PREFIX = "second."


@dataclass(frozen=True, slots=True)
class Detections:
    """Detections in one picture, most confident first.

    Attributes:
        boxes: float64 (n, 4). x0, y0, x1, y1 in px of the picture, inside it.
        classes: int64 (n,). Positions in the model's classes.
        confidences: float64 (n,), 0..1.
        masks: bool (n, height, width); None if they were not requested.
    """

    boxes: NDArray[np.float64]
    classes: NDArray[np.int64]
    confidences: NDArray[np.float64]
    masks: NDArray[np.bool_] | None = None


@dataclass(frozen=True, slots=True)
class RawDetections:
    """Detections in one square before non-maximum suppression.

    Attributes:
        boxes: float64 (n, 4). x0, y0, x1, y1 in px of the square.
        classes: int64 (n,). Positions in the model's classes.
        confidences: float64 (n,), 0..1.
        mask_logits: Takes rows, int64 (k,), and returns their mask logits over the whole square,
            float32 (k, m, m).
    """

    boxes: NDArray[np.float64]
    classes: NDArray[np.int64]
    confidences: NDArray[np.float64]
    mask_logits: Callable[[NDArray[np.int64]], NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class DetectionTargets:
    """Ground truth of a batch of n scenes with m items in all.

    Attributes:
        scene_ids: int64 (m,). The scene of each item, ascending.
        classes: int64 (m,). Positions in the model's classes.
        boxes: float64 (m, 4). x0, y0, x1, y1 in px of the square.
        instance_maps: uint8 (n, side, side). Number of the item, from 1, at each pixel; 0: none.
    """

    scene_ids: NDArray[np.int64]
    classes: NDArray[np.int64]
    boxes: NDArray[np.float64]
    instance_maps: NDArray[np.uint8]


class DetectionNetwork(Protocol):
    """A network ready to detect.

    Attributes:
        side_px: Side of the square that it takes.
        crop_margin_ratio: A crop is a box grown by this share of its width and height at each side.
    """

    side_px: int
    crop_margin_ratio: float

    def raw_detections(
        self, squares: NDArray[np.uint8], min_confidence: float
    ) -> list[RawDetections]:
        """Return the detections in each square; those of one do not depend on the others.

        Args:
            squares: uint8 (n, side, side, 3) RGB.
            min_confidence: Detections must be more confident than this, 0..1.
        """
        ...


class TrainableDetector(Protocol):
    """A network that learns.

    Attributes:
        side_px: Side of the squares that it trains on.
        backbone_parameters: Parameters of the backbone that learn, at a rate of their own.
        head_parameters: All others; only they learn while the backbone is frozen.
    """

    side_px: int
    backbone_parameters: list[torch.nn.Parameter]
    head_parameters: list[torch.nn.Parameter]

    @property
    def network(self) -> torch.nn.Module:
        """The network itself, in which the learned state is."""
        ...

    def frozen_features(self, pictures: NDArray[np.float32], is_backbone_frozen: bool) -> Any:
        """Return the output of the part that does not learn.

        Args:
            pictures: float32 (n, 3, side, side), -1..1.
            is_backbone_frozen: True if all of the backbone is frozen, else its stem only.
        """
        ...

    def losses(
        self, features: Any, targets: DetectionTargets, with_masks: bool
    ) -> Mapping[str, torch.Tensor]:
        """Return the losses by name; their sum is to be minimised.

        Args:
            features: From `frozen_features`.
            targets: Ground truth of the same pictures.
            with_masks: True to include the masks' loss, which takes longer.
        """
        ...


def copy_state(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Copy the tensors that a model file holds: parameters and running statistics.

    Counters of batches are no part of it.
    """
    return {
        name: tensor.detach().clone()
        for name, tensor in network.state_dict().items()
        if tensor.is_floating_point()
    }


def load_arrays(network: torch.nn.Module, arrays: Mapping[str, NDArray[np.floating]]) -> None:
    """Give a network the arrays of a model file, whose names and shapes must fit."""
    import torch

    tensors = {name: torch.from_numpy(a.astype(np.float32)) for name, a in arrays.items()}
    network.load_state_dict(network.state_dict() | tensors)


def load_model_arrays(network: torch.nn.Module, model: Model) -> torch.nn.Module:
    """Give a network the tensors of a model file and set it to evaluation mode.

    Raises:
        BadModel: The tensors do not fit.
    """
    check_shapes(model, {name: tuple(t.shape) for name, t in copy_state(network).items()})
    load_arrays(network, model.arrays)
    return network.eval()


def normalize_for_backbone(squares: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Scale squares to the backbone's input.

    Args:
        squares: uint8 (n, side, side, 3) RGB.

    Returns:
        float32 (n, 3, side, side), -1..1.
    """
    return registry.normalize_pixels(squares, EFFICIENTNET_LITE0.mean, EFFICIENTNET_LITE0.std)
