"""A box head: classify each box again from all that the network sees inside it.

A one-stage network decides a class at one anchor point of its maps, and has met few of the rarer
classes. This head reads the maps over the whole box, as in Girshick, Fast R-CNN (ICCV 2015), and
may also answer "background". It trains on far more pictures than have boxes: a picture's label is
enough where one box is its item.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.ops import batched_nms, roi_align

# Cells a side read from the finest and the coarsest map.
_FINE_CELLS = 4
_COARSE_CELLS = 3
_HIDDEN_UNITS = 256
# Weight of the proposal's class beside the box head's, as an exponent: 0 not at all, 1 fully.
_PROPOSAL_CLASS_WEIGHT = 0.3
# Boxes of any class with a greater IoU are one proposal.
_NMS_IOU = 0.6
MAX_PROPOSALS = 40


class BoxHead(nn.Module):
    """Two layers from RoI features (n, d) to logits (n, classes + 1), the last one background."""

    def __init__(self, features_count: int, classes_count: int) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(features_count), requires_grad=False)
        self.spread = nn.Parameter(torch.ones(features_count), requires_grad=False)
        self.inner = nn.Linear(features_count, _HIDDEN_UNITS)
        self.outer = nn.Linear(_HIDDEN_UNITS, classes_count + 1)
        self._input_dropout = nn.Dropout(0.3)
        self._hidden_dropout = nn.Dropout(0.5)

    def forward(self, features: Tensor) -> Tensor:
        """Return the logits of RoI features."""
        standardized = (features - self.mean) / self.spread
        hidden = torch.relu(self.inner(self._input_dropout(standardized)))
        return self.outer(self._hidden_dropout(hidden))


def roi_features_count(widths: tuple[int, int], top: int) -> int:
    """Return how many numbers `roi_features` gives for a box.

    Args:
        widths: Channels of the finest and the coarsest map.
        top: Channels of the backbone's last map.
    """
    fine, coarse = widths
    # Six numbers say where the box is: its corners, its width and its height.
    return fine * _FINE_CELLS**2 + coarse * _COARSE_CELLS**2 + top + 6


def roi_features(
    fine: Tensor, coarse: Tensor, top: Tensor, corners: NDArray[np.float64], side_px: int
) -> Tensor:
    """Return the features of boxes in one square.

    Args:
        fine: Map (1, c, h, h) at 1/8 of the square.
        coarse: Map (1, c, h, h) at 1/32 of the square.
        top: The backbone's last map; its mean says what else is in the picture.
        corners: float64 (n, 4). x0, y0, x1, y1 in px of the square.
        side_px: Side of the square.

    Returns:
        float32 (n, d).
    """
    boxes = torch.from_numpy(corners).to(fine.dtype)
    rows = [
        roi_align(maps, [boxes], cells, maps.shape[-1] / side_px, 2, aligned=True).flatten(1)
        for maps, cells in ((fine, _FINE_CELLS), (coarse, _COARSE_CELLS))
    ]
    context = top.mean(dim=(2, 3)).expand(len(boxes), -1)
    places = boxes / side_px
    sizes = places[:, 2:] - places[:, :2]
    return torch.cat([*rows, context, places, sizes], dim=1)


def nms_class_agnostic(
    corners: NDArray[np.float64], confidences: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Suppress boxes that lie on a more confident one, whatever their classes.

    Args:
        corners: float64 (n, 4), px.
        confidences: float64 (n,), 0..1.

    Returns:
        Rows of the boxes that stay, int64, most confident first, at most MAX_PROPOSALS.
    """
    order = np.argsort(-confidences, kind="stable")
    boxes = torch.from_numpy(corners[order])
    scores = torch.from_numpy(confidences[order])
    one_group = torch.zeros(len(order), dtype=torch.int64)
    kept = batched_nms(boxes, scores, one_group, _NMS_IOU).numpy()
    return order[kept[:MAX_PROPOSALS]]


def fuse_confidences(
    proposal_confidences: NDArray[np.float64], box_head_probabilities: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Combine both stages to one confidence for each class.

    It is the geometric mean of the proposal's highest confidence and the box head's probability,
    the latter weighted a little by the proposal's classes.

    Args:
        proposal_confidences: float64 (n, c), each 0..1.
        box_head_probabilities: float64 (n, c + 1), rows sum to 1; the last column is background.

    Returns:
        float64 (n, c), 0..1.
    """
    named = box_head_probabilities[:, :-1]
    highest = proposal_confidences.max(axis=1, keepdims=True)
    weighted = named * (proposal_confidences / highest) ** _PROPOSAL_CLASS_WEIGHT
    # Scaled so that the best class keeps the box head's highest probability.
    scale = named.max(axis=1) / np.maximum(weighted.max(axis=1), 1e-12)
    return np.sqrt(highest * (weighted * scale[:, None]))
