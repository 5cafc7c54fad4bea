"""Find the weights of BlazePose in the package mediapipe, which is not ours to copy.

The package wants other versions of NumPy and protobuf than Airflow does. None of its code runs
here, so it is installed without what it depends on: `POSE_INSTALL` is the command.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from wearalike.models.files import BadModel, sha256_hex

POSE_VERSION = "blazepose-1"
POSE_INSTALL = "pip install --no-deps mediapipe==0.10.21"
_DISTRIBUTION = "mediapipe"
# Paths inside the package, and the SHA-256 that each file must have (Apache-2.0).
_PERSON = (
    "mediapipe/modules/pose_detection/pose_detection.tflite",
    "9ba9dd3d42efaaba86b4ff0122b06f29c4122e756b329d89dca1e297fd8f866c",
)
_LANDMARKS = (
    "mediapipe/modules/pose_landmark/pose_landmark_full.tflite",
    "e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f",
)


class MissingPoseWeights(BadModel):
    """The package with the weights is not installed, or has others. The text says what to do."""


@dataclass(frozen=True, slots=True)
class PoseWeights:
    """The verified files of both networks.

    Attributes:
        person: Finds the person.
        landmarks: Finds the person's landmarks.
    """

    person: Path
    landmarks: Path


def find_pose_weights() -> PoseWeights:
    """Return the files of both networks.

    Raises:
        MissingPoseWeights: The package is not installed, or a file is not the pinned one.
    """
    try:
        package = distribution(_DISTRIBUTION)
    except PackageNotFoundError as error:
        raise MissingPoseWeights(f"{_DISTRIBUTION} is not installed: {POSE_INSTALL}") from error
    paths = []
    for file, sha256 in (_PERSON, _LANDMARKS):
        path = Path(str(package.locate_file(file)))
        found = sha256_hex(path.read_bytes()) if path.is_file() else "no such file"
        if found != sha256:
            raise MissingPoseWeights(f"{path}: {found}, wanted sha256 {sha256}: {POSE_INSTALL}")
        paths.append(path)
    return PoseWeights(*paths)
