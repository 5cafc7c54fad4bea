"""Poses tell fronts, backs and whole figures, and say nothing where they are not sure."""

import re
from pathlib import Path

import matplotlib
import numpy as np
import pytest

from wearalike.encoding import poses
from wearalike.encoding.views import merge_facing
from wearalike.imaging import decode
from wearalike.models import pose_weights
from wearalike.models.runtime import compile_tflite
from wearalike.tables import ImageView

BACK, FIGURE, FRONT = ImageView.BACK, ImageView.FIGURE, ImageView.FRONT


def standing(turn_degrees: float = 0.0) -> poses.BodyPose:
    """The pose of somebody who stands whole in the picture, turned to the left by some degrees."""
    places = np.full((33, 2), 0.5)
    metres = np.zeros((33, 3))
    turn = np.radians(turn_degrees)
    for left, right, y, half_m in ((7, 8, 0.1, 0.08), (11, 12, 0.2, 0.18), (23, 24, 0.5, 0.12)):
        for landmark, sign in ((left, 1), (right, -1)):
            metres[landmark] = sign * half_m * np.cos(turn), y, sign * half_m * np.sin(turn)
            places[landmark] = 0.5 + sign * half_m * np.cos(turn) / 2, y
    places[[27, 28], 1] = 0.95
    return poses.BodyPose(0.9, places, np.ones(33), metres)


def without(pose: poses.BodyPose, landmarks: list[int], y: float) -> poses.BodyPose:
    """The same pose where the picture ends before some landmarks."""
    places = pose.places.copy()
    places[landmarks, 1] = y
    return pose._replace(places=places)


@pytest.mark.parametrize(
    ("turn_degrees", "shown"),
    [(0, FIGURE), (30, FIGURE), (60, None), (90, None), (120, None), (150, BACK), (180, BACK)],
)
def test_shoulders_and_hips_tell_the_side_and_a_side_view_is_neither(turn_degrees, shown):
    assert poses.tell_facing(standing(turn_degrees)) == shown
    assert poses.tell_facing(standing(-turn_degrees)) == shown


def test_a_figure_is_whole_and_a_back_has_its_head():
    front, back = standing(), standing(180)
    head, feet, shoulders = [0, 7, 8], [27, 28], [11, 12]
    assert poses.tell_facing(without(front, feet, 1.1)) == FRONT
    assert poses.tell_facing(without(front, head, -0.1)) == FRONT
    assert poses.tell_facing(without(back, feet, 1.1)) == BACK
    # Jeans cut at the chest: the network guesses what is not in the picture.
    assert poses.tell_facing(without(back, head, -0.1)) is None
    assert poses.tell_facing(without(front, head + shoulders, -0.1)) is None
    hidden = front.seen.copy()
    hidden[27] = 0.3
    assert poses.tell_facing(front._replace(seen=hidden)) == FRONT
    assert poses.tell_facing(front._replace(person=0.4)) is None


def test_hips_that_contradict_the_shoulders_tell_nothing():
    front, back = standing(), standing(180)
    metres = front.metres.copy()
    metres[[23, 24]] = back.metres[[23, 24]]
    assert poses.tell_facing(front._replace(metres=metres)) is None


@pytest.mark.parametrize(
    ("view", "facing", "merged"),
    [
        (FRONT, BACK, BACK),
        (FIGURE, BACK, BACK),
        (FRONT, FIGURE, FIGURE),
        (FIGURE, FRONT, FIGURE),
        (None, FIGURE, FIGURE),
        (None, FRONT, FRONT),
        # A hoodie on nobody has shoulders, too.
        (None, BACK, None),
        (ImageView.FLAT, BACK, ImageView.FLAT),
        (ImageView.FLAT, FIGURE, ImageView.FLAT),
        (ImageView.DETAIL, FRONT, ImageView.DETAIL),
        (FRONT, None, FRONT),
        (None, None, None),
    ],
)
def test_a_pose_speaks_only_where_the_encoder_does_not_see_a_flat_thing(view, facing, merged):
    assert merge_facing(view, facing) == merged


def test_weights_that_are_not_there_are_named_with_the_command_that_brings_them(monkeypatch):
    monkeypatch.setattr(pose_weights, "_DISTRIBUTION", "no-such-package")
    command = re.escape("pip install --no-deps mediapipe==0.10.21")
    with pytest.raises(pose_weights.MissingPoseWeights, match=f"not installed: {command}"):
        pose_weights.find_pose_weights()


def test_weights_of_another_version_are_refused(tmp_path, monkeypatch):
    place = tmp_path / "other_mediapipe-2.dist-info"
    place.mkdir()
    (place / "METADATA").write_text("Metadata-Version: 2.1\nName: other-mediapipe\nVersion: 2\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(pose_weights, "_DISTRIBUTION", "other-mediapipe")
    with pytest.raises(pose_weights.MissingPoseWeights, match=r"no such file, wanted sha256 9ba9"):
        pose_weights.find_pose_weights()
    file = tmp_path / "mediapipe" / "modules" / "pose_detection" / "pose_detection.tflite"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"newer")
    with pytest.raises(pose_weights.MissingPoseWeights, match=r"tflite: [0-9a-f]{64}, wanted"):
        pose_weights.find_pose_weights()


def test_a_file_that_is_no_network_is_refused(tmp_path):
    path = tmp_path / "pose.tflite"
    path.write_bytes(b"not a network")
    with pytest.raises(pose_weights.BadModel, match=r"pose\.tflite: OpenVINO cannot read it"):
        compile_tflite(path, 1)


# With the real networks


@pytest.fixture(scope="module")
def estimator() -> poses.PoseEstimator:
    try:
        return poses.PoseEstimator(pose_weights.find_pose_weights())
    except pose_weights.MissingPoseWeights as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def portrait() -> np.ndarray:
    """A photo that comes with Matplotlib: Grace Hopper from the front, to the waist."""
    path = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
    return decode.decode_image(path.read_bytes())


def test_a_portrait_is_a_front_with_its_left_shoulder_at_the_right(estimator, portrait):
    (pose,) = estimator.estimate([portrait])
    assert poses.tell_facing(pose) == FRONT and pose.person > 0.7
    # Her nose and shoulders lie there to the eye.
    assert pose.places[0] == pytest.approx([0.51, 0.42], abs=0.04)
    assert pose.places[11] == pytest.approx([0.85, 0.69], abs=0.07)
    assert pose.places[12] == pytest.approx([0.21, 0.67], abs=0.07)


def test_a_pose_does_not_depend_on_company_or_on_where_the_person_stands(estimator, portrait):
    ground = np.full((*portrait.shape[:2], 3), 255, np.uint8)
    aside = np.concatenate([ground, portrait], axis=1)
    alone, *_, beside = estimator.estimate([portrait, ground, aside])
    again = estimator.estimate([aside, portrait])[1]
    assert all(np.array_equal(a, b) for a, b in zip(alone, again, strict=True))
    assert poses.tell_facing(beside) == FRONT
    assert beside.places[0] == pytest.approx([0.5 + 0.51 / 2, 0.42], abs=0.05)


def test_pictures_without_anybody_tell_nothing(estimator):
    noise = np.random.default_rng(1).integers(0, 256, (40, 90, 3), dtype=np.uint8)
    pictures = [noise, np.zeros((1, 1, 3), np.uint8), np.full((900, 7, 3), 255, np.uint8)]
    assert [poses.tell_facing(pose) for pose in estimator.estimate(pictures)] == [None] * 3
