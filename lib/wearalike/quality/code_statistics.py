"""Statistics of binary codes: balance and correlation of their bits, and how many are distinct."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from numpy.typing import NDArray

from wearalike.quality.metrics import Metric

# Codes whose bits are unpacked at a time. In float32, counts of bits stay exact up to 2**24.
_BLOCK_CODES = 65_536
# A bit is balanced if its share of ones is 0.5 ± this.
_MAX_IMBALANCE = 0.2
# A bit whose standard deviation is below this is constant.
_MIN_DEVIATION = 1e-6


def code_health_metrics(codes: ds.Dataset | pa.Table) -> list[Metric]:
    """Measure how much the codes tell apart.

    Codes say little if bits are nearly constant, if bits repeat each other, or if many items share
    a code. An encoder that has learned its labels by heart gives every item of a class the same
    shape code; few shape codes are then distinct.

    Args:
        codes: Rows of tables.CODES.

    Returns:
        Shares of distinct codes and of the most shared code. For each half of the code, the
        number of unbalanced bits, the extreme shares of ones, and the mean absolute correlation
        of two bits. Empty without codes.
    """
    names = ["shape", "colour"]
    halves = codes.to_table(columns=names) if isinstance(codes, ds.Dataset) else codes.select(names)
    count = halves.num_rows
    if not count:
        return []
    distinct = halves.group_by(names).aggregate([([], "count_all")])
    most_shared = max(distinct["count_all"].to_pylist())
    metrics = [
        Metric("distinct_codes_ratio", "all", distinct.num_rows / count, "ratio"),
        Metric("most_shared_code_ratio", "all", most_shared / count, "ratio"),
    ]
    for name in names:
        scope = f"code={name}"
        code_bytes = np.frombuffer(b"".join(halves[name].to_pylist()), np.uint8)
        ones, correlation = bit_statistics(code_bytes.reshape(count, -1))
        unbalanced_count = int((np.abs(ones - 0.5) > _MAX_IMBALANCE).sum())
        distinct_ratio = len(pc.unique(halves[name])) / count
        metrics += [
            Metric("distinct_codes_ratio", scope, distinct_ratio, "ratio"),
            Metric("unbalanced_bits_count", scope, unbalanced_count, "count"),
            Metric("bit_balance_min_ratio", scope, float(ones.min()), "ratio"),
            Metric("bit_balance_max_ratio", scope, float(ones.max()), "ratio"),
        ]
        if correlation is not None:
            metrics.append(Metric("bit_correlation_ratio", scope, correlation, "ratio"))
    return metrics


def bit_statistics(codes: NDArray[np.uint8]) -> tuple[NDArray[np.float64], float | None]:
    """Measure balance and correlation of the bits of codes.

    Args:
        codes: uint8 (n, 16), n >= 1. Row i is a code of 128 bits.

    Returns:
        Each bit's share of ones, float64 (128,), and the mean of |Pearson's r| over all pairs of
        bits that vary; None if fewer than two vary.
    """
    bits_count = 8 * codes.shape[1]
    total = np.zeros(bits_count)
    products = np.zeros((bits_count, bits_count))
    for start in range(0, len(codes), _BLOCK_CODES):
        bits = np.unpackbits(codes[start : start + _BLOCK_CODES], axis=1).astype(np.float32)
        total += bits.sum(axis=0)
        products += bits.T @ bits
    ones = total / len(codes)
    covariance = products / len(codes) - np.outer(ones, ones)
    deviation = np.sqrt(np.diag(covariance).clip(0))
    varies = deviation > _MIN_DEVIATION
    if varies.sum() < 2:
        return ones, None
    scale = np.outer(deviation[varies], deviation[varies])
    correlation = covariance[np.ix_(varies, varies)] / scale
    is_pair = ~np.eye(len(correlation), dtype=bool)
    return ones, float(np.abs(correlation[is_pair]).mean())
