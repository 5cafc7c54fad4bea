"""Choose a network's device, compile it for the CPU, and scale its input."""

from __future__ import annotations

import contextlib
import copy
import ctypes
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from wearalike.models.files import BadModel
from wearalike.models.kept_networks import LazyNetwork
from wearalike.models.precision import Precision

if TYPE_CHECKING:
    import openvino
    import torch


def resolve_device(wanted: str) -> str:
    """Return the device to use: "cpu" or "cuda".

    Args:
        wanted: "auto", "cpu" or "cuda".

    Raises:
        BadModel: "cuda" is wanted and torch sees no GPU.
    """
    there = False
    if wanted == "cuda" or (wanted == "auto" and _has_gpu_driver()):
        import torch

        there = torch.cuda.is_available()
    if wanted == "cuda" and not there:
        raise BadModel("device cuda: torch sees no GPU; use --device cpu, or auto")
    return "cuda" if there and wanted != "cpu" else "cpu"


def _has_gpu_driver() -> bool:
    """Return whether a GPU's driver is there: without one torch, slow to import, sees no GPU."""
    if Path("/dev/kfd").exists():  # AMD's
        return True
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


def compile_network(
    network: torch.nn.Module | LazyNetwork,
    shape: tuple[int, ...],
    streams_count: int,
    precision: Precision = Precision.FLOAT32,
) -> Callable[[NDArray[np.float32]], list[NDArray[np.float32]]]:
    """Compile a network for this CPU with OpenVINO.

    It computes in float32 unless told otherwise (by default OpenVINO takes bfloat16 if it can), so
    that the same pixels give the same numbers everywhere.

    Args:
        network: In evaluation mode, one tensor to a tensor or a flat tuple of tensors. A lazy one
            is built only if its converted form is not kept.
        shape: Shape of the input.
        streams_count: How many threads may call it at a time, each on a core of its own.
        precision: Precision of weights and maps.

    Returns:
        A function from float32 of that shape to the outputs in order, float32 each.

    Raises:
        BadModel: This CPU does not compute in that precision.
    """
    with _disable_openvino_telemetry():
        import openvino

    core = openvino.Core()
    if precision is Precision.BFLOAT16 and "BF16" not in core.get_property(
        "CPU", "OPTIMIZATION_CAPABILITIES"
    ):
        # It would emulate bfloat16, three times as slowly as it computes in float32.
        raise BadModel(
            'precision bfloat16: not of this processor; set encoder_precision = "float32"'
        )
    if not isinstance(network, LazyNetwork):
        return _compile(_convert(network, shape), streams_count, precision)
    converted = network.kept.read(shape, core) if network.kept else None
    if converted is None:
        converted = _convert(network.build(), shape)
        if network.kept:
            network.kept.write(shape, converted)
            # The first job computes with what the next one will read.
            converted = network.kept.read(shape, core) or converted
    return _compile(converted, streams_count, precision)


def _convert(network: torch.nn.Module, shape: tuple[int, ...]) -> openvino.Model:
    """Convert a network for inputs of a shape."""
    with _disable_openvino_telemetry():
        from openvino.frontend import FrontEndManager
        from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    decoder = TorchScriptPythonDecoder(_trace_function(network, shape))
    frontend = FrontEndManager().load_by_framework("pytorch")
    converted = frontend.convert(frontend.load(decoder))
    converted.reshape(list(shape))
    return converted


