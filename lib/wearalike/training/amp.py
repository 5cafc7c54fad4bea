"""Mixed precision: convolutions and products in bfloat16 where the chip multiplies that faster; weights, losses and what is kept
of them in float32 (Micikevicius et al., Mixed Precision Training, ICLR 2018)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


def supports_bfloat16(device: str) -> bool:
    """Whether bfloat16 pays on a device: on every GPU, and on CPUs with instructions for it."""
    if device == "cuda":
        return True
    can = torch.cpu.get_capabilities()
    return bool(can.get("avx512_bf16") or can.get("amx_bf16"))


def autocast(device: str) -> torch.autocast:
    """What a step's forward pass is taken under, on "cpu" or "cuda"."""
    return torch.autocast(device, torch.bfloat16, enabled=supports_bfloat16(device))


def keep_depthwise_in_float32(network: nn.Module, device: str) -> None:
    """Lets the depthwise convolutions of a network stay in float32 on a CPU, where their way back in bfloat16 is a slow one: of a
    step of the encoder they are less than a tenth of the sums and, in bfloat16, two thirds of the time."""
    if device != "cpu" or not supports_bfloat16(device):
        return
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1:
            module.forward = _run_in_float32(module.forward)  # type: ignore[method-assign, assignment]


def _run_in_float32(forward: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    def widened(maps: Tensor) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            return forward(maps.float()).to(maps.dtype)

    return widened
