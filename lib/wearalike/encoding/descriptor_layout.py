"""Where each descriptor lies: the columns that the describer writes and the heads read.

Widths follow the trunk's maps, so that a trunk of any width has a layout of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

PALETTE_COLOURS = 128
# All of the item, its upper part, lower part, middle and flanks.
WINDOWS_COUNT = 5
# Side of the mask among the descriptors, in px.
MASK_DESCRIPTOR_PX = 14

COLOUR_WIDTHS = {
    "histograms": WINDOWS_COUNT * PALETTE_COLOURS,  # square roots of shares, window by window
    "lab_mean": 3,
    "lab_spread": 3,
    "fine_contrast": 3,  # difference from the mean of 3 x 3 px
    "wide_contrast": 3,  # difference from the mean of 7 x 7 px
}


@dataclass(frozen=True)
class DescriptorLayout:
    """The columns of the descriptors of one trunk.

    Attributes:
        channels: Channels of the trunk's five maps, from the finest to the last.
        sides_px: Sides of these maps in px, for a picture of 224 px.

    Example:
        >>> LITE0_LAYOUT.columns("item")
        slice(1280, 2560, None)
    """

    channels: tuple[int, ...]
    sides_px: tuple[int, ...]

    @cached_property
    def shape_widths(self) -> dict[str, int]:
        """Width of each part of the shape descriptors, in the order of the columns."""
        stage1, stage2, stage3, stage4, final = self.channels
        return {
            "picture": final,  # last maps, mean over the picture
            "item": final,  # last maps, mean over the item
            "upper": stage4,  # fourth maps, mean over the item's upper part
            "lower": stage4,  # fourth maps, mean over the item's lower part
            "stage3": 2 * stage3,  # third maps over the item: means, then standard deviations
            "stage2": 2 * stage2,  # second maps, the same
            "stage1": 2 * stage1,  # first maps, the same
            "mask": MASK_DESCRIPTOR_PX**2,  # the mask at 14 px
        }

    @cached_property
    def shape_count(self) -> int:
        """Number of the shape descriptors, which come first."""
        return sum(self.shape_widths.values())

    @cached_property
    def count(self) -> int:
        """Number of all descriptors."""
        return self.shape_count + sum(COLOUR_WIDTHS.values())

    def columns(self, part: str) -> slice:
        """Return the columns of one part of the descriptors.

        Args:
            part: A key of `shape_widths` or COLOUR_WIDTHS.
        """
        widths = self.shape_widths | COLOUR_WIDTHS
        ends = dict(zip(widths, accumulate(widths.values()), strict=True))
        return slice(ends[part] - widths[part], ends[part])

    @cached_property
    def texture_columns(self) -> slice:
        """The item's features of the first three maps, which the colour head reads, too."""
        return slice(self.columns("stage3").start, self.columns("stage1").stop)

    @cached_property
    def colour_inputs(self) -> NDArray[np.int64]:
        """Numbers of the columns that the colour head reads, int64 (n,)."""
        return np.r_[self.texture_columns, self.shape_count : self.count]

    @cached_property
    def leaf_columns(self) -> slice:
        """Columns of the item, its upper and lower part, and its texture, which leaf heads read."""
        return slice(self.columns("item").start, self.columns("stage3").stop)


# The layout of the packaged trunk, EfficientNet-Lite0.
LITE0_LAYOUT = DescriptorLayout((24, 40, 112, 320, 1280), (56, 28, 14, 7, 7))
