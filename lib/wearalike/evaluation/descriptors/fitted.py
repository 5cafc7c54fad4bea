"""Descriptors that are fitted on a run's items once, and kept until somebody fits them again.

<data_dir>/models/descriptor/<name>.safetensors     a model file, whose version has a hash in it

A version never changes its meaning: rows of two fits have different versions, and never mix.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wearalike.evaluation.descriptors import base
from wearalike.models.files import BadModel, ModelKind, model_bytes, read_model
from wearalike.storage import atomic, mirror

# Hexadecimal digits of the hash in a version.
_HASH_DIGITS = 8


def fitted_path(root: Path, name: str) -> Path:
    """Return the path of the kept model file of a descriptor, which need not exist."""
    return root / "models" / ModelKind.DESCRIPTOR / f"{name}.safetensors"


def fit_and_keep(
    root: Path,
    name: str,
    device: str,
    crops: Sequence[NDArray[np.uint8]],
    facts: Mapping[str, str | int],
) -> base.TrainableDescriptor:
    """Fit a descriptor and keep it; one that was kept before is replaced.

    Args:
        root: The data directory.
        name: One of `base.descriptor_names` that has to be fitted.
        device: "cpu" or "cuda".
        crops: uint8 (height, width, 3) each.
        facts: The data that it is fitted on, for the model's card.

    Returns:
        The descriptor, as later nights load it.

    Raises:
        BadModel: The crops are too few, or a package is missing.
    """
    descriptor = _load_unfitted(name, device)
    descriptor.fit(crops)
    arrays = descriptor.export_arrays()
    digest = hashlib.sha256()
    for key in sorted(arrays):
        digest.update(key.encode())
        digest.update(np.ascontiguousarray(arrays[key], "<f4").tobytes())
    version = f"{descriptor.architecture}-{digest.hexdigest()[:_HASH_DIGITS]}"
    content = model_bytes(
        ModelKind.DESCRIPTOR, descriptor.architecture, version, dict(facts), arrays
    )
    path = fitted_path(root, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    if store := mirror.find_mirror(root):
        file = path.relative_to(root).as_posix()
        store.files.put(file, content, store.files.fetch(file))
    atomic.write_bytes(path, content)
    return _read_fitted(path, name, device)


def load_kept(
    root: Path, name: str, device: str = "cpu", weights: Path | None = None
) -> base.Descriptor:
    """Load a descriptor; one that has to be fitted is loaded as it was kept.

    Args:
        root: The data directory.
        name: As for `base.load_descriptor`.
        device: "cpu" or "cuda".
        weights: As for `base.load_descriptor`; a file stands above what was kept.

    Returns:
        The descriptor, not fitted if none was kept.

    Raises:
        BadModel: As for `base.load_descriptor`, or the kept file is damaged.
    """
    path = fitted_path(root, name)
    if weights is None and name in base.FITTED_NAMES:
        if store := mirror.find_mirror(root):
            store.files.fetch(path.relative_to(root).as_posix())  # fitted by another machine
        if path.is_file():
            return _read_fitted(path, name, device)
    return base.load_descriptor(name, device, weights)


def kept_version(root: Path, name: str) -> str | None:
    """Return the version of a kept descriptor; None if none is. Raises BadModel if damaged."""
    path = fitted_path(root, name)
    return read_model(path).version if path.is_file() else None


def _read_fitted(path: Path, name: str, device: str) -> base.TrainableDescriptor:
    model = read_model(path)
    descriptor = _load_unfitted(name, device)
    if (model.kind, model.architecture) != (ModelKind.DESCRIPTOR, descriptor.architecture):
        raise BadModel(
            f"{path}: {model.kind} {model.architecture}, wanted a descriptor "
            f"{descriptor.architecture}; fit it again: wearalike describe-items "
            f"--encoder {name} --fit"
        )
    descriptor.import_model(model)
    return descriptor


def _load_unfitted(name: str, device: str) -> base.TrainableDescriptor:
    descriptor = base.load_descriptor(name, device)
    if not isinstance(descriptor, base.TrainableDescriptor):
        raise BadModel(
            f"encoder {name}: need not be fitted; those that do: {', '.join(base.FITTED_NAMES)}"
        )
    return descriptor
