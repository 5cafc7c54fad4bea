"""`wearalike promote`: use a new model from the next run on, if it beats the current one."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import click
import pyarrow.parquet as pq

from wearalike.commands.groups import command
from wearalike.commands.options import PATH, settings_options
from wearalike.detection import detect
from wearalike.encoding.leaf_classifiers import is_without_leaves
from wearalike.models import promotion, promotion_decision, registry
from wearalike.models.files import ModelKind
from wearalike.pipeline import job


@command("promote")
@click.option(
    "--kind",
    type=click.Choice(list(map(str, registry.PROMOTED_KINDS))),
    required=True,
    help="Kind of model.",
)
@click.option(
    "--candidate", type=PATH, metavar="FILE", help="Model file that `wearalike train` wrote."
)
@click.option(
    "--rollback",
    "is_rollback",
    is_flag=True,
    help="Go back to the model promoted before, or to the packaged default.",
)
@click.option(
    "--evaluation",
    type=PATH,
    metavar="DIR",
    help="Folder that `wearalike evaluate` wrote about the candidate and the current model.",
)
@click.option(
    "--override",
    metavar="REASON",
    help="Promote it whatever the evaluation says, or roll back for this reason; it is recorded.",
)
@settings_options
def promote(
    kind: str,
    candidate: Path | None,
    is_rollback: bool,
    evaluation: Path | None,
    override: str | None,
    data_dir: Path | None,
    config: Path | None,
) -> None:
    """Use a new model from the next run on, if it is better than the current one.

    The candidate is copied to models/ in the data_dir, where no version is ever overwritten. The
    next run detects or encodes under its version. The rows of the former model stay.

    \b
    wearalike promote --kind encoder --candidate FILE --evaluation DIR
    wearalike promote --kind encoder --rollback
    """
    if (candidate is None) == (not is_rollback):
        raise click.UsageError("wanted either --candidate FILE or --rollback")
    root = job.read_settings(config, data_dir, needs_feeds=False).data_dir
    model_kind = ModelKind(kind)
    if candidate is None:
        event = promotion.rollback(root, model_kind, override or "rolled back", datetime.now(UTC))
        print(f"{kind}: {event.version or 'the packaged default'}, before it {event.former}")
        return
    promote_candidate(root, model_kind, candidate, evaluation, override)


def promote_candidate(
    root: Path, kind: ModelKind, candidate: Path, evaluation: Path | None, override: str | None
) -> None:
    """Promote a model file, if it is better than the current model.

    Args:
        root: folder of all tables.
        kind: the kind the file must be of.
        candidate: the model file.
        evaluation: folder of the evaluation of both models.
        override: a reason that goes before the evaluation.

    Raises:
        registry.BadModel: the file is no model of this kind.
        job.JobRejected: the candidate is not better.
        ValueError: neither an evaluation nor a reason was given.
    """
    model = registry.read_model(candidate)
    if model.kind is not kind:
        raise registry.BadModel(f"{candidate}: of kind {model.kind}, wanted {kind}")
    history = registry.promotion_history(root, kind)
    former = current_model(root, kind)
    if former.sha256 == model.sha256:
        print(f"{kind}: {model.version} is promoted already")
        return
    reason = promotion_reason(model, former, evaluation, override)
    # Detectors that need no file have versions too.
    reserved = {
        *detect.WEIGHT_FREE_DETECTORS,
        *(detector.version for detector in detect.WEIGHT_FREE_DETECTORS.values()),
    }
    promotion.promote(
        root,
        model,
        candidate.read_bytes(),
        reason,
        datetime.now(UTC),
        expected_version=history[-1].version if history else None,
        reserved_versions=reserved,
    )
    print(f"{kind}: {model.version}: {reason}")


def promotion_reason(
    model: registry.Model,
    former: promotion_decision.EvaluatedModel,
    evaluation: Path | None,
    override: str | None,
) -> str:
    """Return why a candidate is promoted.

    Args:
        model: the candidate.
        former: the current model.
        evaluation: folder of the evaluation of both.
        override: a reason that goes before the evaluation.

    Returns:
        One line, which is recorded.

    Raises:
        job.JobRejected: the candidate is not better.
        ValueError: neither an evaluation nor a reason was given.
    """
    if override is not None:
        if not override.strip():
            raise ValueError("--override: wanted a reason, which is recorded")
        return f"forced: {override}"
    if evaluation is None:
        raise ValueError(
            "--evaluation: wanted a folder that `wearalike evaluate` wrote, or --override REASON"
        )
    values = pq.read_table(evaluation / "queries.parquet")
    hashes = json.loads((evaluation / "models.json").read_bytes())
    candidate = promotion_decision.EvaluatedModel(model.version, model.sha256)
    decision = promotion_decision.decide_promotion(
        values, hashes, candidate, former, promotion_decision.PROMOTION_POLICIES[model.kind]
    )
    if not decision.is_better:
        raise job.JobRejected(f"{model.version} is not promoted: {decision.why}")
    return decision.why


def current_model(root: Path, kind: ModelKind) -> promotion_decision.EvaluatedModel:
    """Return the model that runs use now.

    Args:
        root: folder of all tables.
        kind: the kind of model.

    Returns:
        Its version and hash; no hash for a detector that needs no file, or where there is none.
    """
    has_no_detector = (
        kind is ModelKind.DETECTOR
        and not registry.promoted_model(root, kind)
        and registry.DEFAULT_DETECTOR is None
    )
    if has_no_detector:
        fallback = detect.WEIGHT_FREE_DETECTORS[detect.FALLBACK_DETECTOR]
        return promotion_decision.EvaluatedModel(fallback.version, None)
    if kind is ModelKind.LEAVES and is_without_leaves(root):
        return promotion_decision.EvaluatedModel("none", None)
    model = registry.resolve_model(root, kind)
    return promotion_decision.EvaluatedModel(model.version, model.sha256)
