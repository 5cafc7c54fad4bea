"""The interface of encoders, and the codes that they return."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from wearalike.tables import ImageView


class EncodedCrops(NamedTuple):
    """Codes and views of n crops; row i is crop i.

    Attributes:
        shape: uint8 (n, 16). Shape codes, most significant bit first.
        colour: uint8 (n, 16). Colour codes, most significant bit first.
        views: View of each crop; None if the encoder has no view head, or is not confident.
    """

    shape: NDArray[np.uint8]
    colour: NDArray[np.uint8]
    views: Sequence[ImageView | None]


class FloatCodes(NamedTuple):
    """Numbers that codes are the signs of; row i is crop i.

    Attributes:
        shape: float32 (n, 128). Bit j of a shape code is 1 where column j is above 0.
        colour: float32 (n, 128). The same of colour.
    """

    shape: NDArray[np.float32]
    colour: NDArray[np.float32]


class Encoder(Protocol):
    """Turns crops into codes.

    Attributes:
        version: Name and version, written beside each code.
        side_px: Longest side of a crop that makes a difference; larger ones may be scaled down.
    """

    version: str
    side_px: int

    def encode(self, crops: Sequence[NDArray[np.uint8]]) -> EncodedCrops:
        """Encode crops; the code of one does not depend on the others.

        Args:
            crops: uint8 (height, width, 3) RGB each.

        Raises:
            BadModel: The network returns numbers that are not finite, or all equal.
        """
        ...

    def encode_floats(self, crops: Sequence[NDArray[np.uint8]]) -> FloatCodes:
        """Return the numbers whose signs are the codes that `encode` returns.

        An evaluation compares them with the codes: the difference is what the bits cost.

        Args:
            crops: uint8 (height, width, 3) RGB each.

        Raises:
            BadModel: The network returns numbers that are not finite, or all equal.
        """
        ...
