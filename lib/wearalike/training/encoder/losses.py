"""What an encoder's training wants of codes, each a number that falls: see encoder."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional


def supervised_contrastive_loss(code: Tensor, classes: Tensor, temperature: float) -> Tensor:
    """How little the codes of a class stand together, summed over the rows that are not alone in theirs: minus the mean logarithm of
    the share that each of its own has of all that is near (Khosla et al., eq. 2).

    code: float32 (n, bits), -1..1. classes: int64 (n,).
    """
    unit = functional.normalize(code, dim=1)
    near = (unit @ unit.T / temperature).fill_diagonal_(float("-inf"))
    share = near - near.logsumexp(dim=1, keepdim=True)
    own = (classes[:, None] == classes[None]).fill_diagonal_(False)
    together = own.any(dim=1)
    return -(share.masked_fill(~own, 0).sum(dim=1)[together] / own.sum(dim=1)[together]).sum()


def similarity_distillation_loss(code: Tensor, teacher: Tensor) -> Tensor:
    """How far the codes' agreement is from the teacher's: mean square over the pairs of which the teacher knows both.

    Codes that keep angles agree, as ±1 vectors, to 1 - 2 * angle / pi (Charikar, STOC 2002).
    code: float32 (n, bits), -1..1. teacher: float32 (n, d), unit rows, zeros where nothing is known.
    """
    known = teacher.square().sum(dim=1) > 0.5
    code, teacher = code[known], teacher[known]
    if len(code) < 2:
        return code.sum() * 0
    wanted = 1 - 2 * (teacher @ teacher.T).clamp(-1, 1).acos() / math.pi
    off = ~torch.eye(len(code), dtype=torch.bool, device=code.device)
    return ((code @ code.T / code.shape[1] - wanted)[off]).square().mean()


def quantization_loss(code: Tensor) -> Tensor:
    """How far units are from -1 and 1: mean square. code: float32 (n, bits), -1..1."""
    return (1 - code.abs()).square().mean()


def decorrelation_loss(code: Tensor) -> Tensor:
    """How much units say what others have said: the mean square of their covariances. code: float32 (n, bits), -1..1."""
    spread = code - code.mean(dim=0)
    together = spread.T @ spread / len(code)
    return (together - torch.diag(together.diagonal())).square().mean()
