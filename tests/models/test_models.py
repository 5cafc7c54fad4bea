"""Model files: what is in one is what was written,
and a hostile one is refused with nothing executed and little memory.
"""

import json
import os
import pickle
import resource
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from wearalike.models import registry
from wearalike.models.files import BadModel, ModelKind

RNG = np.random.default_rng(0)
ARRAYS = {
    "head.weight": RNG.normal(size=(4, 3)).astype(np.float16),
    "head.bias": RNG.normal(size=4).astype(np.float32),
}
CARD = {"data": {"photos": 12}, "seed": 0, "by": "Zoë"}
GOOD = registry.model_bytes(ModelKind.ENCODER, "tiny-net", "fashion-2", CARD, ARRAYS)
METADATA = {"kind": "encoder", "architecture": "tiny-net", "version": "fashion-2", "card": "{}"}


def file_of(tmp_path, content: bytes) -> Path:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    return path


def raw(header: object, data: bytes = b"") -> bytes:
    """A safetensors file with any header, true or not."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def test_a_model_reads_back_as_written_widened_to_float32(tmp_path):
    model = registry.read_model(file_of(tmp_path, GOOD), registry.sha256_hex(GOOD))
    assert (model.kind, model.architecture, model.version, model.card) == (
        ModelKind.ENCODER,
        "tiny-net",
        "fashion-2",
        CARD,
    )
    assert model.classes == () and model.sha256 == registry.sha256_hex(GOOD)
    assert set(model.arrays) == set(ARRAYS)
    for name, array in model.arrays.items():
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, ARRAYS[name].astype(np.float32))


def test_the_same_model_is_the_same_bytes():
    # The library under it writes the metadata in another order each time.
    assert {
        registry.model_bytes(ModelKind.ENCODER, "tiny-net", "fashion-2", CARD, ARRAYS)
        for _ in range(20)
    } == {GOOD}


def test_a_detector_names_its_classes(tmp_path):
    content = registry.model_bytes(
        ModelKind.DETECTOR, "tiny-net", "eyes-1", {}, ARRAYS, ["dress", "shoe"]
    )
    assert registry.read_model(file_of(tmp_path, content)).classes == ("dress", "shoe")
    for kind, classes, message in (
        (ModelKind.DETECTOR, [], "a detector must name some"),
        (ModelKind.ENCODER, ["dress"], "an encoder has none"),
        (ModelKind.DETECTOR, ["dress", "dress"], "distinct printable texts"),
    ):
        with pytest.raises(BadModel, match=message):
            registry.model_bytes(kind, "tiny-net", "eyes-1", {}, ARRAYS, classes)


def test_what_could_not_be_read_is_not_written():
    for arrays in (
        {"x": np.array([np.nan], np.float32)},
        {"x": np.zeros(2)},
        {"x": np.zeros((0, 2), np.float32)},
    ):
        with pytest.raises(BadModel, match="tensor x"):
            registry.model_bytes(ModelKind.ENCODER, "tiny-net", "fashion-2", {}, arrays)
    with pytest.raises(BadModel, match="version"):
        registry.model_bytes(ModelKind.ENCODER, "tiny-net", "../fashion", {}, ARRAYS)


F32 = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no safetensors file"),
        (GOOD[:5], "no safetensors file"),
        (GOOD[:-1], "no safetensors file"),
        (GOOD + b"\0", "no safetensors file"),
        (b"\xff" * 8 + b"{}", "a header of 18,446,744,073,709,551,615 bytes"),
        ((5_000_000).to_bytes(8, "little") + b"{" * 100, "a header of 5,000,000 bytes"),
        (raw(b"[" * 100_000), "no safetensors file"),
        (raw({"x": {**F32, "data_offsets": [0, 8]}}, b"\0" * 4), "no safetensors file"),
        (raw({"x": {**F32, "data_offsets": [2**63, 2**63 + 4]}}, b"\0" * 4), "no safetensors file"),
        (raw({"x": F32, "y": F32}, b"\0" * 4), "no safetensors file"),
        (raw({"x": {**F32, "shape": [2**62, 4]}}, b"\0" * 4), "no safetensors file"),
        (
            raw(
                {
                    "__metadata__": METADATA,
                    "x": {**F32, "shape": [0, 2**63], "data_offsets": [0, 0]},
                }
            ),
            "none of 0",
        ),
        (
            raw({"__metadata__": METADATA, "x": {**F32, "shape": [1] * 70}}, b"\0" * 4),
            "at most 8 dimensions",
        ),
        (
            raw(
                {
                    "__metadata__": METADATA,
                    "x": {"dtype": "F64", "shape": [1], "data_offsets": [0, 8]},
                },
                b"\0" * 8,
            ),
            "F64, wanted F16 or F32",
        ),
        (
            raw(
                {
                    "__metadata__": METADATA,
                    "x": {"dtype": "BOOL", "shape": [4], "data_offsets": [0, 4]},
                },
                b"\0" * 4,
            ),
            "BOOL, wanted",
        ),
        (
            raw({"__metadata__": METADATA, "x": F32}, np.float32(np.nan).tobytes()),
            "1 of 1 numbers are not finite",
        ),
        (raw({"__metadata__": METADATA, "x": F32}, np.float32(-np.inf).tobytes()), "not finite"),
        (raw({"__metadata__": {"kind": 7}, "x": F32}, b"\0" * 4), "no safetensors file"),
        (raw({"x": F32}, b"\0" * 4), "metadata has no kind; it has \\[\\]"),
        (raw({"__metadata__": None, "x": F32}, b"\0" * 4), "metadata has no kind"),
        (
            raw({"__metadata__": {str(i): "" for i in range(9999)}, "x": F32}, b"\0" * 4),
            "metadata has no kind",
        ),
        (raw({"x" * 99_999: {**F32, "data_offsets": [4, 8]}}, b"\0" * 4), "no safetensors file"),
    ],
)
def test_a_file_that_lies_is_refused(tmp_path, content, message):
    path = file_of(tmp_path, content)
    with pytest.raises(BadModel, match=message) as refused:
        registry.read_model(path)
    assert str(refused.value).startswith(f"{path}: ") and len(str(refused.value)) < 500


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"kind": "pickle"},
            "kind: wanted encoder or detector or leaves or descriptor, got 'pickle'",
        ),
        ({"kind": None}, "has no kind"),
        ({"version": "../../etc/passwd"}, "version: wanted"),
        ({"version": "Fashion 2"}, "version: wanted"),
        ({"version": "x" * 65}, "version: wanted"),
        ({"version": "fashion-2\n"}, "version: wanted"),
        ({"version": "9" * 100_000}, r"version: wanted .*\.\.\."),
        ({"architecture": "os.system('x')"}, "architecture: wanted"),
        ({"card": "{'seed': 0}"}, "card: not JSON"),
        ({"card": "[" * 100_000}, "card: not JSON"),
        ({"card": "[]"}, "card: wanted a JSON object"),
        ({"card": None}, "has no card"),
        ({"classes": "dress"}, "classes: not JSON"),
        ({"kind": "detector"}, "a detector must name some"),
        (
            {"kind": "detector", "classes": "[1, 2]"},
            "classes: wanted a JSON list of distinct printable texts",
        ),
        (
            {"kind": "detector", "classes": '["\\ud800"]'},
            "classes: wanted a JSON list of distinct printable texts",
        ),
        (
            {"kind": "detector", "classes": '[["dress"]]'},
            "classes: wanted a JSON list of distinct printable texts",
        ),
    ],
)
def test_metadata_that_is_not_ours_is_refused(tmp_path, change, message):
    metadata = {k: v for k, v in {**METADATA, **change}.items() if v is not None}
    with pytest.raises(BadModel, match=message) as refused:
        registry.read_model(file_of(tmp_path, save({"x": np.zeros(2, np.float32)}, metadata)))
    assert len(str(refused.value)) < 500


class Trap:
    def __reduce__(self):
        return os.system, ("touch sprung",)


def test_pickles_and_zips_are_refused_and_not_executed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = file_of(tmp_path, pickle.dumps(Trap()))
    with pytest.raises(BadModel, match="a pickle or a zip"):
        registry.read_model(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Trap()))
    with pytest.raises(BadModel, match="a pickle or a zip"):
        registry.read_model(path)
    assert not Path("sprung").exists()
    pickle.loads(pickle.dumps(Trap()))
    assert Path("sprung").exists(), "the trap works, so that it was not sprung says something"


def test_what_is_no_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, tmp_path / "none", Path("/dev/zero")):
        with pytest.raises(BadModel, match="no such file"):
            registry.read_model(path)
    with pytest.raises(BadModel, match=f"sha256 {registry.sha256_hex(GOOD)}, wanted 00"):
        registry.read_model(file_of(tmp_path, GOOD), "00")


def test_a_file_too_large_is_refused_with_little_memory(tmp_path):
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(100 * registry.MAX_MODEL_BYTES)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(BadModel, match="40,000,000,000 bytes, wanted at most 400,000,000"):
        registry.read_model(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 10_000


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_a_damaged_file_is_refused_or_says_the_same(tmp_path, data):
    """Bytes flipped or cut anywhere: what is still read differs from the original only in the
    numbers and texts that were hit.
    """
    content = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 3))):
        # The header is the smaller part and the more interesting one.
        content[data.draw(st.integers(0, len(GOOD) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(0, len(GOOD)) | st.just(len(GOOD)))]
    path = file_of(tmp_path, bytes(content))
    try:
        model = registry.read_model(path)
    except BadModel:
        pass
    else:
        assert len(content) == len(GOOD) and registry.VERSION_PATTERN.fullmatch(model.version)
        assert all(a.dtype == np.float32 and np.isfinite(a).all() for a in model.arrays.values())
        assert sum(a.size for a in model.arrays.values()) == 16
    if bytes(content) != GOOD:
        with pytest.raises(BadModel, match="sha256"):
            registry.read_model(path, registry.sha256_hex(GOOD))


def test_tensors_must_be_exactly_those_of_the_architecture(tmp_path):
    model = registry.read_model(file_of(tmp_path, GOOD))
    wanted = {"head.weight": (4, 3), "head.bias": (4,)}
    registry.check_shapes(model, wanted)
    for change, message in (
        ({"head.more": (1,)}, "head.more is missing"),
        ({"head.weight": (3, 4)}, r"head.weight is \(4, 3\), wanted \(3, 4\)"),
        ({f"layer{i}": (1,) for i in range(9)}, "layer2 is missing, and 6 more"),
    ):
        with pytest.raises(BadModel, match=message):
            registry.check_shapes(model, {**wanted, **change})
    with pytest.raises(BadModel, match=r"'head\.bias' is not of it"):
        registry.check_shapes(model, {"head.weight": (4, 3)})


def test_every_packaged_model_is_the_file_its_table_names():
    named = [(kind, name) for kind in ModelKind for name in registry.packaged_models(kind)]
    assert (ModelKind.ENCODER, registry.DEFAULT_ENCODER) in named
    nowhere = Path("nowhere")
    for kind, name in named:
        model = registry.resolve_model(nowhere, kind, name).read()
        assert (model.kind, model.version) == (kind, registry.packaged_models(kind)[name].version)
        assert model.arrays and model.card
    assert registry.resolve_model(nowhere, ModelKind.ENCODER) == registry.resolve_model(
        nowhere, ModelKind.ENCODER, registry.DEFAULT_ENCODER
    )
    versions = [m.version for kind in ModelKind for m in registry.packaged_models(kind).values()]
    assert len(set(versions)) == len(versions)
    with pytest.raises(
        BadModel, match=f"encoder 'nosuch': known are {', '.join(registry.ENCODERS)};"
    ):
        registry.resolve_model(nowhere, ModelKind.ENCODER, "nosuch")


def test_a_gpu_computes_in_float32_not_in_tf32():
    """On torch's CPU device; the flags are those that cuDNN reads at each convolution."""
    seen = []

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Conv2d(3, 5, 3)

        def forward(self, pictures: torch.Tensor) -> torch.Tensor:
            seen.append(torch.backends.cudnn.allow_tf32)
            return self.layer(pictures)

    before = torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic
    torch.backends.cudnn.allow_tf32 = True
    network = Network()
    pictures = RNG.random((2, 3, 8, 8), np.float32)
    try:
        (maps,) = registry.compile_for_gpu(network, "cpu")(pictures)
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic = before
    assert seen == [False]
    with torch.inference_mode():
        wanted = network.layer(torch.from_numpy(pictures)).numpy()
    np.testing.assert_allclose(maps, wanted, atol=1e-5)
