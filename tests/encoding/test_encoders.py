"""The encoder: the same item gives the same code, alike items give alike codes,
and weights are the ones we know.
"""

import dataclasses
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image, ImageDraw
from tests.support import processors

from wearalike.detection import detect
from wearalike.encoding import encoders, imagenet_itq, runtime
from wearalike.models import registry
from wearalike.models.precision import Precision
from wearalike.tables import CODE_BITS
from wearalike.training.encoder import itq


def drawn(shape: str, colour, size=(180, 220)) -> np.ndarray:
    """A trouser-like or bag-like silhouette on white."""
    image = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(image)
    w, h = size
    if shape == "trousers":
        draw.polygon(
            [
                (w * 0.3, h * 0.1),
                (w * 0.7, h * 0.1),
                (w * 0.8, h * 0.95),
                (w * 0.58, h * 0.95),
                (w * 0.5, h * 0.4),
                (w * 0.42, h * 0.95),
                (w * 0.2, h * 0.95),
            ],
            fill=colour,
        )
    else:
        draw.arc((w * 0.3, h * 0.1, w * 0.7, h * 0.7), 180, 360, fill=colour, width=8)
        draw.rectangle((w * 0.15, h * 0.4, w * 0.85, h * 0.85), fill=colour)
    return np.asarray(image)


RED, DARK_RED, BLUE = (200, 30, 50), (185, 25, 55), (40, 60, 190)


@pytest.fixture(scope="module")
def encoder():
    return encoders.load_packaged_encoder("imagenet-itq", "cpu")


def apart(a, b) -> int:
    return int(np.bitwise_count(a ^ b).sum())


def test_codes_mean_shape_and_colour(encoder):
    pictures = [
        drawn("trousers", RED),
        drawn("trousers", BLUE),
        drawn("bag", RED),
        drawn("trousers", DARK_RED, (200, 230)),
    ]
    shape, colour, _ = encoder.encode(pictures)
    assert shape.shape == colour.shape == (4, 16) and shape.dtype == colour.dtype == np.uint8
    assert apart(shape[0], shape[1]) < apart(shape[0], shape[2]) and apart(
        shape[0], shape[3]
    ) < apart(shape[0], shape[2])
    assert apart(colour[0], colour[2]) < apart(colour[0], colour[1]) and apart(
        colour[0], colour[3]
    ) < apart(colour[0], colour[1])
    assert apart(colour[0], colour[2]) <= 16


def test_a_code_does_not_depend_on_company_order_or_number(encoder):
    rng = np.random.default_rng(0)
    patches = [rng.integers(0, 256, (3, 3, 3), dtype=np.uint8) for _ in range(11)]
    pictures = [
        p.repeat(rng.integers(7, 99), axis=0).repeat(rng.integers(7, 99), axis=1) for p in patches
    ]
    together = encoder.encode(pictures)
    order = rng.permutation(11)
    shuffled = encoder.encode([pictures[i] for i in order])
    alone = [encoder.encode([p]) for p in pictures]
    for half in (0, 1):
        assert len({c.tobytes() for c in together[half]}) == 11
        assert (shuffled[half] == together[half][order]).all()
        assert (np.concatenate([a[half] for a in alone]) == together[half]).all()
    nothing = encoder.encode([])
    assert nothing[0].shape == nothing[1].shape == (0, 16)


@pytest.mark.parametrize("name", registry.ENCODERS)
def test_codes_are_the_signs_of_the_floats(name):
    of_name = encoders.load_packaged_encoder(name, "cpu")
    pictures = [drawn("trousers", RED), drawn("bag", BLUE), drawn("bag", DARK_RED, (90, 60))]
    floats, codes = of_name.encode_floats(pictures), of_name.encode(pictures)
    for rows, bits in zip(floats, codes[:2], strict=True):
        assert rows.dtype == np.float32 and rows.shape == (3, CODE_BITS)
        assert np.isfinite(rows).all() and len(np.unique(np.abs(rows))) > 100
        assert (np.packbits(rows > 0, axis=1) == bits).all()
    assert [rows.shape for rows in of_name.encode_floats([])] == [(0, CODE_BITS)] * 2


