"""A model is promoted only if it is better, never over another,
and a killed promotion leaves the old pointer or the new one.
"""

import json
import multiprocessing
import os
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from wearalike.commands import app, promote_model
from wearalike.evaluation import compare_encoders
from wearalike.models import promotion, promotion_decision, registry
from wearalike.models.files import BadModel, ModelKind
from wearalike.models.promotion import PromotionError
from wearalike.models.promotion_decision import BadEvaluation, EvaluatedModel, PromotionPolicy

NOW = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)
QUERIES = 400
POLICY = PromotionPolicy(
    primary_metrics=(("type", "hamming 1:1"), ("colour", "hamming 2:8")),
    guardrail_metrics=(("both", "hamming 1:1"),),
    tolerance=0.02,
)
GOALS = (*POLICY.primary_metrics, *POLICY.guardrail_metrics)
OLD, NEW = EvaluatedModel("old-1", "aa"), EvaluatedModel("new-1", "bb")
MEASURED = {"old-1": "aa", "new-1": "bb"}


def precisions(mean: float, seed: int, count: int = QUERIES) -> np.ndarray:
    """precision@10 of queries: as real ones, tenths between 0 and 1 that spread widely."""
    return np.random.default_rng(seed).binomial(10, mean, count) / 10


BASE = {goal: precisions(0.6, seed) for seed, goal in enumerate(GOALS)}


def rows(version: str, values: dict, dataset="photos", **change) -> pa.Table:
    records = [
        {
            "dataset": dataset,
            "split": "test",
            "encoder": version,
            "distance": distance,
            "measure": measure,
            "k": 10,
            "query": f"{i}.jpg",
            "value": v,
        }
        for (measure, distance), each in values.items()
        for i, v in enumerate(each.tolist())
    ]
    return pa.Table.from_pylist([r | change for r in records], promotion_decision.QUERIES_SCHEMA)


def decided(changed: dict, policy=POLICY, base=BASE):
    values = pa.concat_tables([rows("old-1", base), rows("new-1", {**base, **changed})])
    return promotion_decision.decide_promotion(values, MEASURED, NEW, OLD, policy)


def shifted(goal, by: float, share: float = 1.0) -> dict:
    """The base's values of a goal, a share of the queries changed by a tenth or two up or down,
    so that the mean moves by `by`.
    """
    change = np.random.default_rng(7).choice(
        [-0.1, 0.1], QUERIES, p=[0.5 - by * 5 / share, 0.5 + by * 5 / share]
    )
    is_hit = np.random.default_rng(8).random(QUERIES) < share
    return {goal: BASE[goal] + change * is_hit}


TYPE, COLOUR, BOTH = GOALS


def test_an_evaluation_has_the_columns_that_a_decision_reads():
    assert compare_encoders.QUERIES_SCHEMA is promotion_decision.QUERIES_SCHEMA


def test_better_is_an_interval_above_0_on_the_same_queries():
    decision = decided(shifted(TYPE, 0.04))
    assert decision.is_better and decision.why.startswith(
        "better than old-1: type@10 hamming 1:1 of photos/test +0.0"
    )
    (found,) = (
        d for d in decision.differences if d.key == ("photos", "test", "hamming 1:1", "type", 10)
    )
    each = shifted(TYPE, 0.04)[TYPE] - BASE[TYPE]
    # The interval is that of a mean of paired differences,
    # which is much narrower than that of two means.
    half = 1.96 * each.std() / np.sqrt(QUERIES)
    assert found.estimate.value == pytest.approx(each.mean()) and found.estimate.queries == QUERIES
    assert found.estimate.low == pytest.approx(
        each.mean() - half, abs=0.002
    ) and found.estimate.high == pytest.approx(each.mean() + half, abs=0.002)
    assert half < 0.5 * 1.96 * np.hypot(BASE[TYPE].std(), BASE[TYPE].std()) / np.sqrt(QUERIES)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({}, "no interval lies above 0"),
        (shifted(TYPE, 0.004), "no interval lies above 0"),
        # An independent draw of the same mean, whatever its luck,
        # is not better by chance alone and may well be worse.
        ({TYPE: precisions(0.6, 99)}, "maybe worse"),
        (shifted(BOTH, 0.06), "no interval lies above 0"),
        (
            shifted(TYPE, 0.06) | shifted(COLOUR, -0.03),
            "maybe worse by more than 0.02: colour@10 hamming 2:8",
        ),
        (
            shifted(TYPE, 0.06) | shifted(BOTH, -0.03),
            "maybe worse by more than 0.02: both@10 hamming 1:1",
        ),
    ],
)
def test_what_is_not_better_is_said(changed, why):
    decision = decided(changed)
    assert (
        not decision.is_better
        and decision.why.startswith("not better than old-1: ")
        and why in decision.why
    )


