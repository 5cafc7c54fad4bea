"""Processors by what they say of themselves, and whether this one computes in bfloat16."""

from wearalike.models import precision
from wearalike.models.files import BadModel

OLDER = "processor : 0\nflags : fpu sse4_2 avx2 avx512f\n"
WITH_AVX512 = "processor : 0\nflags : fpu avx512f avx512_bf16\n"
WITH_AMX = "processor : 0\nflags : fpu avx512_bf16 amx_bf16 amx_tile\n"


def has_bfloat16() -> bool:
    """True if this processor computes in bfloat16."""
    try:
        precision.code_version("any-1", precision.Precision.BFLOAT16)
    except BadModel:
        return False
    return True