def test_light_on_a_plain_ground_does_not_change_the_colour_code_much(encoder):
    on_white, on_grey = drawn("bag", BLUE), drawn("bag", BLUE).copy()
    on_grey[(on_grey == 255).all(axis=2)] = 225
    _, colour, _ = encoder.encode([on_white, on_grey, drawn("bag", RED)])
    assert apart(colour[0], colour[1]) <= 6 < apart(colour[0], colour[2])


def test_a_histogram_is_of_the_item_and_sums_to_one():
    palette = np.array([[53.2, 80.1, 67.2], [32.3, 79.2, -107.9], [100, 0, 0]], np.float32)
    histogram = imagenet_itq.colour_histogram(drawn("bag", (255, 0, 0)), palette)
    assert histogram.shape == (3,) and abs(histogram.sum() - 1) < 1e-5 and histogram[0] > 0.9


def test_weights_of_another_hash_are_refused():
    known = registry.ENCODERS["imagenet-itq"]
    with pytest.raises(registry.BadModel, match=r"sha256 .* wanted 00"):
        registry.read_encoder_arrays(dataclasses.replace(known, sha256="00"))
    with pytest.raises(registry.BadModel, match=r"sha256 .* wanted 00"):
        registry.load_backbone(dataclasses.replace(registry.EFFICIENTNET_LITE0, sha256="00"))
    with pytest.raises(registry.BadModel, match="encoder 'nosuch': known are imagenet-itq"):
        encoders.load_packaged_encoder("nosuch")


def test_weights_that_give_nothing_are_refused():
    import torch

    weight = registry.load_backbone(registry.EFFICIENTNET_LITE0).conv_head.weight
    kept = weight.detach().clone()
    try:
        with torch.no_grad():
            weight.fill_(float("nan"))
        with pytest.raises(registry.BadModel, match="1 of 1 crops give no features"):
            runtime.feature_extractor(registry.EFFICIENTNET_LITE0)([drawn("bag", RED)])
    finally:
        with torch.no_grad():
            weight.copy_(kept)


def test_the_compiled_network_is_the_network():
    import torch

    batch = np.random.default_rng(0).normal(size=(3, 3, 224, 224)).astype(np.float32)
    compiled = registry.compile_network(
        registry.load_backbone(registry.EFFICIENTNET_LITE0), (1, 3, 224, 224), 1
    )
    with torch.inference_mode():
        wanted = registry.load_backbone(registry.EFFICIENTNET_LITE0)(
            torch.from_numpy(batch)
        ).numpy()
    found = np.concatenate([compiled(batch[i : i + 1])[0] for i in range(3)])
    assert found.shape == (3, 1280) and np.abs(wanted).max() > 0.5
    np.testing.assert_allclose(found, wanted, atol=1e-3)


def test_the_engine_keeps_no_user_id_and_leaves_the_environment_alone(tmp_path):
    load = "m.compile_network(m.load_backbone(m.EFFICIENTNET_LITE0), (1, 3, 224, 224), 1)"
    script = (
        f"import os; from wearalike.models import registry as m; {load}; print('CI' in os.environ)"
    )
    env = {k: v for k, v in os.environ.items() if k != "CI"} | {"HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False" and list(tmp_path.iterdir()) == []


def test_a_batch_too_large_for_the_gpu_goes_in_halves():
    import torch

    seen = []

    def small(batch: np.ndarray) -> np.ndarray:
        """A network on a GPU that has memory for three rows."""
        seen.append(len(batch))
        if len(batch) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return batch * 2

    batch = np.arange(20, dtype=np.float32).reshape(10, 2)
    assert np.array_equal(runtime.run_in_halves(small, batch), batch * 2) and seen == [
        10,
        5,
        2,
        3,
        5,
        2,
        3,
    ]

    def none(batch: np.ndarray) -> np.ndarray:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(registry.BadModel, match=r"no memory for one crop: .*--device cpu"):
        runtime.run_in_halves(none, batch)


def test_a_gpu_that_is_not_there_is_said():
    import torch

    assert registry.resolve_device("cpu") == "cpu" and registry.resolve_device("auto") in (
        "cpu",
        "cuda",
    )
    if not torch.cuda.is_available():
        with pytest.raises(registry.BadModel, match="torch sees no GPU"):
            registry.resolve_device("cuda")


def test_rotation_keeps_near_rows_near_better_than_chance():
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(20, 160)).astype(np.float32)
    rows = np.repeat(centres, 30, axis=0) + rng.normal(scale=0.3, size=(600, 160)).astype(
        np.float32
    )
    mean, turn = itq.fit_rotation(rows, seed=1)
    assert mean.shape == (160,) and turn.shape == (160, 128)
    np.testing.assert_allclose(turn.T @ turn, np.eye(128), atol=1e-4)
    bits = (rows - mean) @ turn > 0
    distance = (bits[:, None] != bits[None]).sum(axis=2)
    same = np.arange(600)[:, None] // 30 == np.arange(600)[None] // 30
    assert distance[same].mean() < 0.5 * distance[~same].mean()
    again = itq.fit_rotation(rows, seed=1)
    assert (again[1] == turn).all()
    with pytest.raises(ValueError, match="wanted at least 128 rows"):
        itq.fit_rotation(rows[:100], seed=1)