def test_a_loss_within_the_tolerance_is_allowed_and_said():
    decision = decided(shifted(TYPE, 0.06) | shifted(COLOUR, -0.005, share=0.2))
    assert decision.is_better and "least: colour@10 hamming 2:8 of photos/test -0.0" in decision.why


def test_what_the_policy_does_not_name_does_not_count():
    extra = {("type", "hamming 0:1"): precisions(0.5, 20)}
    worse = {("type", "hamming 0:1"): precisions(0.2, 21)}
    assert decided(shifted(TYPE, 0.06) | worse, base={**BASE, **extra}).is_better


def test_every_dataset_counts():
    away = [rows("old-1", BASE, "away"), rows("new-1", {**BASE, **shifted(COLOUR, -0.04)}, "away")]
    home = [rows("old-1", BASE), rows("new-1", {**BASE, **shifted(TYPE, 0.08)})]
    assert promotion_decision.decide_promotion(
        pa.concat_tables(home), MEASURED, NEW, OLD, POLICY
    ).is_better
    decision = promotion_decision.decide_promotion(
        pa.concat_tables(home + away), MEASURED, NEW, OLD, POLICY
    )
    assert not decision.is_better and "colour@10 hamming 2:8 of away/test" in decision.why


def test_queries_without_a_value_are_left_out_of_both():
    base = {g: np.where(np.arange(QUERIES) < 100, np.nan, v) for g, v in BASE.items()}
    better = np.where(np.arange(QUERIES) < 100, np.nan, shifted(TYPE, 0.06)[TYPE])
    decision = decided({TYPE: better}, base=base)
    assert decision.is_better and {d.estimate.queries for d in decision.differences} == {
        QUERIES - 100
    }


BOTH_SIDES = pa.concat_tables([rows("old-1", BASE), rows("new-1", BASE)])


@pytest.mark.parametrize(
    ("values", "measured", "message"),
    [
        (BOTH_SIDES.drop_columns(["query"]), MEASURED, "no column 'query'"),
        (rows("new-1", BASE), MEASURED, "old-1 was not measured"),
        (BOTH_SIDES, {"new-1": "bb"}, "old-1 was not measured, only new-1"),
        (
            BOTH_SIDES,
            {**MEASURED, "new-1": "cc"},
            "measured as new-1 was the file of sha256 cc, not bb",
        ),
        (
            BOTH_SIDES,
            {**MEASURED, "old-1": None},
            "measured as old-1 was the file of sha256 None, not aa",
        ),
        (
            pa.concat_tables([BOTH_SIDES, rows("new-1", BASE, "more")]),
            MEASURED,
            "measured of new-1 alone",
        ),
        (
            pa.concat_tables([BOTH_SIDES, rows("new-1", BASE)]),
            MEASURED,
            "a query stands in it twice",
        ),
        (BOTH_SIDES.slice(0, BOTH_SIDES.num_rows - 1), MEASURED, "not asked the same queries"),
        (
            pa.concat_tables(
                [
                    rows("old-1", BASE),
                    rows("new-1", {**BASE, TYPE: np.where(BASE[TYPE] < 0.5, np.nan, BASE[TYPE])}),
                ]
            ),
            MEASURED,
            "not asked the same queries",
        ),
        (
            pa.concat_tables([rows(v, {g: b[:30] for g, b in BASE.items()}) for v in MEASURED]),
            MEASURED,
            "30 queries, wanted at least 50",
        ),
        (
            pa.concat_tables([rows(v, {BOTH: BASE[BOTH]}) for v in MEASURED]),
            MEASURED,
            "nothing was measured that counts",
        ),
    ],
)
def test_an_evaluation_that_says_nothing_is_refused(values, measured, message):
    with pytest.raises(BadEvaluation, match=message):
        promotion_decision.decide_promotion(values, measured, NEW, OLD, POLICY)


