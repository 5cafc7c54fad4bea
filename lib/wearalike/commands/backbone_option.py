"""The option `--backbone`: a public network with the user's weights as an encoder's trunk."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from wearalike.encoding import likeness_net
from wearalike.encoding.backbone_trunk import BackboneTrunk
from wearalike.evaluation import strangers
from wearalike.models.backbone_weights import read_backbone_weights
from wearalike.models.backbones import parse_backbone

log = logging.getLogger("wearalike.train_encoder")


@dataclass(frozen=True, slots=True)
class Backbone:
    """A public network that a training starts from.

    Attributes:
        trunk: the network, with its weights.
        sha256: hash of the file of weights.
        is_cached: the weights are those that its library names, not a file of the user's.
    """

    trunk: BackboneTrunk
    sha256: str
    is_cached: bool

    def as_card(self) -> dict[str, object]:
        """Return what a model's card says of it."""
        return {
            "library": self.trunk.name.library,
            "weights": strangers.CACHED_WEIGHTS if self.is_cached else "file",
            "sha256": self.sha256,
            "input_px": int(self.trunk.input_px.item()),
        }


def load_backbone(name: str, weights: Path | None) -> Backbone:
    """Return a public network with its weights.

    Args:
        name: of timm, or `torchvision:` and one of torchvision's.
        weights: file of its weights; None: from the user's cache.

    Raises:
        BadModel: there are no weights, they do not fit, or nothing was ever taught to them.
    """
    found, state = read_backbone_weights(parse_backbone(name), weights)
    trunk = BackboneTrunk.from_weights(found, state)
    places = ", ".join(f"{place.layer} ({place.channels})" for place in trunk.places)
    log.info("backbone %s of %s, read at %s", found, state.path, places)
    return Backbone(trunk, state.sha256, is_cached=weights is None)


def choose_architecture(backbone: Backbone | None) -> str:
    """Return the architecture of a model file that starts anew.

    Args:
        backbone: its trunk; None: the packaged one.
    """
    if backbone is None:
        return likeness_net.ARCHITECTURE
    return likeness_net.architecture_of(backbone.trunk)
