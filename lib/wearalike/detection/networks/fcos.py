"""An anchor-free detector on EfficientNet-Lite0, after FCOS (Tian et al., ICCV 2019).

Every cell of one map at 1/8 of the square names the garment that it belongs to, or none. So the
cells of a garment are its mask, and the pieces of a super-category's mask are its items. In
training a cell also learns how far the garment reaches from there. As boxes these reaches are worse
than the masks' own, so detection (`fcos_inference`) does without them. It needs torch and timm
alone.
alone.
"""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from wearalike.detection.networks.backbone import CHANNELS, MultiScaleBackbone
from wearalike.detection.networks.fcos_inference import STRIDE

TRAINING_SIDE_PX = 256
# How many numbers of the backbone the head reads at a cell.
FEATURES_COUNT = sum(CHANNELS) + CHANNELS[-1]
_WIDTH = 192
# Bounds of a box's reach from a cell, in cells: of its logarithm, and in ground truth.
_MAX_LOG_REACH = 6.0
_MIN_REACH = 0.01
_TYPICAL_LOG_REACH = 1.6


class GarmentFcos(nn.Module):
    """The network: pictures to one map of cells for `c` classes.

    Every cell is read by the same two layers from the backbone's maps over it and their mean over
    the picture. Input: float32 (n, 3, side, side), -1..1, side a multiple of 32. Output:

    - class logits (n, 1 + c, side / 8, side / 8); the first one is "no garment"
    - box distances (n, 4, ..): logarithms of left, top, right and bottom, in cells
    - quality logits (n, 1, ..): the box's expected IoU
    """

    def __init__(self, classes_count: int) -> None:
        super().__init__()
        self.trunk = MultiScaleBackbone()
        self.lateral = nn.ModuleList(nn.Conv2d(c, _WIDTH, 1) for c in CHANNELS)
        self.context = nn.Conv2d(CHANNELS[-1], _WIDTH, 1, bias=False)
        self.inner = nn.Conv2d(_WIDTH, _WIDTH, 1)
        self.outer = nn.Conv2d(_WIDTH, 1 + classes_count + 4 + 1, 1)
        self._sizes = (1 + classes_count, 4, 1)
        with torch.no_grad():
            # Boxes begin at the size of a garment: from tiny ones the loss learns slowly.
            cast(Tensor, self.outer.bias)[1 + classes_count :][:4] = _TYPICAL_LOG_REACH

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the three maps of a batch of pictures."""
        return self.head_outputs(*self.trunk(pictures))

    def head_outputs(
        self, eighth: Tensor, sixteenth: Tensor, thirtysecond: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the three maps, given those of the backbone."""
        mean = thirtysecond.mean(dim=(2, 3), keepdim=True)
        sums = self.context(mean) + self.lateral[0](eighth)
        # To enlarge after the layer gives the same as before it, with less work.
        sums = sums + _enlarge(self.lateral[1](sixteenth), 2)
        return self._read_cells(sums + _enlarge(self.lateral[2](thirtysecond), 4))

    def cell_outputs(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the outputs of single cells, given their features (n, FEATURES_COUNT, 1, 1)."""
        *levels, mean = features.split([*CHANNELS, CHANNELS[-1]], dim=1)
        sums = self.context(mean)
        for layer, level in zip(self.lateral, levels, strict=True):
            sums = sums + layer(level)
        return self._read_cells(sums)

    def _read_cells(self, sums: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        hidden = functional.silu(sums)
        hidden = hidden + functional.silu(self.inner(hidden))
        classes, boxes, quality = self.outer(hidden).split(self._sizes, dim=1)
        return classes, boxes, quality


def cell_features(eighth: Tensor, sixteenth: Tensor, thirtysecond: Tensor) -> Tensor:
    """Return what the head reads of each cell, (n, FEATURES_COUNT, side / 8, side / 8).

    Args:
        eighth: The backbone's map at 1/8 of the side.
        sixteenth: That at 1/16.
        thirtysecond: That at 1/32; its mean is part of every cell.
    """
    mean = thirtysecond.mean(dim=(2, 3), keepdim=True).expand(-1, -1, *eighth.shape[2:])
    return torch.cat([eighth, _enlarge(sixteenth, 2), _enlarge(thirtysecond, 4), mean], dim=1)


def _enlarge(maps: Tensor, times: int) -> Tensor:
    return functional.interpolate(
        maps, scale_factor=float(times), mode="bilinear", align_corners=False
    )


def decode_boxes(distances: Tensor) -> Tensor:
    """Return the box that each cell sees.

    Args:
        distances: (n, 4, h, w). Logarithms of left, top, right and bottom, in cells.

    Returns:
        (n, h * w, 4). x0, y0, x1, y1 in px of the square.
    """
    height, width = distances.shape[2:]
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    centre = torch.stack([x, y], dim=2).reshape(1, -1, 2).to(distances) + 0.5
    return reach_to_boxes(centre, distances.flatten(2).transpose(1, 2)) * STRIDE


def reach_to_boxes(centre: Tensor, distances: Tensor) -> Tensor:
    """Return boxes that reach from a point, in cells.

    Args:
        centre: (..., 2). x, y.
        distances: (..., 4). Logarithms of left, top, right and bottom.
    """
    reach = distances.clamp(-_MAX_LOG_REACH, _MAX_LOG_REACH).exp()
    return torch.cat([centre - reach[..., :2], centre + reach[..., 2:]], dim=-1)


def encode_boxes(
    boxes: NDArray[np.float32], cells: NDArray[np.int64], side_px: int
) -> NDArray[np.float32]:
    """Return what `decode_boxes` turns into boxes.

    Args:
        boxes: float32 (n, 4). x0, y0, x1, y1 in px of the square.
        cells: int64 (n,). Number of the cell that sees each, row by row.
        side_px: Side of the square.

    Returns:
        float32 (n, 4). A cell at the rim of a box is a hundredth of a cell inside it.
    """
    columns = side_px // STRIDE
    centre = np.stack([cells % columns, cells // columns], axis=1) + 0.5
    reach = np.concatenate([centre - boxes[:, :2] / STRIDE, boxes[:, 2:] / STRIDE - centre], axis=1)
    return np.log(np.maximum(reach, _MIN_REACH)).astype(np.float32)
