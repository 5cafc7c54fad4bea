"""Training of the code heads: resumable to the bit, taught by clean views, started by LDA."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from wearalike.encoding.descriptor_layout import LITE0_LAYOUT
from wearalike.encoding.likeness_net import CodeHeads
from wearalike.training.encoder import linear_start
from wearalike.training.encoder.descriptor_bank import DescriptorBank, LabelTask
from wearalike.training.encoder.head_trainer import HeadTrainer, build_teachers
from wearalike.training.encoder.label_classifiers import start_classifiers
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


def test_siblings_are_a_loss_of_their_own(bank):
    losses = []
    for weight in (1.0, 2.0, 0.0):
        config = replace(CONFIG, sibling_weight=weight)
        trainer_of(bank, config).run(lambda step, found: losses.append(found), until_step=1)
    assert losses[1]["siblings"] == pytest.approx(2 * losses[0]["siblings"])
    assert losses[0]["siblings"] > 0 and "siblings" not in losses[2]


def test_losses_see_signs_and_gradients_pass_through_them(bank):
    config = replace(CONFIG, steps=3000, binary_share=1.0)
    trainer = trainer_of(bank, config)
    found = []
    for step in (0, 1000):
        trainer._loop.step = step
        shape, _ = trainer._codes(np.arange(8))
        found.append(shape.detach().abs())
        shape.sum().backward()
        assert trainer.heads.shape.linear.weight.grad.abs().sum() > 0
    assert (found[0] < 1).all() and torch.equal(found[1], torch.ones_like(found[1]))


def test_label_classifiers_start_at_the_means_of_their_classes(bank):
    labels = np.where(np.arange(12) < 10, np.arange(12) // 2, -1)
    tasks = tuple(LabelTask(n, labels, 5, n == "colour", True) for n in ("type", "colour"))
    labelled = replace(bank, tasks=tasks)
    torch.manual_seed(0)
    heads = CodeHeads(*linear_start.fit_standardization(labelled))
    linear_start.start_heads(heads, labelled)
    heads.eval()
    clean = torch.from_numpy(labelled.descriptors[::4].astype(np.float32))
    with torch.no_grad():
        codes = heads(clean)
    for classifier, code in zip(start_classifiers(heads, labelled), codes, strict=True):
        squashed = torch.tanh(code)
        means = squashed[:10].reshape(5, 2, -1).mean(dim=1)
        nearest = torch.cdist(squashed, means).argmin(dim=1)
        assert torch.equal(classifier(squashed).argmax(dim=1), nearest)
        assert nearest[:10].tolist() == labels[:10].tolist()


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
