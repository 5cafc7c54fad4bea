"""Mixed precision: numbers stay near float32's, and depthwise convolutions are float32 on a CPU."""

from __future__ import annotations

import threading

import pytest
import torch
from torch import nn

from wearalike.training import amp


def network() -> nn.Sequential:
    torch.manual_seed(0)
    made = nn.Sequential(
        nn.Conv2d(8, 32, 1),
        nn.ReLU(),
        nn.Conv2d(32, 32, 3, padding=1, groups=32),
        nn.ReLU(),
        nn.Conv2d(32, 8, 1),
    )
    return made.to(memory_format=torch.channels_last)


def gradients(made: nn.Sequential, maps: torch.Tensor) -> torch.Tensor:
    made.zero_grad()
    made(maps).float().square().mean().backward()
    return torch.cat([p.grad.flatten() for p in made.parameters()])


@pytest.mark.skipif(
    not amp.supports_bfloat16("cpu"), reason="this CPU has no instructions for bfloat16"
)
def test_a_step_in_halves_is_nearly_one_in_floats():
    maps = torch.randn(4, 8, 14, 14, generator=torch.Generator().manual_seed(1)).contiguous(
        memory_format=torch.channels_last
    )
    wanted = gradients(network(), maps)
    halved = network()
    amp.keep_depthwise_in_float32(halved, "cpu")
    seen: dict[int, torch.dtype] = {}
    for place in (0, 2, 4):
        halved[place].register_forward_hook(
            lambda module, given, made, place=place: seen.update({place: made.dtype})
        )
    inner: list[torch.dtype] = []
    halved[2]._conv_forward = lambda *a, forward=halved[2]._conv_forward: (
        inner.append(a[0].dtype),
        forward(*a),
    )[1]
    with amp.autocast("cpu"):
        found = gradients(halved, maps)
    assert set(seen.values()) == {torch.bfloat16}, (
        "what goes on from layer to layer is half as wide"
    )
    assert inner == [torch.float32], "the depthwise convolution sums in float32"
    assert all(p.dtype == torch.float32 for p in halved.parameters())
    assert not torch.equal(found, wanted)
    assert torch.nn.functional.cosine_similarity(found, wanted, dim=0) > 0.9999


def test_without_instructions_for_halves_all_is_float32(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True})
    made = network()
    before = made[2].forward
    amp.keep_depthwise_in_float32(made, "cpu")
    assert made[2].forward == before
    with amp.autocast("cpu"):
        assert made(torch.randn(1, 8, 4, 4)).dtype == torch.float32
    assert amp.supports_bfloat16("cuda")


def test_a_step_does_not_depend_on_another_threads_mixed_precision(monkeypatch):
    """The thread that builds batches runs depthwise convolutions in float32 while a step is on."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True})
    maps = torch.randn(3, 4, 8, 6, 6, generator=torch.Generator().manual_seed(2))
    found = []
    for is_disturbed in (False, True):
        made = network()
        amp.keep_depthwise_in_float32(made, "cpu")
        other = network()
        amp.keep_depthwise_in_float32(other, "cpu")
        with amp.autocast("cpu"):
            outputs = []
            # A head that all levels share, as in a detector.
            for level in maps:
                outputs.append(made(level).float().square().mean())
                if is_disturbed:
                    thread = threading.Thread(target=other, args=(maps[0],))
                    thread.start()
                    thread.join()
        torch.stack(outputs).sum().backward()
        found.append(torch.cat([p.grad.flatten() for p in made.parameters()]))
    assert torch.equal(*found)
