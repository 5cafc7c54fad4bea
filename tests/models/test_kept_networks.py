"""Converted networks that are kept give the same numbers, and are converted anew if in doubt."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from wearalike.models import kept_networks, registry, runtime
from wearalike.models.kept_networks import KeptNetwork, LazyNetwork

SHAPE = (1, 3, 16, 16)
PIXELS = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
MODEL = registry.Model(registry.ModelKind.ENCODER, "small", "small-1", {}, {}, (), "0" * 64)


def build_small_network(built: list[str]) -> torch.nn.Module:
    built.append("built")
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.SiLU(), torch.nn.Flatten(), torch.nn.Linear(784, 5)
    ).eval()


def run_network(root: Path, built: list[str], *models: registry.Model) -> np.ndarray:
    kept = KeptNetwork.of_models(root, models or [MODEL])
    network = LazyNetwork(partial(build_small_network, built), kept)
    return runtime.compile_network(network, SHAPE, 1)(PIXELS)[0]


def test_a_kept_network_is_not_built_and_gives_the_same_numbers(tmp_path):
    built: list[str] = []
    first, second = run_network(tmp_path, built), run_network(tmp_path, built)
    assert len(built) == 1
    alone = runtime.compile_network(build_small_network([]), SHAPE, 1)(PIXELS)[0]
    assert first.tobytes() == second.tobytes() == alone.tobytes()
    with torch.inference_mode():
        exact = build_small_network([])(torch.from_numpy(PIXELS)).numpy()
    np.testing.assert_allclose(first, exact, atol=1e-5)


def test_another_file_shape_library_or_code_is_another_network(tmp_path, monkeypatch):
    kept = KeptNetwork.of_models(tmp_path, [MODEL])
    others = [
        KeptNetwork.of_models(tmp_path, [replace(MODEL, sha256="1" * 64)]).path(SHAPE),
        KeptNetwork.of_models(tmp_path, [MODEL, replace(MODEL, version="leaves-1")]).path(SHAPE),
        kept.path((2, *SHAPE[1:])),
    ]
    known = kept.path(SHAPE)
    monkeypatch.setattr(kept_networks, "_library_versions", lambda: ["openvino 1"])
    others.append(kept.path(SHAPE))
    monkeypatch.setattr(kept_networks, "_hash_network_code", lambda: "changed")
    others.append(kept.path(SHAPE))
    assert len({known, *others}) == 6
    assert {path.parent for path in (known, *others)} == {tmp_path / "cache/networks/small-1"}


@pytest.mark.parametrize("damage", ["cut", "rotted", "no zip"])
def test_a_damaged_network_is_converted_anew_and_said(tmp_path, caplog, damage):
    built: list[str] = []
    wanted = run_network(tmp_path, built)
    (path,) = tmp_path.glob("cache/networks/small-1/*.zip")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    spoilt = {"cut": bytes(content[:-40]), "rotted": bytes(content), "no zip": b"what"}
    path.write_bytes(spoilt[damage])
    assert run_network(tmp_path, built).tobytes() == wanted.tobytes() and len(built) == 2
    assert "converted anew" in caplog.text and str(path) in caplog.text
    assert run_network(tmp_path, built).tobytes() == wanted.tobytes() and len(built) == 2


def test_a_folder_that_cannot_be_written_costs_time_alone(tmp_path, caplog):
    (tmp_path / "cache").write_text("a file, where the folder should be")
    built: list[str] = []
    assert run_network(tmp_path, built).shape == (1, 5)
    assert "not kept" in caplog.text and run_network(tmp_path, built).shape == (1, 5)
    assert len(built) == 2


def test_of_a_version_the_latest_few_stay(tmp_path):
    files = [replace(MODEL, sha256=f"{i:064}") for i in range(6)]
    for model in files:
        run_network(tmp_path, [], model)
    built: list[str] = []
    run_network(tmp_path, built, files[5])
    run_network(tmp_path, built, files[2])
    assert not built and len(list(tmp_path.glob("cache/networks/small-1/*"))) == 4
