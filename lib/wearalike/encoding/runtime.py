"""Run a network on crops, on a CPU or a GPU, with the same numbers whatever is in a batch."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from wearalike.imaging import decode
from wearalike.models import registry
from wearalike.models.files import BadModel
from wearalike.models.kept_networks import LazyNetwork
from wearalike.models.precision import Precision
from wearalike.models.registry import BackboneSpec

if TYPE_CHECKING:
    import torch

_GPU_BATCH_SIZE = 64
# In bfloat16 a core reads weights more slowly than it multiplies, and four crops share a reading.
_CPU_BATCH_SIZES = {Precision.FLOAT32: 1, Precision.BFLOAT16: 4}


class InferenceRunner:
    """A network as a function from crops to rows of numbers.

    A row is the same to the last bit whatever else is in the batch. On a CPU each crop goes
    through alone, one on each core; in bfloat16 four on each. The cores then never wait for each
    other: this is faster than to share a batch, and many times faster on a machine with other load.
    Batches are of one size, the last one padded, because float sums depend on the batch size.
    """

    def __init__(
        self,
        name: str,
        network: torch.nn.Module | LazyNetwork,
        inputs: BackboneSpec,
        device: str = "cpu",
        precision: Precision = Precision.FLOAT32,
    ) -> None:
        """Prepare the network.

        Args:
            name: Name for messages.
            network: In evaluation mode, float32 (n, 3, side, side) -> float32 (n, d). A lazy one
                is built only if its converted form is not kept.
            inputs: Side, mean and standard deviation of its input.
            device: "cpu" or "cuda".
            precision: Precision of weights and maps on a CPU; a GPU computes in float32.

        Raises:
            BadModel: The device does not compute in that precision.
        """
        self._name = name
        self._inputs = inputs
        self._network: Callable[[NDArray[np.float32]], list[NDArray[np.float32]]]
        if device == "cuda":
            if precision is not Precision.FLOAT32:
                raise BadModel(
                    f"{name}: {precision} is for CPUs; on a GPU set "
                    'encoder_precision = "float32", or device = "cpu"'
                )
            self._batch_size = _GPU_BATCH_SIZE
            self._threads_count = 1
            forward = registry.compile_for_gpu(network)
            self._network = lambda batch: [run_in_halves(lambda part: forward(part)[0], batch)]
        else:
            self._batch_size = _CPU_BATCH_SIZES[precision]
            self._threads_count = len(os.sched_getaffinity(0))
            shape = (self._batch_size, 3, inputs.input_px, inputs.input_px)
            self._network = registry.compile_network(network, shape, self._threads_count, precision)

    def __call__(self, crops: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Run the network on crops.

        Args:
            crops: uint8 (height, width, 3) RGB each.

        Returns:
            float32 (n, d); row i is crop i.

        Raises:
            BadModel: Rows are not finite or hold one number everywhere, as broken weights give.
        """
        batches = [
            crops[start : start + self._batch_size]
            for start in range(0, max(1, len(crops)), self._batch_size)
        ]
        with ThreadPoolExecutor(self._threads_count) as cores:
            rows = np.concatenate(list(cores.map(self._run_batch, batches)))
        # Broken weights give numbers that are not finite on one engine, and equal ones on another.
        is_broken = ~np.isfinite(rows).all(axis=1) | (rows.std(axis=1) == 0)
        if is_broken.any():
            raise BadModel(
                f"{self._name}: {int(is_broken.sum())} of {len(rows)} crops give no features: "
                "not finite, or all equal"
            )
        return rows

    def _run_batch(self, crops: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Run one batch, padded to the batch size."""
        side = self._inputs.input_px
        batch = np.zeros((self._batch_size, side, side, 3), np.uint8)
        for i, crop in enumerate(crops):
            batch[i] = decode.letterbox(crop, side)
        pixels = registry.normalize_pixels(batch, self._inputs.mean, self._inputs.std)
        return self._network(pixels)[0][: len(crops)]


def feature_extractor(
    backbone: BackboneSpec, device: str = "cpu", precision: Precision = Precision.FLOAT32
) -> InferenceRunner:
    """Return a runner of a backbone's pooled features, float32 (n, features_count).

    Args:
        backbone: The backbone.
        device: "cpu" or "cuda".
        precision: Precision of weights and maps on a CPU.

    Raises:
        BadModel: Its weights are not the pinned ones, or the device lacks the precision.
    """
    network = registry.load_backbone(backbone)
    return InferenceRunner(backbone.name, network, backbone, device, precision)


def run_in_halves(
    forward: Callable[[NDArray[np.float32]], NDArray[np.float32]], batch: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Run a batch, split in halves as often as the GPU's memory requires.

    Args:
        forward: Returns a row for each row of a batch.
        batch: float32 (n, ...).

    Returns:
        Row i for row i of the batch.

    Raises:
        BadModel: The memory is too small for a single row.
    """
    import torch

    try:
        return forward(batch)
    except torch.OutOfMemoryError as error:
        if len(batch) == 1:
            raise BadModel(
                "the GPU has no memory for one crop: "
                f"end what else runs there, or use --device cpu: {error}"
            ) from error
    torch.cuda.empty_cache()
    middle = len(batch) // 2
    return np.concatenate(
        [run_in_halves(forward, part) for part in (batch[:middle], batch[middle:])]
    )
