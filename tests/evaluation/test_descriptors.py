"""Descriptors: each tells apart what it is for, and only weights that are right are read."""

import hashlib
import os
import pickle
import shutil
from importlib import resources

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance

from wearalike.encoding import hashnet
from wearalike.evaluation.descriptors import base, fitted
from wearalike.evaluation.descriptors.autoencoder import Autoencoder
from wearalike.models import registry
from wearalike.models.files import BadModel, ModelKind

RED, BLUE = (200, 30, 40), (30, 60, 190)


def drawn(
    shape: str, colour: tuple[int, int, int], size: tuple[int, int] = (120, 150)
) -> np.ndarray:
    image = Image.new("RGB", size, "white")
    draw, (w, h) = ImageDraw.Draw(image), size
    if shape == "bag":
        draw.rectangle((w * 0.15, h * 0.4, w * 0.85, h * 0.85), fill=colour)
        draw.arc((w * 0.3, h * 0.1, w * 0.7, h * 0.7), 180, 360, fill=colour, width=6)
    else:
        draw.polygon(
            [
                (w * 0.3, h * 0.1),
                (w * 0.7, h * 0.1),
                (w * 0.8, h * 0.95),
                (w * 0.5, h * 0.4),
                (w * 0.2, h * 0.95),
            ],
            fill=colour,
        )
    return np.asarray(image)


PICTURES = [
    drawn("bag", RED),
    drawn("bag", BLUE),
    drawn("trousers", RED),
    drawn("bag", (185, 35, 50), (140, 160)),
]


def far(rows: np.ndarray, a: int, b: int) -> float:
    if rows.dtype == np.uint8:
        return int(np.bitwise_count(rows[a] ^ rows[b]).sum())
    return 1 - float(rows[a] @ rows[b]) / float(np.linalg.norm(rows[a]) * np.linalg.norm(rows[b]))


@pytest.mark.parametrize(
    ("name", "width", "dtype", "tells_shape"),
    [
        ("hsv", 192, np.float32, False),
        ("contour", 1764, np.float32, True),
        ("phash", 8, np.uint8, True),
        ("sift-bag", 256, np.float32, True),
    ],
)
def test_a_descriptor_tells_apart_what_it_is_for(name, width, dtype, tells_shape):
    descriptor = base.load_descriptor(name)
    if isinstance(descriptor, base.TrainableDescriptor):
        rng = np.random.default_rng(0)
        descriptor.fit(
            [
                np.kron(rng.integers(0, 256, (9, 9, 3)), np.ones((20, 20, 1))).astype(np.uint8)
                for _ in range(40)
            ]
            + PICTURES
        )
    rows = descriptor.describe(PICTURES)
    assert rows.shape == (4, width) and rows.dtype == dtype
    other_colour, other_shape = far(rows, 0, 1), far(rows, 0, 2)
    assert (other_colour < other_shape) if tells_shape else (other_shape < other_colour)
    assert far(rows, 0, 3) < max(other_colour, other_shape)
    # Alone, in another order, and nothing at all.
    np.testing.assert_array_equal(descriptor.describe([PICTURES[2], PICTURES[0]]), rows[[2, 0]])
    assert descriptor.describe([]).shape == (0, width)


def test_histograms_are_shares_of_the_right_cells():
    rows = base.load_descriptor("hsv").describe(
        [np.full((9, 7, 3), (255, 64, 0), np.uint8), np.full((9, 7, 3), (0, 191, 255), np.uint8)]
    )
    np.testing.assert_allclose(rows.sum(axis=1), 1)
    assert rows.argmax(axis=1).tolist() == [0 * 16 + 15, 6 * 16 + 15]


def test_a_perceptual_hash_does_not_see_the_light():
    dim = np.asarray(ImageEnhance.Brightness(Image.fromarray(PICTURES[0])).enhance(0.8))
    rows = base.load_descriptor("phash").describe([PICTURES[0], dim, PICTURES[2]])
    assert far(rows, 0, 1) <= 4 < far(rows, 0, 2)


def test_a_bag_that_has_seen_nothing_says_so():
    bag = base.load_descriptor("sift-bag")
    assert isinstance(bag, base.TrainableDescriptor) and not bag.is_fitted
    with pytest.raises(BadModel, match="call fit first"):
        bag.describe(PICTURES)
    with pytest.raises(BadModel, match=r"local features in 1 crops, wanted at least 256"):
        bag.fit([np.full((50, 50, 3), 255, np.uint8)])


