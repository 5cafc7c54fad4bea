"""Fit the leaf head on descriptors: linear discriminant analysis, then a temperature.

Kinds are Gaussians with one covariance, so the head is one layer, found in closed form. Counts,
sums and products of descriptors add up over shops. A fit without one shop costs one solution
more, not another pass over the pictures.

Ledoit and Wolf, A well-conditioned estimator for large-dimensional covariance matrices, 2004, on
why the covariance is shrunk.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.linalg
import torch
from numpy.typing import NDArray

from wearalike.encoding.leaf_head import LeafHead

# Share of the identity in the covariance of standardized descriptors.
_SHRINKAGE = 0.3
# A kind's prior is its share of the pictures to this power: habits of shops differ.
_PRIOR_POWER = 0.5
# A kind without pictures gets this bias: it is never predicted.
_ABSENT_BIAS = -1e4
# Bounds of the temperature, and how many are tried.
_TEMPERATURES = np.geomspace(0.25, 1024.0, 97)
_BLOCK_ROWS = 1024


@dataclass(frozen=True, slots=True)
class LeafMoments:
    """Counts, sums and products of standardized descriptors; those of two shops add up.

    Attributes:
        counts: float64 (kinds,). Pictures of each kind.
        sums: float64 (kinds, d). Their descriptors added up.
        products: float32 (d, d). Sum of each descriptor times its transpose.
    """

    counts: NDArray[np.float64]
    sums: NDArray[np.float64]
    products: NDArray[np.float32]

    @classmethod
    def measure(
        cls,
        head: LeafHead,
        rows: NDArray[np.float16],
        kinds: NDArray[np.int64],
        kinds_count: int,
    ) -> LeafMoments:
        """Measure descriptors.

        Args:
            head: Standardizes the descriptors.
            rows: float16 (n, d). Descriptors that the head reads.
            kinds: int64 (n,). Number of each one's kind.
            kinds_count: Number of kinds.
        """
        width = rows.shape[1]
        sums = np.zeros((kinds_count, width))
        products = np.zeros((width, width), np.float32)
        for start in range(0, len(rows), _BLOCK_ROWS):
            block = standardize_rows(head, rows[start : start + _BLOCK_ROWS])
            products += block.T @ block
            is_kind = kinds[start : start + _BLOCK_ROWS, None] == np.arange(kinds_count)
            sums += is_kind.T.astype(np.float32) @ block
        counts = np.bincount(kinds, minlength=kinds_count).astype(np.float64)
        return cls(counts, sums, products)

    @classmethod
    def add(cls, parts: Sequence[LeafMoments]) -> LeafMoments:
        """Add up the moments of several shops, at least one."""
        return cls(
            np.sum([part.counts for part in parts], axis=0),
            np.sum([part.sums for part in parts], axis=0),
            np.sum([part.products for part in parts], axis=0, dtype=np.float32),
        )


def build_leaf_head(
    mean: NDArray[np.floating], scale: NDArray[np.floating], kinds_count: int
) -> LeafHead:
    """Return a head that standardizes descriptors and knows nothing else.

    Args:
        mean: float (d,). Mean of each descriptor.
        scale: float (d,). Divides what differs from the mean.
        kinds_count: Number of kinds.
    """
    head = LeafHead(kinds_count, len(mean))
    head.mean.copy_(torch.from_numpy(np.asarray(mean, np.float32)))
    head.scale.copy_(torch.from_numpy(np.asarray(scale, np.float32)))
    return head.eval()


def fit_leaf_head(head: LeafHead, moments: LeafMoments) -> LeafHead:
    """Return a head fitted to moments; the same moments give the same head.

    Args:
        head: Standardizes the descriptors, as it did for the moments.
        moments: Moments of the pictures to learn from.

    Returns:
        The head, not calibrated. A kind without pictures is never predicted.
    """
    counts = moments.counts
    total = max(1.0, float(counts.sum()))
    means = (moments.sums / np.maximum(counts, 1)[:, None]).astype(np.float32)
    weighted = means * np.sqrt(counts)[:, None].astype(np.float32)
    within = (moments.products - weighted.T @ weighted) / np.float32(total)
    level = float(np.trace(within)) / len(within)
    within *= np.float32(1 - _SHRINKAGE)
    within[np.diag_indices_from(within)] += np.float32(_SHRINKAGE * level + 1e-6)
    factor = scipy.linalg.cho_factor(within, lower=True, overwrite_a=True, check_finite=False)
    weights = scipy.linalg.cho_solve(factor, means.T, check_finite=False).T
    priors = _PRIOR_POWER * np.log(np.maximum(counts, 1) / total)
    biases = priors - 0.5 * (weights * means).sum(axis=1)
    fitted = build_leaf_head(head.mean.numpy(), head.scale.numpy(), len(counts))
    with torch.no_grad():
        fitted.linear.weight.copy_(torch.from_numpy(np.where(counts[:, None] > 0, weights, 0.0)))
        fitted.linear.bias.copy_(torch.from_numpy(np.where(counts > 0, biases, _ABSENT_BIAS)))
    return fitted


def standardize_rows(head: LeafHead, rows: NDArray[np.float16]) -> NDArray[np.float32]:
    """Return descriptors as the head standardizes them, float32 (n, d)."""
    with torch.inference_mode():
        return head.standardize(torch.from_numpy(rows.astype(np.float32))).numpy()


def compute_logits(head: LeafHead, rows: NDArray[np.float16]) -> NDArray[np.float32]:
    """Return the logits of descriptors, float32 (n, kinds)."""
    parts = [np.empty((0, head.linear.out_features), np.float32)]
    with torch.inference_mode():
        for start in range(0, len(rows), _BLOCK_ROWS):
            block = rows[start : start + _BLOCK_ROWS].astype(np.float32)
            parts.append(head(torch.from_numpy(block)).numpy())
    return np.concatenate(parts)


def fit_temperature(logits: NDArray[np.float32], kinds: NDArray[np.int64]) -> float:
    """Return the temperature that makes the truth likeliest; 1 without examples.

    Args:
        logits: float32 (n, kinds).
        kinds: int64 (n,). The true kinds.
    """
    if not len(kinds):
        return 1.0
    best, best_loss = 1.0, np.inf
    at = np.arange(len(kinds))
    for temperature in _TEMPERATURES.tolist():
        scaled = logits / np.float32(temperature)
        scaled -= scaled.max(axis=1, keepdims=True)
        loss = float((np.log(np.exp(scaled).sum(axis=1)) - scaled[at, kinds]).mean())
        if loss < best_loss:
            best, best_loss = temperature, loss
    return best


def softmax(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the probabilities of logits, float64 (n, kinds)."""
    wide = logits.astype(np.float64)
    weights = np.exp(wide - wide.max(axis=1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))
