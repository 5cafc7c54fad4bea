"""Codes to what their bits say: how often each is one, and how much two say the same."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def bit_statistics(codes: NDArray[np.uint8]) -> tuple[NDArray[np.float64], float | None]:
    """Each bit's share of ones, float64 (128,), and the mean absolute correlation of two bits; None where fewer than two vary.

    codes: uint8 (n, 16), n >= 1, row i one code.
    """
    total, products = np.zeros(128), np.zeros((128, 128))
    for start in range(0, len(codes), 65_536):
        bits = np.unpackbits(codes[start : start + 65_536], axis=1).astype(np.float32)
        total += bits.sum(axis=0)
        products += bits.T @ bits  # whole numbers below 2**24 in each step: exact in float32
    ones = total / len(codes)
    covariance = products / len(codes) - np.outer(ones, ones)
    deviation = np.sqrt(np.diag(covariance).clip(0))
    varies = deviation > 1e-6
    if varies.sum() < 2:
        return ones, None
    correlation = covariance[np.ix_(varies, varies)] / np.outer(
        deviation[varies], deviation[varies]
    )
    return ones, float(np.abs(correlation[~np.eye(len(correlation), dtype=bool)]).mean())
