"""Descriptors of the item in a picture: what the code heads of `likeness_net` read.

A mask head on the trunk's maps says which pixels belong to the item. Features and colours are
pooled under that mask, so that skin, hair and background count little.

Shapes: n pictures; maps are (n, channels, height, width).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from wearalike.encoding.descriptor_layout import (
    LITE0_LAYOUT,
    MASK_DESCRIPTOR_PX,
    DescriptorLayout,
)
from wearalike.metrics.colour_space import LINEAR_TO_XYZ

# Side of the mask and of its windows, in px.
MASK_PX = 28

# A pixel of the mask is this many px of the picture, and one of the colour map this many.
_MASK_STEP_PX = 8
_COLOUR_STEP_PX = 6
_COLOUR_PX = 37
# A pixel counts for the palette's colours near its own, as in imagenet-itq: standard deviation
# of a normal curve in ΔE.
_SOFTNESS_DELTA_E = 6.0
# Divisors that bring mean, spread and contrasts of Lab to about 1, in ΔE.
_LAB_MEAN_UNIT, _LAB_SPREAD_UNIT, _FINE_UNIT, _WIDE_UNIT = 30.0, 15.0, 3.0, 8.0
# Added to weights and variances, so that an empty mask gives finite numbers.
_MIN_WEIGHT = 1e-4
_MIN_VARIANCE = 1e-6
_MIN_MOMENT = 1e-3
_MIN_WINDOW_WEIGHT = 1e-6


class TrunkMaps(NamedTuple):
    """Maps of a trunk, float32, with the channels and sides of its layout."""

    stage1: Tensor
    stage2: Tensor
    stage3: Tensor
    stage4: Tensor
    final: Tensor


class MaskHead(nn.Module):
    """Maps of the trunk and downsampled pixels to logits of the item's mask."""

    places: Tensor

    def __init__(self, width: int = 48, layout: DescriptorLayout = LITE0_LAYOUT) -> None:
        super().__init__()
        stage2, stage3, stage4 = layout.channels[1:4]
        self.from_stage2 = nn.Conv2d(stage2, width, 1)
        self.from_stage3 = nn.Conv2d(stage3, width, 1, bias=False)
        self.from_stage4 = nn.Conv2d(stage4, width, 1, bias=False)
        # Three channels of colour and three of place.
        self.from_pixels = nn.Conv2d(6, width, 1, bias=False)
        self.depthwise = nn.Conv2d(width, width, 5, padding=2, groups=width)
        self.pointwise = nn.Conv2d(width, width, 1)
        self.logit = nn.Conv2d(width, 1, 1)
        y, x = _grid()
        places = torch.cat([x, y, x * x + y * y], dim=1)
        self.register_buffer("places", places, persistent=False)

    def forward(self, stage2: Tensor, stage3: Tensor, stage4: Tensor, pixels: Tensor) -> Tensor:
        """Return logits of the mask.

        Args:
            stage2: Second maps, as (n, 40, 28, 28) of the packaged trunk.
            stage3: Third maps, as (n, 112, 14, 14).
            stage4: Fourth maps, as (n, 320, 7, 7).
            pixels: `downsample_for_mask` of the pictures, (n, 3, 28, 28).

        Returns:
            float32 (n, 1, 28, 28).
        """
        places = self.places.expand(pixels.shape[0], -1, -1, -1)
        x = self.from_stage2(stage2)
        if x.shape[-1] != MASK_PX:
            x = _resize(x, MASK_PX)
        x = x + self.from_pixels(torch.cat([pixels, places], dim=1))
        x = x + _resize(self.from_stage3(stage3), MASK_PX)
        x = functional.relu(x + _resize(self.from_stage4(stage4), MASK_PX))
        x = functional.relu(self.pointwise(self.depthwise(x)) + x)
        return self.logit(x)


