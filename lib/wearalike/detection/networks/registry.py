"""The architectures of detection networks, by the names that model files hold.

Each class is imported when it is first wanted: torch, and for YOLO Ultralytics, load slowly.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from wearalike.detection.networks.base import DetectionNetwork, TrainableDetector
from wearalike.models.files import BadModel, Model

YOLO = "yolo-lite0-seg"
MASK_RCNN = "mask-rcnn-lite0"
FCOS = "fcos-lite0"
ARCHITECTURES = (FCOS, YOLO, MASK_RCNN)


class UltralyticsMissing(BadModel, ImportError):
    """A detector of the architecture YOLO is wanted, and Ultralytics cannot be imported."""


@contextlib.contextmanager
def _needing_ultralytics(name: str) -> Iterator[None]:
    """Raise UltralyticsMissing, which says what to install, in place of an ImportError."""
    try:
        yield
    except ImportError as error:
        raise UltralyticsMissing(
            f"{name} needs Ultralytics, which cannot be imported here ({error}); "
            "pip install wearalike[yolo] (AGPL-3.0) and apt-get install libgl1, "
            f"or take a detector of {FCOS}"
        ) from error


def load_detection_network(
    model: Model, device: str = "cpu", root: Path | None = None
) -> DetectionNetwork:
    """Return the network of a model file, ready to detect.

    Args:
        model: A detector's model file.
        device: "cpu" or "cuda".
        root: The data folder, which keeps the converted network for the next job; None: nowhere.

    Raises:
        BadModel: The architecture is unknown, or the tensors do not fit it.
        UltralyticsMissing: The architecture needs it.
    """
    if model.architecture == FCOS:
        from wearalike.detection.networks.fcos_inference import FcosInference

        return FcosInference(model, device, root)
    if model.architecture == YOLO:
        with _needing_ultralytics(f"detector {model.version}"):
            from wearalike.detection.networks.yolo import YoloInference

            return YoloInference(model, device, root)
    if model.architecture == MASK_RCNN:
        from wearalike.detection.networks.mask_rcnn import MaskRcnnInference

        return MaskRcnnInference(model, device)
    known = ", ".join(ARCHITECTURES)
    raise BadModel(
        f"detector {model.version}: architecture {model.architecture!r}, known are {known}"
    )


def new_trainable_detector(
    architecture: str, classes_count: int, device: str = "cpu"
) -> TrainableDetector:
    """Return a network to train, its backbone with the weights of ImageNet.

    Args:
        architecture: One of ARCHITECTURES.
        classes_count: How many classes it is to tell apart.
        device: "cpu" or "cuda".

    Raises:
        BadModel: The architecture is unknown, or the backbone's weights are not the pinned ones.
        UltralyticsMissing: The architecture needs it.
    """
    if architecture == FCOS:
        from wearalike.detection.networks.fcos_training import TrainableFcos

        return TrainableFcos(classes_count, device)
    if architecture == YOLO:
        with _needing_ultralytics(f"architecture {architecture}"):
            from wearalike.detection.networks.yolo_training import TrainableYolo

            return TrainableYolo(classes_count, device)
    if architecture == MASK_RCNN:
        from wearalike.detection.networks.mask_rcnn import TrainableMaskRcnn

        return TrainableMaskRcnn(classes_count, device)
    raise BadModel(f"architecture {architecture!r}, known are {', '.join(ARCHITECTURES)}")
