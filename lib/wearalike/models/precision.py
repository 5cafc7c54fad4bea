"""The precision that an encoder computes in, and how the version of its codes names it.

Codes of `likeness-2` in bfloat16 are of version `likeness-2+bf16.avx512` or `likeness-2+bf16.amx`.
The version of a model file has no "+", so codes of two precisions are never of one version.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from wearalike.models.files import BadModel


class Precision(StrEnum):
    """The precision of a network's weights and maps."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


# How a name asks for bfloat16, and a version tells it.
BFLOAT16_MARK = "+bf16"
# The name of its instructions by flag of a processor, the fastest first. Sums in another order
# round otherwise, and .003 of the bits differ (AVX512-BF16 and its emulation), so that each makes
# codes of a version of its own.
INSTRUCTIONS = {"amx_bf16": "amx", "avx512_bf16": "avx512"}
CPU_INFO_PATH = Path("/proc/cpuinfo")


def precision_of(version: str) -> Precision:
    """Return the precision of codes of a version."""
    return Precision.BFLOAT16 if BFLOAT16_MARK in version else Precision.FLOAT32


def file_version(version: str) -> str:
    """Return the version of the model file that made codes of a version."""
    return version.partition(BFLOAT16_MARK)[0]


def bfloat16_versions(version: str) -> list[str]:
    """Return the versions that a model's codes may have in bfloat16, on any processor."""
    return [f"{version}{BFLOAT16_MARK}.{name}" for name in INSTRUCTIONS.values()]


def code_version(version: str, precision: Precision) -> str:
    """Return the version of codes that a model makes on this processor.

    Args:
        version: Version of the model's file.
        precision: The precision.

    Raises:
        BadModel: This processor does not compute in bfloat16.
    """
    if precision is Precision.FLOAT32:
        return version
    return f"{version}{BFLOAT16_MARK}.{_find_instructions()}"


def check_processor(version: str) -> None:
    """Raise BadModel if this processor cannot make codes of a version."""
    if precision_of(version) is Precision.BFLOAT16:
        here = code_version(file_version(version), Precision.BFLOAT16)
        if here != version:
            raise BadModel(
                f"encoder {version}: this processor would make codes of {here}, and never mixes "
                f"them; encode the run here, or in float32"
            )


def _find_instructions() -> str:
    """Return the name of the instructions that compute bfloat16 here. Raises BadModel."""
    is_there = CPU_INFO_PATH.is_file()
    lines = CPU_INFO_PATH.read_text(encoding="utf-8").splitlines() if is_there else []
    flags = {flag for line in lines if line.startswith("flags") for flag in line.split()}
    for flag, name in INSTRUCTIONS.items():
        if flag in flags:
            return name
    raise BadModel(
        "precision bfloat16: this processor has neither AMX-BF16 nor AVX512-BF16; "
        'set encoder_precision = "float32", or encode on one that has'
    )
