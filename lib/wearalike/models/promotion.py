"""A candidate model to the promoted one, if it is better; the former is kept, and a rollback goes back to it.

Better is decided on values of single queries, so that both models are compared on the very same ones: the mean difference
and its 95 % bootstrap interval (quality.retrieval.difference). Files: models/<kind>/<version>.safetensors first, then
models/<kind>.json; each is written under a hidden name, synced and renamed, so that a killed promotion leaves the pointer
where it was or where it was to go, and may be repeated.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import cast

import pandas as pd
import pyarrow as pa

from wearalike.metrics import retrieval
from wearalike.metrics.retrieval import Estimate
from wearalike.models import registry
from wearalike.models.files import Kind, Model
from wearalike.models.registry import Move

# What an evaluation says of every query, in queries.parquet. encoder: the version measured, of an encoder or a detector. distance:
# empty for a detector. k: 0 where there is none. query: tells it from the others of dataset and split. value: 0..1, bigger is
# better; NaN where the query has none.
COLUMNS = ("dataset", "split", "encoder", "distance", "measure", "k", "query", "value")
_TRIAL = ["dataset", "split", "distance", "measure", "k"]
Trial = tuple[str, str, str, str, int]


class BadEvaluation(ValueError):
    """An evaluation that says nothing about whether the candidate is better than the promoted model."""


class NotMoved(ValueError):
    """The pointer to the promoted model cannot go there; nothing was changed."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What better is. Goals are (measure, distance); each counts in every dataset, split and k that the evaluation has it of.

    primary: by one of these the candidate must be better, its interval above 0. guarded: by none of these, nor of the primary
    ones, may it be worse, its interval reaching below -tolerance. min_queries: fewer say nothing.
    """

    primary: tuple[tuple[str, str], ...]
    guarded: tuple[tuple[str, str], ...] = ()
    tolerance: float = 0.02
    min_queries: int = 50


POLICIES = {
    # The weights that categories have, and for each what it is there for.
    Kind.ENCODER: Policy(
        primary=(
            ("both", "hamming 1:1"),
            ("type", "hamming 1:1"),
            ("type+gender", "hamming 8:2"),
            ("colour", "hamming 2:8"),
        ),
        guarded=(("colour", "hamming 1:1"),),
    ),
    # Of single photos, at the confidence used: 2 TP / (2 TP + FP + FN), and the share of the truths that were found; where no boxes are
    # known, whether the item that would be looked at is of the right super-category.
    Kind.DETECTOR: Policy(primary=(("f1", ""), ("super-category", "")), guarded=(("tpr", ""),)),
}


@dataclass(frozen=True, slots=True)
class Contender:
    """A model that was measured. sha256: of its file; None for one that needs none."""

    version: str
    sha256: str | None


@dataclass(frozen=True, slots=True)
class Difference:
    """By how much the candidate exceeds the former in one trial. trial: dataset, split, distance, measure, k."""

    trial: Trial
    is_primary: bool
    by: Estimate

    def __str__(self) -> str:
        dataset, split, distance, measure, k = self.trial
        name = " ".join(filter(None, (f"{measure}@{k}" if k else measure, distance)))
        return f"{name} of {dataset}/{split} {self.by.value:+.3f} ({self.by.low:+.3f} to {self.by.high:+.3f}, {self.by.queries} queries)"


@dataclass(frozen=True, slots=True)
class Decision:
    """is_better: whether the candidate is to be promoted. why: for people."""

    is_better: bool
    why: str
    differences: tuple[Difference, ...]


def decide(
    values: pa.Table,
    measured: Mapping[str, str | None],
    candidate: Contender,
    former: Contender,
    policy: Policy,
) -> Decision:
    """Whether a candidate is better than the former.

    values: COLUMNS, of these two and maybe of others. measured: the sha256 of every file measured, by version. Raises BadEvaluation
    where another file was measured, the two were not asked the same queries, or nothing that the policy names was measured.
    """
    if missing := [name for name in COLUMNS if name not in values.column_names]:
        raise BadEvaluation(f"values: no column {missing[0]!r}; wanted {', '.join(COLUMNS)}")
    frame = values.select(COLUMNS).to_pandas()
    for one in (candidate, former):
        if one.version not in measured or one.version not in set(frame["encoder"]):
            raise BadEvaluation(
                f"{one.version} was not measured, only {', '.join(sorted(measured)) or 'nothing'}: measure both"
            )
        if measured[one.version] != one.sha256:
            raise BadEvaluation(
                f"measured as {one.version} was the file of sha256 {measured[one.version]}, not {one.sha256}: measure again"
            )
    ours, theirs = (
        _trials(frame[frame["encoder"] == one.version], policy) for one in (candidate, former)
    )
    if unpaired := sorted(set(ours) ^ set(theirs)):
        raise BadEvaluation(
            f"{unpaired[0]}: measured of {(candidate if unpaired[0] in ours else former).version} alone"
        )
    differences = tuple(
        _difference(trial, ours[trial], theirs[trial], policy) for trial in sorted(ours)
    )
    if not any(d.is_primary for d in differences):
        wanted = ", ".join(" ".join(filter(None, goal)) for goal in policy.primary)
        raise BadEvaluation(f"nothing was measured that counts: wanted one of {wanted}")
    return _decided(differences, former.version, policy)


def _trials(frame: pd.DataFrame, policy: Policy) -> dict[Trial, pd.Series]:
    """The values by query of every trial that the policy names, by the trial."""
    goals = {*policy.primary, *policy.guarded}
    groups = ((cast(Trial, trial), rows) for trial, rows in frame.groupby(_TRIAL))
    return {
        trial: rows.set_index("query")["value"]
        for trial, rows in groups
        if (trial[3], trial[2]) in goals
    }


def _difference(trial: Trial, ours: pd.Series, theirs: pd.Series, policy: Policy) -> Difference:
    if not (ours.index.is_unique and theirs.index.is_unique):
        raise BadEvaluation(f"{trial}: a query stands in it twice")
    ours, theirs = ours.sort_index(), theirs.sort_index()
    if not ours.index.equals(theirs.index) or not ours.isna().equals(theirs.isna()):
        raise BadEvaluation(
            f"{trial}: the two were not asked the same queries ({ours.count()} and {theirs.count()} with a value)"
        )
    by = retrieval.difference(ours.to_numpy(), theirs.to_numpy())
    if by.queries < policy.min_queries:
        raise BadEvaluation(f"{trial}: {by.queries} queries, wanted at least {policy.min_queries}")
    return Difference(trial, (trial[3], trial[2]) in policy.primary, by)


def _decided(differences: tuple[Difference, ...], former: str, policy: Policy) -> Decision:
    better = [d for d in differences if d.is_primary and d.by.low > 0]
    worse = [d for d in differences if d.by.low < -policy.tolerance]
    lowest = min(differences, key=lambda d: d.by.low)
    if worse:
        why = f"not better than {former}: maybe worse by more than {policy.tolerance:g}: {'; '.join(map(str, worse))}"
    elif better:
        why = f"better than {former}: {'; '.join(map(str, better))}; least: {lowest}; tolerance {policy.tolerance:g}"
    else:
        tried = (str(d) for d in differences if d.is_primary)
        why = f"not better than {former}: no interval lies above 0: {'; '.join(tried)}"
    return Decision(bool(better) and not worse, why, differences)


def promote(
    root: Path,
    model: Model,
    content: bytes,
    why: str,
    at: datetime,
    *,
    over: str | None,
    taken: Collection[str] = (),
) -> Move | None:
    """Keeps a model under its version and moves the pointer to it; None where it stands there already.

    content: the file that `model` was read from. at: now, in UTC. over: the version promoted when it was decided, None for the
    packaged default. taken: versions that no file may have. Raises NotMoved where the version is another model's, or the
    pointer has moved since.
    """
    names = {
        name
        for known, packaged in registry.packaged(model.kind).items()
        for name in (known, packaged.version)
    }
    if model.version in names | set(taken):
        raise NotMoved(
            f"{model.kind} {model.version}: the version of a packaged model; train under another"
        )
    if registry.hashed(content) != model.sha256:
        raise NotMoved(f"{model.kind} {model.version}: the content is not the file that was read")
    with _alone(root, model.kind):
        done = registry.moves(root, model.kind)
        standing = done[-1].version if done else None
        if standing != over:
            raise NotMoved(
                f"{model.kind}: promoted is {standing or 'none'} by now, not {over or 'none'}: decide again"
            )
        _keep(registry.own_path(root, model.kind, model.version), content)
        if standing == model.version:
            return None
        move = Move(
            model.version, model.sha256, standing, at.isoformat(timespec="seconds"), "promote", why
        )
        _point(root, model.kind, [*done, move])
        return move


def rollback_model(root: Path, kind: Kind, why: str, at: datetime) -> Move:
    """Moves the pointer back to the model promoted before, or to the packaged default before the first. Raises NotMoved
    where there is nothing to go back to, BadModel where that model's file is not the one that was promoted."""
    with _alone(root, kind):
        done = registry.moves(root, kind)
        stack: list[str | None] = [None]
        for past in done:
            if past.action == "rollback":
                stack.pop()
            else:
                stack.append(past.version)
        if len(stack) < 2:
            raise NotMoved(
                f"{kind}: no model of {root} is promoted, so there is none to go back from"
            )
        version = stack[-2]
        file = registry.chosen(root, kind, version).sha256 if version else None
        move = Move(version, file, stack[-1], at.isoformat(timespec="seconds"), "rollback", why)
        _point(root, kind, [*done, move])
        return move


def _keep(path: Path, content: bytes) -> None:
    """Writes a model's file; one that stands is never overwritten. Raises NotMoved."""
    if not path.exists():
        _write(path, content)
    elif (found := registry.hashed(path.read_bytes())) != (wanted := registry.hashed(content)):
        raise NotMoved(
            f"{path} stands, of sha256 {found}, and is not the candidate, {wanted}: train it under another version"
        )


def _point(root: Path, kind: Kind, moves: list[Move]) -> None:
    *history, last = map(asdict, moves)
    _write(
        registry.pointer_path(root, kind),
        (json.dumps({**last, "history": history}, indent=1) + "\n").encode(),
    )


def _write(path: Path, content: bytes) -> None:
    """Writes a file whole or not at all, and durably; one writer at a time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    hidden = path.with_name(f".{path.name}.part")
    with hidden.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(hidden, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextlib.contextmanager
def _alone(root: Path, kind: Kind) -> Iterator[None]:
    """One promotion of a kind at a time; the lock goes with the process. Raises NotMoved where another holds it."""
    path = root / "models" / f".{kind}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise NotMoved(
                f"{kind}: another promotion is at work on {root}; try again when it has ended"
            ) from error
        yield