ENCODERS = promotion_decision.PROMOTION_POLICIES[ModelKind.ENCODER]
ENCODER_METRICS = (*ENCODERS.primary_metrics, *ENCODERS.guardrail_metrics)
ENCODER_BASE = {goal: precisions(0.6, seed) for seed, goal in enumerate(ENCODER_METRICS)}


def moved(goal: tuple[str, str], by: float) -> dict:
    """The values of a metric, all moved by as much, so that its interval is a point."""
    return {goal: ENCODER_BASE[goal] + by}


@pytest.mark.parametrize("goal", ENCODERS.primary_metrics)
def test_an_encoder_is_better_by_any_one_question(goal):
    decision = decided(moved(goal, 0.01), ENCODERS, ENCODER_BASE)
    assert decision.is_better and f"better than old-1: {goal[0]}@10 {goal[1]}" in decision.why
    for measure, distance in ENCODER_METRICS:
        assert f"{measure}@10 {distance} of photos/test" in decision.why
    assert not decided({}, ENCODERS, ENCODER_BASE).is_better


@pytest.mark.parametrize("goal", ENCODER_METRICS)
def test_an_encoder_may_be_worse_by_no_question_beyond_its_tolerance(goal):
    other = next(one for one in ENCODERS.primary_metrics if one != goal)
    tolerance = ENCODERS.tolerances.get(goal, ENCODERS.tolerance)
    lost = decided(moved(goal, -tolerance - 0.001) | moved(other, 0.1), ENCODERS, ENCODER_BASE)
    assert not lost.is_better
    assert f"maybe worse by more than {tolerance:g}: {goal[0]}@10 {goal[1]}" in lost.why
    kept = decided(moved(goal, -tolerance + 0.001) | moved(other, 0.1), ENCODERS, ENCODER_BASE)
    assert kept.is_better and f"tolerance {tolerance:g}" in kept.why


@pytest.mark.parametrize("goal", ENCODERS.guardrail_metrics)
def test_an_encoder_is_not_better_by_a_guardrail(goal):
    assert not decided(moved(goal, 0.1), ENCODERS, ENCODER_BASE).is_better


def test_questions_with_few_queries_are_named_and_do_not_count():
    few = {g: v.copy() for g, v in ENCODER_BASE.items()}
    for goal, wanted in ENCODERS.optional_queries.items():
        few[goal][wanted - 1 :] = np.nan
    worse = {goal: few[goal] - 0.5 for goal in ENCODERS.optional_queries}
    better = {("type", "hamming 1:1"): ENCODER_BASE["type", "hamming 1:1"] + 0.1}
    decision = decided(worse | better, ENCODERS, few)
    assert decision.is_better and len(decision.left_out) == len(ENCODERS.optional_queries)
    assert "too few queries to count: " in decision.why
    assert "recall product@10 hamming 1:1 of photos/test" in decision.why


# The files


def candidate(
    folder: Path, version: str, seed: int = 0, kind=ModelKind.ENCODER
) -> tuple[Path, registry.Model]:
    arrays = {"w": np.random.default_rng(seed).normal(size=(8, 4)).astype(np.float32)}
    path = folder / f"{version}-{seed}.safetensors"
    path.write_bytes(
        registry.model_bytes(
            kind,
            "tiny-net",
            version,
            {"seed": seed},
            arrays,
            ["dress"] if kind is ModelKind.DETECTOR else [],
        )
    )
    return path, registry.read_model(path)


def promote(root: Path, folder: Path, version: str, seed: int = 0, **options):
    path, model = candidate(folder, version, seed)
    done = registry.promotion_history(root, ModelKind.ENCODER)
    over = options.pop("over", done[-1].version if done else None)
    return promotion.promote(
        root,
        model,
        path.read_bytes(),
        f"because of {version}",
        NOW,
        expected_version=over,
        **options,
    )


