"""Start code heads as linear maps: discriminant directions of products, then ITQ.

The first directions are those in which products differ most for how much the views of one product
differ (linear discriminant analysis). A rotation then makes signs keep the most: iterative
quantization, Gong and Lazebnik, CVPR 2011.
"""

from __future__ import annotations

import numpy as np
import scipy.linalg
import torch
from numpy.typing import NDArray
from torch import Tensor

from wearalike.encoding.descriptor_layout import LITE0_LAYOUT, DescriptorLayout
from wearalike.encoding.likeness_net import CodeHead, CodeHeads
from wearalike.tables import CODE_BITS
from wearalike.training.encoder.descriptor_bank import DescriptorBank

_BLOCK_ROWS = 8192
# Standardized descriptors are cut here, as in likeness_net.
_MAX_DEVIATIONS = 5.0
# Added to the within-class scatter, as a share of the mean variance.
_RIDGE = 0.1
_MAX_ROWS = 40_000
_MAX_ITQ_ROWS = 20_000
_MAX_MOMENT_ROWS = 30_000
_ITQ_ROUNDS = 40
# Least divisor of a histogram's column: rare colours would be blown up.
_MIN_HISTOGRAM_SCALE = 0.06
_SCALE_SHARE = 0.02
_MIN_SPREAD_RATIO = 1e-2


