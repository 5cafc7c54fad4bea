"""Decide what of a data folder may go."""

from __future__ import annotations

from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from wearalike.ops.disk_usage import DiskKind
from wearalike.ops.retention.survey import PICTURE_SCHEMA, DataSurvey, FolderOnDisk
from wearalike.retention_settings import RetentionSettings

DAY_S = 86_400.0


@dataclass
class PrunePlan:
    """The things that may go.

    Attributes:
        policy: The policy, its days capped where the folder is too large.
        folders: Folders that go as a whole, in the order in which they go.
        pictures: The pictures that go, rows of PICTURE_SCHEMA.
        kept_pictures: Ids of the pictures that stay.
        kept_runs: Runs whose tables stay.
        asked_since_s: Rows of download ledgers without a kept picture stay from this time on.
        excess_bytes: By how much the folder is still larger than allowed; 0 if it is not.
    """

    policy: RetentionSettings
    folders: list[FolderOnDisk] = field(default_factory=list)
    pictures: pa.Table = field(default_factory=PICTURE_SCHEMA.empty_table)
    kept_pictures: pa.Array = field(default_factory=lambda: pa.array([], pa.string()))
    kept_runs: set[str] = field(default_factory=set)
    asked_since_s: float = 0.0
    excess_bytes: int = 0

    @property
    def bytes(self) -> int:
        """The bytes that go from this folder with pictures and folders; rows come on top."""
        pictures_bytes = pc.sum(self.pictures["local_bytes"]).as_py() or 0
        return sum(folder.bytes for folder in self.folders) + int(pictures_bytes)


def plan_pruning(survey: DataSurvey, policy: RetentionSettings) -> PrunePlan:
    """Decide what may go by days, and by bytes where that is not enough.

    A folder that is too large keeps everything for fewer days: the most days with which it fits.

    Args:
        survey: The things in the data folder.
        policy: How long things are kept.
    """
    plan = plan_by_days(survey, policy)
    if policy.max_bytes is None:
        return plan
    wanted = survey.total_bytes - policy.max_bytes
    fewest, most = 0, policy.longest_days
    if plan.bytes < wanted:
        while fewest < most:
            middle = (fewest + most + 1) // 2
            if plan_by_days(survey, policy.cap_days(middle)).bytes >= wanted:
                fewest = middle
            else:
                most = middle - 1
        plan = plan_by_days(survey, policy.cap_days(fewest))
    plan.excess_bytes = max(0, wanted - plan.bytes)
    return plan


def plan_by_days(survey: DataSurvey, policy: RetentionSettings) -> PrunePlan:
    """Decide what may go by days alone."""

    def is_older(used_at_s: float, days: int) -> bool:
        return survey.now_s - used_at_s > days * DAY_S

    plan = PrunePlan(policy)
    plan.kept_runs = set(survey.needed) | {
        run for run, at_s in survey.runs.items() if not is_older(at_s, policy.runs_days)
    }
    kept_reports = survey.needed_reports | plan.kept_runs
    for folder in survey.folders:
        run, at_s = folder.run or "", folder.used_at_s
        may_go = {
            DiskKind.RUNS: run not in plan.kept_runs,
            DiskKind.REPORTS: run not in kept_reports and is_older(at_s, policy.reports_days),
            DiskKind.CANDIDATES: run not in survey.searched
            and (run not in plan.kept_runs or is_older(at_s, policy.candidates_days)),
            DiskKind.PHOTOS: is_older(at_s, policy.photos_days),
        }
        if may_go[folder.kind]:
            plan.folders.append(folder)
    models = survey.current_models.union(
        *(survey.run_models[run] for run in plan.kept_runs & survey.run_models.keys())
    )
    for cache in survey.caches:
        # Descriptors, leaves and poses are small, and named in no table's manifest of models: only
        # rows of gone pictures leave them.
        is_model = cache.kind in (DiskKind.ITEMS, DiskKind.CODES, DiskKind.NETWORKS)
        is_used = not is_model or cache.path.name in models
        if not is_used and is_older(cache.used_at_s, policy.models_days):
            plan.folders.append(cache)
    # The oldest go first, so that a killed pruning has done what mattered most.
    plan.folders.sort(key=lambda folder: (folder.used_at_s, str(folder.path)))
    plan.asked_since_s = survey.now_s - policy.pictures_days * DAY_S
    _plan_pictures(survey, plan)
    return plan


def _plan_pictures(survey: DataSurvey, plan: PrunePlan) -> None:
    """Choose the pictures that no kept run shows and that were not asked for lately."""
    pictures = survey.pictures
    if not survey.is_published_known:
        plan.kept_pictures = pictures["image_id"].combine_chunks()
        return
    named = [ids for run, ids in survey.run_pictures.items() if run in plan.kept_runs]
    shown = pa.concat_arrays(named) if named else pa.array([], pa.string())
    is_kept = pc.or_(
        pc.is_in(pictures["image_id"], shown),
        pc.greater_equal(pictures["used_at_s"], plan.asked_since_s),
    )
    plan.kept_pictures = pictures.filter(is_kept)["image_id"].combine_chunks()
    plan.pictures = pictures.filter(pc.invert(is_kept))
