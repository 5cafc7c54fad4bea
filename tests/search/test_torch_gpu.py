"""The search by matrix products equals plain NumPy and the compiled kernel, on CPU and GPU."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.search.test_bitplane import random_batch, random_codes
from tests.search.test_search import make_gallery

from wearalike import search
from wearalike.search.kernels import bitplane, reference, torch_gpu
from wearalike.search.kernels.query_batch import QueryBatch

DEVICES = [
    "cpu",
    pytest.param(
        "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")
    ),
]


def lists(counts: np.ndarray, positions: np.ndarray) -> list[list[int]]:
    return (
        [part.tolist() for part in np.split(positions, np.cumsum(counts)[:-1])]
        if len(counts)
        else []
    )


@pytest.mark.parametrize("device", DEVICES)
@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(0, 2500),
    q=st.integers(0, 30),
    k=st.integers(1, 130),
    bits=st.sampled_from([0, 1, 3, 128]),
    most=st.sampled_from([1, 8, 10, 255]),
    block_bytes=st.sampled_from([1, 100_000, 3_000_000, None]),
    kinds=st.sampled_from([1, 2, 7, 40]),
)
def test_it_finds_what_numpy_finds_with_any_block_size(
    device, seed, n, q, k, bits, most, block_bytes, kinds
):
    rng = np.random.default_rng(seed)
    # Blocks of a code or two take a while.
    n = min(n, 60) if block_bytes == 1 else n
    queries, codes = random_codes(rng, q, bits), random_codes(rng, n, bits)
    batch = random_batch(rng, queries, most, kinds)
    kind = rng.integers(0, kinds, n)
    tiles = torch_gpu.upload_codes(codes, device, kind)
    found = torch_gpu.nearest_flat(batch, tiles, k, block_bytes)
    wanted = reference.nearest_per_query(batch, codes, k, kind)
    assert lists(*found) == [positions.tolist() for positions in wanted]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("ws", "wc"), [(1, 1), (2, 8), (255, 254)])
def test_it_finds_what_the_kernel_finds(device, ws, wc):
    """The worst order too: each code nearer than all before it."""
    rng = np.random.default_rng(7)
    queries, codes = random_codes(rng, 40, 128), random_codes(rng, 20_000, 128)
    far = np.bitwise_count(queries[:1] ^ codes).astype(int).sum(axis=1)
    codes = codes[np.argsort(-far)]
    batch = QueryBatch.uniform(queries, ws, wc)
    wanted = bitplane.nearest_flat(batch, bitplane.transpose_codes(codes), 100)
    found = torch_gpu.nearest_flat(batch, torch_gpu.upload_codes(codes, device), 100)
    assert wanted[0].tolist() == [100] * 40
    assert [part.tolist() for part in found] == [part.tolist() for part in wanted]


@pytest.mark.parametrize("device", DEVICES)
def test_a_gallery_is_searched_on_its_device(device, monkeypatch):
    """Torch's CPU is named "cpu:0"; "cpu" alone means the compiled kernel."""
    g = make_gallery(3, 300, bits=6, most_kind_weight=5, names=True)
    wanted = search.build_matches(g, list(search.search_gallery(g, 0, 300, search.ListRules())))
    monkeypatch.setattr(bitplane, "nearest_flat", None)
    there = replace(g, device=f"{device}:0")
    assert search.build_matches(
        g, list(search.search_gallery(there, 0, 300, search.ListRules()))
    ).equals(wanted)


def test_a_weight_beyond_what_the_kernel_takes_is_refused():
    codes = torch_gpu.upload_codes(np.zeros((3, 4), np.uint64), "cpu")
    with pytest.raises(ValueError, match=r"weights of 256\.\.256 and 1\.\.1: wanted 0\.\.255"):
        torch_gpu.nearest_flat(QueryBatch.uniform(np.zeros((1, 4), np.uint64), 256, 1), codes, 1)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so():
    with pytest.raises(ValueError, match="device cuda: torch sees no GPU; search on the cpu"):
        torch_gpu.upload_codes(np.zeros((3, 4), np.uint64))
