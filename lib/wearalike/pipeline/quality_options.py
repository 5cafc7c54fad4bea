"""The settings that decide quality, as options of stages, of `wearalike run` and of the DAG.

`RUN_OPTIONS` is the one list: an option, the key that it overrides, and the stage that reads it.
This module imports no heavy library: a DAG file imports it each time it is parsed.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import click

from wearalike.quality_settings import SECTIONS, GateSettings
from wearalike.settings import Settings


@dataclass(frozen=True, slots=True)
class QualityOption:
    """A setting that decides quality, as an option.

    Attributes:
        key: The key, and the name of the option of `wearalike run` and of the DAG's parameter.
        section: The section of the settings file that has the key.
        stage: The stage that reads it.
        stage_option: The name of the stage's option.
        help: Text of its help, in one line.
    """

    key: str
    section: str
    stage: str
    stage_option: str
    help: str

    @property
    def default(self) -> Any:
        """The value where neither option, environment nor file has one."""
        return SECTIONS[self.section].model_fields[self.key].default

    def parse(self, text: str) -> Any:
        """Return the value of a text. Raises ValueError with the range where it is outside."""
        try:
            return SECTIONS[self.section].parse_value(self.key, text)
        except ValueError as error:
            raise ValueError(str(error).removeprefix(f"{self.key}: ")) from None

    def read(self, value: Any, settings: Settings) -> Any:
        """Return the option's value, else that of the settings."""
        if value is not None:
            return value
        return getattr(getattr(settings, self.section), self.key)


# Beside these, `--threshold NAME=VALUE` overrides the keys of [gate] in report_quality.
RUN_OPTIONS = (
    QualityOption("detector", "models", "detect_items", "detector", "Detector of items."),
    QualityOption("encoder", "models", "encode_items", "encoder", "Encoder of items."),
    QualityOption(
        "encoder_precision",
        "models",
        "encode_items",
        "precision",
        "float32, or bfloat16 on CPUs that have it.",
    ),
    QualityOption(
        "looks_detector",
        "models",
        "detect_looks",
        "detector",
        "Detector of what products are worn with.",
    ),
    QualityOption("k", "lists", "match_products", "k", "Recommendations a product."),
    QualityOption(
        "min_score",
        "lists",
        "match_products",
        "min_score",
        "0..1; less alike products are left out.",
    ),
    QualityOption(
        "max_per_brand",
        "lists",
        "match_products",
        "max_per_brand",
        "Results of one brand in a list, at most.",
    ),
    QualityOption(
        "max_brand_share",
        "lists",
        "match_products",
        "max_brand_share",
        "0..1; in a shop where one brand has a larger share, --max-per-brand does not apply.",
    ),
    QualityOption(
        "diversity",
        "lists",
        "match_products",
        "diversity",
        "0..0.9; how much it counts in a list that results are unlike each other.",
    ),
    QualityOption(
        "looks_k", "lists", "match_looks", "k", "Recommendations of each super-category for a look."
    ),
    QualityOption(
        "looks_min_score",
        "lists",
        "match_looks",
        "min_score",
        "0..1; products less alike a worn item are left out.",
    ),
    QualityOption(
        "looks_alike_min_score",
        "lists",
        "match_looks",
        "alike_min_score",
        "0..1; how alike a product must be whose look another one takes.",
    ),
)
OPTIONS_BY_KEY = {option.key: option for option in RUN_OPTIONS}


def build_option(key: str, help_text: str | None = None) -> click.Option:
    """Return a stage's option that overrides a key of the settings.

    Args:
        key: The key.
        help_text: Text of its help; None: that of `RUN_OPTIONS`.
    """
    option = OPTIONS_BY_KEY[key]
    return click.Option(
        [_flag(option.stage_option), option.stage_option], **_attributes(option, help_text)
    )


def threshold_option() -> click.Option:
    """Return the option --threshold."""
    return click.Option(["--threshold"], **_threshold_attributes())


