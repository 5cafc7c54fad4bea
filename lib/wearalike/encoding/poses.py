"""Tell from where a picture shows who wears a thing: pose landmarks by BlazePose.

Bazarevsky et al., "BlazePose: On-device Real-time Body Pose tracking" (CVPR workshops 2020). One
network finds the person, another 33 landmarks of the body, in the picture and in metres.
Shoulders and hips tell the side that faces the camera.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wearalike.imaging import decode
from wearalike.models.pose_weights import POSE_VERSION, PoseWeights
from wearalike.models.runtime import compile_tflite
from wearalike.tables import ImageView

_PERSON_PX = 224
LANDMARKS_PX = 256
# Strides of the first network's maps; each cell has two anchors for each of its entries.
_ANCHOR_STRIDES_PX = (8, 16, 32, 32, 32)
# Where the person lies: the middle of the hips, and a point on the circle around the body.
_HIPS_VALUE, _CIRCLE_VALUE = slice(4, 6), slice(6, 8)
# The square around the person is this many times as wide as the circle, as mediapipe has it.
_SQUARE_RATIO = 1.25
# Landmarks of the network, of which the last six are its own; values of each.
_LANDMARKS_COUNT, _OWN_LANDMARKS_COUNT, _LANDMARK_VALUES = 33, 6, 5
_NOSE, _EARS, _SHOULDERS, _HIPS, _ANKLES = (0,), (7, 8), (11, 12), (23, 24), (27, 28)
# mediapipe's own limits for a person and for their landmarks.
_MIN_PERSON = 0.5
_MIN_LANDMARK = 0.5
# Cosine of the angle between the camera's plane and the line through shoulders, or hips.
_MIN_SHOULDERS_COSINE = 0.7
_MIN_HIPS_COSINE = 0.3


class BodyPose(NamedTuple):
    """Landmarks of a person.

    Attributes:
        person: How sure it is that there is a person, 0..1: the less sure of both networks.
        places: float64 (33, 2). x and y as shares of the picture; outside 0..1 beside it.
        seen: float64 (33,), 0..1. How likely a landmark is there and not hidden.
        metres: float64 (33, 3). x to the picture's right, y down, z away from the camera.
    """

    person: float
    places: NDArray[np.float64]
    seen: NDArray[np.float64]
    metres: NDArray[np.float64]


class PoseEstimator:
    """Both networks, on the CPU; a pose depends on its own picture alone."""

    version = POSE_VERSION
    side_px = LANDMARKS_PX

    def __init__(self, weights: PoseWeights) -> None:
        """Load the networks.

        Args:
            weights: Their files.

        Raises:
            BadModel: The engine cannot read them.
        """
        self._threads_count = len(os.sched_getaffinity(0))
        self._find_person = compile_tflite(weights.person, self._threads_count)
        self._find_landmarks = compile_tflite(weights.landmarks, self._threads_count)
        self._anchors = _list_anchors()

    def estimate(self, pictures: Sequence[NDArray[np.uint8]]) -> list[BodyPose]:
        """Return the pose of the surest person in each picture.

        Args:
            pictures: uint8 (height, width, 3) RGB each.
        """
        with ThreadPoolExecutor(self._threads_count) as cores:
            return list(cores.map(self._estimate_one, pictures))

    def _estimate_one(self, picture: NDArray[np.uint8]) -> BodyPose:
        """Return the pose in one picture."""
        height, width = picture.shape[:2]
        longer = max(height, width)
        square = _cut_square(picture, (width / 2, height / 2), longer, _PERSON_PX)
        boxes, logits = self._find_person(square[None].astype(np.float32) / 127.5 - 1)
        best = int(logits[0, :, 0].argmax())
        found = boxes[0, best].astype(np.float64) / _PERSON_PX
        offset = (width - longer) / 2, (height - longer) / 2
        hips, circle = (
            (found[values] + self._anchors[best]) * longer + offset
            for values in (_HIPS_VALUE, _CIRCLE_VALUE)
        )
        side = 2 * float(np.hypot(*(circle - hips))) * _SQUARE_RATIO
        side = min(max(side, longer / 8), 4 * longer)
        square = _cut_square(picture, (hips[0], hips[1]), side, LANDMARKS_PX)
        values, presence, *_, metres = self._find_landmarks(square[None].astype(np.float32) / 255)
        count = _LANDMARKS_COUNT + _OWN_LANDMARKS_COUNT
        landmarks = values.reshape(count, _LANDMARK_VALUES)[:_LANDMARKS_COUNT].astype(np.float64)
        places = (landmarks[:, :2] / LANDMARKS_PX - 0.5) * side + hips
        sure = min(float(presence.ravel()[0]), float(_sigmoid(logits[0, best, 0])))
        return BodyPose(
            sure,
            places / (width, height),
            _sigmoid(landmarks[:, 3]) * _sigmoid(landmarks[:, 4]),
            metres.reshape(count, 3)[:_LANDMARKS_COUNT].astype(np.float64),
        )


def tell_facing(pose: BodyPose) -> ImageView | None:
    """Return what a pose shows: a figure, a front or a back; None if it is not sure.

    Args:
        pose: A pose.

    Returns:
        FIGURE from head to foot and FRONT, both seen from the front; BACK.
    """
    if pose.person < _MIN_PERSON or not _are_inside(pose, _SHOULDERS):
        return None
    shoulders, hips = (_facing_cosine(pose, pair) for pair in (_SHOULDERS, _HIPS))
    has_head = _are_inside(pose, _NOSE + _EARS)
    # Legs cut at the chest look alike from both sides, so a back needs its head.
    if shoulders <= -_MIN_SHOULDERS_COSINE and hips <= -_MIN_HIPS_COSINE and has_head:
        return ImageView.BACK
    if shoulders < _MIN_SHOULDERS_COSINE or hips < _MIN_HIPS_COSINE:
        return None
    has_feet = _are_inside(pose, _ANKLES) and bool(
        (pose.seen[list(_ANKLES)] >= _MIN_LANDMARK).all()
    )
    return ImageView.FIGURE if has_head and has_feet else ImageView.FRONT


def _facing_cosine(pose: BodyPose, pair: tuple[int, ...]) -> float:
    """Return 1 if left and right side face the camera, -1 from behind, 0 from the side."""
    left, right = pose.metres[list(pair)]
    x, _, z = left - right
    return float(x / max(np.hypot(x, z), 1e-9))


def _are_inside(pose: BodyPose, landmarks: tuple[int, ...]) -> bool:
    """Return whether landmarks lie in the picture."""
    places = pose.places[list(landmarks)]
    return bool(((places >= 0) & (places <= 1)).all())


def _cut_square(
    picture: NDArray[np.uint8], centre: tuple[float, float], side: float, out_px: int
) -> NDArray[np.uint8]:
    """Return a square of a picture, black where it lies beside it.

    Args:
        picture: uint8 (height, width, 3).
        centre: x and y in px of the picture.
        side: Its side in px of the picture.
        out_px: The side in px of what is returned.

    Returns:
        uint8 (out_px, out_px, 3).
    """
    height, width = picture.shape[:2]
    scale = out_px / side
    left, top = centre[0] - side / 2, centre[1] - side / 2
    x0, y0 = max(0, int(np.floor(left))), max(0, int(np.floor(top)))
    x1, y1 = min(width, int(np.ceil(left + side))), min(height, int(np.ceil(top + side)))
    square = np.zeros((out_px, out_px, 3), np.uint8)
    if x0 >= x1 or y0 >= y1:
        return square
    to_x, to_y = (min(out_px - 1, round(max(0.0, at) * scale)) for at in (x0 - left, y0 - top))
    part = decode.resize(
        picture[y0:y1, x0:x1],
        min(out_px - to_x, max(1, round((x1 - x0) * scale))),
        min(out_px - to_y, max(1, round((y1 - y0) * scale))),
    )
    square[to_y : to_y + part.shape[0], to_x : to_x + part.shape[1]] = part
    return square


def _list_anchors() -> NDArray[np.float64]:
    """Return the middles of the first network's anchors as shares of its square, (2254, 2)."""
    anchors = []
    strides = list(dict.fromkeys(_ANCHOR_STRIDES_PX))
    for stride in strides:
        cells = _PERSON_PX // stride
        middles = (np.arange(cells) + 0.5) / cells
        y, x = np.meshgrid(middles, middles, indexing="ij")
        of_cell = 2 * _ANCHOR_STRIDES_PX.count(stride)
        anchors.append(np.stack([x, y], axis=2).reshape(-1, 2).repeat(of_cell, axis=0))
    return np.concatenate(anchors)


def _sigmoid(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the probabilities of logits, which are cut at ±80."""
    return 1 / (1 + np.exp(-np.clip(np.asarray(logits, np.float64), -80, 80)))
