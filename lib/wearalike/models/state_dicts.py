"""Weights of public networks: state dicts, read without running what is in their files."""

from __future__ import annotations

import hashlib
import io
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wearalike.models.files import BadModel

if TYPE_CHECKING:
    import torch

# Keys of torchvision's oldest DenseNet files, as its own loader renames them.
_OLD_DENSENET_KEY = re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.(\d\..*)$")
# timm's and torchvision's trainings keep the weights under one of these, the best first.
_CHECKPOINT_KEYS = ("state_dict_ema", "model_ema", "state_dict", "model")
# DistributedDataParallel puts this before every name.
_PARALLEL_PREFIX = "module."
# torchvision ends a file's name with the first digits of its hash.
_PROMISED_HASH = re.compile(r"-([0-9a-f]{8})\.pth$")


@dataclass(frozen=True, slots=True)
class StateDict:
    """The content of a file of weights.

    Attributes:
        path: The file.
        tensors: Tensors by name; floating-point ones are finite.
        sha256: Hash of the file, hexadecimal.
    """

    path: Path
    tensors: Mapping[str, torch.Tensor]
    sha256: str


def read_state_dict(
    path: Path, *, has_promised_hash: bool = False, may_be_checkpoint: bool = False
) -> StateDict:
    """Read a file of weights; code in it is never run.

    Args:
        path: .safetensors, or torch's own format.
        has_promised_hash: The file is of torch's cache; the hash in its name must be its own.
        may_be_checkpoint: The state dict may lie in a training's checkpoint.

    Raises:
        BadModel: There is no such file, it is no state dict, or holds a value that is no number.
    """
    import torch

    if not path.is_file():
        raise BadModel(f"{path}: no such weights")
    content = path.read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    promised = _PROMISED_HASH.search(path.name) if has_promised_hash else None
    if promised and not sha256.startswith(promised[1]):
        raise BadModel(
            f"{path}: sha256 {sha256}, wanted one that begins with {promised[1]}, as its name does"
        )
    state = _parse(content, path)
    if may_be_checkpoint:
        state = next((state[k] for k in _CHECKPOINT_KEYS if isinstance(state.get(k), dict)), state)
    if not all(isinstance(k, str) and isinstance(v, torch.Tensor) for k, v in state.items()):
        raise BadModel(f"{path}: wanted a state dict, tensors by name")
    for name, tensor in state.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise BadModel(f"{path}: {name} holds what is no number")
    tensors = {
        _OLD_DENSENET_KEY.sub(r"\1\2", name.removeprefix(_PARALLEL_PREFIX)): tensor
        for name, tensor in state.items()
    }
    return StateDict(path, tensors, sha256)


def _parse(content: bytes, path: Path) -> dict[str, Any]:
    """Return what a file holds. Raises BadModel if it is no dict, or cannot be read safely."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        state = (
            load(content)
            if path.suffix == ".safetensors"
            else torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        )
    except (
        SafetensorError,
        pickle.UnpicklingError,
        RuntimeError,
        EOFError,
        ValueError,
        KeyError,
    ) as error:
        raise BadModel(
            f"{path}: not a state dict that can be read safely: {shorten_message(error)}"
        ) from error
    if not isinstance(state, dict):
        raise BadModel(f"{path}: wanted a state dict, tensors by name")
    return state


def shorten_message(error: Exception) -> str:
    """Return an error's text on one line of at most 200 characters.

    Args:
        error: The error.
    """
    return " ".join(str(error).split())[:200] or type(error).__name__