def run_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command all options that decide quality; it receives them as keyword arguments."""
    function = click.option("--threshold", **_threshold_attributes())(function)
    for option in reversed(RUN_OPTIONS):
        function = click.option(_flag(option.key), option.key, **_attributes(option))(function)
    return function


def _flag(name: str) -> str:
    """Return the name as a command line writes it."""
    return f"--{name.replace('_', '-')}"


def _attributes(option: QualityOption, help_text: str | None = None) -> dict[str, Any]:
    """Return type and help of an option, for click."""
    # Imported here, since it brings pyarrow.
    from wearalike.pipeline.command_frame import ParsedText

    default = "" if option.default is None else f", else {option.default}"
    return {
        "type": ParsedText("NAME" if option.section == "models" else "NUMBER", option.parse),
        "help": f"{help_text or option.help} "
        f"Default: the settings' {option.section}.{option.key}{default}.",
    }


def _threshold_attributes() -> dict[str, Any]:
    """Return the attributes of --threshold, for click."""
    from wearalike.pipeline.command_frame import ParsedText

    defaults = ", ".join(f"{key}={f.default}" for key, f in GateSettings.model_fields.items())
    return {
        "multiple": True,
        "type": ParsedText("NAME=VALUE", parse_threshold),
        "help": "Another threshold, for this run only and recorded with it. "
        f"Default: the settings' [gate], else {defaults}.",
    }


def parse_threshold(text: str) -> tuple[str, float]:
    """Return name and value of a threshold such as "min_products_count=100".

    Raises:
        ValueError: No such threshold, no number, or one outside the threshold's range.
    """
    name, _, value = text.partition("=")
    if not value:
        raise ValueError(f"{text!r}: wanted NAME=NUMBER, e.g. min_products_kept_ratio=0.2")
    if name not in (known := GateSettings.model_fields):
        from wearalike.catalog.xml_validation import did_you_mean

        hint = did_you_mean(name, known) or f"; known are {', '.join(known)}"
        raise ValueError(f"{text!r}: no such threshold{hint}")
    return name, GateSettings.parse_value(name, value)


def stage_arguments(stage: str, values: Mapping[str, Any]) -> list[str]:
    """Return the options of a stage, for a run's values.

    Args:
        stage: The stage's name.
        values: By key, and "threshold": (name, value) pairs or NAME=VALUE texts. The
            settings decide what is None or not there.

    Example:
        >>> stage_arguments("match_products", {"k": 5, "looks_k": None})
        ['--k=5']
    """
    arguments = [
        f"{_flag(option.stage_option)}={values[option.key]}"
        for option in RUN_OPTIONS
        if option.stage == stage and values.get(option.key) not in (None, "")
    ]
    if stage == "report_quality":
        for entry in values.get("threshold") or ():
            text = entry if isinstance(entry, str) else f"{entry[0]}={entry[1]}"
            arguments.append(f"--threshold={text}")
    return arguments


def stage_options_text(stage: str, values: Mapping[str, Any]) -> str:
    """Return the same as `stage_arguments`, as text that a shell takes as it is."""
    return shlex.join(stage_arguments(stage, values))


def dag_parameters() -> dict[str, dict[str, Any]]:
    """Return the JSON schema of a DAG parameter for each option, by key; all are None by default.

    The form of Airflow checks ranges by it. The stage checks them again.
    """
    parameters = {}
    for option in RUN_OPTIONS:
        schema = SECTIONS[option.section].model_json_schema()["properties"][option.key]
        schema = schema.get("anyOf", [schema])[0]
        default = "" if option.default is None else f", else {option.default}"
        parameters[option.key] = {
            "type": ["null", schema["type"]],
            **{k: schema[k] for k in ("minimum", "maximum") if k in schema},
            **({"enum": [None, *schema["enum"]]} if "enum" in schema else {}),
            "description": f"{option.help} Empty: the settings' {option.section}.{option.key}"
            f"{default}.",
        }
    parameters["threshold"] = {
        "type": ["null", "array"],
        "items": {"type": "string", "pattern": "^[a-z0-9_]+=[0-9.]+$"},
        "description": "Thresholds of the gate as NAME=NUMBER, one a line. "
        "Empty: the settings' [gate].",
    }
    return parameters