def using(root: Path) -> str:
    return registry.resolve_model(root, ModelKind.ENCODER).version


DEFAULT = registry.ENCODERS[registry.DEFAULT_ENCODER].version


@pytest.fixture
def root(tmp_path):
    return tmp_path / "root"


def test_promoted_rolled_back_and_promoted_again(root, tmp_path):
    assert using(root) == DEFAULT and registry.promoted_model(root, ModelKind.ENCODER) is None
    steps = []
    for step in ("a-1", "b-1", "back", "c-1", "back", "back"):
        move = (
            promotion.rollback(root, ModelKind.ENCODER, "worse in the shops", NOW)
            if step == "back"
            else promote(root, tmp_path, step)
        )
        steps.append((move.former, move.version))
        assert using(root) == (move.version or DEFAULT)
    assert steps == [
        (None, "a-1"),
        ("a-1", "b-1"),
        ("b-1", "a-1"),
        ("a-1", "c-1"),
        ("c-1", "a-1"),
        ("a-1", None),
    ]
    with pytest.raises(PromotionError, match=r"no model of .* is promoted"):
        promotion.rollback(root, ModelKind.ENCODER, "once more", NOW)
    assert [
        (m.former, m.version) for m in registry.promotion_history(root, ModelKind.ENCODER)
    ] == steps
    written = json.loads((root / "models" / "encoder.json").read_text())
    assert (
        written["version"] is None and written["former"] == "a-1" and len(written["history"]) == 5
    )
    assert written["history"][0] == {
        "version": "a-1",
        "sha256": registry.sha256_hex(
            (root / "models" / "encoder" / "a-1.safetensors").read_bytes()
        ),
        "former": None,
        "moved_at": "2026-11-24T03:00:00+00:00",
        "action": "promote",
        "why": "because of a-1",
    }
    # Kept, and to be had by name.
    assert registry.resolve_model(root, ModelKind.ENCODER, "b-1").read().arrays["w"].shape == (8, 4)
    assert (
        registry.resolve_model(root, ModelKind.ENCODER, registry.DEFAULT_ENCODER).version == DEFAULT
    )
    with pytest.raises(BadModel, match=r"known are .*, a-1, b-1, c-1; a model file"):
        registry.resolve_model(root, ModelKind.ENCODER, "d-1")


def files(root: Path) -> dict[str, bytes]:
    return {
        p.relative_to(root).as_posix(): p.read_bytes()
        for p in sorted((root / "models").rglob("[!.]*"))
        if p.is_file()
    }


def test_a_version_is_never_overwritten(root, tmp_path):
    promote(root, tmp_path, "a-1")
    before = files(root)
    with pytest.raises(
        PromotionError, match=r"a-1\.safetensors stands, of sha256 \w+, and is not the candidate"
    ):
        promote(root, tmp_path, "a-1", seed=1)
    assert promote(root, tmp_path, "a-1") is None, "the very same again has nothing to do"
    for taken, options in (
        (DEFAULT, {}),
        (registry.DEFAULT_ENCODER, {}),
        ("whole-1", {"reserved_versions": ["whole-1"]}),
    ):
        with pytest.raises(PromotionError, match="the version of a packaged model"):
            promote(root, tmp_path, taken, **options)
    with pytest.raises(PromotionError, match="promoted is a-1 by now, not none: decide again"):
        promote(root, tmp_path, "b-1", over=None)
    assert files(root) == before and set(before) == {
        "models/encoder.json",
        "models/encoder/a-1.safetensors",
    }


