"""Training of the code heads: resumable to the bit, taught by clean views, started by LDA."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from wearalike.encoding.descriptor_layout import LITE0_LAYOUT
from wearalike.encoding.likeness_net import CodeHeads
from wearalike.training.encoder import linear_start
from wearalike.training.encoder.descriptor_bank import DescriptorBank
from wearalike.training.encoder.head_trainer import HeadTrainer, build_teachers
from wearalike.training.encoder.likeness_config import LikenessConfig

CONFIG = LikenessConfig(steps=6, products=8, warmup_steps=2, triplets=2, hidden_units=128)


@pytest.fixture(scope="module")
def bank() -> DescriptorBank:
    rng = np.random.default_rng(0)
    products = np.repeat(np.arange(12), 4)
    means = rng.normal(size=(12, LITE0_LAYOUT.count))[products]
    rows = means + 0.3 * rng.normal(size=means.shape)
    return DescriptorBank(
        rows.astype(np.float16),
        products,
        np.tile([0, 1, 2, 3], 12),
        np.tile([True, True, True, False], 12),
        np.arange(12) // 2,
        np.zeros(12, np.int64),
        tuple(f"p{n}" for n in range(12)),
        (),
    )


def trainer_of(bank, config=CONFIG, triplets=((0, 1, 5),), trunk=None) -> HeadTrainer:
    torch.manual_seed(0)
    mean, scale = linear_start.fit_standardization(bank)
    heads = CodeHeads(mean, scale, config.hidden_units, config.hidden_units)
    return HeadTrainer(heads, bank, config, "cpu", triplets, trunk)


def test_stopped_and_gone_on_is_as_if_never_stopped(bank, tmp_path):
    seen: dict[str, list[tuple[int, dict[str, float]]]] = {"whole": [], "parts": []}
    whole, first, second = (trainer_of(bank) for _ in range(3))
    whole.run(lambda *found: seen["whole"].append(found))
    first.run(lambda *found: seen["parts"].append(found), until_step=2)
    first.save_checkpoint(tmp_path / "checkpoint")
    second.load_checkpoint(tmp_path / "checkpoint")
    second.run(lambda *found: seen["parts"].append(found))
    assert [step for step, _ in seen["parts"]] == [1, 2, 3, 4, 5, 6]
    assert seen["parts"] == seen["whole"]
    for name, tensor in whole.averaged_state().items():
        assert torch.equal(tensor, second.averaged_state()[name]), name
    for other in (
        trainer_of(bank, replace(CONFIG, seed=1)),
        trainer_of(bank, triplets=()),
        trainer_of(bank, trunk="vgg16"),
    ):
        with pytest.raises(ValueError, match="a checkpoint of another training"):
            other.load_checkpoint(tmp_path / "checkpoint")


def test_judged_triplets_are_a_loss_only_where_there_are_some(bank):
    names = []
    for triplets in (((0, 1, 5),), ()):
        trainer_of(bank, triplets=triplets).run(
            lambda step, losses: names.append(set(losses)), until_step=1
        )
    assert names[0] - names[1] == {"judged triplets"}
    assert {"shape", "colour", "both", "binary", "balance", "overlap"} <= names[1]


def test_a_products_clean_view_is_its_teacher(bank):
    mean, scale = linear_start.fit_standardization(bank)
    shape, colour = build_teachers(bank, CodeHeads(mean, scale))
    item = LITE0_LAYOUT.columns("item")
    wanted = (bank.descriptors[::4, item] - mean[item]) / scale[item]
    wanted = wanted.clip(-5, 5)
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    np.testing.assert_allclose(shape.float().numpy(), wanted, atol=1e-3)
    assert colour.shape == (12, 640)
    np.testing.assert_allclose(colour.float().norm(dim=1).numpy(), 1, atol=1e-2)


def test_a_rotation_keeps_more_in_signs_than_none():
    generator = torch.Generator().manual_seed(0)
    # Along the axes most numbers are near 0; along the diagonals none is.
    corners = torch.sign(torch.randn(400, 8, generator=generator))
    turn = torch.linalg.qr(torch.randn(8, 8, generator=generator))[0]
    rows = corners @ turn
    rotation = linear_start.fit_itq_rotation(rows)
    torch.testing.assert_close(rotation @ rotation.T, torch.eye(8), atol=1e-4, rtol=0)
    lost = (torch.sign(rows) - rows).square().mean()
    assert (torch.sign(rows @ rotation) - rows @ rotation).square().mean() < 0.5 * lost
