"""Promote a model; the former one stays, and a rollback returns to it.

models/<kind>/<version>.safetensors is written first, then the pointer models/<kind>.json. Each is
written under a hidden name, synced and renamed. A killed promotion leaves the old pointer or the
new one, and may be repeated.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Iterator
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

from wearalike.models import registry
from wearalike.models.files import Model, ModelKind
from wearalike.models.registry import PromotionEvent
from wearalike.storage import atomic, mirror
from wearalike.storage.object_store import ObjectVersion


class PromotionError(ValueError):
    """The pointer cannot move to this model; nothing was changed."""


def promote(
    root: Path,
    model: Model,
    content: bytes,
    why: str,
    at: datetime,
    *,
    expected_version: str | None,
    reserved_versions: Collection[str] = (),
) -> PromotionEvent | None:
    """Keep a model under its version and move the pointer to it.

    Args:
        root: The data folder.
        model: The model.
        content: The file that `model` was read from.
        why: The reason, for people.
        at: Now, in UTC.
        expected_version: Version promoted when this was decided; None for the packaged default.
        reserved_versions: Versions that no file may have.

    Returns:
        The move; None if the pointer is there already.

    Raises:
        PromotionError: The version is another model's, or the pointer has moved since.
    """
    names = {
        name
        for known, packaged in registry.packaged_models(model.kind).items()
        for name in (known, packaged.version)
    }
    if model.version in names | set(reserved_versions):
        raise PromotionError(
            f"{model.kind} {model.version}: the version of a packaged model; train under another"
        )
    if registry.sha256_hex(content) != model.sha256:
        raise PromotionError(
            f"{model.kind} {model.version}: the content is not the file that was read"
        )
    with _promotion_lock(root, model.kind):
        former = _fetch_pointer(root, model.kind)
        done = registry.promotion_history(root, model.kind)
        standing = done[-1].version if done else None
        if standing != expected_version:
            raise PromotionError(
                f"{model.kind}: promoted is {standing or 'none'} by now, "
                f"not {expected_version or 'none'}: decide again"
            )
        _write_model_file(root, registry.promoted_path(root, model.kind, model.version), content)
        if standing == model.version:
            return None
        move = PromotionEvent(
            model.version, model.sha256, standing, at.isoformat(timespec="seconds"), "promote", why
        )
        _write_pointer(root, model.kind, [*done, move], former)
        return move


def rollback(root: Path, kind: ModelKind, why: str, at: datetime) -> PromotionEvent:
    """Move the pointer back to the model promoted before, or to the packaged default.

    Args:
        root: The data folder.
        kind: The kind.
        why: The reason, for people.
        at: Now, in UTC.

    Raises:
        PromotionError: No model is promoted.
        BadModel: The former model's file is not the one that was promoted.
    """
    with _promotion_lock(root, kind):
        former = _fetch_pointer(root, kind)
        done = registry.promotion_history(root, kind)
        stack: list[str | None] = [None]
        for past in done:
            if past.action == "rollback":
                stack.pop()
            else:
                stack.append(past.version)
        if len(stack) < 2:
            raise PromotionError(
                f"{kind}: no model of {root} is promoted, so there is none to go back from"
            )
        version = stack[-2]
        file = registry.resolve_model(root, kind, version).sha256 if version else None
        move = PromotionEvent(
            version, file, stack[-1], at.isoformat(timespec="seconds"), "rollback", why
        )
        _write_pointer(root, kind, [*done, move], former)
        return move


def _write_model_file(root: Path, path: Path, content: bytes) -> None:
    """Write a model's file; an existing one is never overwritten. Raises PromotionError."""
    store = mirror.find_mirror(root)
    if store:
        store.files.fetch(path.relative_to(root).as_posix())
    if not path.exists():
        if store:
            store.files.put(path.relative_to(root).as_posix(), content, None)
        atomic.write_bytes(path, content)
    elif (found := registry.sha256_hex(path.read_bytes())) != (
        wanted := registry.sha256_hex(content)
    ):
        raise PromotionError(
            f"{path} stands, of sha256 {found}, and is not the candidate, {wanted}: "
            "train it under another version"
        )


def _fetch_pointer(root: Path, kind: ModelKind) -> ObjectVersion | None:
    """Bring the pointer from the data folder's object store, if it has one."""
    store = mirror.find_mirror(root)
    path = registry.pointer_path(root, kind)
    return store.files.fetch(path.relative_to(root).as_posix()) if store else None


def _write_pointer(
    root: Path, kind: ModelKind, moves: list[PromotionEvent], former: ObjectVersion | None
) -> None:
    *history, last = map(asdict, moves)
    path = registry.pointer_path(root, kind)
    content = (json.dumps({**last, "history": history}, indent=1) + "\n").encode()
    if store := mirror.find_mirror(root):
        store.files.put(path.relative_to(root).as_posix(), content, former)
    atomic.write_bytes(path, content)


@contextlib.contextmanager
def _promotion_lock(root: Path, kind: ModelKind) -> Iterator[None]:
    """Hold the lock on promotions of a kind. Raises PromotionError if another process has it."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(atomic.lock_file(root / "models" / f".{kind}.lock", wait_s=0))
        except atomic.LockTimeout as error:
            raise PromotionError(
                f"{kind}: another promotion is at work on {root}; try again when it has ended"
            ) from error
        yield
