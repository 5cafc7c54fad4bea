"""The search on a GPU, where there is one: 10 M codes in one super-category, beside the card's own limits."""

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

CODES, QUERIES, CHECKED, BLOCK = 10_000_000, 4096, 16, 1 << 17
WEIGHTS = (2, 8)


def match_gpu(options: BenchOptions) -> BenchResult | SkippedBench:
    """Held against the bare products of the same queries with as many codes, whose answers nobody looks at: what the card's
    matrix units and its memory let through. A few of the queries are searched on the CPU too, and must find the same."""
    if not torch.cuda.is_available():
        return SkippedBench("match, GPU", "≥ 0.25", "no GPU here")
    codes, queries = random_codes(CODES, 1), random_codes(QUERIES, 2)
    tiles = torch_gpu.upload_codes(codes)

    def ours(count: int = QUERIES, size: int = CODES) -> tuple[np.ndarray, np.ndarray]:
        batch = QueryBatch.uniform(queries[:count], *WEIGHTS)
        return torch_gpu.nearest_flat(batch, torch_gpu.DeviceCodes(tiles.codes[:size]), K)

    asked, block = (
        torch.ones((rows, 256), dtype=torch.float16, device="cuda") for rows in (QUERIES, BLOCK)
    )
    room = torch.empty((QUERIES, BLOCK), dtype=torch.float16, device="cuda")

    def products() -> None:
        for _ in range(CODES // BLOCK):
            torch.mm(asked, block.T, out=room)
        torch.cuda.synchronize()

    def copies() -> None:
        for _ in range(10):
            room.copy_(room.flip(0))
        torch.cuda.synchronize()

    checked = QueryBatch.uniform(queries[:CHECKED], *WEIGHTS)
    wanted = bitplane.nearest_flat(checked, bitplane.transpose_codes(codes), K)
    is_same = all(np.array_equal(a, b) for a, b in zip(ours(CHECKED), wanted, strict=True))
    ours_s, bare_s = median_seconds([ours, products])
    sizes = [CODES // 4, CODES // 2, CODES]
    growth = exponent(sizes, [seconds(lambda size=size: ours(size=size)) for size in sizes])
    pairs, ratio = CODES * QUERIES / GIGA, bare_s / ours_s
    moved = 10 * 4 * room.nbytes / seconds(copies) / GIGA
    flops = 2 * 256 * pairs / bare_s / 1000
    card = torch.cuda.get_device_name()
    settings = f"bare float16 products on one {card}, torch {torch.__version__}: {flops:.0f} TFLOP/s; its memory moved {moved:.0f} GB/s"
    note = "the answer of the CPU" if is_same else "ANOTHER ANSWER"
    reached = is_same and ratio >= 0.25
    return BenchResult(
        "match, GPU",
        pairs / ours_s,
        pairs / bare_s,
        "G pairs/s",
        ratio,
        "≥ 0.25",
        reached,
        RUNS,
        settings,
        growth,
        note,
    )


BENCHES = (match_gpu,)
