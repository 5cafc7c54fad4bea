"""From a version in the cache back to the descriptor that made it, so that it describes a photo."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wearalike.evaluation.descriptors import base, fitted
from wearalike.evaluation.descriptors.base import FeatureRows
from wearalike.evaluation.descriptors.networks import NETWORKS
from wearalike.models import registry
from wearalike.models.files import BadModel, ModelKind, read_model
from wearalike.settings import Settings

# Versions that are computed without a model file of the user's, with the encoder's name.
ENCODER_OF_VERSION = {
    "hsv-1": "hsv",
    "contour-1": "contour",
    "corners-1": "corners",
    "phash-1": "phash",
    registry.EFFICIENTNET_LITE0.name: "efficientnet-lite0",
}


class DescriberPool:
    """The descriptors of a deployment, each loaded when it is first asked for; threads share them.

    Args:
        settings: Name the data folder, the device, and files of weights.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._loaded: dict[str, base.Descriptor] = {}
        self._lock = threading.Lock()

    def describe(self, version: str, crops: Sequence[NDArray[np.uint8]]) -> FeatureRows:
        """Describe crops as a version of cached descriptors does.

        Args:
            version: The version.
            crops: uint8 (height, width, 3) each.

        Returns:
            Row i describes crop i.

        Raises:
            BadModel: Nothing of that version can be loaded.
        """
        # Networks take one batch at a time: two at once would each take twice as long.
        with self._lock:
            if version not in self._loaded:
                self._loaded[version] = self._load(version)
            return self._loaded[version].describe(crops)

    def _load(self, version: str) -> base.Descriptor:
        root, named = self._settings.data_dir, self._settings.encoder_weights()
        device = registry.resolve_device(self._settings.device)
        for name, weights in self._candidate_names(version).items():
            descriptor = fitted.load_kept(root, name, device, weights or named.get(name))
            if descriptor.version == version:
                return descriptor
        try:
            path = registry.find_by_version(root, ModelKind.ENCODER, version).path
        except BadModel as error:
            raise BadModel(
                f"{version}: what described with it is not here any more, so no photo can be"
            ) from error
        return base.load_descriptor(str(path), device)

    def _candidate_names(self, version: str) -> dict[str, Path | None]:
        """Return the names that may describe as the version, with a file of weights or None."""
        if version in ENCODER_OF_VERSION:
            return {ENCODER_OF_VERSION[version]: None}
        if version == base.SideBySideDescriptor.version:
            return {base.SIDE_BY_SIDE: None}
        files = [name for name in self._settings.compared_encoders if name.endswith(".safetensors")]
        if own := [file for file in files if _is_of_version(Path(file), version)]:
            return dict.fromkeys(own)
        names = [*NETWORKS, *base.FITTED_NAMES]
        return {name: None for name in names if version.startswith(f"{name}-")}


def _is_of_version(path: Path, version: str) -> bool:
    try:
        return read_model(path).version == version
    except BadModel:
        return False
