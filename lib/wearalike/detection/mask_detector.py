"""A detector of the item that a picture is of, by the mask head of the encoder likeness-1.

We trained it on the trunk EfficientNet-Lite0 (Apache-2.0). It needs no extra, and names nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wearalike.detection.detectors import MASK_DETECTOR_VERSION, Box
from wearalike.detection.networks.postprocess import Letterbox
from wearalike.encoding import likeness_net
from wearalike.encoding.item_describer import MASK_PX, downsample_for_mask
from wearalike.imaging import decode
from wearalike.models import registry
from wearalike.models.files import BadModel, ModelKind
from wearalike.models.registry import EFFICIENTNET_LITE0

# The packaged encoder whose mask head it is.
_ENCODER = "likeness"


class MaskDetector:
    """Takes the pixels that belong to the item as the item, even on busy ground and on people.

    Where the mask is empty, the item is the whole picture, with confidence 0.
    """

    version = MASK_DETECTOR_VERSION
    side_px = EFFICIENTNET_LITE0.input_px

    def __init__(self, device: str = "cpu") -> None:
        """Load the network.

        Args:
            device: "cpu" or "cuda".

        Raises:
            BadModel: The packaged file is not the pinned one.
        """
        arrays = registry.packaged_model(ModelKind.ENCODER, _ENCODER).read().arrays
        network = _MaskNet(likeness_net.load_likeness_net(arrays)).eval()
        self._forward: Callable[[NDArray[np.float32]], list[NDArray[np.float32]]]
        if device == "cuda":
            self._forward = _gpu_forward(network)
        else:
            shape = (1, 3, self.side_px, self.side_px)
            cores_count = len(os.sched_getaffinity(0))
            self._forward = registry.compile_network(network, shape, cores_count)

    def detect(self, images: Sequence[NDArray[np.uint8]]) -> list[list[Box]]:
        """Return one box for each picture, see Detector."""
        return [[self._box(image)] for image in images]

    def _box(self, image: NDArray[np.uint8]) -> Box:
        """Return the box of the mask; confidence is the mean probability in the mask."""
        height, width = image.shape[:2]
        square = decode.letterbox(image, self.side_px)
        pixels = registry.normalize_pixels(
            square[None], EFFICIENTNET_LITE0.mean, EFFICIENTNET_LITE0.std
        )
        probabilities = self._forward(pixels)[0][0, 0]
        if not np.isfinite(probabilities).all():
            raise BadModel(f"{self.version}: its output holds numbers that are not finite")
        mask = probabilities > 0.5
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if not len(rows):
            return Box(0, 0, width, height, 0.0)
        step = self.side_px / MASK_PX
        ends = np.array([[columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]], np.float64)
        fit = Letterbox.of(height, width, self.side_px)
        ((x0, y0, x1, y1),) = fit.to_picture(ends * step).tolist()
        box = (int(x0), int(y0), int(np.ceil(x1)), int(np.ceil(y1)))
        # The mask may lie on the white beside the picture alone.
        if min(box[2] - box[0], box[3] - box[1]) < 1:
            return Box(0, 0, width, height, 0.0)
        return Box(*box, float(probabilities[mask].mean()))


class _MaskNet(nn.Module):
    """Pictures (n, 3, 224, 224), -1..1, to probabilities of the mask, (n, 1, 28, 28)."""

    def __init__(self, network: likeness_net.LikenessNet) -> None:
        super().__init__()
        trunk = network.trunk
        self.stage2 = nn.Sequential(trunk.stage1, trunk.stage2)
        self.stage3 = trunk.stage3
        self.stage4 = trunk.stage4
        self.mask = network.describer.mask

    def forward(self, pictures: Tensor) -> Tensor:
        """Return the probabilities."""
        stage2 = self.stage2(pictures)
        stage3 = self.stage3(stage2)
        logits: Tensor = self.mask(
            stage2, stage3, self.stage4(stage3), downsample_for_mask(pictures)
        )
        return logits.sigmoid()


def _gpu_forward(
    network: nn.Module,
) -> Callable[[NDArray[np.float32]], list[NDArray[np.float32]]]:
    """Return the network as a function on the GPU."""
    on_gpu = network.to("cuda")

    def forward(batch: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        with torch.inference_mode():
            return [on_gpu(torch.from_numpy(batch).to("cuda")).cpu().numpy()]

    return forward