def test_a_palette_sits_in_the_clusters():
    rng = np.random.default_rng(0)
    centres = np.array([[20, 0, 0], [60, 60, 40], [80, -50, 30]], np.float32)
    lab = (np.repeat(centres, 200, axis=0) + rng.normal(scale=1, size=(600, 3))).astype(np.float32)
    found = itq.fit_palette(lab, 12, seed=4)
    assert found.shape == (12, 3) and found.dtype == np.float32
    apart = np.linalg.norm(found[:, None] - centres[None], axis=2)
    assert (apart.min(axis=0) < 3).all() and (apart.min(axis=1) < 4).all()


needs_bfloat16 = pytest.mark.skipif(
    not processors.has_bfloat16(), reason="needs a processor with bfloat16"
)


def in_bfloat16(name: str) -> encoders.Encoder:
    model = registry.packaged_model(registry.ModelKind.ENCODER, name)
    return encoders.build_encoder(model.at_precision(Precision.BFLOAT16).read())


@pytest.fixture(
    scope="module",
    params=["likeness", "fashion", pytest.param("likeness+bf16", marks=needs_bfloat16)],
)
def own_encoder(request):
    name = request.param.removesuffix("+bf16")
    if name != request.param:
        return in_bfloat16(name)
    return encoders.load_packaged_encoder(name, "cpu")


def test_a_code_of_our_networks_depends_on_the_picture_alone(own_encoder):
    rng = np.random.default_rng(5)
    patches = [rng.integers(0, 256, (4, 4, 3), dtype=np.uint8) for _ in range(7)]
    pictures = [
        p.repeat(rng.integers(20, 99), axis=0).repeat(rng.integers(20, 99), axis=1) for p in patches
    ]
    together, floats = own_encoder.encode(pictures), own_encoder.encode_floats(pictures)
    order = rng.permutation(7)
    shuffled = own_encoder.encode([pictures[i] for i in order])
    alone = [own_encoder.encode([p]) for p in pictures]
    for half in (0, 1):
        assert len({c.tobytes() for c in together[half]}) == 7
        assert (shuffled[half] == together[half][order]).all()
        assert (np.concatenate([a[half] for a in alone]) == together[half]).all()
        assert (np.packbits(floats[half] > 0, axis=1) == together[half]).all()
    assert [a.views[0] for a in alone] == together.views
    assert own_encoder.encode([])[0].shape == (0, 16)


@needs_bfloat16
def test_bfloat16_changes_few_bits_and_says_so_by_its_version():
    pictures = [drawn(kind, colour) for kind in ("bag", "trousers") for colour in (RED, BLUE)]
    for name in ("likeness", "imagenet-itq"):
        exact, rough = encoders.load_packaged_encoder(name), in_bfloat16(name)
        assert rough.version.startswith(f"{exact.version}+bf16.")
        flipped = sum(
            apart(a, b)
            for a, b in zip(exact.encode(pictures)[:2], rough.encode(pictures)[:2], strict=True)
        )
        assert 0 < flipped < 0.05 * 256 * len(pictures)