def compile_for_gpu(
    network: torch.nn.Module | LazyNetwork, device: str = "cuda"
) -> Callable[[NDArray[np.float32]], list[NDArray[np.float32]]]:
    """Return a network as a function on a GPU, which computes in float32 as the CPU does.

    By default PyTorch lets cuDNN round the factors of convolutions to the 10 bits of TF32. Codes of
    the two devices then differ in bits that no version tells apart. This is switched off for the
    process, and algorithms are chosen that give the same numbers each time.

    Args:
        network: Takes float32 (n, 3, side, side); returns a tensor or a sequence of them.
        device: Name of a torch device.

    Returns:
        A function of such a batch, in NumPy's arrays.
    """
    import torch

    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.deterministic = True
    built = network.build() if isinstance(network, LazyNetwork) else network
    there = built.to(device).to(memory_format=torch.channels_last)

    def forward(batch: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        pictures = torch.from_numpy(batch).to(device)
        with torch.inference_mode():
            outputs = there(pictures.contiguous(memory_format=torch.channels_last))
        tensors = [outputs] if isinstance(outputs, torch.Tensor) else outputs
        return [tensor.cpu().numpy() for tensor in tensors]

    return forward


def compile_tflite(path: Path, streams_count: int) -> Callable[..., list[NDArray[np.float32]]]:
    """Compile a TensorFlow Lite network for this CPU with OpenVINO, in float32.

    Args:
        path: The verified file.
        streams_count: How many threads may call it at a time, each on a core of its own.

    Returns:
        A function from float32 of the input's shape to the outputs in order, float32 each.

    Raises:
        BadModel: OpenVINO does not know an operation of it.
    """
    with _disable_openvino_telemetry():
        import openvino

    try:
        return _compile(openvino.Core().read_model(path), streams_count, Precision.FLOAT32)
    except RuntimeError as error:
        raise BadModel(f"{path}: OpenVINO cannot read it: {error}") from error


def _compile(
    network: openvino.Model, streams_count: int, precision: Precision
) -> Callable[..., list[Any]]:
    """Return a network as a function for several threads."""
    with _disable_openvino_telemetry():
        import openvino

    options = {
        "INFERENCE_PRECISION_HINT": "bf16" if precision is Precision.BFLOAT16 else "f32",
        "NUM_STREAMS": streams_count,
        "INFERENCE_NUM_THREADS": streams_count,
    }
    compiled = openvino.Core().compile_model(network, "CPU", options)
    own = threading.local()

    def forward(batch: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        if not hasattr(own, "request"):
            own.request = compiled.create_infer_request()
        return [output.copy() for output in own.request.infer([batch]).to_tuple()]

    return forward


def _trace_function(network: torch.nn.Module, shape: tuple[int, ...]) -> torch.jit.ScriptFunction:
    """Trace a network as one function with its weights as constants.

    A traced module would be a module of TorchScript for each layer: half of the tracer's time.
    """
    import torch

    taught = [weights for weights in network.parameters() if weights.requires_grad]
    has_fast_attention = torch.backends.mha.get_fastpath_enabled()
    try:
        for weights in taught:
            weights.requires_grad_(False)  # a constant has no gradient
        # Attention has a shortcut for networks without gradients, which OpenVINO does not know.
        torch.backends.mha.set_fastpath_enabled(False)
        with warnings.catch_warnings():
            # This older tracer warns that there is a newer one.
            warnings.simplefilter("ignore")
            # No second trace to compare with: tests do that.
            return torch.jit.trace(
                lambda inputs: network(inputs), torch.zeros(shape), check_trace=False
            )
    finally:
        torch.backends.mha.set_fastpath_enabled(has_fast_attention)
        for weights in taught:
            weights.requires_grad_(True)


def normalize_pixels(squares: NDArray[np.uint8], mean: float, std: float) -> NDArray[np.float32]:
    """Scale squares to a network's input.

    Args:
        squares: uint8 (n, side, side, 3) RGB.
        mean: Subtracted after scaling to 0..1.
        std: Divides the difference.

    Returns:
        float32 (n, 3, side, side).
    """
    # In place: to allocate new memory costs five times the arithmetic.
    pixels = squares.transpose(0, 3, 1, 2).astype(np.float32, order="C")
    pixels /= 255
    pixels -= mean
    pixels /= std
    return pixels


@contextlib.contextmanager
def _disable_openvino_telemetry() -> Iterator[None]:
    """Set CI=true: else OpenVINO's import keeps a user id in HOME and reports its use."""
    before = os.environ.get("CI")
    os.environ["CI"] = "true"
    try:
        yield
    finally:
        if before is None:
            del os.environ["CI"]
        else:
            os.environ["CI"] = before


def fold_batch_norm(network: torch.nn.Module) -> torch.nn.Module:
    """Copy a network with each batch normalization folded into the convolution before it.

    No output then depends on the rest of the batch, in training either, and a training step takes
    a quarter less time.

    Args:
        network: One of timm's networks, in evaluation mode.
    """
    from timm.layers import BatchNormAct2d
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    made = copy.deepcopy(network)
    for module in list(made.modules()):
        for (before, convolution), (name, child) in pairwise(list(module.named_children())):
            if isinstance(child, BatchNormAct2d):
                setattr(
                    module, before, fuse_conv_bn_eval(cast("torch.nn.Conv2d", convolution), child)
                )
                setattr(module, name, child.act)
    return made
