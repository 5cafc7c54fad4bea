"""Public networks as trunks; a small one of timm's that took a few steps is a real one."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from tests.training.drawn_shop import COLOURS, SHAPES, draw_thing, write_folder

from wearalike.commands import app
from wearalike.encoding import encoders, leaf_head, likeness_net
from wearalike.encoding.backbone_trunk import MAX_CHANNELS, BackboneTrunk
from wearalike.encoding.describer_hash import DESCRIBER_KEY, hash_describer
from wearalike.evaluation.strangers import training_sets
from wearalike.imaging import decode
from wearalike.models import backbones, registry
from wearalike.models.backbone_weights import is_untrained, read_backbone_weights
from wearalike.models.backbones import parse_backbone
from wearalike.models.files import BadModel, Model, ModelKind
from wearalike.models.state_dicts import StateDict
from wearalike.tables import CODE_BITS

NETWORK = "test_resnet"
THINGS = [(shape, colour) for shape in SHAPES for colour in COLOURS]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Weights of a small network that told drawn things apart for a few steps."""
    torch.manual_seed(0)
    network = timm.create_model(NETWORK, num_classes=len(THINGS))
    pictures = np.stack([draw_thing(s, c, n) for n in range(2) for s, c in THINGS])
    pixels = torch.from_numpy(registry.normalize_pixels(pictures, 0.5, 0.5))
    labels = torch.arange(len(THINGS)).repeat(2)
    optimizer = torch.optim.AdamW(network.parameters(), 3e-3)
    for _ in range(8):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(pixels), labels).backward()
        optimizer.step()
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    save_file(network.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("shop") / "drawn")


def train(shop, out, *more: str) -> int:
    return app.main(
        [
            *("train", "encoder", "--data", f"folder={shop}", "--version", "small-1"),
            *("--out", str(out), "--device", "cpu", "--products", "16", "--mask-steps", "12"),
            *("--mask-views", "40", "--steps", "40", *more),
        ]
    )


@pytest.fixture(scope="module")
def trained(shop, weights, tmp_path_factory):
    out = tmp_path_factory.mktemp("trained")
    assert train(shop, out, "--backbone", NETWORK, "--backbone-weights", str(weights)) == 0
    return out


def read(folder) -> Model:
    return registry.read_model(folder / "small-1.safetensors")


def leaves_of(encoder: Model) -> Model:
    """A leaf classifier for an encoder, which prefers the second of its kinds."""
    network = likeness_net.load_likeness_net(encoder.arrays, encoder.architecture)
    columns = network.layout.leaf_columns
    count = columns.stop - columns.start
    arrays = {
        "mean": np.zeros(count, np.float32),
        "scale": np.ones(count, np.float32),
        "weight": np.zeros((2, count), np.float32),
        "bias": np.array([0, 2], np.float32),
    }
    card = {DESCRIBER_KEY: hash_describer(encoder.arrays)}
    kinds = ("bags", "skirts")
    return Model(ModelKind.LEAVES, leaf_head.ARCHITECTURE, "two-1", card, arrays, kinds, "")


def test_an_encoder_with_a_trunk_of_its_own_is_used_as_any_other(trained):
    model = read(trained)
    assert model.architecture == f"timm.{NETWORK}-likeness"
    assert not [name for name in model.arrays if "fc" in name.split(".")]
    recipe = model.card["recipe"]
    assert recipe["begin"] == NETWORK and recipe["backbone"]["input_px"] == 160
    assert not training_sets(model.version, model.card).is_complete, "whose weights, nobody knows"
    pictures = [draw_thing(s, c, 5) for s, c in THINGS]
    codes = encoders.build_encoder(model, "cpu").encode(pictures)
    bits = np.unpackbits(np.hstack([codes.shape, codes.colour]), axis=1)
    assert set(codes.views) <= {None, "flat"}
    for part, label in ((bits[:, :CODE_BITS], 0), (bits[:, CODE_BITS:], 1)):
        apart = (part[:, None] ^ part).sum(axis=2)
        is_same = np.array([[a[label] == b[label] for b in THINGS] for a in THINGS])
        is_other = ~is_same
        np.fill_diagonal(is_same, False)
        assert apart[is_same].mean() < 0.8 * apart[is_other].mean(), label
    # The compiled network gives what torch gives.
    squares = np.stack([decode.letterbox(p, likeness_net.INPUT_PX) for p in pictures])
    network = likeness_net.load_likeness_net(model.arrays, model.architecture)
    with torch.inference_mode():
        logits = network(torch.from_numpy(registry.normalize_pixels(squares, 0.5, 0.5))).numpy()
    logits = logits[:, : 2 * CODE_BITS]
    differs = (logits > 0) != bits
    assert np.abs(logits[differs]).max(initial=0) < 1e-3 * np.abs(logits).max()
    both = encoders.build_encoder(model, "cpu", leaves_of(model))
    classified = both.encode_and_classify(pictures)
    np.testing.assert_array_equal(classified.codes.shape, codes.shape)
    np.testing.assert_array_equal(classified.codes.colour, codes.colour)
    assert (classified.probabilities[:, 1] > 0.8).all()