def test_bfloat16_is_refused_for_a_gpu():
    network = registry.load_backbone(registry.EFFICIENTNET_LITE0)
    with pytest.raises(registry.BadModel, match="bfloat16 is for CPUs; on a GPU set"):
        runtime.InferenceRunner(
            "x", network, registry.EFFICIENTNET_LITE0, "cuda", Precision.BFLOAT16
        )


def test_a_code_depends_neither_on_the_number_of_threads_nor_on_torch(tmp_path):
    script = (
        "import os, sys, numpy as np; os.sched_setaffinity(0, list(os.sched_getaffinity(0))[:1]);"
        "from pathlib import Path;"
        "from wearalike.detection import detect;"
        "from wearalike.encoding import encoders;"
        "from wearalike.models import registry;"
        "root, pictures = Path(sys.argv[1]), list(np.load(sys.argv[2]));"
        "model = registry.packaged_model(registry.ModelKind.ENCODER, 'likeness').read();"
        "made = encoders.build_encoder(model, registry.resolve_device('auto'), root=root);"
        "codes = made.encode(pictures);"
        "name = registry.DEFAULT_DETECTOR;"
        "boxes = detect.load_detector(root, name, keeps_network=True).detect(pictures);"
        "assert not {'torch', 'timm', 'torchvision'} & set(sys.modules) or "
        "registry.resolve_device('auto') == 'cuda';"
        "sys.stdout.buffer.write(codes.shape.tobytes() + codes.colour.tobytes());"
        "sys.stdout.buffer.write(repr(boxes).encode())"
    )
    pictures = np.stack([drawn("bag", RED), drawn("trousers", BLUE), drawn("bag", BLUE)])
    np.save(tmp_path / "pictures.npy", pictures)
    here = encoders.load_packaged_encoder("likeness", "cpu").encode(list(pictures))
    model = registry.packaged_model(registry.ModelKind.ENCODER, "likeness").read()
    kept = encoders.build_encoder(model, root=tmp_path).encode(list(pictures))
    assert kept.shape.tobytes() == here.shape.tobytes()
    detector = detect.load_detector(tmp_path, registry.DEFAULT_DETECTOR, keeps_network=True)
    boxes = detector.detect(list(pictures))
    command = [sys.executable, "-c", script, str(tmp_path), str(tmp_path / "pictures.npy")]
    one_core = subprocess.run(command, capture_output=True, check=True).stdout
    wanted = here.shape.tobytes() + here.colour.tobytes() + repr(boxes).encode()
    assert one_core == wanted


def test_the_default_encoder_tells_shape_from_colour():
    pictures = [
        drawn("trousers", RED),
        drawn("trousers", BLUE),
        drawn("bag", RED),
        drawn("trousers", DARK_RED, (200, 230)),
    ]
    shape, colour, _ = encoders.load_packaged_encoder("likeness", "cpu").encode(pictures)
    assert max(apart(shape[0], shape[1]), apart(shape[0], shape[3])) < apart(shape[0], shape[2])
    assert max(apart(colour[0], colour[2]), apart(colour[0], colour[3])) < apart(
        colour[0], colour[1]
    )


def test_the_default_encoder_looks_at_the_item_and_not_at_its_ground():
    on_white, on_grey = drawn("bag", BLUE), drawn("bag", BLUE).copy()
    on_grey[(on_grey == 255).all(axis=2)] = (150, 160, 140)
    shape, colour, _ = encoders.load_packaged_encoder("likeness", "cpu").encode(
        [on_white, on_grey, drawn("trousers", RED)]
    )
    assert apart(shape[0], shape[1]) < 0.5 * apart(shape[0], shape[2])
    assert apart(colour[0], colour[1]) < 0.5 * apart(colour[0], colour[2])


def test_the_file_of_the_default_encoder_has_no_trunk():
    model = registry.packaged_model(registry.ModelKind.ENCODER, "likeness").read()
    assert not [name for name in model.arrays if name.startswith("trunk.")]
    assert {"view.weight", "view.bias"} <= set(model.arrays)
