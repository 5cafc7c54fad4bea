"""The settings that decide the quality of a run: models, lists, and the gate's thresholds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, Strict, ValidationError

from wearalike.validation import describe_error, describe_unknown_key, first_error

_MODEL_NAME_PATTERN = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
MAX_LIST_LENGTH = 1000


def _check_model_name(name: str) -> str:
    """Return a model's name or version; anything else is refused."""
    if not _MODEL_NAME_PATTERN.fullmatch(name):
        raise ValueError(
            "wanted a model's name or version, 1 to 64 lower-case letters, digits, dots or "
            f"dashes, got {name!r}"
        )
    return name


ModelName = Annotated[str, AfterValidator(_check_model_name)]
_Number = Annotated[int, Strict()]
_Float = Annotated[float, Strict()]
_Share = Annotated[_Float, Field(ge=0, le=1)]
_Factor = Annotated[_Float, Field(ge=1, le=10**4)]
_FROZEN = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class QualitySection(BaseModel):
    """A section of the settings that decides quality."""

    model_config = _FROZEN

    @classmethod
    def parse_value(cls, key: str, text: str) -> Any:
        """Return the value of a key as a command line or a variable gives it.

        Args:
            key: A key of the section.
            text: The value as text.

        Raises:
            ValueError: The section has no such key, or the value is outside its range.
        """
        if key not in cls.model_fields:
            raise ValueError(describe_unknown_key(key, cls))
        value = _read_number(text) if cls.model_fields[key].annotation in (int, float) else text
        try:
            return getattr(cls(**{key: value}), key)
        except ValidationError as error:
            raise ValueError(describe_error(first_error(error), cls, [key])) from None


class ModelSettings(QualitySection):
    """The models of a run.

    Attributes:
        detector: Finds the products' items: "whole" or "foreground", a packaged model, or a version
            promoted once. Default: the promoted one, else "outfit".
        encoder: Encodes them: a packaged model, or a version promoted once. Default: the promoted
            one, else "likeness".
        encoder_precision: "float32", or "bfloat16": faster on CPUs with AMX-BF16 or AVX512-BF16,
            with codes of a version of their own. Other devices refuse it.
        looks_detector: Finds what products are worn with; one that names what it sees. Default: the
            promoted one, else "garments".
    """

    detector: ModelName | None = None
    encoder: ModelName | None = None
    encoder_precision: Literal["float32", "bfloat16"] = "float32"
    looks_detector: ModelName | None = None


class ListSettings(QualitySection):
    """The lists of recommendations.

    Attributes:
        k: 1..1000. Recommendations a product, at most.
        min_score: 0..1. Less alike products are left out.
        max_per_brand: 1..1000. Results of one brand in a list, at most.
        max_brand_share: 0..1. In a shop where one brand has a larger share, max_per_brand does not
            apply; 1: it always does.
        diversity: 0..0.9. How much it counts in a list that results are unlike each other; 0: not
            at all.
        looks_k: 1..1000. Recommendations of each super-category for a look, at most.
        looks_min_score: 0..1. Products less alike a worn item are left out.
        looks_alike_min_score: 0..1. A product without a look takes that of the first of its list
            that has one and this score at least.
    """

    k: Annotated[_Number, Field(ge=1, le=MAX_LIST_LENGTH)] = 20
    min_score: Annotated[_Float, Field(ge=0, le=1)] = 0.1
    max_per_brand: Annotated[_Number, Field(ge=1, le=MAX_LIST_LENGTH)] = 10
    max_brand_share: Annotated[_Float, Field(ge=0, le=1)] = 0.5
    diversity: Annotated[_Float, Field(ge=0, le=0.9)] = 0.0
    looks_k: Annotated[_Number, Field(ge=1, le=MAX_LIST_LENGTH)] = 5
    looks_min_score: Annotated[_Float, Field(ge=0, le=1)] = 0.1
    looks_alike_min_score: Annotated[_Float, Field(ge=0, le=1)] = 0.5


