"""Fits what the encoder imagenet-itq learns: a palette, and two rotations from features to 128 bits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wearalike.models.registry import CODE_BITS


def fit_rotation(
    rows: NDArray[np.float32], seed: int, rounds: int = 50
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean (d,) and rotation (d, 128) such that the signs of (row - mean) @ rotation lose the least: the first 128
    principal axes, turned by iterative quantization (Gong and Lazebnik, CVPR 2011). rows: float32 (n, d), n and d >= 128.
    """
    if min(rows.shape) < CODE_BITS:
        raise ValueError(f"rows: wanted at least {CODE_BITS} rows and columns, got {rows.shape}")
    mean = rows.mean(axis=0, dtype=np.float64)
    centred = rows - mean
    _, axes = np.linalg.eigh(centred.T @ centred)
    principal = axes[:, ::-1][:, :CODE_BITS]
    projected = centred @ principal
    turn = np.linalg.qr(np.random.default_rng(seed).normal(size=(CODE_BITS, CODE_BITS)))[0]
    for _ in range(rounds):
        # The turn that brings the points nearest to the corners they fall to: orthogonal Procrustes.
        left, _, right = np.linalg.svd(np.where(projected @ turn > 0, 1.0, -1.0).T @ projected)
        turn = (left @ right).T
    return mean.astype(np.float32), (principal @ turn).astype(np.float32)


def fit_palette(
    lab: NDArray[np.float32], colours_count: int, seed: int, rounds: int = 25
) -> NDArray[np.float32]:
    """Cluster centres of Lab pixels, float32 (colours_count, 3), by k-means. lab: float32 (n, 3)."""
    rng = np.random.default_rng(seed)
    centres = lab[rng.choice(len(lab), colours_count, replace=False)].astype(np.float64)
    for _ in range(rounds):
        nearest = np.concatenate(
            [
                _nearest_centres(part, centres)
                for part in np.array_split(lab, max(1, len(lab) // 10_000))
            ]
        )
        counts = np.bincount(nearest, minlength=colours_count)
        sums = np.stack(
            [np.bincount(nearest, lab[:, axis], colours_count) for axis in range(3)], axis=1
        )
        # A centre that nothing is near starts anew at a random pixel.
        fresh = lab[rng.choice(len(lab), colours_count)]
        centres = np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], fresh)
    return centres.astype(np.float32)


def _nearest_centres(lab: NDArray[np.float32], centres: NDArray[np.float64]) -> NDArray[np.int64]:
    return ((centres**2).sum(axis=1) - 2 * lab @ centres.T).argmin(axis=1)