def test_a_file_that_changed_after_it_was_promoted_is_refused_but_can_be_rolled_back(
    root, tmp_path
):
    promote(root, tmp_path, "a-1")
    promote(root, tmp_path, "b-1")
    path = root / "models" / "encoder" / "b-1.safetensors"
    other = candidate(tmp_path, "b-1", seed=5)[0].read_bytes()
    path.write_bytes(other)
    with pytest.raises(
        BadModel, match=rf"b-1\.safetensors: sha256 {registry.sha256_hex(other)}, promoted was"
    ):
        registry.resolve_model(root, ModelKind.ENCODER)
    path.unlink()
    with pytest.raises(BadModel, match=r"gone, and b-1 was promoted"):
        registry.promoted_model(root, ModelKind.ENCODER)
    promotion.rollback(root, ModelKind.ENCODER, "lost", NOW)
    assert using(root) == "a-1"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        "null",
        '{"history": []}',
        '{"history": 3}',
        '{"version": "../../x", "sha256": "aa", "former": null, "moved_at": "", '
        '"action": "promote", "why": "", "history": []}',
        '{"version": ["x"], "sha256": "aa", "former": null, "moved_at": "", "action": "promote", '
        '"why": "", "history": []}',
        '{"version": "x", "sha256": null, "former": null, "moved_at": "", "action": "promote", '
        '"why": "", "history": []}',
        "[" * 100_000,
    ],
)
def test_a_pointer_that_no_promotion_wrote_is_refused(root, text):
    (root / "models").mkdir(parents=True)
    (root / "models" / "encoder.json").write_text(text)
    with pytest.raises(BadModel, match=r"encoder\.json: "):
        registry.resolve_model(root, ModelKind.ENCODER)


def test_two_promotions_at_once_do_not_mix(root, tmp_path):
    with promotion._promotion_lock(root, ModelKind.ENCODER):
        with pytest.raises(PromotionError, match="another promotion is at work"):
            promote(root, tmp_path, "a-1")
        with promotion._promotion_lock(root, ModelKind.DETECTOR):
            pass
    assert files(root) == {} and promote(root, tmp_path, "a-1")


def _promote_until_killed(root: Path, folder: Path, step: int) -> None:
    """Promotes b-1 and dies just before the process's step-th call that opens,
    renames or makes a file under the root.
    """
    seen = 0

    def watch(event: str, args: tuple) -> None:
        nonlocal seen
        if event in ("open", "os.rename", "os.mkdir") and str(args[0]).startswith(str(root)):
            seen += 1
            if seen == step:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    promote(root, folder, "b-1")


def test_killed_anywhere_it_leaves_the_old_pointer_or_the_new_one(root, tmp_path):
    promote(root, tmp_path, "a-1")
    fork = multiprocessing.get_context("fork")
    left = []
    for step in range(1, 100):
        child = fork.Process(target=_promote_until_killed, args=(root, tmp_path, step))
        child.start()
        child.join()
        left.append(using(root))
        registry.resolve_model(root, ModelKind.ENCODER).read()
        if child.exitcode == 0:
            break
        assert child.exitcode == -signal.SIGKILL
        if left[-1] == "b-1":
            promotion.rollback(root, ModelKind.ENCODER, "to try again", NOW)
        registry.promoted_path(root, ModelKind.ENCODER, "b-1").unlink(missing_ok=True)
    # Before the lock, the pointer's reading, and for the model and then the pointer:
    # making its folder, writing, renaming, syncing.
    assert left == ["a-1"] * (len(left) - 2) + ["b-1"] * 2 and len(left) >= 10
    assert set(files(root)) == {
        "models/encoder.json",
        "models/encoder/a-1.safetensors",
        "models/encoder/b-1.safetensors",
    }


# The job


def evaluation(
    folder: Path, candidate: registry.Model, better: float, former: registry.ModelRef
) -> Path:
    """What evaluate_models writes: the default's precisions, and the candidate's,
    which differ by `better` on average.
    """
    goals = promotion_decision.PROMOTION_POLICIES[ModelKind.ENCODER].primary_metrics
    base = {goal: precisions(0.6, seed) for seed, goal in enumerate(goals)}
    step = np.random.default_rng(3).choice(
        [0, 0.1 * np.sign(better)], QUERIES, p=[1 - abs(better) * 10, abs(better) * 10]
    )
    evaluation_dir = folder / "evaluation"
    evaluation_dir.mkdir(exist_ok=True)
    values = [
        rows(former.version, base),
        rows(candidate.version, {g: v + step for g, v in base.items()}),
    ]
    pq.write_table(pa.concat_tables(values), evaluation_dir / "queries.parquet")
    (evaluation_dir / "models.json").write_text(
        json.dumps({former.version: former.sha256, candidate.version: candidate.sha256})
    )
    return evaluation_dir


