"""The encoder imagenet-itq: fit its palette, and its rotations from features to 128 bits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wearalike.tables import CODE_BITS

# Pixels whose distances to all centres are computed at once.
_BLOCK_PIXELS = 10_000


def fit_rotation(
    rows: NDArray[np.float32], seed: int, rounds: int = 50
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Fit the rotation whose signs lose the least of the features.

    It takes the first 128 principal axes and turns them by iterative quantization (Gong and
    Lazebnik, CVPR 2011). The code of a row is the signs of (row - mean) @ rotation.

    Args:
        rows: float32 (n, d). Features; n and d are at least 128.
        seed: Seed of the initial rotation.
        rounds: Number of iterations.

    Returns:
        Mean, float32 (d,), and rotation, float32 (d, 128).

    Raises:
        ValueError: There are fewer than 128 rows or columns.
    """
    if min(rows.shape) < CODE_BITS:
        raise ValueError(f"rows: wanted at least {CODE_BITS} rows and columns, got {rows.shape}")
    mean = rows.mean(axis=0, dtype=np.float64)
    centred = rows - mean
    _, axes = np.linalg.eigh(centred.T @ centred)
    principal = axes[:, ::-1][:, :CODE_BITS]
    projected = centred @ principal
    rotation = np.linalg.qr(np.random.default_rng(seed).normal(size=(CODE_BITS, CODE_BITS)))[0]
    for _ in range(rounds):
        # The rotation that brings the points nearest to their corners: orthogonal Procrustes.
        corners = np.where(projected @ rotation > 0, 1.0, -1.0)
        left, _, right = np.linalg.svd(corners.T @ projected)
        rotation = (left @ right).T
    return mean.astype(np.float32), (principal @ rotation).astype(np.float32)


def fit_palette(
    lab: NDArray[np.float32], colours_count: int, seed: int, rounds: int = 25
) -> NDArray[np.float32]:
    """Fit a palette to pixels by k-means.

    Args:
        lab: float32 (n, 3). Pixels in CIELAB.
        colours_count: Number of colours, at most n.
        seed: Seed of the initial centres.
        rounds: Number of iterations.

    Returns:
        Cluster centres, float32 (colours_count, 3).
    """
    rng = np.random.default_rng(seed)
    centres = lab[rng.choice(len(lab), colours_count, replace=False)].astype(np.float64)
    for _ in range(rounds):
        blocks = np.array_split(lab, max(1, len(lab) // _BLOCK_PIXELS))
        nearest = np.concatenate([_nearest_centres(block, centres) for block in blocks])
        counts = np.bincount(nearest, minlength=colours_count)
        sums = np.stack(
            [np.bincount(nearest, lab[:, axis], colours_count) for axis in range(3)], axis=1
        )
        # A centre that is nearest to no pixel starts anew at a random pixel.
        fresh = lab[rng.choice(len(lab), colours_count)]
        centres = np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], fresh)
    return centres.astype(np.float32)


def _nearest_centres(lab: NDArray[np.float32], centres: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the number of the nearest centre of each pixel, int64 (n,)."""
    return ((centres**2).sum(axis=1) - 2 * lab @ centres.T).argmin(axis=1)
