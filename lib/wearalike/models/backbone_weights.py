"""Weights of public networks: find what the user has, and load all of it or nothing.

Weights are a file that the user names, or one in the cache of Hugging Face or torch. Nothing is
downloaded, and no network is used whose weights were not loaded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from wearalike.models.backbones import (
    CLASSIFIER_NAMES,
    TORCHVISION,
    BackboneName,
    list_torchvision_weights,
)
from wearalike.models.files import BadModel
from wearalike.models.state_dicts import StateDict, read_state_dict

if TYPE_CHECKING:
    import torch

# Files of a repository of timm's, the best first.
_HUB_FILES = ("model.safetensors", "pytorch_model.bin")
# Names that a message lists.
_MISFITS_SHOWN = _PLACES_SHOWN = 3


def read_backbone_weights(name: BackboneName, file: Path | None) -> tuple[BackboneName, StateDict]:
    """Read the weights of a network.

    Args:
        name: The network.
        file: File of a state dict, safetensors or torch's own; None looks into the caches.

    Returns:
        The network with the tag whose weights were found, and the weights.

    Raises:
        BadModel: There are none, or the file is none that can be read safely.
    """
    if file:
        return name, read_state_dict(file, may_be_checkpoint=True)
    if name.library == TORCHVISION:
        return name, read_state_dict(_find_in_torch_cache(name), has_promised_hash=True)
    return _find_in_hub_cache(name)


def _find_in_torch_cache(name: BackboneName) -> Path:
    """Return torchvision's best file in torch's cache. Raises BadModel if there is none."""
    files = [weights.url.rsplit("/", 1)[1] for weights in list_torchvision_weights(name)]
    folder = _torch_cache()
    for file in files:
        if (folder / file).is_file():
            return folder / file
    raise _no_weights(name, f"{' or '.join(files) or 'its weights'} in {folder}")


def _find_in_hub_cache(name: BackboneName) -> tuple[BackboneName, StateDict]:
    """Return timm's weights in the cache of Hugging Face, or torch's. Raises BadModel."""
    from huggingface_hub import constants, try_to_load_from_cache

    places = []
    for tag in _list_tags(name):
        found = BackboneName(name.library, name.architecture, tag)
        for repository, file in _list_hub_files(found):
            places.append(repository)
            path = try_to_load_from_cache(repository, file)
            if isinstance(path, str):
                return found, read_state_dict(Path(path), may_be_checkpoint=True)
        of_torch = _torch_cache_file(found)
        if of_torch and (_torch_cache() / of_torch).is_file():
            state = read_state_dict(
                _torch_cache() / of_torch, has_promised_hash=True, may_be_checkpoint=True
            )
            return found, state
    shown = list(dict.fromkeys(places))
    more = f" or {len(shown) - _PLACES_SHOWN} more" if len(shown) > _PLACES_SHOWN else ""
    looked = " or ".join(shown[:_PLACES_SHOWN]) or "repository of its weights"
    raise _no_weights(
        name, f"{looked}{more} in {constants.HF_HUB_CACHE}, nor a file of it in {_torch_cache()}"
    )


def _list_tags(name: BackboneName) -> list[str]:
    """Return timm's names of a network's weights, its default first; of a tagged name its tag."""
    import timm

    if name.tag:
        return [name.tag]
    default = timm.get_pretrained_cfg(name.architecture)
    known = [model.split(".", 1)[1] for model in timm.list_pretrained(f"{name.architecture}.*")]
    return sorted(known, key=lambda tag: default is None or tag != default.tag)


def _list_hub_files(name: BackboneName) -> list[tuple[str, str]]:
    """Return repository and file of a network's weights on the hub, the best first."""
    import timm

    config = timm.get_pretrained_cfg(f"{name.architecture}.{name.tag}")
    if config is None or not config.hf_hub_id:
        return []
    repository = config.hf_hub_id
    if repository.endswith("/"):
        repository += f"{name.architecture}.{name.tag}"
    files = (config.hf_hub_filename,) if config.hf_hub_filename else _HUB_FILES
    return [(repository, file) for file in files]


def _torch_cache_file(name: BackboneName) -> str | None:
    """Return the name of a network's weights in torch's cache; None if they have no address."""
    import timm

    config = timm.get_pretrained_cfg(f"{name.architecture}.{name.tag}")
    url = config.url if config else None
    return url.rsplit("/", 1)[1] if isinstance(url, str) and url else None


def _torch_cache() -> Path:
    import torch

    return Path(torch.hub.get_dir()) / "checkpoints"


def _no_weights(name: BackboneName, looked: str) -> BadModel:
    return BadModel(
        f"backbone {name}: no weights: nothing is downloaded here, and there is no {looked}; "
        "give --backbone-weights FILE"
    )


def load_backbone_weights(
    network: torch.nn.Module, name: BackboneName, state: StateDict, dropped: Sequence[str]
) -> None:
    """Load weights into a network, all of them but for its classifier.

    Args:
        network: The network, without its classifier.
        name: Its name.
        state: The weights.
        dropped: Names of the layers that it lacks; the file may have their weights.

    Raises:
        BadModel: A weight is missing, unknown, of another shape, or none was ever trained.
    """
    own = network.state_dict()
    kept = {layer.partition(".")[0] for layer in own}
    without = set(dropped) | (CLASSIFIER_NAMES - kept)
    found = {n: t for n, t in state.tensors.items() if n.partition(".")[0] not in without}
    # Whole numbers count batches, or follow from the architecture.
    wanted = {n: t for n, t in own.items() if t.is_floating_point()}
    wrong = [
        *(f"{n} is missing" for n in wanted if n not in found),
        *(f"{n} is not of it" for n in found if n not in own),
        *(
            f"{n} is {tuple(found[n].shape)}, wanted {tuple(t.shape)}"
            for n, t in wanted.items()
            if n in found and found[n].shape != t.shape
        ),
    ]
    if wrong:
        more = f", and {len(wrong) - _MISFITS_SHOWN} more" if len(wrong) > _MISFITS_SHOWN else ""
        raise BadModel(
            f"{state.path}: its tensors do not fit {name}: "
            f"{', '.join(wrong[:_MISFITS_SHOWN])}{more}"
        )
    if is_untrained(found):
        raise BadModel(
            f"{state.path}: weights that nothing was ever taught: all its biases and statistics "
            "are those that a new network begins with"
        )
    network.load_state_dict(own | {n: found[n].float() for n in wanted})


# The least spread of a trained vector. New biases of transformers have a deviation of 1e-6.
_NEW_SPREAD = 1e-4
# Other vectors, such as tables of positions, vary in a new network too.
_LEARNT_VECTORS = ("bias", "weight", "running_mean", "running_var")


def is_untrained(tensors: Mapping[str, torch.Tensor]) -> bool:
    """Return whether weights are those of a network that has taken no step.

    A new network has one number in most of its vectors: biases are 0, or nearly 0 in transformers,
    scales and variances are 1. The biases of its linear layers may be random.

    Args:
        tensors: Tensors by name.
    """
    vectors = [
        tensor
        for name, tensor in tensors.items()
        if name.endswith(_LEARNT_VECTORS) and tensor.ndim == 1 and len(tensor) > 1
    ]
    new = sum(float(vector.max() - vector.min()) < _NEW_SPREAD for vector in vectors)
    return bool(vectors) and 2 * new > len(vectors)