def test_a_training_from_it_keeps_its_trunk(trained, tmp_path):
    shop = write_folder(tmp_path / "few", copies=1)
    start = trained / "small-1.safetensors"
    assert train(shop, tmp_path, "--init-from", str(start), "--steps", "3") == 0
    before, after = read(trained), read(tmp_path)
    assert after.architecture == before.architecture and after.card["recipe"]["begin"] == "small-1"
    changed = {n for n, a in after.arrays.items() if not (a == before.arrays[n]).all()}
    assert changed and all(n.startswith(("heads.shape.", "heads.colour.")) for n in changed)


def test_arrays_that_are_not_the_trunks_are_refused(trained):
    model = read(trained)
    conv = "trunk.network.conv1.0.weight"
    assert conv in model.arrays
    for change, architecture, message in [
        ({conv: None}, model.architecture, "conv1.0.weight"),
        ({"trunk.stranger": np.ones(1, np.float32)}, model.architecture, "trunk.stranger"),
        ({"trunk.input_px": np.zeros(1, np.float32)}, model.architecture, "no input that is poss"),
        ({"trunk.std": np.zeros(3, np.float32)}, model.architecture, "no input that is possible"),
        ({"trunk.scale": np.zeros(5, np.float32)}, model.architecture, "trunk.scale: wanted"),
        # It asserts the side of its input.
        (
            {"trunk.input_px": np.full(1, 160, np.float32)},
            "timm.vit_tiny_patch16_224-likeness",
            "no trunk: ",
        ),
        ({}, "timm.nosuch-likeness", "no network of timm or torchvision"),
        ({}, "hub.resnet50-likeness", "no network of timm or torchvision"),
        ({}, likeness_net.ARCHITECTURE, "not the weights of efficientnet-lite0-likeness"),
    ]:
        arrays = {n: a for n, a in (dict(model.arrays) | change).items() if a is not None}
        with pytest.raises(BadModel, match=message):
            likeness_net.load_likeness_net(arrays, architecture)


class Evil:
    def __reduce__(self):
        return print, ("executed",)


def test_new_transformers_are_untrained_and_inputs_are_those_of_the_weights():
    new = backbones.build_backbone(parse_backbone("torchvision:swin_t")).state_dict()
    assert is_untrained(new)
    for name in ("inception_v3", "googlenet"):
        assert backbones.build_backbone(parse_backbone(f"torchvision:{name}")).transform_input
    with pytest.raises(BadModel, match="takes 672 px, wanted 32 to 640"):
        BackboneTrunk.from_weights(
            parse_backbone("tf_efficientnet_b8"), StateDict(Path("x"), {}, "")
        )


def test_weights_that_are_none_are_refused(weights, tmp_path, capsys):
    good = load_file(weights)
    random = timm.create_model(NETWORK).state_dict()
    save_file(random, tmp_path / "random.safetensors")
    save_file(
        {n: t for n, t in good.items() if n != "conv1.0.weight"}, tmp_path / "short.safetensors"
    )
    save_file(good | {"more.weight": torch.ones(2)}, tmp_path / "more.safetensors")
    save_file(good | {"conv1.0.weight": torch.ones(2)}, tmp_path / "shape.safetensors")
    save_file(good | {"conv1.0.weight": good["conv1.0.weight"] / 0}, tmp_path / "nan.safetensors")
    (tmp_path / "evil.pth").write_bytes(pickle.dumps(Evil()))
    torch.save({"state_dict": {f"module.{n}": t for n, t in good.items()}}, tmp_path / "good.pth")
    name = parse_backbone(NETWORK)
    for file, message in {
        "random.safetensors": "weights that nothing was ever taught",
        "short.safetensors": r"do not fit test_resnet: conv1\.0\.weight is missing",
        "more.safetensors": r"do not fit test_resnet: more\.weight is not of it",
        "shape.safetensors": r"conv1\.0\.weight is \(2,\), wanted \(16, 3, 3, 3\)",
        "nan.safetensors": r"conv1\.0\.weight holds what is no number",
        "evil.pth": "not a state dict that can be read safely",
        "nosuch.pth": "no such weights",
    }.items():
        with pytest.raises(BadModel, match=rf"{file}: .*{message}"):
            BackboneTrunk.from_weights(*read_backbone_weights(name, tmp_path / file))
    assert capsys.readouterr().out == ""
    trunk = BackboneTrunk.from_weights(*read_backbone_weights(name, tmp_path / "good.pth"))
    loaded = trunk.network.state_dict()["conv1.0.weight"]
    torch.testing.assert_close(loaded, good["conv1.0.weight"], rtol=1e-3, atol=1e-6)


