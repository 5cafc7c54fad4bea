"""Run a detection network on squares: on a CPU one at a time on each core, on a GPU in batches."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from wearalike.detection.networks.base import normalize_for_backbone
from wearalike.models import registry
from wearalike.models.files import Model
from wearalike.models.kept_networks import KeptNetwork, LazyNetwork

if TYPE_CHECKING:
    import torch

_GPU_BATCH_SIZE = 32


class SquareNetwork:
    """A compiled network; several threads may use it.

    Batches have one size, the last one padded, because float sums depend on it.

    Attributes:
        batch_size: Squares of a batch.
        run: The network as a function of float32 (batch_size, 3, side, side), -1..1.
    """

    def __init__(
        self,
        build: Callable[[], torch.nn.Module],
        model: Model,
        side_px: int,
        device: str,
        root: Path | None,
    ) -> None:
        """Compile the network.

        Args:
            build: Returns it in evaluation mode; called only if its converted form is not kept.
            model: The file that it is built from.
            side_px: Side of the squares.
            device: "cpu" or "cuda".
            root: The data folder, which keeps the converted network; None: nowhere.

        Raises:
            BadModel: The tensors do not fit.
        """
        self._version = model.version
        self.run: Callable[[NDArray[np.float32]], list[NDArray[np.float32]]]
        if device == "cuda":
            self.batch_size = _GPU_BATCH_SIZE
            self.run = registry.compile_for_gpu(build())
        else:
            self.batch_size = 1
            network = LazyNetwork(build, KeptNetwork.of_models(root, [model]))
            cores_count = len(os.sched_getaffinity(0))
            self.run = registry.compile_network(network, (1, 3, side_px, side_px), cores_count)

    def outputs(self, squares: NDArray[np.uint8]) -> Iterator[list[NDArray[np.float32]]]:
        """Yield the network's outputs for each square.

        Args:
            squares: uint8 (n, side, side, 3) RGB.

        Raises:
            BadModel: The network returns numbers that are not finite.
        """
        for start in range(0, len(squares), self.batch_size):
            part = squares[start : start + self.batch_size]
            batch = np.zeros((self.batch_size, *squares.shape[1:]), np.uint8)
            batch[: len(part)] = part
            outputs = self.run(normalize_for_backbone(batch))
            if not all(np.isfinite(o).all() for o in outputs):
                raise registry.BadModel(
                    f"detector {self._version}: its output holds numbers that are not finite"
                )
            for i in range(len(part)):
                yield [o[i] for o in outputs]
