"""The settings that decide quality: option before environment before file before default."""

import pytest

from wearalike import quality_settings, settings
from wearalike.pipeline import quality_options
from wearalike.pipeline.stages import STAGE_NAMES
from wearalike.quality import gate
from wearalike.quality.metrics import Metric
from wearalike.quality.thresholds import Thresholds, judge_metrics
from wearalike.tables import CODE_BITS


def read(tmp_path, text, env=None):
    path = tmp_path / "wearalike.toml"
    path.write_text(text, encoding="utf-8")
    return settings.read_settings(path, env or {})


def test_the_environment_goes_before_the_file_key_by_key(tmp_path):
    found = read(
        tmp_path,
        "[lists]\nk = 8\nmin_score = 0.2\n[gate]\nmin_with_code_ratio = 1\n"
        "[models]\nencoder = 'fashion'\n",
        {
            "WEARALIKE_LISTS_MIN_SCORE": "0.3",
            "WEARALIKE_LISTS_LOOKS_K": "",
            "WEARALIKE_GATE_MIN_PRODUCTS_COUNT": "100",
            "WEARALIKE_MODELS_DETECTOR": "whole",
        },
    )
    assert found.lists == settings.ListSettings(k=8, min_score=0.3)
    assert found.gate == settings.GateSettings(min_with_code_ratio=1.0, min_products_count=100)
    assert found.models == settings.ModelSettings(encoder="fashion", detector="whole")
    option = quality_options.OPTIONS_BY_KEY["k"]
    assert (option.read(None, found), option.read(3, found)) == (8, 3)


@pytest.mark.parametrize(
    ("text", "env", "message"),
    [
        ("[lists]\nk = 0", {}, "lists: k: wanted 1 to 1000, got 0"),
        ("[lists]\nk = '5'", {}, "lists: k: wanted int from 1 to 1000, got '5'"),
        ("[lists]\nmin_score = nan", {}, "lists: min_score: wanted 0 to 1, got nan"),
        (
            "[lists]\nbrand_cap = 3",
            {},
            "lists: unknown key 'brand_cap'; known: diversity, k, looks_alike_min_score, looks_k, ",
        ),
        ("lists = 3", {"WEARALIKE_LISTS_K": "7"}, r"lists: wanted a \[lists\] table, got 3"),
        ("[gate]\nmin_with_code_ratio = 1.5", {}, "min_with_code_ratio: wanted 0 to 1, got 1.5"),
        (
            "[models]\nencoder_precision = 'int8'",
            {},
            "models: encoder_precision: wanted float32 or bfloat16, got 'int8'",
        ),
        ("[models]\nencoder = 'A b'", {}, "models: encoder: wanted a model's name .*, got 'A b'"),
        (
            "[[shops]]\nid = 'a'\nfeed = 'x'\nmin_products_kept_ratio = 2",
            {},
            "shop 'a': min_products_kept_ratio: wanted 0 to 1, got 2",
        ),
        (
            "",
            {"WEARALIKE_LISTS_MIN_SCORE": "1.3"},
            r"^\$WEARALIKE_LISTS_MIN_SCORE: min_score: wanted 0 to 1, got 1.3$",
        ),
    ],
)
def test_a_value_outside_its_range_is_named_with_key_and_range(tmp_path, text, env, message):
    with pytest.raises(settings.BadSettings, match=message) as error:
        read(tmp_path, text, env)
    assert "\n" not in str(error.value)


def test_every_key_is_an_option_of_one_stage():
    keys = {
        (name, key)
        for name, model in quality_settings.SECTIONS.items()
        if name != "gate"
        for key in model.model_fields
    }
    assert {(o.section, o.key) for o in quality_options.RUN_OPTIONS} == keys
    assert {o.stage for o in quality_options.RUN_OPTIONS} <= set(STAGE_NAMES)


def test_a_stage_gets_its_own_values_as_a_shell_takes_them():
    values = {"k": 5, "looks_k": 0, "min_score": None, "detector": "$(x) y", "threshold": ["a=1"]}
    assert quality_options.stage_arguments("match_products", values) == ["--k=5"]
    assert quality_options.stage_arguments("match_looks", values) == ["--k=0"]
    assert quality_options.stage_options_text("detect_items", values) == "'--detector=$(x) y'"
    assert quality_options.stage_arguments("report_quality", values) == ["--threshold=a=1"]
    assert quality_options.stage_options_text("map_products", values) == ""


def test_a_shop_is_judged_by_its_own_threshold_and_the_others_by_the_common_one(tmp_path):
    found = read(
        tmp_path,
        "[gate]\nmin_products_kept_ratio = 0.9\n"
        "[[shops]]\nid = 'small'\nfeed = 'x'\nmin_products_kept_ratio = 0.2\n"
        "[[shops]]\nid = 'big'\nfeed = 'x'\n",
    )
    kept = {"all": 0.95, "shop=big": 0.8, "shop=small": 0.3}
    metrics = [
        Metric("products_kept_ratio", scope, value, "ratio") for scope, value in kept.items()
    ]
    limits = Thresholds(**found.gate.model_dump()).as_list(shops=found.shops)
    judged = {m.scope: (m.verdict, m.threshold) for m in judge_metrics(metrics, limits)}
    assert judged == {
        "all": ("ok", ">= 0.9"),
        "shop=big": ("fail", ">= 0.9"),
        "shop=small": ("ok", ">= 0.2"),
    }
    outcomes = gate.Gate("day-1", tmp_path / "docs").check_metrics(metrics, limits)
    assert {o.meaning: o.violations_count for o in outcomes} == {
        "products_kept_ratio >= 0.9": 1,
        "products_kept_ratio[shop=small] >= 0.2": 0,
    }
    assert [e["scope"] for o in outcomes for e in o.examples] == ["shop=big"]


@pytest.mark.parametrize(("bits", "is_taken"), [(CODE_BITS, True), (CODE_BITS + 1, False)])
def test_a_code_has_no_more_unbalanced_bits_than_bits(tmp_path, bits, is_taken):
    text = f"[gate]\nmax_unbalanced_bits_count = {bits}"
    if is_taken:
        assert read(tmp_path, text).gate.max_unbalanced_bits_count == bits
    else:
        with pytest.raises(settings.BadSettings, match="max_unbalanced_bits_count"):
            read(tmp_path, text)
