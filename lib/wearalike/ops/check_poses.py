"""The doctor's check of the networks that tell poses."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from wearalike.encoding.poses import PoseEstimator
from wearalike.models import pose_weights
from wearalike.models.files import BadModel
from wearalike.ops.check_result import CheckResult, Environment, failed_result, ok_result

_NAME = "poses"


def check_poses(environment: Environment) -> Iterator[CheckResult]:
    """Check the networks that tell backs from fronts; a run needs them only if poses are "on"."""
    wanted = environment.settings.poses
    if wanted == "off":
        yield ok_result(_NAME, "switched off in the settings")
        return
    advice = f'{pose_weights.POSE_INSTALL}; or poses = "off" in the settings'
    try:
        estimator = PoseEstimator(pose_weights.find_pose_weights())
        estimator.estimate([np.zeros((96, 64, 3), np.uint8)])
    except pose_weights.MissingPoseWeights as error:
        if wanted == "on":
            yield failed_result(_NAME, str(error), advice)
        else:
            yield ok_result(_NAME, f"backs are not told from fronts: {error}")
    except BadModel as error:
        yield failed_result(_NAME, str(error), advice)
    else:
        yield ok_result(_NAME, f"{estimator.version} tells backs from fronts")
