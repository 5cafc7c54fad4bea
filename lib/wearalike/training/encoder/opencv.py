"""OpenCV, which draws the training views; it comes with the extra `evaluation`."""

from __future__ import annotations

from types import ModuleType

from wearalike.extras import explain_missing


def import_opencv() -> ModuleType:
    """Return cv2, set to one thread: a view is drawn on one core, several views on all.

    Raises:
        MissingExtra: OpenCV is not installed.
    """
    with explain_missing():
        import cv2
    cv2.setNumThreads(1)
    return cv2