def test_codes_are_a_descriptor_of_both_halves(tmp_path):
    path = shutil.copy(
        resources.files("wearalike") / "weights" / "imagenet-itq-1.safetensors",
        tmp_path / "any.safetensors",
    )
    codes = base.load_descriptor(str(path))
    rows = codes.describe(PICTURES)
    assert rows.shape == (4, 32) and rows.dtype == np.uint8 and codes.version == "imagenet-itq-1"
    assert codes.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert far(rows[:, :16], 0, 1) < far(rows[:, :16], 0, 2) and far(rows[:, 16:], 0, 2) < far(
        rows[:, 16:], 0, 1
    )


def test_a_model_file_is_an_encoder(tmp_path):
    arrays = {
        name: tensor.numpy() for name, tensor in hashnet.init_from_imagenet().state_dict().items()
    }
    for kind, architecture, classes in (
        (ModelKind.ENCODER, hashnet.ARCHITECTURE, ()),
        (ModelKind.DETECTOR, "yolo-lite0-seg", ("bag",)),
    ):
        content = registry.model_bytes(kind, architecture, f"my-{kind}", {}, arrays, classes)
        (tmp_path / f"{kind}.safetensors").write_bytes(content)
    mine = base.load_descriptor(str(tmp_path / "encoder.safetensors"))
    rows = mine.describe(PICTURES[:2])
    assert (
        mine.version == "my-encoder"
        and rows.shape == (2, 32)
        and rows.dtype == np.uint8
        and (rows[0] != rows[1]).any()
    )
    with pytest.raises(BadModel, match="detector my-detector: architecture 'yolo-lite0-seg'"):
        base.load_descriptor(str(tmp_path / "detector.safetensors"))


@pytest.fixture(scope="module")
def state():
    """A small network of torchvision's with weights of its own."""
    import torch
    import torchvision

    torch.manual_seed(0)
    return torchvision.models.mobilenet_v3_large(weights=None).eval()


def saved(state, path):
    import torch

    torch.save(state, path)
    return path


def test_a_network_gives_what_stands_before_its_last_layer(state, tmp_path):
    import torch

    path = saved(state.state_dict(), tmp_path / "mine.pth")
    network = base.load_descriptor("mobilenetv3", weights=path)
    assert (
        network.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        and network.version == f"mobilenetv3-{network.sha256[:8]}"
    )
    square = np.random.default_rng(0).integers(0, 256, (224, 224, 3), np.uint8)
    rows = network.describe([square, PICTURES[0]])
    assert rows.shape == (2, 1280) and rows.dtype == np.float32
    scaled = (
        torch.from_numpy(square).permute(2, 0, 1)[None] / 255
        - torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    ) / torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    with torch.inference_mode():
        wanted = torch.nn.Sequential(
            state.features, state.avgpool, torch.nn.Flatten(), *state.classifier[:3]
        )(scaled)[0].numpy()
    assert wanted.std() > 0
    np.testing.assert_allclose(rows[0], wanted, atol=1e-3 * np.abs(wanted).max())


