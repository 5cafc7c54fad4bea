"""The settings of an experiment: variants of the lists, and the share of visitors who see each."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    Strict,
    field_validator,
    model_validator,
)

from wearalike.quality_settings import ModelName

# Visitors are split into so many buckets; a share is a number of them.
BUCKETS_COUNT = 10_000
# The lists as they are without an experiment.
CONTROL = "control"
# Lists in which a variant and the control take turns.
INTERLEAVED = "interleaved"
_NAME_PATTERN = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_WEIGHTS_PATTERN = re.compile(r"(\d{1,2}):(\d{1,2}):(\d{1,2})")
_RULES_PATTERN = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}\.xml")
_MAX_WEIGHT = 10
_FROZEN = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


def _check_name(name: str) -> str:
    """Return a name as it is; anything else is refused."""
    if not _NAME_PATTERN.fullmatch(name):
        raise ValueError(
            f"wanted 1 to 64 lower-case letters, digits, dashes or underscores, got {name!r}"
        )
    return name


def parse_category_weights(text: str) -> tuple[int, int, int]:
    """Return the weights of shape, colour and kind in a text such as "3:7:5".

    Raises:
        ValueError: The text is something else.
    """
    match = _WEIGHTS_PATTERN.fullmatch(text)
    shape, colour, kind = map(int, match.groups()) if match else (0, 0, 0)
    if not (shape or colour) or max(shape, colour, kind) > _MAX_WEIGHT:
        raise ValueError(
            f"wanted SHAPE:COLOUR:KIND, 0 to {_MAX_WEIGHT} each, the first two not both 0, e.g."
            f" 3:7:5, got {text!r}"
        )
    return shape, colour, kind


class ListVariantSettings(BaseModel):
    """One variant of the lists: weights, rules or an encoder other than those of the control.

    Attributes:
        share: 0.0001..1. Share of visitors who see it.
        weights: SHAPE:COLOUR:KIND, 0..10 each, e.g. "3:7:5", for all categories; or a table of
            categories with the weights of each, e.g. { "women.dresses" = "3:7:5" }. The nearest
            branch counts. Default: the taxonomy's.
        rules: File of rules in the folder `mappings`, in place of rules.xml. Default: rules.xml.
        encoder: Encodes the items for its lists: a packaged model, or a version promoted once.
            Default: that of the run.
    """

    model_config = _FROZEN

    share: Annotated[float, Strict(), Field(ge=1 / BUCKETS_COUNT, le=1)] = 0.5
    weights: str | dict[str, str] | None = None
    rules: str | None = None
    encoder: ModelName | None = None

    @field_validator("weights")
    @classmethod
    def _check_weights(cls, weights: str | dict[str, str] | None) -> str | dict[str, str] | None:
        for category, text in weights.items() if isinstance(weights, dict) else ():
            try:
                parse_category_weights(text)
            except ValueError as error:
                raise ValueError(f"{category}: {error}") from None
        if isinstance(weights, str):
            parse_category_weights(weights)
        return weights

    @field_validator("rules")
    @classmethod
    def _check_rules(cls, name: str | None) -> str | None:
        if name is not None and not _RULES_PATTERN.fullmatch(name):
            raise ValueError(
                f"wanted the name of a file in the folder mappings, e.g. rules-b.xml, got {name!r}"
            )
        return name

    @model_validator(mode="after")
    def _check_difference(self) -> Self:
        if not self.weights and self.rules is None and self.encoder is None:
            raise ValueError(
                "wanted weights, rules or an encoder, else its lists are those of the control"
            )
        return self

    @property
    def buckets_count(self) -> int:
        """The buckets whose visitors see it."""
        return max(1, round(self.share * BUCKETS_COUNT))

    @property
    def weights_by_category(self) -> dict[str, tuple[int, int, int]]:
        """The weights of each category that it names; the empty name stands for all."""
        named = {"": self.weights} if isinstance(self.weights, str) else self.weights or {}
        return {category: parse_category_weights(text) for category, text in named.items()}

    @property
    def weights_text(self) -> str | None:
        """The weights in one line; None where they are the taxonomy's."""
        if isinstance(self.weights, dict):
            return ", ".join(f"{name}={text}" for name, text in sorted(self.weights.items()))
        return self.weights


class ExperimentSettings(BaseModel):
    """An experiment: variants of the lists beside those of the control, in one publication.

    Visitors who see no variant see the control.

    Attributes:
        name: Name of the experiment. It decides with the visitor's id who sees which variant:
            another name deals the visitors anew.
        assignment: "split" shows each visitor one variant's lists. "interleave" shows lists in
            which the variant and the control take turns.
        variants: The variants by name, [experiment.variants.NAME]; one where they take turns.
    """

    model_config = _FROZEN

    name: Annotated[str, AfterValidator(_check_name)]
    assignment: Literal["split", "interleave"] = "split"
    variants: dict[str, ListVariantSettings]

    @model_validator(mode="after")
    def _check_variants(self) -> Self:
        if not self.variants:
            raise ValueError("variants: wanted an [experiment.variants.NAME] table, got none")
        for name in self.variants:
            try:
                _check_name(name)
            except ValueError as error:
                raise ValueError(f"variants: {error}") from None
            if name in (CONTROL, INTERLEAVED):
                raise ValueError(f"variants: {name!r} is no name of a variant; it has a meaning")
        if self.assignment == "interleave" and len(self.variants) > 1:
            raise ValueError(
                f"variants: wanted one, which takes turns with the control, got"
                f" {len(self.variants)}"
            )
        if (total := sum(v.buckets_count for v in self.variants.values())) > BUCKETS_COUNT:
            raise ValueError(
                f"variants: wanted shares that add up to 1 at most, got {total / BUCKETS_COUNT:g}"
            )
        return self