def test_the_job_promotes_what_is_better_and_only_that(root, tmp_path, capsys, caplog):
    path, model = candidate(tmp_path, "shops-1")
    order = ["--kind", "encoder", "--data-dir", str(root), "--candidate", str(path)]
    default = registry.resolve_model(root, ModelKind.ENCODER)
    for better, code in ((-0.05, 1), (0.0, 1), (0.05, 0)):
        evaluation_dir = evaluation(tmp_path, model, better, default)
        assert app.main(["promote", *order, "--evaluation", str(evaluation_dir)]) == code
        assert using(root) == (DEFAULT if code else "shops-1")
    assert f"shops-1 is not promoted: not better than {DEFAULT}" in caplog.text
    assert f"encoder: shops-1: better than {DEFAULT}: " in capsys.readouterr().out
    # A promotion that was stopped after it had moved the pointer, tried again, is done.
    assert app.main(["promote", *order, "--evaluation", str(evaluation_dir)]) == 0
    assert (
        "encoder: shops-1 is promoted already" in capsys.readouterr().out
        and len(registry.promotion_history(root, ModelKind.ENCODER)) == 1
    )
    # The same evaluation says nothing about a later one.
    later, _ = candidate(tmp_path, "shops-2")
    assert app.main(["promote", *order[:-1], str(later), "--evaluation", str(evaluation_dir)]) == 1
    assert "shops-2 was not measured" in caplog.text and using(root) == "shops-1"
    assert (
        app.main(["promote", *order[:-1], str(later)]) == 1
        and app.main(["promote", *order[:-1], str(later), "--override", " "]) == 1
    )
    assert (
        app.main(["promote", *order[:-1], str(later), "--override", "anna: the shops changed"]) == 0
    )
    assert (
        registry.promotion_history(root, ModelKind.ENCODER)[-1].why
        == "forced: anna: the shops changed"
    )
    assert (
        app.main(["promote", "--kind", "detector", *order[2:]]) == 1
        and "of kind encoder, wanted detector" in caplog.text
    )
    assert app.main(["promote", "--kind", "encoder", "--data-dir", str(root), "--rollback"]) == 0
    assert (
        using(root) == "shops-1"
        and "encoder: shops-1, before it shops-2" in capsys.readouterr().out
    )
    assert app.main(["promote", "--kind", "detector", "--data-dir", str(root), "--rollback"]) == 1


def test_a_first_detector_is_held_against_the_one_that_needs_no_file(root, tmp_path):
    path, model = candidate(tmp_path, "eyes-1", kind=ModelKind.DETECTOR)
    former = promote_model.current_model(root, ModelKind.DETECTOR)
    base = {("f1", ""): precisions(0.4, 1), ("tpr", ""): precisions(0.5, 2)}
    better = {goal: np.clip(v + 0.2, 0, 1) for goal, v in base.items()}
    evaluation_dir = tmp_path / "evaluation"
    evaluation_dir.mkdir()
    pq.write_table(
        pa.concat_tables([rows(former.version, base, k=0), rows("eyes-1", better, k=0)]),
        evaluation_dir / "queries.parquet",
    )
    (evaluation_dir / "models.json").write_text(
        json.dumps({former.version: former.sha256, "eyes-1": model.sha256})
    )
    order = [
        "--kind",
        "detector",
        "--data-dir",
        str(root),
        "--candidate",
        str(path),
        "--evaluation",
        str(evaluation_dir),
    ]
    assert app.main(["promote", *order]) == 0
    move = registry.promotion_history(root, ModelKind.DETECTOR)[-1]
    assert move.version == "eyes-1" and move.why.startswith(
        f"better than {former.version}: f1 of photos/test +0."
    )
    assert promote_model.current_model(root, ModelKind.DETECTOR) == EvaluatedModel(
        "eyes-1", model.sha256
    )