def test_absent_weights_are_one_clear_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for name in (
        "vgg16",
        "resnet50",
        "resnet101",
        "densenet121",
        "inceptionv3",
        "mobilenetv3",
        "efficientnet-b0",
    ):
        with pytest.raises(
            BadModel,
            match=rf"encoder {name}: no weights: nothing is fetched here, "
            rf"so give --weights {name}=FILE, or put",
        ):
            base.load_descriptor(name)
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_cache_is_the_one_its_name_promises(state, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    saved(state.state_dict(), tmp_path / "hub" / "checkpoints" / "mobilenet_v3_large-8738ca79.pth")
    with pytest.raises(
        BadModel, match=r"sha256 .*, wanted one that begins with 8738ca79, as its name does"
    ):
        base.load_descriptor("mobilenetv3")


class Evil:
    def __reduce__(self):
        return os.mkdir, ("executed",)


def test_hostile_weights_are_refused_and_nothing_is_executed(state, tmp_path, monkeypatch):
    import torch

    monkeypatch.chdir(tmp_path)
    good = state.state_dict()
    broken = {**good, "classifier.0.bias": torch.full_like(good["classifier.0.bias"], torch.nan)}
    short = {k: v for k, v in good.items() if k != "classifier.0.bias"}
    (tmp_path / "evil.pth").write_bytes(pickle.dumps(Evil()))
    saved({"weights": Evil()}, tmp_path / "zipped.pth")
    saved({"model": good}, tmp_path / "nested.pth")
    saved(broken, tmp_path / "broken.pth")
    saved(short, tmp_path / "short.pth")
    saved({**good, "classifier.0.bias": good["classifier.0.bias"][:-1]}, tmp_path / "shape.pth")
    (tmp_path / "rubbish.safetensors").write_bytes(b"\xff" * 100)
    (tmp_path / "empty.pth").write_bytes(b"")
    wanted = {
        "evil.pth": "not a state dict that can be read safely",
        "zipped.pth": "not a state dict that can be read safely",
        "rubbish.safetensors": "not a state dict that can be read safely",
        "empty.pth": "not a state dict that can be read safely",
        "nested.pth": "wanted a state dict, tensors by name",
        "broken.pth": "classifier.0.bias holds what is no number",
        "short.pth": "do not fit mobilenet_v3_large",
        "shape.pth": "do not fit mobilenet_v3_large",
        "nosuch.pth": "no such weights",
    }
    for name, message in wanted.items():
        with pytest.raises(BadModel, match=rf"{name}: .*{message}"):
            base.load_descriptor("mobilenetv3", weights=tmp_path / name)
    assert not (tmp_path / "executed").exists()


def test_an_autoencoder_learns_to_draw_and_is_kept(tmp_path):
    rng = np.random.default_rng(0)
    pictures = [
        drawn(("bag", "trousers")[i % 2], tuple(rng.integers(0, 200, 3).tolist()))
        for i in range(24)
    ]
    small = np.stack([np.asarray(Image.fromarray(p).resize((51, 64))) for p in pictures])
    few, more = Autoencoder(steps=1), Autoencoder(steps=40)
    with pytest.raises(BadModel, match="call fit first"):
        more.describe(pictures)
    errors = []
    for network in (few, more):
        network.fit(pictures)
        errors.append(np.abs(network.reconstruct(pictures)[:, :, 6:57].astype(int) - small).mean())
    assert errors[1] < 0.8 * errors[0]
    rows = more.describe(pictures)
    assert rows.shape == (24, 256) and rows.dtype == np.float32
    more.save(tmp_path / "mine.safetensors")
    again = base.load_descriptor("autoencoder", weights=tmp_path / "mine.safetensors")
    assert again.is_fitted and again.sha256[:8] in again.version
    np.testing.assert_array_equal(again.describe(pictures), rows)
    (tmp_path / "mine.safetensors").write_bytes((tmp_path / "mine.safetensors").read_bytes()[:-8])
    with pytest.raises(BadModel, match=r"mine\.safetensors: not an autoencoder's weights"):
        base.load_descriptor("autoencoder", weights=tmp_path / "mine.safetensors")


def test_a_fitted_descriptor_is_kept_as_a_model_file(tmp_path):
    few = Autoencoder(steps=1)
    few.fit(PICTURES)
    content = registry.model_bytes(
        ModelKind.DESCRIPTOR, "autoencoder-1", "autoencoder-1-mine", {}, few.export_arrays()
    )
    path = fitted.fitted_path(tmp_path, "autoencoder")
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    again = fitted.load_kept(tmp_path, "autoencoder")
    assert again.version == "autoencoder-1-mine" == fitted.kept_version(tmp_path, "autoencoder")
    np.testing.assert_array_equal(again.describe(PICTURES), few.describe(PICTURES))
    # A file of another kind in its place is told.
    fitted.fitted_path(tmp_path, "sift-bag").write_bytes(content)
    with pytest.raises(BadModel, match="descriptor autoencoder-1, wanted a descriptor sift-bag-1"):
        fitted.load_kept(tmp_path, "sift-bag")
    arrays = {"vocabulary": np.zeros((256, 4), np.float32)}
    narrow = registry.model_bytes(ModelKind.DESCRIPTOR, "sift-bag-1", "sift-bag-1-x", {}, arrays)
    fitted.fitted_path(tmp_path, "sift-bag").write_bytes(narrow)
    with pytest.raises(BadModel, match=r"vocabulary is \(256, 4\), wanted \(256, 128\)"):
        fitted.load_kept(tmp_path, "sift-bag")
    with pytest.raises(BadModel, match="encoder hsv: need not be fitted"):
        fitted.fit_and_keep(tmp_path, "hsv", "cpu", PICTURES, {})


def test_names_and_weights_that_do_not_go_together():
    with pytest.raises(BadModel, match="encoder 'nosuch': known are imagenet-itq"):
        base.load_descriptor("nosuch")
    with pytest.raises(BadModel, match="encoder hsv: takes no weights"):
        base.load_descriptor("hsv", weights=__file__)
    with pytest.raises(BadModel, match="takes no weights, its own are in an installed package"):
        base.load_descriptor("efficientnet-lite0", weights=__file__)
    assert len(set(base.descriptor_names())) == len(base.descriptor_names()) >= 14
