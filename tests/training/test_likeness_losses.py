"""Losses of the likeness training: each is what its formula says, and zero where nothing lacks."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from wearalike.training.encoder import losses
from wearalike.training.encoder.likeness_config import cosine_factor


def test_info_nce_is_what_its_formula_says():
    rng = np.random.default_rng(0)
    code, classes, temperature = rng.normal(size=(7, 16)), np.array([0, 0, 1, 1, 1, 2, 0]), 0.1
    unit = code / np.linalg.norm(code, axis=1, keepdims=True)
    wanted = []
    for i in range(7):
        near = {j: np.exp(unit[i] @ unit[j] / temperature) for j in range(7) if j != i}
        own = [j for j in near if classes[j] == classes[i]]
        # The sixth is alone in its class.
        if own:
            wanted.append(-np.mean([np.log(near[j] / sum(near.values())) for j in own]))
    found = losses.info_nce_loss(torch.from_numpy(code), torch.from_numpy(classes), temperature)
    assert float(found) == pytest.approx(np.mean(wanted), rel=1e-9) and len(wanted) == 6
    tight = torch.nn.functional.one_hot(torch.from_numpy(classes), 16).double() * 2 - 0.5
    near = losses.info_nce_loss(tight, torch.from_numpy(classes), temperature)
    assert float(near) < 0.5 * float(found)


def test_without_a_pair_there_is_nothing_to_learn():
    code = torch.randn(3, 8, requires_grad=True)
    for found in (
        losses.info_nce_loss(code, torch.arange(3), 0.1),
        losses.similarity_distillation_loss(code[:1], torch.ones(1, 4)),
        losses.triplet_loss(code[:0], code[:0], code[:0], 0.3),
        losses.overlap_loss(code[:0], code[:0]),
    ):
        assert float(found) == 0
        found.backward()


def test_codes_that_keep_the_teachers_angles_cost_least():
    generator = torch.Generator().manual_seed(0)
    teacher = torch.nn.functional.normalize(torch.randn(40, 64, generator=generator), dim=1)
    # Signs of random projections agree as the angles say, but for chance.
    code = torch.sign(teacher @ torch.randn(64, 4096, generator=generator))
    strange = torch.sign(torch.randn(40, 4096, generator=generator))
    kept = losses.similarity_distillation_loss(code, teacher)
    lost = losses.similarity_distillation_loss(strange, teacher)
    assert float(kept) < 0.001 < 0.005 < float(lost)


def test_codes_overlap_as_far_as_one_tells_the_other():
    generator = torch.Generator().manual_seed(0)
    shape, colour = torch.sign(torch.randn(2, 4096, 16, generator=generator))
    assert float(losses.overlap_loss(shape, colour)) < 0.01
    assert float(losses.overlap_loss(shape, shape)) == pytest.approx(1, abs=0.02)
    half = torch.cat([shape[:, :8], colour[:, 8:]], dim=1)
    assert float(losses.overlap_loss(shape, half)) == pytest.approx(0.5, abs=0.02)
    # A bit that is always on tells nothing.
    assert float(losses.overlap_loss(shape, torch.ones(4096, 16))) == 0


def test_balanced_independent_bits_cost_nothing():
    corners = torch.tensor([[a, b] for a in (-1.0, 1.0) for b in (-1.0, 1.0)])
    assert float(losses.balance_loss(corners)) == 0 == float(losses.quantization_loss(corners))
    assert float(losses.balance_loss(torch.ones(4, 2))) == 1
    equal_bits = corners[:, :1].repeat(1, 2)
    assert float(losses.balance_loss(equal_bits)) == pytest.approx(0.5)
    assert float(losses.quantization_loss(torch.zeros(4, 2))) == 1


def test_a_triplet_costs_what_lacks_to_the_margin():
    anchor = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    alike = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    unlike = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    assert losses.triplet_loss(anchor[:1], alike[:1], unlike[:1], 0.3) == 0
    assert float(losses.triplet_loss(anchor, alike, unlike, 0.3)) == pytest.approx(1.3 / 2)


def test_the_rate_rises_then_falls_to_nothing():
    rates = [cosine_factor(step, 100, 10) for step in range(100)]
    assert rates[0] == pytest.approx(0.1, abs=0.01) and int(np.argmax(rates)) in (9, 10)
    assert rates[-1] < 0.002 and cosine_factor(100, 100, 10) == pytest.approx(0)
