"""Training our own encoder on a few drawn things: it learns, it resumes, its bits are bits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageDraw
from tests.support.command_line import parse

from wearalike.commands import app
from wearalike.encoding import encoders, hashnet
from wearalike.models import registry
from wearalike.tables import CODE_BITS
from wearalike.training.encoder import augment, losses
from wearalike.training.encoder.config import EncoderTrainingConfig, learning_rate_factor
from wearalike.training.encoder.dataset import EncoderDataset, LabelTask
from wearalike.training.encoder.trainer import EncoderTrainer

COLOURS = {"red": (200, 30, 30), "green": (30, 150, 60), "blue": (30, 60, 190)}
SHAPES = ("round", "square", "tall")


def drawn(shape: str, colour: str, number: int) -> np.ndarray:
    image = Image.new("RGB", (160, 160), "white")
    draw, shift = ImageDraw.Draw(image), 4 * number
    if shape == "round":
        draw.ellipse((30 + shift, 30, 120 + shift, 120), COLOURS[colour])
    elif shape == "square":
        draw.rectangle((30 + shift, 40, 110 + shift, 120), COLOURS[colour])
    else:
        draw.rectangle((70 - shift, 10, 95 - shift, 150), COLOURS[colour])
    return np.asarray(image)


@pytest.fixture(scope="module")
def things() -> list[tuple[str, str, np.ndarray]]:
    return [(s, c, drawn(s, c, n)) for s in SHAPES for c in COLOURS for n in range(3)]


@pytest.fixture(scope="module")
def dataset(things) -> EncoderDataset:
    rng = np.random.default_rng(0)
    colour = np.array(
        [
            [sum(c == other for other in COLOURS) * (c == name) for name in COLOURS]
            for _, c, _ in things
        ],
        np.float32,
    )
    return EncoderDataset(
        images=[augment.prepare_image(p) for _, _, p in things],
        tasks=(
            LabelTask(
                "drawn:type", SHAPES, np.array([SHAPES.index(s) for s, _, _ in things]), False
            ),
            LabelTask(
                "drawn:colour",
                tuple(COLOURS),
                np.array([list(COLOURS).index(c) for _, c, _ in things]),
                True,
            ),
        ),
        shape_teacher=np.array(
            [[s == other for other in SHAPES] for s, _, _ in things], np.float32
        ),
        colour_teacher=colour,
        backgrounds=[rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)],
    )


CONFIG = EncoderTrainingConfig(
    steps=12,
    batch=9,
    head_steps=60,
    head_batch=27,
    warmup_steps=3,
    ema_decay=0.8,
    quantization_weight=0.3,
    balance_weight=1.0,
    min_contrastive_classes=3,
)


@pytest.fixture(scope="module")
def trained(dataset) -> tuple[EncoderTrainer, list[dict[str, float]]]:
    trainer, losses = EncoderTrainer(dataset, CONFIG), []
    trainer.run(CONFIG.steps + CONFIG.head_steps, lambda step, found: losses.append(found))
    return trainer, losses


def test_it_learns_shape_and_colour(trained, things):
    trainer, losses = trained
    assert len(losses) == CONFIG.steps + CONFIG.head_steps
    for task in ("drawn:type", "drawn:colour"):
        first, last = (
            np.mean([found[task] for found in part]) for part in (losses[:3], losses[-6:])
        )
        assert last < 0.5 * first, task
    shape, colour, _ = encoders.HashNetEncoder("drawn-1", trainer.averaged_weights()).encode(
        [drawn(s, c, 5) for s, c, _ in things[::3]]
    )
    # A further picture of each, shifted as none was: its nearest by shape have its shape, those
    # nearest by colour its colour.
    for code, label in ((shape, 0), (colour, 1)):
        apart = np.bitwise_count(code[:, None] ^ code).sum(axis=2).astype(int)
        is_same = np.array([[a[label] == b[label] for b in things[::3]] for a in things[::3]])
        assert apart[is_same].mean() < 0.5 * apart[~is_same].mean()


def test_codes_are_binary_and_balanced(trained, dataset):
    import torch

    network = hashnet.load_hashnet(trained[0].averaged_weights())
    square = (
        np.stack(
            [augment.decode.letterbox(p.rgb, hashnet.INPUT_PX) for p in dataset.images]
        ).astype(np.float32)
        / 127.5
        - 1
    )
    with torch.inference_mode():
        squashed = torch.tanh(network(torch.from_numpy(square).permute(0, 3, 1, 2))).numpy()
    assert squashed.shape == (27, 2 * CODE_BITS) and np.abs(squashed).mean() > 0.6
    ones = (squashed > 0).mean(axis=0)
    # Three classes of nine: a bit that tells one from the others is on for a third or two.
    assert ((ones > 0.2) & (ones < 0.8)).mean() > 0.55


def test_stopped_and_gone_on_is_as_if_never_stopped(dataset, tmp_path):
    config = replace(CONFIG, steps=3, head_steps=3)
    whole, first, second, third = (EncoderTrainer(dataset, config) for _ in range(4))
    seen: dict[str, list[tuple[int, dict[str, float]]]] = {"whole": [], "parts": []}
    whole.run(6, lambda *found: seen["whole"].append(found))
    first.run(2, lambda *found: seen["parts"].append(found))
    first.save_checkpoint(tmp_path / "checkpoint")
    second.load_checkpoint(tmp_path / "checkpoint")
    second.run(4, lambda *found: seen["parts"].append(found))
    second.save_checkpoint(tmp_path / "checkpoint")
    third.load_checkpoint(tmp_path / "checkpoint")
    third.run(6, lambda *found: seen["parts"].append(found))
    assert [step for step, _ in seen["parts"]] == [1, 2, 3, 4, 5, 6] and seen["parts"] == seen[
        "whole"
    ]
    for name, array in whole.averaged_weights().items():
        np.testing.assert_array_equal(array, third.averaged_weights()[name], name)
    with pytest.raises(ValueError, match="a checkpoint of another training"):
        EncoderTrainer(dataset, replace(config, seed=1)).load_checkpoint(tmp_path / "checkpoint")


def test_a_code_depends_on_nothing_but_its_crop(trained, things):
    made = encoders.HashNetEncoder("drawn-1", trained[0].averaged_weights())
    crops = [p for _, _, p in things[:8]]
    together = made.encode(crops)
    for i, crop in enumerate(crops):
        alone = made.encode([crop])
        assert all((a[0] == b[i]).all() for a, b in zip(alone[:2], together[:2], strict=True))
    assert len(np.unique(together[1], axis=0)) > 1


def test_the_folded_trunk_gives_imagenets_features():
    import torch

    network = hashnet.init_from_imagenet().eval()
    batch = torch.randn(
        2, 3, hashnet.INPUT_PX, hashnet.INPUT_PX, generator=torch.Generator().manual_seed(0)
    )
    with torch.inference_mode():
        wanted = registry.load_backbone(registry.EFFICIENTNET_LITE0)(batch)
        found = network.top(network.middle(network.stem(batch))).mean(dim=(2, 3))
    assert wanted.abs().max() > 1
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)


def test_weights_that_do_not_fit_are_refused(trained):
    weights = trained[0].averaged_weights()
    for wrong in (
        {},
        {n: a for n, a in weights.items() if n != "attention.bias"},
        weights | {"more": np.zeros(1, np.float16)},
    ):
        with pytest.raises(registry.BadModel, match="not the weights of efficientnet-lite0-hash"):
            hashnet.load_hashnet(wrong)


def test_a_view_is_a_function_of_its_seed_and_says_whose_colours_it_has():
    picture = augment.prepare_image(drawn("round", "red", 0))
    assert picture.alpha is not None and 0.2 < (picture.alpha > 128).mean() < 0.4
    ground = [np.full((40, 40, 3), (0, 0, 255), np.uint8)]
    seen = [
        augment.augment_image(
            picture, ground, augment.AugmentationConfig(), 96, np.random.default_rng(i)
        )
        for i in range(60)
    ]
    again, _ = augment.augment_image(
        picture, ground, augment.AugmentationConfig(), 96, np.random.default_rng(7)
    )
    np.testing.assert_array_equal(seen[7][0], again)
    redness = np.array(
        [v[40:56, 40:56].astype(int).reshape(-1, 3).mean(axis=0) @ (1, -0.5, -0.5) for v, _ in seen]
    )
    is_true = np.array([t for _, t in seen])
    assert (
        0.4 < is_true.mean() < 0.9
        and (redness[is_true] > 60).all()
        and redness[~is_true].min() < 30
    )
    blue = np.array([(v[..., 2] > v[..., 0].astype(int) + 60).mean() for v, t in seen if t])
    assert 0.2 < (blue > 0.1).mean() < 0.8


def test_a_white_thing_on_white_keeps_its_ground():
    image = np.full((120, 120, 3), 255, np.uint8)
    image[20:100, 20:24] = image[20:100, 96:100] = image[20:24, 20:100] = 90
    assert augment.prepare_image(image).alpha is None


def test_contrast_is_what_its_formula_says():
    import torch

    rng = np.random.default_rng(0)
    code, classes, temperature = rng.normal(size=(7, 16)), np.array([0, 0, 1, 1, 1, 2, 0]), 0.1
    unit = code / np.linalg.norm(code, axis=1, keepdims=True)
    wanted = 0.0
    for i in range(7):
        near = {j: np.exp(unit[i] @ unit[j] / temperature) for j in range(7) if j != i}
        own = [j for j in near if classes[j] == classes[i]]
        # The sixth is alone in its class.
        wanted -= np.mean([np.log(near[j] / sum(near.values())) for j in own]) if own else 0
    found = losses.supervised_contrastive_loss(
        torch.from_numpy(code), torch.from_numpy(classes), temperature
    )
    assert float(found) == pytest.approx(wanted, rel=1e-9) and wanted > 0
    tight = torch.nn.functional.one_hot(torch.from_numpy(classes), 16).double() * 2 - 0.5
    assert (
        float(losses.supervised_contrastive_loss(tight, torch.from_numpy(classes), temperature))
        < 0.5 * wanted
    )


def test_the_first_view_of_the_heads_is_the_nightly_runs_but_for_a_mirror():
    picture = augment.prepare_image(drawn("round", "red", 2))
    wanted = augment.decode.letterbox(picture.rgb, 96).astype(int)
    mirrored = [
        augment.augment_image(picture, [], augment.NO_AUGMENTATION, 96, np.random.default_rng(i))
        for i in range(12)
    ]
    apart = [
        min(np.abs(v - wanted).mean(), np.abs(v[:, ::-1] - wanted).mean())
        for v, is_true in mirrored
        if is_true
    ]
    assert len(apart) == 12 and max(apart) < 2


def test_the_rate_rises_then_falls_to_nothing_twice():
    rates = [
        learning_rate_factor(step, EncoderTrainingConfig(steps=100, head_steps=50, warmup_steps=10))
        for step in range(150)
    ]
    for part in (rates[:100], rates[100:]):
        assert (
            part[0] == pytest.approx(0.1, abs=0.01)
            and int(np.argmax(part)) in (9, 10)
            and part[-1] < 0.002
        )


def test_the_job_trains_on_a_folder_of_labelled_photos_and_goes_on_where_it_stopped(
    tmp_path, things, caplog
):
    photos = tmp_path / "mine"
    photos.mkdir()
    lines = ["image,split,type,colour"]
    for number, (shape, colour, picture) in enumerate(things):
        Image.fromarray(picture).save(photos / f"{number}.png")
        lines.append(f"{number}.png,{'test' if number % 9 == 8 else 'train'},{shape},{colour}")
    (photos / "labels.csv").write_text("\n".join(lines), encoding="utf-8")
    defaults = parse(["train", "encoder", "--data", f"folder={photos}", "--out", "x"]).params
    assert (defaults["steps"], defaults["batch"]) == (
        EncoderTrainingConfig().steps,
        EncoderTrainingConfig().batch,
    )
    options = [
        "--data",
        f"folder={photos}",
        "--version",
        "drawn-1",
        "--out",
        str(tmp_path / "out"),
        "--batch",
        "6",
        "--head-steps",
        "1",
        "--device",
        "cpu",
    ]
    assert app.main(["train", "encoder", *options, "--steps", "2"]) == 0
    model = registry.read_model(tmp_path / "out" / "drawn-1.safetensors")
    assert (model.kind, model.architecture, model.version) == (
        "encoder",
        hashnet.ARCHITECTURE,
        "drawn-1",
    )
    assert model.card["data"] == {"mine": 24} and model.card["recipe"]["steps"] == 2
    assert sum(a.size for a in model.arrays.values()) == sum(
        p.numel() for p in hashnet.HashNet().parameters()
    )
    losses = (tmp_path / "out" / "losses.csv").read_text(encoding="utf-8").splitlines()
    assert losses[0].startswith("step,mine:type,mine:colour,shape likeness") and [
        r.split(",")[0] for r in losses[1:]
    ] == ["3"]
    assert (tmp_path / "out" / "losses.png").read_bytes().startswith(b"\x89PNG")
    with caplog.at_level("INFO"):
        assert app.main(["train", "encoder", *options, "--steps", "2"]) == 0
        assert "goes on from step 3" in caplog.text
        # More steps are another training: the rates fall otherwise.
        assert app.main(["train", "encoder", *options, "--steps", "3"]) == 1
    assert "a checkpoint of another training" in caplog.text
