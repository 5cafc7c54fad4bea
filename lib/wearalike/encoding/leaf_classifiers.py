"""Find the leaf classifier to use beside an encoder."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from wearalike.encoding.describer_hash import fits_encoder
from wearalike.models import registry
from wearalike.models.files import Model, ModelKind
from wearalike.models.precision import file_version

log = logging.getLogger(__name__)


def find_leaf_classifier(root: Path, encoder: Model) -> Model | None:
    """Return the promoted or packaged leaf classifier; None if there is none for an encoder.

    Its version tells the encoder's precision, too: the kinds it sees are cached by it.

    Args:
        root: The data folder.
        encoder: The encoder.

    Raises:
        BadModel: A file is not the promoted or packaged one.
    """
    if is_without_leaves(root):
        return None
    leaves = registry.resolve_model(root, ModelKind.LEAVES).read()
    if fits_encoder(leaves, encoder):
        return replace(
            leaves, version=leaves.version + encoder.version[len(file_version(encoder.version)) :]
        )
    log.info("%s was not taught with %s: no leaves are told", leaves.version, encoder.version)
    return None


def is_without_leaves(root: Path) -> bool:
    """Return whether no leaf classifier is packaged, and none is promoted in the data folder."""
    return registry.DEFAULT_LEAVES is None and not registry.promoted_model(root, ModelKind.LEAVES)
