"""Networks on this machine: on which device, and compiled for its CPU."""

from __future__ import annotations

import contextlib
import copy
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from wearalike.models.files import BadModel

if TYPE_CHECKING:
    import torch


def resolve_device(wanted: str) -> str:
    """ "cpu" or "cuda": what "auto" comes to here. Raises BadModel where "cuda" is wanted and there is none."""
    import torch

    there = torch.cuda.is_available()
    if wanted == "cuda" and not there:
        raise BadModel("device cuda: torch sees no GPU; use --device cpu, or auto")
    return "cuda" if there and wanted != "cpu" else "cpu"


def compile_network(
    network: torch.nn.Module, shape: tuple[int, ...], streams_count: int
) -> Callable[[NDArray[np.float32]], list[NDArray[np.float32]]]:
    """A network compiled for this CPU: float32 of that shape -> its outputs, float32 each, in their order.

    network: in evaluation mode; a tensor in, a tensor or a flat tuple of tensors out. streams_count: threads that may call
    it at a time, each on a core of its own. Computed in float32 whatever the CPU offers (OpenVINO would take bfloat16
    where it can), so that the same pixels give the same numbers everywhere.
    """
    import torch

    with _disable_openvino_telemetry():
        import openvino
        from openvino.frontend import FrontEndManager
        from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    with warnings.catch_warnings():
        # The decoder uses torch's older tracer, which says that there is a newer one.
        warnings.simplefilter("ignore")
        # Traced once: to trace it again and compare is what tests are for, and took half of what it takes to make a network ready.
        decoder = TorchScriptPythonDecoder(
            network, example_input=torch.zeros(shape), trace_kwargs={"check_trace": False}
        )
        frontend = FrontEndManager().load_by_framework("pytorch")
        converted = frontend.convert(frontend.load(decoder))
    converted.reshape(list(shape))
    options = {
        "INFERENCE_PRECISION_HINT": "f32",
        "NUM_STREAMS": streams_count,
        "INFERENCE_NUM_THREADS": streams_count,
    }
    compiled = openvino.Core().compile_model(converted, "CPU", options)
    own = threading.local()

    def forward(batch: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        if not hasattr(own, "request"):
            own.request = compiled.create_infer_request()
        return [output.copy() for output in own.request.infer([batch]).to_tuple()]

    return forward


def normalize_pixels(squares: NDArray[np.uint8], mean: float, std: float) -> NDArray[np.float32]:
    """Squares, uint8 (n, side, side, 3), as a network takes them: float32 (n, 3, side, side), scaled to 0..1, less mean, by std."""
    # In place: what is new to memory costs five times the sums.
    made = squares.transpose(0, 3, 1, 2).astype(np.float32, order="C")
    made /= 255
    made -= mean
    made /= std
    return made


@contextlib.contextmanager
def _disable_openvino_telemetry() -> Iterator[None]:
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


def fold_batch_norm(network: torch.nn.Module) -> torch.nn.Module:
    """A copy of one of timm's networks in evaluation mode with every batch normalization folded into the convolution before it:
    nothing then depends on what shares a batch, in training either, and a step takes a quarter less time."""
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
