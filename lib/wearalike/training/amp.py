"""Mixed precision: convolutions and matrix products in bfloat16 where that is faster.

Weights, losses and results stay in float32 (Micikevicius et al., Mixed Precision Training,
ICLR 2018).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


def supports_bfloat16(device: str) -> bool:
    """Tell if bfloat16 is faster: on every GPU, and on CPUs with instructions for it.

    Args:
        device: "cpu" or "cuda".

    Returns:
        True if a training should use bfloat16.
    """
    if device == "cuda":
        return True
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def autocast(device: str) -> torch.autocast:
    """Return the context for a step's forward pass.

    Args:
        device: "cpu" or "cuda".

    Returns:
        bfloat16 autocast, disabled where bfloat16 is no faster.
    """
    # No cache of cast weights. All threads share torch's, so the thread that builds batches could
    # empty it in mid-step. A weight that is used twice would then be cast twice or once by chance,
    # and its gradient summed in float32 or in bfloat16.
    return torch.autocast(
        device, torch.bfloat16, enabled=supports_bfloat16(device), cache_enabled=False
    )


def keep_depthwise_in_float32(network: nn.Module, device: str) -> None:
    """Keep a network's depthwise convolutions in float32 on a CPU.

    Their bfloat16 backward pass is slow there: less than a tenth of the encoder's operations, but
    two thirds of a step's time.

    Args:
        network: Network to change in place.
        device: "cpu" or "cuda"; nothing changes on a GPU.
    """
    if device != "cpu" or not supports_bfloat16(device):
        return
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1:
            module.forward = _run_in_float32(module.forward)  # type: ignore[method-assign, assignment]


def _run_in_float32(forward: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Return a forward pass that computes in float32 and gives its input's type."""

    def float32_forward(maps: Tensor) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            return forward(maps.float()).to(maps.dtype)

    return float32_forward
