"""A candidate model to the one that the nights use, if it is better than the one they use now.

    python -m wearalike.commands.promote_model --kind encoder --candidate FILE --evaluation FOLDER
    python -m wearalike.commands.promote_model --kind encoder --rollback

--evaluation is a folder that wearalike.commands.evaluate_models wrote about both models. The candidate is kept in <root>/models, where
no version is ever overwritten; the next night detects or encodes under its version, and what the former has made stays.
"""

from __future__ import annotations

import argparse
import json
import sys
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq

from wearalike.detection import detect
from wearalike.models import promotion, registry
from wearalike.models.files import ModelKind
from wearalike.pipeline import job


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--kind", type=ModelKind, choices=tuple(ModelKind), required=True)
    what = made.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--candidate", type=Path, metavar="FILE", help="model file that a training job wrote"
    )
    what.add_argument(
        "--rollback",
        action="store_true",
        help="back to the model promoted before, or to the packaged default",
    )
    made.add_argument(
        "--evaluation",
        type=Path,
        metavar="FOLDER",
        help="what wearalike.commands.evaluate_models wrote about the candidate and the model used now",
    )
    made.add_argument(
        "--force",
        metavar="REASON",
        help="promote it whatever the evaluation says, or roll back for this reason; it is recorded",
    )
    made.add_argument(
        "--data-dir", type=Path, help="folder of all tables; default: the settings' root"
    )
    made.add_argument(
        "--config",
        type=Path,
        help="settings file; default: $WEARALIKE_CONFIG, else ./wearalike.toml",
    )
    return made


def work(args: argparse.Namespace) -> None:
    root, now = job.load_settings(args).data_dir, datetime.now(UTC)
    if args.rollback:
        move = promotion.rollback(root, args.kind, args.force or "rolled back", now)
        print(f"{args.kind}: {move.version or 'the packaged default'}, before it {move.former}")
        return
    model = registry.read_model(args.candidate)
    if model.kind is not args.kind:
        raise registry.BadModel(f"{args.candidate}: of kind {model.kind}, wanted {args.kind}")
    done, now_used = registry.promotion_history(root, args.kind), current_model(root, args.kind)
    if now_used.sha256 == model.sha256:
        print(f"{args.kind}: {model.version} is promoted already")
        return
    why = promotion_reason(args, model, now_used)
    # Detectors that need no file have versions too.
    taken = {
        *detect.WEIGHT_FREE_DETECTORS,
        *(detector.version for detector in detect.WEIGHT_FREE_DETECTORS.values()),
    }
    promotion.promote(
        root,
        model,
        args.candidate.read_bytes(),
        why,
        now,
        expected_version=done[-1].version if done else None,
        reserved_versions=taken,
    )
    print(f"{args.kind}: {model.version}: {why}")


def promotion_reason(
    args: argparse.Namespace, model: registry.Model, former: promotion.EvaluatedModel
) -> str:
    """Why the candidate is promoted. Raises job.JobRejected where it is not."""
    if args.force is not None:
        if not args.force.strip():
            raise ValueError("--force: wanted a reason, which is recorded")
        return f"forced: {args.force}"
    if args.evaluation is None:
        raise ValueError(
            "--evaluation: wanted a folder that wearalike.commands.evaluate_models wrote, or --force REASON"
        )
    values, measured = (
        pq.read_table(args.evaluation / "queries.parquet"),
        json.loads((args.evaluation / "models.json").read_bytes()),
    )
    candidate = promotion.EvaluatedModel(model.version, model.sha256)
    decision = promotion.decide_promotion(
        values, measured, candidate, former, promotion.PROMOTION_POLICIES[model.kind]
    )
    if not decision.is_better:
        raise job.JobRejected(f"{model.version} is not promoted: {decision.why}")
    return decision.why


def current_model(root: Path, kind: ModelKind) -> promotion.EvaluatedModel:
    """The model that the nights use now."""
    if (
        kind is ModelKind.DETECTOR
        and not registry.promoted_model(root, kind)
        and registry.DEFAULT_DETECTOR is None
    ):
        return promotion.EvaluatedModel(
            detect.WEIGHT_FREE_DETECTORS[detect.FALLBACK_DETECTOR].version, None
        )
    model = registry.resolve_model(root, kind)
    return promotion.EvaluatedModel(model.version, model.sha256)


def main(argv: list[str] | None = None) -> int:
    return job.run_job(work, parser(), argv)


if __name__ == "__main__":
    sys.exit(main())
