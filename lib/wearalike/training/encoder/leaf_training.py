"""Train a leaf classifier on several sets, and measure it on each set left out.

Labels of a shop follow its own habits, so a classifier is surer at home than it may be. Its
temperature is fitted on shops left out of the fit: then its probabilities hold in a shop never
seen. With one shop alone, it is fitted on articles left out.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wearalike.catalog.kinds import MAX_KIND_DISTANCE
from wearalike.catalog.taxonomy import Taxonomy
from wearalike.encoding.leaf_head import LeafHead
from wearalike.metrics.calibration import expected_calibration_error
from wearalike.training.encoder.leaf_examples import LeafPhoto
from wearalike.training.encoder.leaf_features import LeafFeatures
from wearalike.training.encoder.leaf_fit import (
    LeafMoments,
    build_leaf_head,
    compute_logits,
    fit_leaf_head,
    fit_temperature,
    softmax,
)

log = logging.getLogger(__name__)
# A kind with fewer training pictures cannot be learned.
MIN_EXAMPLES = 4


@dataclass(frozen=True, slots=True)
class LeafSet:
    """A set to learn from.

    Attributes:
        shop: The shop it is of; sets of one shop are left out together.
        photos: Its photos.
        features: Descriptors of their crops.
    """

    shop: str
    photos: Sequence[LeafPhoto]
    features: LeafFeatures


@dataclass(frozen=True, slots=True)
class LeafFigures:
    """How well a classifier names the items of a shop.

    Attributes:
        shop: The shop.
        is_left_out: True if no picture of the shop was learned from; False for its test split.
        pictures: Pictures asked for.
        unseen: Pictures whose kind no other shop taught; they count as wrong.
        top1: Share whose likeliest kind is right.
        top5: Share whose kind is among the five likeliest.
        family: Share whose likeliest kind is right or near the right one.
        super_category: Share whose likeliest kind is of the right super-category.
        calibration_error: That of the likeliest kind, 0..1.
    """

    shop: str
    is_left_out: bool
    pictures: int
    unseen: int
    top1: float
    top5: float
    family: float
    super_category: float
    calibration_error: float

    def as_row(self) -> dict[str, Any]:
        """Return the figures by name, rounded."""
        return {
            name: round(value, 4) if isinstance(value, float) else value
            for name, value in asdict(self).items()
        }


@dataclass(frozen=True, slots=True)
class TrainedLeaves:
    """A trained classifier.

    Attributes:
        head: The head.
        kinds: Names of its classes.
        temperature: Divides its logits.
        figures: On each shop left out, then on each shop's test split.
    """

    head: LeafHead
    kinds: tuple[str, ...]
    temperature: float
    figures: tuple[LeafFigures, ...]


@dataclass(frozen=True, slots=True)
class Standardizer:
    """Mean and scale of what the head reads, float32 (d,) each, as the encoder has them."""

    mean: NDArray[np.float32]
    scale: NDArray[np.float32]


class _Examples:
    """All crops of all sets side by side."""

    def __init__(
        self, sets: Sequence[LeafSet], taxonomy: Taxonomy, standardizer: Standardizer
    ) -> None:
        photos = [one.photos[row] for one in sets for row in one.features.photo_rows.tolist()]
        self.shops = np.array(
            [one.shop for one in sets for _ in range(len(one.features.photo_rows))], object
        )
        self.splits = np.array([one.photo.split for one in photos], object)
        self.is_item = np.concatenate([one.features.is_item for one in sets])
        names = np.array([one.leaf.kind for one in photos], object)
        counts = Counter(names[self.splits == "train"].tolist())
        self.kinds = tuple(sorted(name for name, n in counts.items() if n >= MIN_EXAMPLES))
        if rare := sorted(set(names.tolist()) - set(self.kinds)):
            log.warning("too few pictures to learn: %s", ", ".join(rare))
        # The kinds of the classes come first, then those that are only asked for.
        table = taxonomy.kinds.table
        self.all_kinds = (*self.kinds, *rare)
        number = {name: i for i, name in enumerate(self.all_kinds)}
        at = [table.names.index(name) for name in self.all_kinds]
        self.is_near = table.distances[np.ix_(at, at)] < MAX_KIND_DISTANCE
        super_of = {leaf.kind: str(leaf.super_category) for leaf in taxonomy.leaves.values()}
        self.super_names = np.array([super_of[name] for name in self.all_kinds], object)
        self.rows = np.concatenate([one.features.rows for one in sets])
        self.truths = np.array([number[name] for name in names.tolist()], np.int64)
        if len(self.kinds) < 2:
            raise ValueError(
                f"nothing to tell apart: wanted two kinds of {MIN_EXAMPLES} training pictures "
                f"each, got {', '.join(self.kinds) or 'none'}"
            )
        self.blank_head = build_leaf_head(standardizer.mean, standardizer.scale, len(self.kinds))

    def measure_shop(self, shop: str) -> LeafMoments:
        """Return the moments of a shop's training pictures."""
        is_used = (self.shops == shop) & (self.truths < len(self.kinds)) & (self.splits == "train")
        return LeafMoments.measure(
            self.blank_head, self.rows[is_used], self.truths[is_used], len(self.kinds)
        )

    def measure(
        self,
        shop: str,
        chosen: NDArray[np.int64],
        logits: NDArray[np.float32],
        seen: NDArray[np.bool_],
        *,
        is_left_out: bool,
    ) -> LeafFigures:
        """Return the figures of calibrated logits of some crops."""
        truths = self.truths[chosen]
        probabilities = softmax(logits)
        ranked = np.argsort(-probabilities, axis=1, kind="stable")
        best = ranked[:, 0]
        is_right = best == truths
        return LeafFigures(
            shop,
            is_left_out,
            len(chosen),
            int((~seen[truths]).sum()),
            float(is_right.mean()),
            float((ranked[:, :5] == truths[:, None]).any(axis=1).mean()),
            float(self.is_near[best, truths].mean()),
            float((self.super_names[best] == self.super_names[truths]).mean()),
            expected_calibration_error(probabilities.max(axis=1), is_right),
        )


