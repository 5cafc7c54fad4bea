"""A second look: what each box shows, asked again of all that the network saw inside it.

A network that looks once decides what a thing is at one place of its maps, and has met few of the rarer things. Here a small head
reads the maps over the whole box, as in Girshick, Fast R-CNN (ICCV 2015), and may also say that nothing is there. It learns from
far more pictures than boxes were drawn in, for a picture's label is enough where one box is its thing.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.ops import batched_nms, roi_align

# Cells a side that are read of the finest and the coarsest map.
_FINE_CELLS, _COARSE_CELLS = 4, 3
_HIDDEN_UNITS = 256
# How much the first look's opinion of the class counts beside the second's: between 0, not at all, and 1.
_PROPOSAL_CLASS_WEIGHT = 0.3
# Boxes of any classes that overlap more are one; at most so many are looked at again.
_NMS_IOU = 0.6
MAX_PROPOSALS = 40


class BoxHead(nn.Module):
    """What `read` gives of n boxes, float32 (n, d), -> logits (n, classes + 1), the last one for nothing."""

    def __init__(self, features_count: int, classes_count: int) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(features_count), requires_grad=False)
        self.spread = nn.Parameter(torch.ones(features_count), requires_grad=False)
        self.inner = nn.Linear(features_count, _HIDDEN_UNITS)
        self.outer = nn.Linear(_HIDDEN_UNITS, classes_count + 1)
        self._input_dropout, self._hidden_dropout = nn.Dropout(0.3), nn.Dropout(0.5)

    def forward(self, features: Tensor) -> Tensor:
        seen = torch.relu(self.inner(self._input_dropout((features - self.mean) / self.spread)))
        return self.outer(self._hidden_dropout(seen))


def roi_features_count(widths: tuple[int, int], top: int) -> int:
    """How many numbers `read` gives. widths: channels of the finest and the coarsest map; top: of the trunk's last one."""
    return widths[0] * _FINE_CELLS**2 + widths[1] * _COARSE_CELLS**2 + top + 6


def roi_features(
    fine: Tensor, coarse: Tensor, top: Tensor, corners: NDArray[np.float64], side_px: int
) -> Tensor:
    """What the maps of one square hold inside boxes, float32 (n, d).

    fine, coarse: maps (1, c, h, h) at an eighth and a thirty-second of the square; top: the trunk's last map, whose mean says what
    else is in the picture. corners: float64 (n, 4), x0 y0 x1 y1 in px of the square.
    """
    boxes = torch.from_numpy(corners).to(fine.dtype)
    rows = [
        roi_align(maps, [boxes], cells, maps.shape[-1] / side_px, 2, aligned=True).flatten(1)
        for maps, cells in ((fine, _FINE_CELLS), (coarse, _COARSE_CELLS))
    ]
    places = boxes / side_px
    return torch.cat(
        [*rows, top.mean(dim=(2, 3)).expand(len(boxes), -1), places, places[:, 2:] - places[:, :2]],
        dim=1,
    )


def nms_class_agnostic(
    corners: NDArray[np.float64], confidences: NDArray[np.float64]
) -> NDArray[np.int64]:
    """The rows of boxes that show different things, surest first: at most MOST_BOXES."""
    order = np.argsort(-confidences, kind="stable")
    boxes, sure = torch.from_numpy(corners[order]), torch.from_numpy(confidences[order])
    return order[
        batched_nms(boxes, sure, torch.zeros(len(order), dtype=torch.int64), _NMS_IOU).numpy()[
            :MAX_PROPOSALS
        ]
    ]


def fuse_confidences(
    proposal_confidences: NDArray[np.float64], box_head_probabilities: NDArray[np.float64]
) -> NDArray[np.float64]:
    """How sure both looks are of each class of n boxes, float64 (n, c), 0..1: the geometric mean of how sure the first one was of
    a thing, and what the second, and a little the first, make of it.

    first: float64 (n, c), each 0..1; second: float64 (n, c + 1), rows summing to 1.
    """
    surest = proposal_confidences.max(axis=1, keepdims=True)
    named = (
        box_head_probabilities[:, :-1] * (proposal_confidences / surest) ** _PROPOSAL_CLASS_WEIGHT
    )
    named *= (box_head_probabilities[:, :-1].max(axis=1) / np.maximum(named.max(axis=1), 1e-12))[
        :, None
    ]
    return np.sqrt(surest * named)
