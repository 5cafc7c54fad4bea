"""The exact search on a GPU, by matrix products: the same result as `bitplane`, bit for bit.

With codes as signs, s = 1 - 2 * bit, the weighted distance of a query q and a code x is

    (shape_weight * (128 - A) + colour_weight * (128 - B)) / 2

A and B are the sums of s_q * s_x over the bits of shape and of colour. One product of the queries'
weighted signs with the codes' signs gives shape_weight * A + colour_weight * B for all pairs.

It is exact. Every factor and every partial sum, in any order of adding, is a whole number of at
most 128 * (shape_weight + colour_weight). float16 holds all whole numbers up to 2,048, so the
product is exact where shape_weight + colour_weight <= 16. Otherwise A and B, at most 128 each, come
from two products and are weighted as int32. int8 would hold no weight above 127, and torch has no
public product of it.

The offset of a code's kind moves the query's bound, not the product. Agreements are compared with a
threshold for each query and kind, an even number that float16 holds.

The best k are kept as one number each: query, distance and position, in this order. No two are
equal, so ties go to the earlier code wherever blocks end, and sorting is deterministic. Only codes
nearer than the query's bound, the distance of its k-th best so far, are sorted. Blocks start small
and double, so that about k codes a query are nearer in each block of codes in random order. The
largest block fits into free memory even if all of its codes are nearer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from wearalike.search.kernels.query_batch import QueryBatch
from wearalike.tables import CODE_BITS

_BITS = 2 * CODE_BITS  # of shape and of colour
_FLOAT16_MAX_EXACT_INT = 2048  # float16 holds every whole number up to it
# Queries that share the signs of a block of codes.
_BLOCK_QUERIES = 4096
# Share of the free memory that a block takes: other workers may search on the same GPU.
_FREE_MEMORY_RATIO = 0.4
# Peak bytes for each pair that is nearer than the bound, with all intermediate tensors.
_PAIR_BYTES = 96
# Peak bytes for each code while it becomes signs.
_CODE_BYTES = 6 * _BITS
# Block size on torch's CPU device, which only tests use.
_CPU_BLOCK_BYTES = 1 << 28


@dataclass(frozen=True, slots=True)
class DeviceCodes:
    """Codes on a device; their signs are computed block by block.

    Attributes:
        codes: torch.uint8 (n, 32), 32 bytes a code.
        kinds: torch.int64 (n,). The kind of each code.
    """

    codes: torch.Tensor
    kinds: torch.Tensor

    def __len__(self) -> int:
        return len(self.codes)


def upload_codes(
    codes: NDArray[np.uint64],
    device: str = "cuda",
    kinds: NDArray[np.integer] | None = None,
) -> DeviceCodes:
    """Copy codes to a device.

    Args:
        codes: uint64 (n, 4), two words of shape and two of colour.
        device: Name of a torch device.
        kinds: int (n,). The kind of each code; default: all of kind 0.

    Raises:
        ValueError: The device is a GPU and torch sees none.
    """
    if torch.device(device).type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device {device}: torch sees no GPU; search on the cpu")
    numbers = np.zeros(len(codes), np.int64) if kinds is None else np.asarray(kinds, np.int64)
    return DeviceCodes(
        _to_byte_tensor(codes, torch.device(device)), torch.from_numpy(numbers).to(device)
    )


def nearest_flat(
    queries: QueryBatch, tiles: DeviceCodes, k: int, block_bytes: int | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the positions of the k nearest codes of every query, as `bitplane.nearest_flat`.

    Args:
        queries: The batch.
        tiles: The codes to search, from `upload_codes`.
        k: Positions a query, at most.
        block_bytes: Memory that a block may take; default: a share of the free memory. The result
            does not depend on it.

    Returns:
        Number of positions of each query, int64 (q,), and positions of all queries, int64 (sum,).
    """
    if not (len(queries) and len(tiles)):
        return np.zeros(len(queries), np.int64), np.empty(0, np.int64)
    if block_bytes is None:
        block_bytes = block_memory_bytes(tiles.codes.device)
    # A block of at least one code is sorted together with the k kept.
    block_size = max(1, min(_BLOCK_QUERIES, block_bytes // (_PAIR_BYTES * (k + 1))))
    found = [_search_block(block, tiles, k, block_bytes) for block in queries.split(block_size)]
    counts, positions = zip(*found, strict=True)
    return np.concatenate(counts), np.concatenate(positions)


def block_memory_bytes(device: torch.device) -> int:
    """Return the bytes that a block may take on the device now."""
    if device.type == "cpu":
        return _CPU_BLOCK_BYTES
    return int(_FREE_MEMORY_RATIO * torch.cuda.mem_get_info(device)[0])


def _to_byte_tensor(codes: NDArray[np.uint64], device: torch.device) -> torch.Tensor:
    """Return uint64 (n, 4) codes as uint8 (n, 32) on the device."""
    as_bytes = np.ascontiguousarray(codes).view(np.uint8).reshape(len(codes), _BITS // 8)
    return torch.from_numpy(as_bytes).to(device)


def _to_signs(codes: torch.Tensor) -> torch.Tensor:
    """Return uint8 (n, 32) codes as float16 (n, 256): 1 for a bit that is 0, else -1."""
    bits = codes[:, :, None] >> torch.arange(8, dtype=torch.uint8, device=codes.device) & 1
    return 1 - 2 * bits.reshape(len(codes), _BITS).to(torch.float16)


def _search_block(
    block: QueryBatch, tiles: DeviceCodes, k: int, block_bytes: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return as `nearest_flat` for one block of queries."""
    codes = tiles.codes
    device = codes.device
    queries = _to_byte_tensor(block.codes, device)
    shape_weight, colour_weight, limits = (
        torch.from_numpy(np.asarray(column, np.int64)).to(device)
        for column in (block.shape_weight, block.colour_weight, block.limits)
    )
    n = len(codes)
    largest = CODE_BITS * (shape_weight + colour_weight)
    offsets = torch.from_numpy(np.asarray(block.kind_offsets, np.int64)).to(device)
    reach_of_query = largest + offsets.amax(dim=1)
    bounds = torch.minimum(limits, reach_of_query) + 1  # a code at this distance is too far
    agreement = _SignProduct(queries, shape_weight, colour_weight)
    # A key is (query * reach + distance) * n + position, below 2^63 for 4,096 queries and 10^10
    # codes.
    reach = int(reach_of_query.max()) + 1
    best = torch.empty(0, dtype=torch.int64, device=device)
    start = 0
    size = max(1024, 4 * k)
    while start < n:
        size = max(1, min(size, block_bytes // (_PAIR_BYTES * len(queries) + _CODE_BYTES)))
        agreed = agreement(codes[start : start + size])
        # distance < bound, as distance = (largest - agreed) / 2 + offset. No agreement is beyond
        # largest either way, so the threshold is cut there.
        thresholds = (largest - 2 * bounds)[:, None] + 2 * offsets
        cut = largest[:, None] + 2
        thresholds = torch.minimum(torch.maximum(thresholds, -cut), cut).to(agreed.dtype)
        kinds = tiles.kinds[start : start + size]
        is_nearer = agreed > (thresholds[:, kinds] if offsets.shape[1] > 1 else thresholds)
        query, position = is_nearer.nonzero(as_tuple=True)
        distance = (largest[query] - agreed[query, position].long()) // 2
        distance += offsets[query, kinds[position]]
        keys = (query * reach + distance) * n + (position + start)
        best, bounds = _select_best(torch.cat([best, keys]), bounds, k, reach, n)
        start = start + size
        size = 2 * size
    counts = torch.bincount(best // (reach * n), minlength=len(queries))
    return counts.cpu().numpy(), (best % n).cpu().numpy()


class _SignProduct:
    """Compute shape_weight * A + colour_weight * B of all queries and a block of codes, (q, b).

    The dtype is float16 where that is exact, else int32.
    """

    def __init__(
        self, queries: torch.Tensor, shape_weight: torch.Tensor, colour_weight: torch.Tensor
    ) -> None:
        self.signs = _to_signs(queries)
        self.weights = (shape_weight.int()[:, None], colour_weight.int()[:, None])
        largest = int((shape_weight + colour_weight).max()) * CODE_BITS
        self.is_single_product = largest <= _FLOAT16_MAX_EXACT_INT
        if self.is_single_product:
            self.signs *= torch.cat(
                [weight.to(torch.float16).expand(-1, CODE_BITS) for weight in self.weights], dim=1
            )

    def __call__(self, codes: torch.Tensor) -> torch.Tensor:
        signs = _to_signs(codes)
        if self.is_single_product:
            return self.signs @ signs.T
        shape, colour = (
            self.signs[:, half] @ signs[:, half].T
            for half in (slice(CODE_BITS), slice(CODE_BITS, None))
        )
        return self.weights[0] * shape.int() + self.weights[1] * colour.int()


def _select_best(
    keys: torch.Tensor, bounds: torch.Tensor, k: int, reach: int, n: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the k least keys of each query, in order, and each query's bound.

    The bound is the distance of the k-th key; it stays as it was where there are fewer.
    """
    keys = keys.sort().values
    query = keys // (reach * n)
    starts = torch.searchsorted(query, torch.arange(len(bounds) + 1, device=keys.device))
    rank = torch.arange(len(keys), device=keys.device) - starts[query]
    is_last = rank == k - 1
    bounds = bounds.clone()
    bounds[query[is_last]] = keys[is_last] // n % reach
    return keys[rank < k], bounds
