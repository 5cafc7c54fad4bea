"""Training by likeness end to end on a drawn shop: it learns, and goes on where it stopped."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.support.command_line import parse
from tests.training.drawn_shop import COLOURS, SHAPES, draw_thing, write_folder

from wearalike.commands import app
from wearalike.encoding import likeness_net
from wearalike.imaging import decode
from wearalike.models import registry
from wearalike.tables import CODE_BITS
from wearalike.training.encoder import likeness_recipe
from wearalike.training.encoder.likeness_config import LikenessConfig


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("shop") / "drawn")


def options(shop, out, *more: str) -> list[str]:
    return [
        *("train", "encoder", "--data", f"folder={shop}", "--version", "drawn-1"),
        *("--out", str(out), "--device", "cpu", "--products", "16", "--mask-steps", "12"),
        *("--mask-views", "60", *more),
    ]


@pytest.fixture(scope="module")
def trained(shop, tmp_path_factory):
    out = tmp_path_factory.mktemp("trained")
    assert app.main(options(shop, out, "--steps", "60")) == 0
    return out


def logits(model, images) -> np.ndarray:
    network = likeness_net.load_likeness_net(model.arrays)
    squares = np.stack([decode.letterbox(image, likeness_net.INPUT_PX) for image in images])
    with torch.inference_mode():
        return network(torch.from_numpy(registry.normalize_pixels(squares, 0.5, 0.5))).numpy()


def test_codes_of_one_shape_and_of_one_colour_are_near(trained):
    model = registry.read_model(trained / "drawn-1.safetensors")
    things = [(shape, colour) for shape in SHAPES for colour in COLOURS]
    # A further picture of each, shifted as none was.
    bits = logits(model, [draw_thing(s, c, 5) for s, c in things])[:, : 2 * CODE_BITS] > 0
    for part, label in ((bits[:, :CODE_BITS], 0), (bits[:, CODE_BITS:], 1)):
        apart = (part[:, None] ^ part).sum(axis=2)
        is_same = np.array([[a[label] == b[label] for b in things] for a in things])
        np.fill_diagonal(is_same, False)
        is_other = ~is_same & ~np.eye(len(things), dtype=bool)
        assert apart[is_same].mean() < 0.7 * apart[is_other].mean(), label


def test_the_file_says_what_it_was_made_from(trained):
    model = registry.read_model(trained / "drawn-1.safetensors")
    assert (model.kind, model.architecture, model.version) == (
        "encoder",
        likeness_net.ARCHITECTURE,
        "drawn-1",
    )
    assert model.card["data"] == {"drawn": 24} and model.card["recipe"]["steps"] == 60
    assert model.card["recipe"]["begin"] == registry.EFFICIENTNET_LITE0.name
    losses = (trained / "losses.csv").read_text(encoding="utf-8").splitlines()
    assert losses[0].startswith("step,shape,colour,both,shape likeness,colour likeness")
    assert [row.split(",")[0] for row in losses[1:]] == ["50", "60"]
    assert (trained / "losses.png").read_bytes().startswith(b"\x89PNG")


def test_stopped_and_gone_on_is_as_if_never_stopped(shop, trained, tmp_path, monkeypatch, caplog):
    """The process ends at step 25 of the heads, after a checkpoint at 20."""
    monkeypatch.setattr(likeness_recipe, "STEPS_PER_CHECKPOINT", 20)
    take = likeness_recipe.HeadTrainer._take_step

    class Killed(BaseException):
        pass

    def take_until_killed(trainer):
        if trainer.step == 25:
            raise Killed
        return take(trainer)

    with monkeypatch.context() as killed:
        killed.setattr(likeness_recipe.HeadTrainer, "_take_step", take_until_killed)
        with pytest.raises(Killed):
            app.main(options(shop, tmp_path, "--steps", "60"))
    shards = sorted((tmp_path / "descriptors").iterdir())
    written = [path.stat().st_mtime_ns for path in shards]
    with caplog.at_level("INFO"):
        assert app.main(options(shop, tmp_path, "--steps", "60")) == 0
    assert "goes on from step 20" in caplog.text
    assert [path.stat().st_mtime_ns for path in shards] == written, "no view is described twice"
    whole, parts = (
        registry.read_model(out / "drawn-1.safetensors").arrays for out in (trained, tmp_path)
    )
    assert whole.keys() == parts.keys()
    for name, array in whole.items():
        np.testing.assert_array_equal(array, parts[name], name)


def test_a_folder_of_another_training_is_refused(shop, trained, caplog):
    assert app.main(options(shop, trained, "--steps", "61")) == 1
    assert "a checkpoint of another training" in caplog.text


def test_it_starts_from_an_encoder_and_keeps_its_mask_and_views(shop, trained, tmp_path):
    start = trained / "drawn-1.safetensors"
    more = ["--init-from", str(start), "--steps", "3", "--seed", "4"]
    assert app.main(options(shop, tmp_path, *more)) == 0
    before, after = (
        registry.read_model(folder / "drawn-1.safetensors") for folder in (trained, tmp_path)
    )
    assert after.card["recipe"]["begin"] == "drawn-1"
    changed = {n for n, a in after.arrays.items() if not (a == before.arrays[n]).all()}
    assert changed and all(n.startswith(("heads.shape.", "heads.colour.")) for n in changed)
    assert not list(tmp_path.glob("mask*"))


def test_new_heads_keep_the_mask_of_the_start_and_none_of_its_codes(shop, trained, tmp_path):
    start = trained / "drawn-1.safetensors"
    more = ["--init-from", str(start), "--new-heads", "--steps", "3"]
    assert app.main(options(shop, tmp_path, *more)) == 0
    before, after = (
        registry.read_model(folder / "drawn-1.safetensors") for folder in (trained, tmp_path)
    )
    recipe = after.card["recipe"]
    assert (recipe["begin"], recipe["initial_share"]) == ("trunk and mask of drawn-1", 0)
    changed = {n for n, a in after.arrays.items() if not np.array_equal(a, before.arrays[n])}
    assert {n for n in after.arrays if n.startswith("heads.shape.")} <= changed
    assert not any(n.startswith("describer.") for n in changed)
    assert not list(tmp_path.glob("mask*"))


def test_new_heads_are_averaged_with_others_that_had_the_same_start(
    shop, trained, tmp_path, caplog
):
    def train(name: str, start, *more: str) -> int:
        return app.main(
            options(shop, tmp_path / name, "--init-from", str(start), "--new-heads", *more)
        )

    def weights(name: str) -> np.ndarray:
        model = registry.read_model(tmp_path / name / "drawn-1.safetensors")
        return model.arrays["heads.shape.projection.weight"]

    assert train("one", trained / "drawn-1.safetensors", "--steps", "3") == 0
    first = tmp_path / "one" / "drawn-1.safetensors"
    second = ("--steps", "12", "--setting", "joint_weight=3")
    assert train("two", first, *second) == 0
    alone = weights("two")
    assert train("two", first, *second, "--initial-share", "0.25") == 0
    mixed = 0.25 * weights("one") + 0.75 * alone
    apart = np.abs(alone - weights("one")).mean()
    assert 0.1 * apart < np.abs(weights("two") - alone).mean() < apart
    assert np.abs(weights("two") - mixed).mean() < 0.1 * apart
    wider = ("--setting", "hidden_units=300", "--initial-share", "0.25")
    assert train("three", first, "--steps", "1", *wider) == 1
    assert "can be averaged only with those of a training on the same photos" in caplog.text


def test_the_weights_are_averaged_with_those_of_the_start(shop, trained, tmp_path, caplog):
    start = trained / "drawn-1.safetensors"
    arrays = {}
    for share in ("0", "0.25", "1"):
        more = ["--init-from", str(start), "--steps", "20", "--initial-share", share]
        with caplog.at_level("INFO"):
            assert app.main(options(shop, tmp_path, *more)) == 0
        model = registry.read_model(tmp_path / "drawn-1.safetensors")
        assert model.card["recipe"]["initial_share"] == float(share)
        arrays[share] = model.arrays
    assert caplog.text.count("goes on from step 20") == 2, "another share trains nothing anew"
    name = "heads.shape.output.weight"
    begin = registry.read_model(start).arrays[name]
    np.testing.assert_array_equal(arrays["1"][name], begin)
    learned = np.abs(arrays["0"][name] - begin).max()
    mixed = 0.25 * begin + 0.75 * arrays["0"][name]
    assert np.abs(arrays["0.25"][name] - mixed).max() < 0.02 * learned


def test_any_setting_of_the_recipe_can_be_given(shop, tmp_path, capsys):
    more = ["--steps", "1", "--setting", "joint_weight=3", "--setting", "siblings=8"]
    assert app.main(options(shop, tmp_path, *more)) == 0
    recipe = registry.read_model(tmp_path / "drawn-1.safetensors").card["recipe"]
    assert (recipe["joint_weight"], recipe["siblings"]) == (3.0, 8)
    for text, message in (
        ("joint_wait=3", "'joint_wait=3': wanted NAME=NUMBER, NAME one of steps, products, "),
        ("siblings=1.5", "'siblings=1.5': wanted siblings=NUMBER, a number of 0 or more"),
        ("joint_weight=nan", "'joint_weight=nan': wanted joint_weight=NUMBER"),
    ):
        with pytest.raises(SystemExit):
            app.main(options(shop, tmp_path, "--setting", text))
        assert message in " ".join(capsys.readouterr().err.split())


def test_an_encoder_of_another_kind_is_no_start(shop, tmp_path, caplog):
    assert app.main(options(shop, tmp_path, "--init-from", "fashion")) == 1
    assert (
        "--init-from fashion: fashion-4 is of architecture efficientnet-lite0-hash" in caplog.text
    )


def test_nothing_to_learn_from_is_said(tmp_path, caplog):
    assert app.main(["train", "encoder", "--out", str(tmp_path), "--data-dir", str(tmp_path)]) == 1
    assert "nothing to learn from: no --data, and no run in" in caplog.text


def test_the_options_are_those_of_the_recipe():
    defaults = parse(["train", "encoder", "--data", "folder=x", "--out", "x"]).params
    config = LikenessConfig()
    assert (defaults["products"], defaults["label_weight"], defaults["mask_steps"]) == (
        config.products,
        config.label_weight,
        config.mask_steps,
    )
