"""The search of `kernel` on a GPU, by matrix products: the same answer, bit for bit.

With codes as signs, s = 1 - 2 * bit, the distance of a query q and a code x is (shape_weight * (128 - A) + colour_weight * (128 - B)) / 2,
where A and B are the sums of s_q * s_x over the bits of shape and of colour. One product of the queries' signs times their
weights with the codes' signs is shape_weight * A + colour_weight * B for all pairs at once.

Why it is exact: every factor and every partial sum, in whatever order they are added, is a whole number of at most
128 * (shape_weight + colour_weight). float16 holds all whole numbers up to 2,048, so the product is exact where shape_weight + colour_weight <= 16;
else A and B, of at most 128, are made by products of their own, and weighted as int32. int8 would hold no weight above 127,
and torch has no public product of it.

The best k are kept as one number each, query, distance and position in this order: no two are equal, so ties fall to the
earlier code wherever blocks end, and sorting is deterministic. A block of codes is held against each query's bound, the
distance of its k-th best so far; only what is nearer is sorted. Blocks double from few codes on, so that of codes in random
order about k a query are nearer in each; they end at what fits into the memory that is free, if all codes of a block were nearer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

_HALF_BITS, _BITS = 128, 256
_MAX_WEIGHT = 255
_FLOAT16_MAX_EXACT_INT = 2048  # float16 holds every whole number up to it
# Queries that share the signs of a block of codes.
_BLOCK_QUERIES = 4096
# What a block takes of the memory that is free: other workers may search on the same GPU.
_FREE_MEMORY_RATIO = 0.4
# Bytes of a pair that is nearer, all that is made of it counted; of a code as signs, and on the way there.
_PAIR_BYTES, _CODE_BYTES = 96, 6 * _BITS
# On the CPU, where nobody waits for it but tests.
_CPU_BLOCK_BYTES = 1 << 28


@dataclass(frozen=True, slots=True)
class DeviceCodes:
    """Codes on a device, torch.uint8 (n, 32), 32 bytes each: their signs are made block by block."""

    codes: torch.Tensor

    def __len__(self) -> int:
        return len(self.codes)


def upload_codes(codes: NDArray[np.uint64], device: str = "cuda") -> DeviceCodes:
    """codes: uint64 (n, 4), two words of shape and two of colour each. device: as torch names it. Raises ValueError for none."""
    if torch.device(device).type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device {device}: torch sees no GPU; search on the cpu")
    return DeviceCodes(_to_byte_tensor(codes, torch.device(device)))


def nearest_flat(
    queries: NDArray[np.uint64],
    tiles: DeviceCodes,
    shape_weight: NDArray[np.int32],
    colour_weight: NDArray[np.int32],
    limits: NDArray[np.int64],
    k: int,
    block_bytes: int | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """As bitplane.nearest_flat. block_bytes: the memory that a block may take; None: a share of what is free. The same
    whatever it is."""
    if not (len(queries) and len(tiles)):
        return np.zeros(len(queries), np.int64), np.empty(0, np.int64)
    if (
        min(shape_weight.min(), colour_weight.min()) < 0
        or max(shape_weight.max(), colour_weight.max()) > _MAX_WEIGHT
    ):
        raise ValueError(
            f"weights of {shape_weight.min()}..{shape_weight.max()} and {colour_weight.min()}..{colour_weight.max()}: wanted 0..{_MAX_WEIGHT}"
        )
    device = tiles.codes.device
    most = block_memory_bytes(device) if block_bytes is None else block_bytes
    # A block of one code at least is sorted together with what is kept.
    rows = max(1, min(_BLOCK_QUERIES, most // (_PAIR_BYTES * (k + 1))))

    def block(start: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        here = slice(start, start + rows)
        shape, colour, limit = (
            torch.from_numpy(np.asarray(column[here], np.int64)).to(device)
            for column in (shape_weight, colour_weight, limits)
        )
        return _search_block(
            _to_byte_tensor(queries[here], device), tiles.codes, shape, colour, limit, k, most
        )

    counts, positions = zip(*map(block, range(0, len(queries), rows)), strict=True)
    return np.concatenate(counts), np.concatenate(positions)


def block_memory_bytes(device: torch.device) -> int:
    """What a block may take on the device now."""
    return (
        _CPU_BLOCK_BYTES
        if device.type == "cpu"
        else int(_FREE_MEMORY_RATIO * torch.cuda.mem_get_info(device)[0])
    )


def _to_byte_tensor(codes: NDArray[np.uint64], device: torch.device) -> torch.Tensor:
    return torch.from_numpy(
        np.ascontiguousarray(codes).view(np.uint8).reshape(len(codes), _BITS // 8)
    ).to(device)


def _to_signs(codes: torch.Tensor) -> torch.Tensor:
    """uint8 (n, 32) -> float16 (n, 256), 1 for a bit that is 0, else -1."""
    bits = codes[:, :, None] >> torch.arange(8, dtype=torch.uint8, device=codes.device) & 1
    return 1 - 2 * bits.reshape(len(codes), _BITS).to(torch.float16)


def _search_block(
    queries: torch.Tensor,
    codes: torch.Tensor,
    shape_weight: torch.Tensor,
    colour_weight: torch.Tensor,
    limits: torch.Tensor,
    k: int,
    block_bytes: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How many codes are each query's best, and their positions, one query's after another's.

    queries: uint8 (q, 32). shape_weight, colour_weight, limits: int64 (q,). most: bytes of a block.
    """
    n, largest = len(codes), _HALF_BITS * (shape_weight + colour_weight)
    bounds = torch.minimum(limits, largest) + 1  # what is at this distance is too far
    agreement = _SignProduct(queries, shape_weight, colour_weight)
    # A key is (query * reach + distance) * n + position, below 2^63 for 4,096 queries and 10^10 codes.
    reach = int(largest.max()) + 1
    kept = torch.empty(0, dtype=torch.int64, device=codes.device)
    start, size = 0, max(1024, 4 * k)
    while start < n:
        size = max(1, min(size, block_bytes // (_PAIR_BYTES * len(queries) + _CODE_BYTES)))
        agreed = agreement(codes[start : start + size])
        # distance < bound, as distance = (largest - agreed) / 2
        query, position = (agreed > (largest - 2 * bounds)[:, None].to(agreed.dtype)).nonzero(
            as_tuple=True
        )
        distance = (largest[query] - agreed[query, position].long()) // 2
        keys = (query * reach + distance) * n + (position + start)
        kept, bounds = _select_best(torch.cat([kept, keys]), bounds, k, reach, n)
        start, size = start + size, 2 * size
    counts = torch.bincount(kept // (reach * n), minlength=len(queries))
    return counts.cpu().numpy(), (kept % n).cpu().numpy()


class _SignProduct:
    """shape_weight * A + colour_weight * B of every query and every code of a block, (q, b): float16 where that is exact, else int32."""

    def __init__(
        self, queries: torch.Tensor, shape_weight: torch.Tensor, colour_weight: torch.Tensor
    ) -> None:
        self.signs, self.weights = (
            _to_signs(queries),
            (shape_weight.int()[:, None], colour_weight.int()[:, None]),
        )
        self.is_one = (
            int((shape_weight + colour_weight).max()) * _HALF_BITS <= _FLOAT16_MAX_EXACT_INT
        )
        if self.is_one:
            self.signs *= torch.cat(
                [weight.to(torch.float16).expand(-1, _HALF_BITS) for weight in self.weights], dim=1
            )

    def __call__(self, codes: torch.Tensor) -> torch.Tensor:
        signs = _to_signs(codes)
        if self.is_one:
            return self.signs @ signs.T
        shape, colour = (
            self.signs[:, half] @ signs[:, half].T
            for half in (slice(_HALF_BITS), slice(_HALF_BITS, None))
        )
        return self.weights[0] * shape.int() + self.weights[1] * colour.int()


def _select_best(
    keys: torch.Tensor, bounds: torch.Tensor, k: int, reach: int, n: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The k least keys of each query, in order, and the queries' bounds: the distance of the k-th, or as before."""
    keys = keys.sort().values
    query = keys // (reach * n)
    starts = torch.searchsorted(query, torch.arange(len(bounds) + 1, device=keys.device))
    rank = torch.arange(len(keys), device=keys.device) - starts[query]
    is_last = rank == k - 1
    bounds = bounds.clone()
    bounds[query[is_last]] = keys[is_last] // n % reach
    return keys[rank < k], bounds