class GateSettings(QualitySection):
    """The gate's thresholds. Counts are 0 or more, ratios 0..1.

    A metric outside a threshold that says "stops" stops publishing; any other gives a warning.
    Shares of a shop are judged where it has 20 products or more.

    Attributes:
        min_products_count: Products; fewer stop.
        min_products_kept_ratio: Share of the last run's products that are still here, in all and
            in each shop that is still read; less stops. A shop may have its own.
        min_with_image_ratio: Share of products with an image, in all; less stops. In one shop it
            gives a warning.
        min_with_code_ratio: Share of products with a code; less stops.
        min_with_5_matches_ratio: Share of products with five or more recommendations; less stops.
            Not asked where k is below 5.
        min_distinct_codes_ratio: Share of distinct codes; less stops.
        min_in_stock_ratio: Share of a shop's products that are in stock.
        min_code_agreement_ratio: Agreement of near codes with the shop's categories and colour
            words, beyond a blind draw, in all, by shop and by super-category; less stops.
        min_halves_lead_ratio: -1..1. How much better each half of the code finds its own words than
            the other half does; less stops: shape and colour are exchanged.
        min_list_skill_ratio: -1..1. Relevance of the lists by category, beyond a blind draw, by
            shop and super-category; less stops. By colour words it gives a warning.
        max_churn_ratio: Share of the last run's recommendations that left their lists; more stops.
            Not asked where a model has changed since: another model changes what is similar.
        max_refused_offers_ratio: Share of refused offers of each shop. A shop may have its own.
        max_stale_feeds_count: Feeds that were taken from an earlier run.
        max_missing_feeds_count: Feeds that are missing.
        max_feed_age_days: Days since the run that a shop's offers are of; more stops. A shop may
            have its own.
        max_unbalanced_bits_count: Bits whose share of ones is outside 0.5 ± 0.2, of 128.
        max_score_psi: 0..100. Change of scores since the last run, as a population stability index.
            Not asked where a model has changed since.
        max_category_psi: 0..100. The same of categories, asked always.
        max_equal_codes_ratio: Share of a shop's pictures with one code of shape, or of colour; more
            stops.
        max_equal_pictures_ratio: Share of a shop's articles that show one picture; more stops.
        max_equal_values_ratio: Share of a shop's products with one title, link or price.
        max_contradicted_genders_ratio: Share of a shop's products in women's or men's categories
            that are for others; more stops.
        max_one_category_ratio: Share of a shop's products in one category, where four or more of
            the shop's own end in it.
        max_one_sided_weights_ratio: Share of products compared by shape alone or by colour alone.
        max_price_level_factor: 1..10,000. A shop's prices over other shops', or the other way
            round.
        max_price_jump_ratio: Share of a shop's prices that changed four-fold or more since the last
            run; more stops.
        max_moved_pictures_ratio: Share of a shop's products that show a picture which was another
            article's in the last run; more stops.
        max_changed_looks_ratio: Share of a shop's products with another look than in the last run.
            Not asked where a model has changed since.
        max_mix_change_ratio: Share of a shop's products that are of another gender, age group,
            category or currency than those of the last run, in all; more stops.
        max_changed_values_ratio: Share of a shop's products of both runs with another gender, age
            group, category or currency; more stops.
        max_shop_change_ratio: Fall or rise of a share of a shop since the last run: pictures,
            codes, lists, stock, filled columns, equal values; more stops.
        max_agreement_drop_ratio: Part of the agreement of codes with words that was lost since the
            last run; more stops.
        max_week_change_ratio: Fall or rise of a share of a shop since a normal week.
        max_week_price_factor: 1..10,000. A shop's median price over that of a normal week, or the
            other way round.
    """

    min_products_count: Annotated[_Number, Field(ge=0, le=10**9)] = 1
    min_products_kept_ratio: _Share = 0.5
    min_with_image_ratio: _Share = 0.5
    min_with_code_ratio: _Share = 0.5
    min_with_5_matches_ratio: _Share = 0.25
    min_distinct_codes_ratio: _Share = 0.1
    min_in_stock_ratio: _Share = 0.02
    min_code_agreement_ratio: _Share = 0.05
    min_halves_lead_ratio: Annotated[_Float, Field(ge=-1, le=1)] = 0.0
    min_list_skill_ratio: Annotated[_Float, Field(ge=-1, le=1)] = -0.05
    max_churn_ratio: _Share = 0.5
    max_refused_offers_ratio: _Share = 0.5
    max_stale_feeds_count: Annotated[_Number, Field(ge=0, le=10**6)] = 0
    max_missing_feeds_count: Annotated[_Number, Field(ge=0, le=10**6)] = 0
    max_feed_age_days: Annotated[_Number, Field(ge=0, le=10**4)] = 14
    # tables.CODE_BITS: DAG files read settings without Arrow, which tables.py imports.
    max_unbalanced_bits_count: Annotated[_Number, Field(ge=0, le=128)] = 64
    max_score_psi: Annotated[_Float, Field(ge=0, le=100)] = 0.25
    max_category_psi: Annotated[_Float, Field(ge=0, le=100)] = 0.25
    max_equal_codes_ratio: _Share = 0.3
    max_equal_pictures_ratio: _Share = 0.3
    max_equal_values_ratio: _Share = 0.5
    max_contradicted_genders_ratio: _Share = 0.2
    max_one_category_ratio: _Share = 0.9
    max_one_sided_weights_ratio: _Share = 0.5
    max_price_level_factor: _Factor = 30.0
    max_price_jump_ratio: _Share = 0.2
    max_moved_pictures_ratio: _Share = 0.1
    max_changed_looks_ratio: _Share = 0.5
    max_mix_change_ratio: _Share = 0.4
    max_changed_values_ratio: _Share = 0.4
    max_shop_change_ratio: _Share = 0.4
    max_agreement_drop_ratio: _Share = 0.3
    max_week_change_ratio: _Share = 0.3
    max_week_price_factor: _Factor = 4.0


SECTIONS: dict[str, type[QualitySection]] = {
    "models": ModelSettings,
    "lists": ListSettings,
    "gate": GateSettings,
}


def environment_variable(section: str, key: str) -> str:
    """Return the environment variable of a key, e.g. WEARALIKE_LISTS_MIN_SCORE."""
    return f"WEARALIKE_{section}_{key}".upper()


def read_environment(env: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return the values that the environment sets, by section and key.

    Raises:
        ValueError: A value is outside its range. The text names the variable.
    """
    found: dict[str, dict[str, Any]] = {}
    for section, model in SECTIONS.items():
        for key in model.model_fields:
            variable = environment_variable(section, key)
            if not env.get(variable):
                continue
            try:
                found.setdefault(section, {})[key] = model.parse_value(key, env[variable])
            except ValueError as error:
                raise ValueError(f"${variable}: {error}") from None
    return found


def _read_number(text: str) -> int | float | str:
    """Return the number that a text writes; the text itself if it writes none."""
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text
