"""Losses of the encoder's training. Each is a scalar that falls as the codes get better.

`code` is always float32 (n, bits), -1..1: the squashed outputs of a head.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

# Stands for minus infinity: a finite number gives no NaN where it is multiplied by 0.
_FAR = -1e4
# Cosines are scaled by this, so that the gradient of the arc cosine stays finite.
_COSINE_LIMIT = 0.9999


def info_nce_loss(code: Tensor, classes: Tensor, temperature: float) -> Tensor:
    """Return InfoNCE with several positives (Khosla et al., NeurIPS 2020, eq. 2).

    It is the mean over the rows that have at least one positive in the batch.

    Args:
        code: float32 (n, bits).
        classes: int64 (n,). Rows of one class are each other's positives.
        temperature: Divisor of the cosines.

    Returns:
        A scalar, 0 or more; 0 if no row has a positive.
    """
    unit = functional.normalize(code, dim=1)
    is_self = torch.eye(len(code), dtype=torch.bool, device=code.device)
    logits = (unit @ unit.T / temperature).masked_fill(is_self, _FAR)
    is_positive = (classes[:, None] == classes[None]) & ~is_self
    log_shares = logits - logits.logsumexp(dim=1, keepdim=True)
    counts = is_positive.sum(dim=1)
    is_anchor = counts > 0
    if not is_anchor.any():
        return code.sum() * 0
    return -((log_shares * is_positive).sum(dim=1)[is_anchor] / counts[is_anchor]).mean()


def similarity_distillation_loss(code: Tensor, teacher: Tensor) -> Tensor:
    """Return the mean squared difference of the codes' similarity from the teacher's.

    Random hyperplane codes of vectors at an angle agree, as ±1 vectors, to 1 - 2 * angle / pi
    (Charikar, STOC 2002); that is the target of each pair of rows.

    Args:
        code: float32 (n, bits).
        teacher: float32 (n, d). Unit rows.

    Returns:
        A scalar, 0 or more; 0 with fewer than two rows.
    """
    if len(code) < 2:
        return code.sum() * 0
    cosines = (teacher @ teacher.T).clamp(-1, 1) * _COSINE_LIMIT
    target = 1 - 2 * cosines.acos() / math.pi
    is_pair = ~torch.eye(len(code), dtype=torch.bool, device=code.device)
    return ((code @ code.T / code.shape[1] - target)[is_pair]).square().mean()


def quantization_loss(code: Tensor) -> Tensor:
    """Return the mean squared distance of the outputs from -1 or 1.

    Args:
        code: float32 (n, bits).

    Returns:
        A scalar, 0..1.
    """
    return (1 - code.abs()).square().mean()


def balance_loss(code: Tensor) -> Tensor:
    """Return the mean square of the bits' means, and of the covariances between bits.

    Args:
        code: float32 (n, bits).

    Returns:
        A scalar, 0 or more; 0 for bits that are on half the time and independent.
    """
    mean = code.mean(dim=0)
    centred = code - mean
    covariance = centred.T @ centred / len(code)
    correlated = covariance - torch.diag(covariance.diagonal())
    return mean.square().mean() + correlated.square().mean()


def overlap_loss(shape: Tensor, colour: Tensor) -> Tensor:
    """Return by how much bits of one code tell those of the other.

    It is the squared covariance of a shape bit with a colour bit, added up over the shape bits and
    averaged over the colour bits.

    Args:
        shape: float32 (n, bits).
        colour: float32 (n, bits). Codes of the same pictures.

    Returns:
        A scalar, 0 or more; 0 for codes that are uncorrelated, and without rows.
    """
    if not len(shape):
        return shape.sum() * 0
    centred = shape - shape.mean(dim=0)
    covariance = centred.T @ (colour - colour.mean(dim=0)) / len(shape)
    return covariance.square().sum(dim=0).mean()


def triplet_loss(anchor: Tensor, alike: Tensor, unlike: Tensor, margin: float) -> Tensor:
    """Return how much nearer than `unlike` the anchors' `alike` rows still must come.

    Args:
        anchor: float32 (n, bits).
        alike: float32 (n, bits). Rows that people find alike to the anchors.
        unlike: float32 (n, bits). Rows that people do not find alike.
        margin: Wanted difference of the cosines.

    Returns:
        A scalar, 0 or more: the mean shortfall; 0 without rows.
    """
    if not len(anchor):
        return anchor.sum() * 0
    near = functional.cosine_similarity(anchor, alike)
    far = functional.cosine_similarity(anchor, unlike)
    return functional.relu(margin - near + far).mean()
