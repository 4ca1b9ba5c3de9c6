"""Padding waste w = 1 - (real tokens) / (padded positions): closed forms, and what no buckets can beat."""

import math
from math import comb

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adaptive_bench.streams.lengths import LengthBatching
from adaptive_bench.streams.packing import least_bins


def waste(real: float, padded: float) -> float:
    """The share of the positions that hold padding."""
    return 1 - real / padded


def random_batches(lengths: ArrayLike, *, rows: int) -> float:
    """Random batches of n rows, padded to their longest: w = 1 - mean / E[M_n].

    M_n is the longest of n rows drawn without replacement from the N that there are: P(M_n <= v) = C(N_v, n) / C(N, n), N_v of
    them having v tokens at most. Raises ValueError for more rows than there are.
    """
    values, counts = np.unique(np.asarray(lengths), return_counts=True)
    below = np.cumsum(counts)
    total = int(below[-1])
    if not 1 <= rows <= total:
        raise ValueError(f"rows={rows}: 1 to {total} are expected, the rows that there are")
    every = comb(total, rows)
    reach = [comb(int(count), rows) / every for count in below]
    longest = float(np.dot(values, np.diff([0.0, *reach])))
    return waste(float(np.dot(values, counts)) / total, longest)


def sorted_pool(*, rows: int, pool: int) -> float:
    """A sorted pool of P rows cut into batches of n, lengths uniform on (0, L): w = (n - 1) / (P + n).

    Batch j of m = P / n has the longest E X_(jn:P) = L jn / (P + 1); the mean of these is L (P + n) / (2 (P + 1)).
    """
    return (rows - 1) / (pool + rows)


def equal_buckets(*, rows: int, buckets: int) -> float:
    """k buckets of equal width, batches of n padded to their longest, lengths uniform on (0, L).

    w = (n - 1) / ((k - 1)(n + 1) + 2 n), which falls from (n - 1) / (2 n) with one bucket and tends to 1 / (k + 1) as n grows.
    """
    return (rows - 1) / ((buckets - 1) * (rows + 1) + 2 * rows)


def best_buckets(lengths: ArrayLike, *, buckets: int) -> tuple[float, list[int]]:
    """The least waste of any k buckets whose rows are padded to the bucket's edge, and the edges.

    Dynamic programme over the D different lengths v_1 < ... < v_D, N_j rows having v_j tokens or fewer:
    C(j, k) = min over i < j of C(i, k - 1) + v_j (N_j - N_i), in O(k D^2).
    """
    values, counts = np.unique(np.asarray(lengths), return_counts=True)
    below = np.concatenate([[0], np.cumsum(counts)])  # N_0 = 0, N_1, ...
    edges = np.concatenate([[0], values])
    # one bucket from i + 1 to j costs v_j (N_j - N_i); only i < j is a bucket
    single = np.where(np.arange(len(edges))[:, None] < np.arange(len(edges)), edges * (below - below[:, None]), np.inf)
    cost: NDArray[np.float64] = np.where(np.arange(len(edges)) == 0, 0.0, np.inf)
    choices = []
    for _ in range(min(buckets, len(values))):
        through = cost[:, None] + single
        choices.append(through.argmin(0))
        cost = through.min(0)
    at, found = len(values), list[int]()
    for chosen in reversed(choices):
        found.append(int(edges[at]))
        at = int(chosen[at])
    return waste(float(np.dot(values, counts)), float(cost[-1])), found[::-1]


def least(lengths: ArrayLike, *, batching: LengthBatching, rows: int) -> float:
    """The least waste of an epoch in such batches of n rows: with all rows sorted, or in the fewest packed rows (a lower bound).

    A sorted order is the best for batches of n rows each: exchanging a row for a longer one lengthens its batch or none. nan for
    a budget of tokens, whose batches differ in rows.
    """
    sizes = np.sort(np.asarray(lengths))[::-1]
    real = float(sizes.sum())
    if batching.group == "packed":
        return waste(real, batching.block * least_bins(sizes, capacity=batching.block))
    if batching.count == "tokens":
        return math.nan
    if batching.pad_to == "data":
        return waste(real, float(sizes[0]) * len(sizes))
    return waste(real, float(sum(sizes[start] * len(sizes[start : start + rows]) for start in range(0, len(sizes), rows))))
