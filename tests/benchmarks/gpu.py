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
    """Measure on the card; see `match_on`."""
    if not torch.cuda.is_available():
        return SkippedBench("match, GPU", TARGET, "no GPU here")
    return match_on("cuda", CODES, QUERIES)


def match_on(device: str, codes_count: int, queries_count: int) -> BenchResult:
    """Compare the search with the bare matrix products of the same queries with as many codes.

    The products are what the card's matrix units and its memory allow; nobody reads their result.
    Some queries are searched on the CPU too, and must give the same answer.

    Args:
        device: "cuda", or "cpu" for a test of this code.
        codes_count: Codes to search.
        queries_count: Queries.
    """
    codes = random_codes(codes_count, 1)
    queries = random_codes(queries_count, 2)
    tiles = torch_gpu.upload_codes(codes, device)
    block = min(BLOCK, codes_count)

    def ours(count: int = queries_count, size: int = codes_count) -> tuple[np.ndarray, np.ndarray]:
        batch = QueryBatch.uniform(queries[:count], *WEIGHTS)
        part = torch_gpu.DeviceCodes(tiles.codes[:size], tiles.kinds[:size])
        return torch_gpu.nearest_flat(batch, part, K)

    left, right = (
        torch.ones((rows, _BITS), dtype=torch.float16, device=device)
        for rows in (queries_count, block)
    )
    buffer = torch.empty((queries_count, block), dtype=torch.float16, device=device)

    def products() -> None:
        for _ in range(codes_count // block):
            torch.mm(left, right.T, out=buffer)
        synchronize(device)

    def copies() -> None:
        for _ in range(10):
            buffer.copy_(buffer.flip(0))
        synchronize(device)

    checked = QueryBatch.uniform(queries[:CHECKED], *WEIGHTS)
    wanted = bitplane.nearest_flat(checked, bitplane.transpose_codes(codes), K)
    is_same = all(np.array_equal(a, b) for a, b in zip(ours(CHECKED), wanted, strict=True))
    ours_s, bare_s = median_seconds([ours, products])
    sizes = [codes_count // 4, codes_count // 2, codes_count]
    growth = exponent(sizes, [seconds(lambda size=size: ours(size=size)) for size in sizes])
    pairs = codes_count * queries_count / GIGA
    ratio = bare_s / ours_s
    # Each of the 10 copies reads and writes the buffer twice.
    moved = 10 * 4 * buffer.nbytes / seconds(copies) / GIGA
    tflops = 2 * _BITS * pairs / bare_s / 1000
    settings = (
        f"bare float16 products on one {name_device(device)}, torch {torch.__version__}: "
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


def synchronize(device: str) -> None:
    """Wait until the device has done its work; a CPU always has."""
    if device == "cuda":
        torch.cuda.synchronize()


def name_device(device: str) -> str:
    """Return the name of a device for people."""
    return torch.cuda.get_device_name() if device == "cuda" else "CPU"


BENCHES = (match_gpu,)