def fit_standardization(
    bank: DescriptorBank, layout: DescriptorLayout = LITE0_LAYOUT
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Fit mean and scale of the descriptors on views with true colours.

    Args:
        bank: The descriptors of the training views.
        layout: Where each descriptor lies.

    Returns:
        Both float32 (d,).
    """
    rows = np.random.default_rng(0).permutation(np.flatnonzero(bank.is_true))[:_MAX_MOMENT_ROWS]
    total = np.zeros(bank.descriptors.shape[1])
    squares = np.zeros_like(total)
    for start in range(0, len(rows), _BLOCK_ROWS):
        part = bank.descriptors[rows[start : start + _BLOCK_ROWS]].astype(np.float32)
        total += part.sum(0, dtype=np.float64)
        squares += (part.astype(np.float64) ** 2).sum(0)
    mean = total / len(rows)
    spread = np.sqrt(np.maximum(squares / len(rows) - mean**2, 1e-8)).astype(np.float32)
    scale = spread + _SCALE_SHARE * spread.mean()
    histograms = layout.columns("histograms")
    scale[histograms] = np.maximum(spread[histograms], _MIN_HISTOGRAM_SCALE)
    return mean.astype(np.float32), scale.astype(np.float32)


def start_heads(heads: CodeHeads, bank: DescriptorBank) -> None:
    """Set both heads to the linear maps of the bank.

    Args:
        heads: The heads, with the standardization of the bank; changed in place.
        bank: The descriptors of the training views.
    """
    articles = bank.article_of_product[bank.product]
    true_rows = np.flatnonzero(bank.is_true)
    layout = heads.layout
    _start_head(
        heads, heads.shape, bank, np.arange(layout.shape_count), np.arange(len(articles)), articles
    )
    _start_head(heads, heads.colour, bank, layout.colour_inputs, true_rows, bank.product[true_rows])


def _start_head(
    heads: CodeHeads,
    head: CodeHead,
    bank: DescriptorBank,
    columns: NDArray[np.int64],
    rows: NDArray[np.int64],
    classes: NDArray[np.int64],
) -> None:
    """Set one head, which reads some columns, to the map of some rows and their classes."""
    if len(rows) > _MAX_ROWS:
        articles = bank.article_of_product[bank.product[rows]]
        chosen = np.random.default_rng(1).permutation(articles.max() + 1)
        kept = np.isin(articles, chosen[: len(chosen) * _MAX_ROWS // len(rows)])
        rows, classes = rows[kept], classes[kept]
    read = _ColumnReader(bank, heads, columns)
    total, within = _scatter(read, rows, classes)
    hidden = head.projection.out_features
    directions = _discriminant_directions(total, within, hidden)
    some = np.random.default_rng(0).permutation(rows)[:_MAX_ITQ_ROWS]
    projected = read(some) @ directions
    centre = projected.mean(0)
    projected = projected - centre
    first = projected[:, :CODE_BITS]
    rotation = fit_itq_rotation(first / first.std())
    size = (first @ rotation).std()
    spread = projected.std(0)
    # In few pictures some directions hold nothing.
    spread = spread.clamp(min=_MIN_SPREAD_RATIO * float(spread.max()))
    with torch.no_grad():
        head.projection.weight.copy_((directions / spread).T)
        head.projection.bias.copy_(-centre / spread)
        wide = torch.zeros(CODE_BITS, hidden)
        wide[:, :CODE_BITS] = (rotation * spread[:CODE_BITS, None]).T / size
        head.linear.weight.copy_(wide)
        for tensor in (head.linear.bias, head.output.weight, head.output.bias):
            tensor.zero_()


class _ColumnReader:
    """Returns standardized columns of some rows of a bank, float32 (n, columns)."""

    def __init__(self, bank: DescriptorBank, heads: CodeHeads, columns: NDArray[np.int64]) -> None:
        self._descriptors = bank.descriptors
        self._columns = columns
        self._mean = heads.mean.numpy()[columns]
        self._scale = heads.scale.numpy()[columns]

    def __call__(self, rows: NDArray[np.int64]) -> Tensor:
        part = self._descriptors[rows][:, self._columns].astype(np.float32)
        deviations = (part - self._mean) / self._scale
        return torch.from_numpy(deviations.clip(-_MAX_DEVIATIONS, _MAX_DEVIATIONS))

    @property
    def width(self) -> int:
        return len(self._columns)


def _scatter(
    read: _ColumnReader, rows: NDArray[np.int64], classes: NDArray[np.int64]
) -> tuple[Tensor, Tensor]:
    """Return the total and the within-class covariance, float64 (d, d) each."""
    order = np.argsort(classes, kind="stable")
    rows, classes = rows[order], classes[order]
    total, within = torch.zeros(read.width, read.width), torch.zeros(read.width, read.width)
    degrees = start = 0
    while start < len(rows):
        end = min(len(rows), start + _BLOCK_ROWS)
        while end < len(rows) and classes[end] == classes[end - 1]:
            end += 1
        part = read(rows[start:end])
        total += part.T @ part
        numbers = torch.from_numpy(np.unique(classes[start:end], return_inverse=True)[1])
        counts = torch.bincount(numbers).float()
        sums = torch.zeros(len(counts), read.width).index_add_(0, numbers, part)
        has_several = (counts > 1)[numbers]
        deviations = (part - (sums / counts[:, None])[numbers])[has_several]
        within += deviations.T @ deviations
        degrees += int((counts[counts > 1] - 1).sum())
        start = end
    return (total / len(rows)).double(), (within / max(degrees, 1)).double()


def _discriminant_directions(total: Tensor, within: Tensor, count: int) -> Tensor:
    """Return the directions (d, count) in which classes differ most, best first."""
    width = len(total)
    ridge = _RIDGE * torch.diagonal(total).mean() * torch.eye(width, dtype=within.dtype)
    _, vectors = scipy.linalg.eigh(
        total.float().numpy(),
        (within + ridge).float().numpy(),
        subset_by_index=[width - count, width - 1],
        check_finite=False,
        overwrite_a=True,
        overwrite_b=True,
    )
    return torch.from_numpy(vectors[:, ::-1].copy())


def fit_itq_rotation(projected: Tensor, rounds: int = _ITQ_ROUNDS, seed: int = 0) -> Tensor:
    """Return the rotation (d, d) after which signs keep the most.

    Args:
        projected: float32 (n, d), centred.
        rounds: Number of iterations.
        seed: Seed of the first rotation.
    """
    generator = torch.Generator().manual_seed(seed)
    width = projected.shape[1]
    rotation = torch.linalg.qr(torch.randn(width, width, generator=generator))[0]
    for _ in range(rounds):
        corners = torch.where(projected @ rotation > 0, 1.0, -1.0)
        left, _, right = torch.linalg.svd(corners.T @ projected)
        rotation = (left @ right).T
    return rotation
