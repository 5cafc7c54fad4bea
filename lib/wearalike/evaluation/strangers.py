"""Tell which sets an encoder was trained on: a set is a shop, and only a strange one tests it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from wearalike.datasets import layouts
from wearalike.models.registry import EFFICIENTNET_LITE0

# Names of the packaged models' training sets, where their cards do not list them one by one.
_CLOTHING, _MYNTRA, _STREET = "clothing", "myntra", "street"
_LIKENESS_SETS = frozenset({_MYNTRA, _CLOTHING, _STREET, "hm", "tops", "myntra2"})
_PACKAGED_SETS = {
    "imagenet-itq-1": frozenset({_MYNTRA, _CLOTHING}),
    "fashion-2": frozenset({_MYNTRA, _CLOTHING, _STREET}),
    "fashion-3": frozenset({_MYNTRA, _CLOTHING, _STREET}),
    "fashion-4": frozenset({_MYNTRA, _CLOTHING, _STREET}),
    "likeness-1": _LIKENESS_SETS,
    "likeness-2": _LIKENESS_SETS,
}
# A public set is the same whatever its folder is called.
_PUBLIC_SETS = {
    layouts.FASHION_PRODUCT_IMAGES: _MYNTRA,
    layouts.CLOTHING_DATASET: _CLOTHING,
    layouts.CCP: _STREET,
}
# A card says this of a public network's weights that a library's cache held.
CACHED_WEIGHTS = "cache"


class SetOrigin(StrEnum):
    """Relation of a set to an encoder's training."""

    HOME = "home"
    NEVER_SEEN = "never seen"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class TrainingSets:
    """The sets that an encoder learned from.

    Attributes:
        names: Names of their folders.
        is_complete: False if it may have learned from others, too.
    """

    names: frozenset[str] = frozenset()
    is_complete: bool = True

    def origin_of(self, kind: str, name: str) -> SetOrigin:
        """Tell what a set is to the encoder.

        Args:
            kind: Kind of the set.
            name: Name of its folder.
        """
        if self.names & {name, _PUBLIC_SETS.get(kind, name)}:
            return SetOrigin.HOME
        return SetOrigin.NEVER_SEEN if self.is_complete else SetOrigin.UNKNOWN


def training_sets(version: str, card: Mapping[str, Any]) -> TrainingSets:
    """Read from a model's card what it learned from, the model that it began as included.

    Args:
        version: Version of the model.
        card: Its card; `data` holds the sets by name, `recipe.begin` the former version.

    Returns:
        The sets. They are not complete if the card lists none, or if the beginning is unknown.
    """
    data = card.get("data")
    if version in _PACKAGED_SETS:
        return TrainingSets(_PACKAGED_SETS[version])
    if not isinstance(data, (Mapping, list)):
        return TrainingSets(is_complete=False)
    # A card may name a public set by its kind.
    names = frozenset(_PUBLIC_SETS.get(str(name), str(name)) for name in data)
    recipe = card.get("recipe")
    begin = recipe.get("begin") if isinstance(recipe, Mapping) else None
    if begin is None or begin == EFFICIENTNET_LITE0.name or _has_cached_backbone(recipe):
        return TrainingSets(names)
    former = _PACKAGED_SETS.get(str(begin))
    return TrainingSets(names | (former or frozenset()), is_complete=former is not None)


def _has_cached_backbone(recipe: Any) -> bool:
    """Return whether a training began with public weights, which have seen no shop's set."""
    backbone = recipe.get("backbone")
    return isinstance(backbone, Mapping) and backbone.get("weights") == CACHED_WEIGHTS
