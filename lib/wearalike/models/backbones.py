"""Public networks by name: timm's and torchvision's. `backbone_weights` reads their weights."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wearalike.models.files import BadModel

if TYPE_CHECKING:
    import torch

TIMM, TORCHVISION = "timm", "torchvision"
_NAME = re.compile(r"(?:(timm|torchvision):)?([a-z0-9_]+)(?:\.([a-z0-9_]+))?")
# Files may name layers that classify by these, though the network here has none.
CLASSIFIER_NAMES = frozenset({"classifier", "fc", "head", "heads", "pre_logits"})
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True, slots=True)
class BackboneName:
    """A public network.

    Attributes:
        library: timm or torchvision.
        architecture: The library's name of it.
        tag: timm's name of its weights; None for any.
    """

    library: str
    architecture: str
    tag: str | None = None

    def __str__(self) -> str:
        tag = f".{self.tag}" if self.tag else ""
        prefix = f"{TORCHVISION}:" if self.library == TORCHVISION else ""
        return f"{prefix}{self.architecture}{tag}"


@dataclass(frozen=True, slots=True)
class BackboneInput:
    """The input of a network: squares of a side, scaled by mean and standard deviation.

    Attributes:
        side_px: Side of the square.
        mean: Mean of each channel, 0..1.
        std: Standard deviation of each channel, 0..1.
    """

    side_px: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


def parse_backbone(text: str) -> BackboneName:
    """Return the network of a name, such as `densenet121` or `torchvision:resnet50`.

    Args:
        text: A name of timm's, with or without its tag, or `torchvision:` and one of torchvision's.

    Raises:
        BadModel: The library has no such network, or timm no such tag of it.
    """
    import timm

    parts = _NAME.fullmatch(text)
    if not parts:
        raise BadModel(f"backbone {text!r}: wanted timm's name, or torchvision:NAME")
    library = parts[1] or TIMM
    name = BackboneName(library, parts[2], parts[3])
    known = _list_architectures(library)
    if name.architecture not in known or (library == TORCHVISION and name.tag):
        near = difflib.get_close_matches(parts[2], known, 3) or known[:3]
        raise BadModel(
            f"backbone {text}: {library} has no such network; near are {', '.join(near)}"
        )
    if name.tag:
        tags = [model.split(".", 1)[1] for model in timm.list_pretrained(f"{name.architecture}.*")]
        if name.tag not in tags:
            raise BadModel(
                f"backbone {text}: timm has no such weights of it; "
                f"known are {', '.join(tags) or 'none'}"
            )
    return name


def parse_architecture(text: str) -> BackboneName:
    """Return the network that a model file names, such as `timm.densenet121`.

    Args:
        text: Library and architecture with a dot between.

    Raises:
        BadModel: It is no such name.
    """
    library, _, architecture = text.partition(".")
    if library not in (TIMM, TORCHVISION) or architecture not in _list_architectures(library):
        raise BadModel(f"trunk {text!r}: no network of timm or torchvision that is installed here")
    return BackboneName(library, architecture)


def _list_architectures(library: str) -> list[str]:
    if library == TIMM:
        import timm

        return timm.list_models()
    import torchvision

    return torchvision.models.list_models(module=torchvision.models)


def read_input(name: BackboneName) -> BackboneInput:
    """Return what a network takes, as its library says.

    Args:
        name: The network.
    """
    if name.library == TIMM:
        import timm

        tag = f".{name.tag}" if name.tag else ""
        config = timm.get_pretrained_cfg(f"{name.architecture}{tag}")
        if config is None:
            return BackboneInput(224, _IMAGENET_MEAN, _IMAGENET_STD)
        return BackboneInput(config.input_size[-1], tuple(config.mean), tuple(config.std))
    for weights in list_torchvision_weights(name):
        # Networks that detect or segment say no size; those that classify do.
        preset = weights.transforms()
        if hasattr(preset, "crop_size"):
            return BackboneInput(preset.crop_size[0], tuple(preset.mean), tuple(preset.std))
    return BackboneInput(224, _IMAGENET_MEAN, _IMAGENET_STD)


def list_torchvision_weights(name: BackboneName) -> list[Any]:
    """Return torchvision's weights of a network, its default first.

    Args:
        name: A network of torchvision's.
    """
    import torchvision

    known = torchvision.models.get_model_weights(name.architecture)
    default = getattr(known, "DEFAULT", None)
    return sorted(known, key=lambda weights: weights is not default)


def build_backbone(name: BackboneName) -> torch.nn.Module:
    """Return a network with random weights, in evaluation mode, to load weights into.

    Args:
        name: The network.

    Raises:
        BadModel: The library cannot build it alone.
    """
    import timm
    import torchvision

    try:
        if name.library == TIMM:
            return timm.create_model(name.architecture, pretrained=False).eval()
        # Their old initialization takes seconds, and the weights are replaced.
        has_init = name.architecture in ("inception_v3", "googlenet")
        # As torchvision sets it with weights of its own, which expect -1..1.
        options = {"init_weights": False, "transform_input": True} if has_init else {}
        return torchvision.models.get_model(name.architecture, weights=None, **options).eval()
    except (RuntimeError, ImportError, ValueError, TypeError) as error:
        raise BadModel(f"backbone {name}: {name.library} does not build it: {error}") from error
