"""The version of codes tells their precision and the processor that can make them."""

from pathlib import Path

import pytest
from tests.support import processors

from wearalike.models import precision, registry
from wearalike.models.files import BadModel, ModelKind
from wearalike.models.precision import Precision

NOWHERE = Path("nowhere")


@pytest.fixture
def processor(tmp_path, monkeypatch):
    """Let the machine say that it has another processor."""

    def change(told: str) -> None:
        (tmp_path / "cpuinfo").write_text(told, encoding="utf-8")
        monkeypatch.setattr(precision, "CPU_INFO_PATH", tmp_path / "cpuinfo")

    return change


def default_at(wanted: Precision) -> registry.ModelRef:
    return registry.resolve_model(NOWHERE, ModelKind.ENCODER).at_precision(wanted)


def test_each_kind_of_processor_makes_codes_of_its_own_version(processor):
    plain = default_at(Precision.FLOAT32).version
    versions = set()
    for told in (processors.WITH_AVX512, processors.WITH_AMX):
        processor(told)
        model = default_at(Precision.BFLOAT16)
        assert model.read().version == model.version and model.sha256
        assert precision.precision_of(model.version) is Precision.BFLOAT16
        assert precision.file_version(model.version) == plain
        assert registry.find_by_version(NOWHERE, ModelKind.ENCODER, model.version) == model
        assert model.at_precision(Precision.FLOAT32).version == plain
        versions.add(model.version)
    assert versions == {f"{plain}+bf16.avx512", f"{plain}+bf16.amx"}
    assert versions == set(precision.bfloat16_versions(plain))
    # No model file may have such a version.
    assert not any(registry.VERSION_PATTERN.fullmatch(version) for version in versions)


def test_codes_of_another_processor_are_refused_and_never_made_another_way(processor):
    processor(processors.WITH_AVX512)
    with pytest.raises(BadModel, match=r"would make codes of likeness-2\+bf16\.avx512"):
        registry.find_by_version(NOWHERE, ModelKind.ENCODER, "likeness-2+bf16.amx")
    processor(processors.OLDER)
    for ask in (
        lambda: default_at(Precision.BFLOAT16),
        lambda: registry.find_by_version(NOWHERE, ModelKind.ENCODER, "likeness-2+bf16.avx512"),
    ):
        with pytest.raises(BadModel, match=r"has neither AMX-BF16 nor AVX512-BF16; set"):
            ask()
    assert default_at(Precision.FLOAT32).read().version == "likeness-2"
