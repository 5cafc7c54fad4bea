"""The variants of an experiment with their weights and rules, read and checked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from wearalike.catalog.category_weights import CategoryWeights
from wearalike.catalog.merchandising_rules import MerchandisingRule
from wearalike.catalog.rules_file import read_rules
from wearalike.catalog.taxonomy import Taxonomy
from wearalike.catalog.xml_validation import did_you_mean
from wearalike.experiment_settings import BUCKETS_COUNT, CONTROL, ListVariantSettings
from wearalike.settings import BadSettings, Settings


@dataclass(frozen=True, slots=True)
class ListVariant:
    """One variant of the lists.

    Attributes:
        name: Its name.
        weights: Its weights in place of the taxonomy's; empty for none.
        rules: Its rules of all days; None for those of rules.xml.
    """

    name: str
    weights: CategoryWeights
    rules: tuple[MerchandisingRule, ...] | None


def read_list_variants(settings: Settings, taxonomy: Taxonomy) -> tuple[ListVariant, ...]:
    """Return the variants of the settings' experiment; none without one.

    Raises:
        BadSettings: A category or a file that a variant names is not there.
        BadMapping: With every mistake of such a file.
    """
    if settings.experiment is None:
        return ()
    return tuple(
        ListVariant(
            name,
            _check_categories(name, variant.weights_by_category, taxonomy),
            _read_variant_rules(settings, name, variant, taxonomy),
        )
        for name, variant in settings.experiment.variants.items()
    )


def iter_variant_rows(settings: Settings, encoders: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Yield the rows of tables.LIST_VARIANTS: the variants, then the control with all that is left.

    Buckets are dealt in the order of the settings, from 0.

    Args:
        settings: The settings.
        encoders: The version of each variant's encoder, if it is not that of the run.
    """
    experiment = settings.experiment
    if experiment is None:
        return
    shared = {"experiment": experiment.name, "assignment": experiment.assignment}
    first = 0
    for name, variant in experiment.variants.items():
        yield {
            "variant": name,
            **shared,
            "first_bucket": first,
            "end_bucket": first + variant.buckets_count,
            "weights": variant.weights_text,
            "rules": variant.rules,
            "encoder": encoders.get(name),
        }
        first += variant.buckets_count
    nothing = {"weights": None, "rules": None, "encoder": None}
    buckets = {"first_bucket": first, "end_bucket": BUCKETS_COUNT}
    yield {"variant": CONTROL, **shared, **buckets, **nothing}


def _check_categories(name: str, weights: CategoryWeights, taxonomy: Taxonomy) -> CategoryWeights:
    """Return weights as they are. Raise BadSettings for a category that the taxonomy lacks."""
    known = {"", *taxonomy.leaves, *taxonomy.group_ids}
    for category in weights:
        if category not in known:
            hint = did_you_mean(category, known)
            raise BadSettings(
                f"experiment: variant {name!r}: weights: no such category {category!r}{hint}"
            )
    return weights


def _read_variant_rules(
    settings: Settings, name: str, variant: ListVariantSettings, taxonomy: Taxonomy
) -> tuple[MerchandisingRule, ...] | None:
    """Return the rules of a variant's own file; None if it has none."""
    if variant.rules is None:
        return None
    path = settings.mappings / variant.rules
    if not path.is_file():
        raise BadSettings(f"{path}: no such file; variant {name!r} of the experiment names it")
    return read_rules(path, taxonomy, settings.mappings / "rules.rng")
