"""Detectors behind one interface: an image in, boxes with classes and confidences out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from wearalike.detection import detect
from wearalike.detection.classes import CLASS_GROUPS, CLASS_NAMES
from wearalike.detection.networks import postprocess
from wearalike.detection.networks import registry as networks
from wearalike.models.files import Model

# Boxes are requested down to this confidence: average precision counts all of them.
MIN_CONFIDENCE = 0.01
# Class of a detector that names none, so that it is never right.
UNNAMED_CLASS = "unnamed"


@dataclass(frozen=True, slots=True)
class PhotoDetections:
    """Detections in one photo.

    Attributes:
        corners: float64 (n, 4). x0 y0 x1 y1 in px.
        classes: Class of each box, or UNNAMED_CLASS.
        confidences: float64 (n,), 0..1.
    """

    corners: NDArray[np.float64]
    classes: list[str]
    confidences: NDArray[np.float64]


class DetectorUnderTest(Protocol):
    """A detector to compare.

    Attributes:
        version: Its version.
        sha256: Hash of its model file; None if it has none.
    """

    version: str
    sha256: str | None

    def detect(self, image: NDArray[np.uint8]) -> PhotoDetections:
        """Detect garments.

        Args:
            image: uint8 (h, w, 3).

        Returns:
            Boxes, classes and confidences.
        """
        ...


class GarmentDetectorAdapter:
    """A trained detector, which names the garment in each box."""

    def __init__(self, model: Model, device: str = "cpu") -> None:
        """Load the network.

        Args:
            model: The detector's model file.
            device: "cpu" or "cuda".

        Raises:
            BadModel: The model is no such detector.
        """
        self.version = model.version
        self.sha256: str | None = model.sha256
        self._classes = model.classes
        self._network = networks.load_detection_network(model, device)
        self._groups = np.array(
            [int(CLASS_GROUPS[CLASS_NAMES.index(name)]) for name in model.classes]
        )

    def detect(self, image: NDArray[np.uint8]) -> PhotoDetections:
        """Detect garments; see DetectorUnderTest."""
        (found,) = postprocess.detect_garments(self._network, [image], MIN_CONFIDENCE, self._groups)
        classes = [self._classes[c] for c in found.classes.tolist()]
        return PhotoDetections(found.boxes, classes, found.confidences)


class ClassAgnosticDetectorAdapter:
    """A detector of the nightly run that needs no weights and names nothing."""

    def __init__(self, detector: detect.Detector) -> None:
        """Wrap a detector.

        Args:
            detector: The detector.
        """
        self.version = detector.version
        self.sha256: str | None = None
        self._detector = detector

    def detect(self, image: NDArray[np.uint8]) -> PhotoDetections:
        """Detect things; see DetectorUnderTest."""
        (boxes,) = self._detector.detect([image])
        corners = np.array([(b.x0, b.y0, b.x1, b.y1) for b in boxes], np.float64).reshape(-1, 4)
        confidences = np.array([box.confidence for box in boxes])
        return PhotoDetections(corners, [UNNAMED_CLASS] * len(boxes), confidences)
