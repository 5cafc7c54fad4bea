"""Losses of the encoder's training. Each is a scalar that falls as the codes get better.

`code` is always float32 (n, bits), -1..1: the squashed outputs of a head.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional


def supervised_contrastive_loss(code: Tensor, classes: Tensor, temperature: float) -> Tensor:
    """Return the supervised contrastive loss (Khosla et al., NeurIPS 2020, eq. 2).

    It is summed over the anchors that have at least one positive in the batch.

    Args:
        code: float32 (n, bits), -1..1.
        classes: int64 (n,). Rows of one class are each other's positives.
        temperature: Divisor of the cosines.

    Returns:
        A scalar, 0 or more.
    """
    unit = functional.normalize(code, dim=1)
    logits = (unit @ unit.T / temperature).fill_diagonal_(float("-inf"))
    log_shares = logits - logits.logsumexp(dim=1, keepdim=True)
    is_positive = (classes[:, None] == classes[None]).fill_diagonal_(False)
    is_anchor = is_positive.any(dim=1)
    positive_sums = log_shares.masked_fill(~is_positive, 0).sum(dim=1)[is_anchor]
    return -(positive_sums / is_positive.sum(dim=1)[is_anchor]).sum()


def similarity_distillation_loss(code: Tensor, teacher: Tensor) -> Tensor:
    """Return the mean squared difference of the codes' similarity from the teacher's.

    It averages over the pairs of rows that the teacher knows. Random hyperplane codes of vectors at
    an angle agree, as ±1 vectors, to 1 - 2 * angle / pi (Charikar, STOC 2002); that is the target.

    Args:
        code: float32 (n, bits), -1..1.
        teacher: float32 (n, d). Unit rows; a row of zeros where the teacher knows nothing.

    Returns:
        A scalar, 0 or more; 0 with fewer than two known rows.
    """
    is_known = teacher.square().sum(dim=1) > 0.5
    code = code[is_known]
    teacher = teacher[is_known]
    if len(code) < 2:
        return code.sum() * 0
    target = 1 - 2 * (teacher @ teacher.T).clamp(-1, 1).acos() / math.pi
    is_pair = ~torch.eye(len(code), dtype=torch.bool, device=code.device)
    return ((code @ code.T / code.shape[1] - target)[is_pair]).square().mean()


def quantization_loss(code: Tensor) -> Tensor:
    """Return the mean squared distance of the outputs from -1 or 1.

    Args:
        code: float32 (n, bits), -1..1.

    Returns:
        A scalar, 0..1.
    """
    return (1 - code.abs()).square().mean()


def decorrelation_loss(code: Tensor) -> Tensor:
    """Return the mean squared off-diagonal covariance of the bits, which penalises redundant bits.

    Args:
        code: float32 (n, bits), -1..1.

    Returns:
        A scalar, 0 or more.
    """
    centred = code - code.mean(dim=0)
    covariance = centred.T @ centred / len(code)
    return (covariance - torch.diag(covariance.diagonal())).square().mean()
