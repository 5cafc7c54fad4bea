"""Leaf classifiers that see the same in every picture."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from wearalike.encoding import leaf_head
from wearalike.encoding.describer_hash import DESCRIBER_KEY, hash_describer
from wearalike.models import promotion, registry
from wearalike.models.files import ModelKind


def promote_leaf_classifier(root: Path, version: str, chances: dict[str, float]) -> registry.Model:
    """A promoted classifier for the packaged encoder; it sees the same kinds in every picture."""
    encoder = registry.packaged_model(ModelKind.ENCODER, registry.DEFAULT_ENCODER).read()
    arrays = {
        "mean": np.zeros(leaf_head.LEAF_INPUTS, np.float32),
        "scale": np.ones(leaf_head.LEAF_INPUTS, np.float32),
        "weight": np.zeros((len(chances), leaf_head.LEAF_INPUTS), np.float16),
        "bias": np.log(np.array(list(chances.values()))).astype(np.float32),
    }
    card = {DESCRIBER_KEY: hash_describer(encoder.arrays)}
    path = root / f"{version}.safetensors"
    path.write_bytes(
        registry.model_bytes(
            ModelKind.LEAVES, leaf_head.ARCHITECTURE, version, card, arrays, list(chances)
        )
    )
    model = registry.read_model(path)
    before = registry.promotion_history(root, ModelKind.LEAVES)
    promotion.promote(
        root,
        model,
        path.read_bytes(),
        "for this test",
        datetime(2026, 11, 24, 3, 0, tzinfo=UTC),
        expected_version=before[-1].version if before else None,
    )
    return model