def test_weights_are_those_of_the_caches_and_absent_ones_a_clear_sentence(
    weights, tmp_path, monkeypatch
):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    for text, places in {
        NETWORK: f"no timm/{NETWORK}.r160_in1k in {tmp_path}/hub",
        "torchvision:vgg16": f"no vgg16-397923af.pth .* in {tmp_path}/torch/hub/checkpoints",
    }.items():
        with pytest.raises(
            BadModel, match=rf"backbone {text}: no weights: nothing is downl.*{places}"
        ):
            read_backbone_weights(parse_backbone(text), None)
    repository = tmp_path / "hub" / f"models--timm--{NETWORK}.r160_in1k"
    for folder in ("refs", "snapshots/abc"):
        (repository / folder).mkdir(parents=True)
    (repository / "refs" / "main").write_text("abc", encoding="utf-8")
    shutil.copy(weights, repository / "snapshots" / "abc" / "model.safetensors")
    found, state = read_backbone_weights(parse_backbone(NETWORK), None)
    assert str(found) == f"{NETWORK}.r160_in1k"
    assert state.sha256 == registry.sha256_hex(weights.read_bytes())
    checkpoints = tmp_path / "torch" / "hub" / "checkpoints"
    checkpoints.mkdir(parents=True)
    shutil.copy(weights, checkpoints / "vgg16-397923af.pth")
    with pytest.raises(BadModel, match=r"wanted one that begins with 397923af, as its name does"):
        read_backbone_weights(parse_backbone("torchvision:vgg16"), None)


def test_names_are_those_of_the_libraries():
    for text, message in {
        "densnet121": r"timm has no such network; near are densenet121",
        "torchvision:resnet5": "torchvision has no such network; near are resnet50",
        "resnet50.nosuch": "timm has no such weights of it; known are a1_in1k",
        "hf-hub:timm/resnet50": r"wanted timm's name, or torchvision:NAME",
        "torchvision:fcos_resnet50_fpn": "torchvision has no such network",
    }.items():
        with pytest.raises(BadModel, match=f"backbone .*{message}"):
            parse_backbone(text)


@pytest.mark.parametrize(
    ("text", "layers", "features_count"),
    [
        ("densenet121", "denseblock1 denseblock2 denseblock3 transition3", 1024),
        ("resnet50", "layer1 layer2 layer3 layer3 layer4", 2048),
        ("torchvision:resnet50", "layer1 layer2 layer3 layer3 layer4", 2048),
        ("mobilenetv3_large_100", "blocks.1 blocks.2 blocks.4 blocks.5 blocks", 960),
        ("vgg16", "features.15 features.22 features.29 features features", 512),
        ("swin_tiny_patch4_window7_224", "layers.0 layers.1 layers.2 layers.2 norm", 768),
        ("torchvision:vit_b_16", "layer_2 layer_6 layer_9 encoder encoder", 768),
    ],
)
def test_any_network_is_read_at_five_depths(text, layers, features_count):
    name = parse_backbone(text)
    with torch.device("meta"):
        trunk = BackboneTrunk(name, backbones.read_input(name))
        maps = trunk(torch.zeros(2, 3, 224, 224))
    for place, layer in zip(trunk.places, layers.split(), strict=False):
        assert place.layer.endswith(layer)
    channels = trunk.layout.channels
    assert channels[-1] == features_count
    assert all(c <= most for c, most in zip(channels, MAX_CHANNELS, strict=True))
    assert [tuple(m.shape) for m in maps] == [
        (2, c, side, side) for c, side in zip(channels, trunk.layout.sides_px, strict=True)
    ]
    assert {"head", "fc", "classifier", "heads"} & set(trunk.dropped)


def test_options_that_do_not_go_together(tmp_path, capsys):
    for more, message in [
        (["--backbone-weights", "x.pth"], "--backbone-weights belongs to --backbone NAME"),
        (["--backbone", "vgg16", "--recipe", "itq"], "--backbone starts a likeness training anew"),
        (["--backbone", "vgg16", "--init-from", "likeness"], "--backbone starts a likeness train"),
    ]:
        with pytest.raises(SystemExit):
            train(tmp_path, tmp_path / "out", *more)
        assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