def train_leaves(
    sets: Sequence[LeafSet],
    taxonomy: Taxonomy,
    standardizer: Standardizer,
    on_fit: Callable[[int], None] = lambda count: None,
) -> TrainedLeaves:
    """Train a classifier on the training splits of sets.

    Args:
        sets: The sets.
        taxonomy: The taxonomy with the kinds.
        standardizer: That of the encoder that described the pictures.
        on_fit: Called with 1 after each of the fits: one a shop, and the last.

    Raises:
        ValueError: Fewer than two kinds have pictures enough.
    """
    data = _Examples(sets, taxonomy, standardizer)
    shops = sorted(set(data.shops.tolist()))
    moments = {shop: data.measure_shop(shop) for shop in shops}
    left_out = _predict_left_out(data, moments, on_fit) if len(shops) > 1 else {}
    head = fit_leaf_head(data.blank_head, LeafMoments.add(list(moments.values())))
    on_fit(1)
    logits = compute_logits(head, data.rows)
    temperature = _fit_temperature(data, left_out, logits)
    figures = []
    for shop, (chosen, shop_logits, seen) in left_out.items():
        others = {name: value for name, value in left_out.items() if name != shop}
        own = _fit_temperature(data, others, logits)
        figures.append(data.measure(shop, chosen, shop_logits / own, seen, is_left_out=True))
    seen = np.arange(len(data.all_kinds)) < len(data.kinds)
    for shop in shops:
        is_asked = (data.shops == shop) & data.is_item & (data.splits == "test")
        chosen = np.flatnonzero(is_asked)
        if len(chosen):
            calibrated = logits[chosen] / temperature
            figures.append(data.measure(shop, chosen, calibrated, seen, is_left_out=False))
    return TrainedLeaves(head, data.kinds, temperature, tuple(figures))


_LeftOut = Mapping[str, tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.bool_]]]


def _predict_left_out(
    data: _Examples, moments: Mapping[str, LeafMoments], on_fit: Callable[[int], None]
) -> _LeftOut:
    """Return for each shop its items, their logits by the others' classifier, and kinds seen."""
    predicted = {}
    for shop in moments:
        others = LeafMoments.add([one for name, one in moments.items() if name != shop])
        head = fit_leaf_head(data.blank_head, others)
        chosen = np.flatnonzero((data.shops == shop) & data.is_item)
        unasked = np.zeros(len(data.all_kinds) - len(data.kinds), bool)
        seen = np.r_[others.counts > 0, unasked]
        predicted[shop] = (chosen, compute_logits(head, data.rows[chosen]), seen)
        on_fit(1)
    return predicted


def _fit_temperature(
    data: _Examples,
    left_out: _LeftOut,
    logits: NDArray[np.float32],
) -> float:
    """Return the temperature: of shops left out, else of articles of the split val."""
    asked = list(left_out.values())
    if not asked:
        is_val = data.is_item & (data.splits == "val")
        seen = np.arange(len(data.all_kinds)) < len(data.kinds)
        asked = [(np.flatnonzero(is_val), logits[is_val], seen)]
    # Every shop counts the same, however many pictures it has. A kind that was not taught says
    # nothing of the temperature.
    fewest = max(1, min(len(chosen) for chosen, _, _ in asked))
    parts = []
    for chosen, values, seen in asked:
        step = max(1, len(chosen) // fewest)
        truths = data.truths[chosen[::step]]
        parts.append((values[::step][seen[truths]], truths[seen[truths]]))
    return fit_temperature(
        np.concatenate([values for values, _ in parts]),
        np.concatenate([truths for _, truths in parts]),
    )