class ItemDescriber(nn.Module):
    """Maps of the trunk and the picture to descriptors of the item.

    Attributes:
        mask: The mask head.
        palette: Lab colours of the histograms, float32 (128, 3).
        layout: Where each descriptor lies.
    """

    palette: Tensor
    grid_x: Tensor
    grid_y: Tensor
    to_colour_map: Tensor

    def __init__(
        self,
        mask: MaskHead,
        palette: NDArray[np.float32],
        layout: DescriptorLayout = LITE0_LAYOUT,
    ) -> None:
        super().__init__()
        self.mask = mask
        self.layout = layout
        self.register_buffer("palette", torch.tensor(palette, dtype=torch.float32))
        y, x = _grid()
        self.register_buffer("grid_x", x, persistent=False)
        self.register_buffer("grid_y", y, persistent=False)
        self.register_buffer("to_colour_map", _resize_matrix(_COLOUR_PX), persistent=False)
        for side in layout.sides_px:
            if MASK_PX % side:
                self.register_buffer(f"to_{side}px", _resize_matrix(side), persistent=False)

    def forward(self, pictures: Tensor, maps: TrunkMaps) -> Tensor:
        """Return the descriptors, (n, count of the layout): shape, then colour.

        Args:
            pictures: float32 (n, 3, 224, 224), -1..1.
            maps: The trunk's maps of the pictures.
        """
        pixels = downsample_for_mask(pictures)
        logits = self.mask(maps.stage2, maps.stage3, maps.stage4, pixels)
        windows = self.place_windows(logits.sigmoid())
        shape = self.describe_shape(maps, windows)
        return torch.cat([shape, self.describe_colour(pictures, windows)], dim=1)

    def place_windows(self, mask: Tensor) -> Tensor:
        """Return windows relative to where the item lies.

        Args:
            mask: Probabilities of the mask, (n, 1, 28, 28).

        Returns:
            float32 (n, 5, 28, 28): all of the item, upper part, lower part, middle, flanks.
        """
        total = mask.sum((2, 3), keepdim=True) + _MIN_MOMENT
        mean_y = (mask * self.grid_y).sum((2, 3), keepdim=True) / total
        mean_x = (mask * self.grid_x).sum((2, 3), keepdim=True) / total
        from_y, from_x = self.grid_y - mean_y, self.grid_x - mean_x
        variance_y = (mask * from_y**2).sum((2, 3), keepdim=True) / total
        variance_x = (mask * from_x**2).sum((2, 3), keepdim=True) / total
        # In standard deviations of the mask.
        y = from_y / (variance_y + _MIN_MOMENT).sqrt()
        x = from_x / (variance_x + _MIN_MOMENT).sqrt()
        upper, lower = torch.sigmoid(-4 * y - 2), torch.sigmoid(4 * y - 2)
        middle = torch.exp(-(y * y + x * x))
        flanks = torch.sigmoid(4 * x.abs() - 4)
        parts = [mask, mask * upper, mask * lower, mask * middle, mask * flanks]
        return torch.cat(parts, dim=1)

    def describe_shape(self, maps: TrunkMaps, windows: Tensor) -> Tensor:
        """Return the descriptors of shape, (n, shape_count of the layout).

        Args:
            maps: The trunk's maps.
            windows: `place_windows` of the mask, (n, 5, 28, 28).
        """
        side1, side2, side3, side4, side = self.layout.sides_px
        mask = windows[:, :1]
        mask_14px = functional.avg_pool2d(mask, MASK_PX // MASK_DESCRIPTOR_PX)
        # All of the item, its upper and its lower part.
        on_final = self._resize_windows(windows[:, :3], side)
        on_stage4 = on_final if side4 == side else self._resize_windows(windows[:, :3], side4)
        on_stage3 = mask_14px if side3 == MASK_DESCRIPTOR_PX else self._resize_windows(mask, side3)
        everywhere = torch.ones_like(on_final[:, :1])
        parts = [
            _weighted_means(maps.final, torch.cat([everywhere, on_final[:, :1]], dim=1)),
            _weighted_means(maps.stage4, on_stage4[:, 1:]),
            _means_and_spreads(maps.stage3, on_stage3),
            _means_and_spreads(maps.stage2, self._resize_windows(mask, side2)),
            _means_and_spreads(maps.stage1, self._resize_windows(mask, side1)),
            mask_14px.flatten(1),
        ]
        return torch.cat(parts, dim=1)

    def _resize_windows(self, windows: Tensor, side_px: int) -> Tensor:
        """Return windows (n, k, 28, 28) as (n, k, side_px, side_px)."""
        if side_px == MASK_PX:
            return windows
        if MASK_PX % side_px == 0:
            return functional.avg_pool2d(windows, MASK_PX // side_px)
        matrix = self.get_buffer(f"to_{side_px}px")
        return matrix @ windows @ matrix.T

    def describe_colour(self, pictures: Tensor, windows: Tensor) -> Tensor:
        """Return the descriptors of colour, (n, 652).

        Args:
            pictures: float32 (n, 3, 224, 224), -1..1.
            windows: `place_windows` of the mask, (n, 5, 28, 28).
        """
        lab = rgb_to_lab(_downsample(pictures, _COLOUR_STEP_PX) * 0.5 + 0.5)
        pixels = lab.flatten(2).transpose(1, 2)
        # Squared distances to the palette, less the pixel's own square, which softmax ignores.
        palette_squares = (self.palette * self.palette).sum(1)
        squares = palette_squares - 2 * pixels @ self.palette.T
        shares = torch.softmax(-squares / (2 * _SOFTNESS_DELTA_E**2), dim=2)
        windows = self.to_colour_map @ windows @ self.to_colour_map.T
        weights = windows.flatten(2) + _MIN_WINDOW_WEIGHT
        histograms = (weights / weights.sum(2, keepdim=True)) @ shares
        mask = windows[:, :1]
        fine = (lab - functional.avg_pool2d(lab, 3, 1, 1)).abs()
        wide = (lab - functional.avg_pool2d(lab, 7, 1, 3)).abs()
        units = lab.new_tensor([_LAB_MEAN_UNIT] * 3 + [_LAB_SPREAD_UNIT] * 3)
        parts = [
            (histograms + _MIN_WINDOW_WEIGHT).sqrt().flatten(1),
            _means_and_spreads(lab, mask) / units,
            _weighted_means(torch.cat([fine / _FINE_UNIT, wide / _WIDE_UNIT], dim=1), mask),
        ]
        return torch.cat(parts, dim=1)


def downsample_for_mask(pictures: Tensor) -> Tensor:
    """Return the pixels that the mask head reads: (n, 3, 224, 224) to (n, 3, 28, 28)."""
    return _downsample(pictures, _MASK_STEP_PX)


def rgb_to_lab(rgb: Tensor) -> Tensor:
    """Return CIE Lab of sRGB, as `imaging.colour` does for arrays.

    Args:
        rgb: float32 (n, 3, height, width), 0..1.

    Returns:
        float32 (n, 3, height, width): L 0..100, a and b about -128..127.
    """
    rgb = rgb.clamp(0, 1)
    linear = torch.where(rgb <= 0.04045, rgb / 12.92, _power((rgb + 0.055) / 1.055, 2.4))
    xyz = functional.conv2d(linear, torch.from_numpy(LINEAR_TO_XYZ)[..., None, None].to(rgb))
    # The gradient of a root is infinite at 0; below the limit the other branch is taken.
    f = torch.where(
        xyz > 216 / 24389, _power(xyz.clamp(min=1e-4), 1 / 3), (24389 / 27 * xyz + 16) / 116
    )
    x, y, z = f[:, 0:1], f[:, 1:2], f[:, 2:3]
    return torch.cat([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=1)


def _grid() -> tuple[Tensor, Tensor]:
    """Return the places of the mask's pixels, -1..1: y and x, (1, 1, 28, 28) each."""
    side = torch.linspace(-1, 1, MASK_PX)
    y, x = torch.meshgrid(side, side, indexing="ij")
    return y[None, None].clone(), x[None, None].clone()


def _downsample(pictures: Tensor, step_px: int) -> Tensor:
    """Return the means of squares of `step_px` pixels a side, (n, 3, side, side).

    A convolution takes half the time of pooling, which wants another layout of the pictures.
    """
    kernel = torch.eye(3).to(pictures)[:, :, None, None].expand(3, 3, step_px, step_px)
    return functional.conv2d(pictures, kernel / step_px**2, stride=step_px)


def _power(base: Tensor, exponent: float) -> Tensor:
    """Return positive numbers to a power: a tenth of the time of the engine's own."""
    return torch.exp(exponent * torch.log(base))


def _resize(maps: Tensor, side_px: int) -> Tensor:
    return functional.interpolate(maps, size=(side_px, side_px), mode="bilinear")


def _resize_matrix(side_px: int) -> Tensor:
    """Return R with R @ mask @ R.T the mask resized bilinearly, float32 (side_px, 28).

    Two products of matrices take a fifth of the time of the engine's own resizing.
    """
    columns = functional.interpolate(
        torch.eye(MASK_PX)[None, None],
        size=(side_px, MASK_PX),
        mode="bilinear",
        antialias=side_px < MASK_PX,
    )
    return columns[0, 0]


def _weighted_means(maps: Tensor, weights: Tensor) -> Tensor:
    """Return the means of maps under weights.

    Args:
        maps: float32 (n, c, h, w).
        weights: float32 (n, k, h, w).

    Returns:
        float32 (n, k * c), weight by weight.
    """
    return (_normalize(weights) @ _list_pixels(maps)).flatten(1)


def _means_and_spreads(maps: Tensor, weights: Tensor) -> Tensor:
    """Return means, then standard deviations, of maps under weights (n, 1, h, w): (n, 2 * c)."""
    pixels, shares = _list_pixels(maps), _normalize(weights)
    means = (shares @ pixels).flatten(1)
    variances = (shares @ (pixels * pixels)).flatten(1) - means * means
    return torch.cat([means, variances.clamp(min=_MIN_VARIANCE).sqrt()], dim=1)


def _list_pixels(maps: Tensor) -> Tensor:
    """Return maps (n, c, h, w) as (n, h * w, c), the order in which the engine keeps them."""
    return maps.permute(0, 2, 3, 1).flatten(1, 2)


def _normalize(weights: Tensor) -> Tensor:
    """Return weights (n, k, h, w) as (n, k, h * w), summing to 1."""
    weights = weights.flatten(2) + _MIN_WEIGHT
    return weights / weights.sum(2, keepdim=True)
