"""The search on a GPU: 10 M codes in one super-category, beside the card's own limits."""

from __future__ import annotations

import numpy as np
import torch
from tests.benchmarks.matching import GIGA, K, random_codes
from tests.benchmarks.measure import (
    RUNS,
    BenchOptions,
    BenchResult,
    SkippedBench,
    exponent,
    median_seconds,
    seconds,
)

from wearalike.search.kernels import bitplane, torch_gpu
from wearalike.search.kernels.query_batch import QueryBatch

CODES = 10_000_000
QUERIES = 4096
# Queries that are searched on the CPU too.
CHECKED = 16
# Codes in one product of the bare limit.
BLOCK = 1 << 17
# Weights of shape and colour.
WEIGHTS = (2, 8)
TARGET = "≥ 0.25"
_MIN_RATIO = 0.25
_BITS = 256


def match_gpu(options: BenchOptions) -> BenchResult | SkippedBench:
    """Compare the search with the bare matrix products of the same queries with as many codes.

    The products are what the card's matrix units and its memory allow; nobody reads their result.
    Some queries are searched on the CPU too, and must give the same answer.
    """
    if not torch.cuda.is_available():
        return SkippedBench("match, GPU", TARGET, "no GPU here")
    codes = random_codes(CODES, 1)
    queries = random_codes(QUERIES, 2)
    tiles = torch_gpu.upload_codes(codes)

    def ours(count: int = QUERIES, size: int = CODES) -> tuple[np.ndarray, np.ndarray]:
        batch = QueryBatch.uniform(queries[:count], *WEIGHTS)
        return torch_gpu.nearest_flat(batch, torch_gpu.DeviceCodes(tiles.codes[:size]), K)

    left, right = (
        torch.ones((rows, _BITS), dtype=torch.float16, device="cuda") for rows in (QUERIES, BLOCK)
    )
    buffer = torch.empty((QUERIES, BLOCK), dtype=torch.float16, device="cuda")

    def products() -> None:
        for _ in range(CODES // BLOCK):
            torch.mm(left, right.T, out=buffer)
        torch.cuda.synchronize()

    def copies() -> None:
        for _ in range(10):
            buffer.copy_(buffer.flip(0))
        torch.cuda.synchronize()

    checked = QueryBatch.uniform(queries[:CHECKED], *WEIGHTS)
    wanted = bitplane.nearest_flat(checked, bitplane.transpose_codes(codes), K)
    is_same = all(np.array_equal(a, b) for a, b in zip(ours(CHECKED), wanted, strict=True))
    ours_s, bare_s = median_seconds([ours, products])
    sizes = [CODES // 4, CODES // 2, CODES]
    growth = exponent(sizes, [seconds(lambda size=size: ours(size=size)) for size in sizes])
    pairs = CODES * QUERIES / GIGA
    ratio = bare_s / ours_s
    # Each of the 10 copies reads and writes the buffer twice.
    moved = 10 * 4 * buffer.nbytes / seconds(copies) / GIGA
    tflops = 2 * _BITS * pairs / bare_s / 1000
    settings = (
        f"bare float16 products on one {torch.cuda.get_device_name()}, torch {torch.__version__}: "
        f"{tflops:.0f} TFLOP/s; its memory moved {moved:.0f} GB/s"
    )
    return BenchResult(
        "match, GPU",
        pairs / ours_s,
        pairs / bare_s,
        "G pairs/s",
        ratio,
        TARGET,
        is_same and ratio >= _MIN_RATIO,
        RUNS,
        settings,
        growth,
        "the answer of the CPU" if is_same else "ANOTHER ANSWER",
    )


BENCHES = (match_gpu,)
