"""Padding waste: measured on generated lengths, computed in closed form, and never below what is possible."""

import itertools

import numpy as np
import pytest
import torch

from adaptive_bench.sizes import BatchShape
from adaptive_bench.streams import LengthBatching, SentenceStream, waste
from adaptive_bench.streams.packing import least_bins, pack


def measured(lengths: np.ndarray, batching: LengthBatching, *, rows: int) -> float:
    """The waste of an epoch's whole batches."""
    starts = np.concatenate([[0], np.cumsum(lengths)])
    stream = SentenceStream(
        np.zeros(starts[-1], np.int64), starts=starts, end=0, seed=0, batching=batching, device=torch.device("cpu")
    )
    real = padded = 0
    while stream.epoch == 0:
        shape = stream.take(BatchShape(rows)).shape
        real, padded = real + shape.samples, padded + shape.padded
    return waste.waste(real, padded)


@pytest.fixture
def uniform() -> np.ndarray:
    return np.random.default_rng(0).integers(1, 1001, 40_000)


@pytest.mark.slow
def test_random_batches(uniform) -> None:
    expected = waste.random_batches(uniform, rows=16)
    assert expected == pytest.approx(15 / 32, abs=0.003)  # uniform on (0, L): 1 - (1 / 2) (n + 1) / n
    assert measured(uniform, LengthBatching(group="none"), rows=16) == pytest.approx(expected, abs=0.003)
    assert measured(uniform, LengthBatching(group="none", pad_to="data"), rows=16) == pytest.approx(0.5, abs=0.005)


def test_random_batches_of_a_handful_are_counted_out() -> None:
    lengths = [1, 2, 2, 5, 9]
    longest = [max(each) for each in itertools.combinations(lengths, 3)]
    assert waste.random_batches(lengths, rows=3) == pytest.approx(1 - (19 / 5) / np.mean(longest))
    with pytest.raises(ValueError, match="rows=6: 1 to 5 are expected"):
        waste.random_batches(lengths, rows=6)


@pytest.mark.parametrize("pool", [10, 50])
def test_a_sorted_pool(uniform, pool) -> None:
    expected = waste.sorted_pool(rows=16, pool=16 * pool)
    assert measured(uniform, LengthBatching(group="sorted", pool=pool), rows=16) == pytest.approx(expected, abs=0.004)


def test_buckets_of_equal_width(uniform) -> None:
    rows, buckets = 16, 8
    groups = [uniform[(uniform > 125 * k) & (uniform <= 125 * (k + 1))] for k in range(buckets)]
    cut = [group[start : start + rows] for group in groups for start in range(0, len(group) - rows + 1, rows)]
    found = waste.waste(sum(part.sum() for part in cut), sum(rows * part.max() for part in cut))
    assert found == pytest.approx(waste.equal_buckets(rows=rows, buckets=buckets), abs=0.004)


def test_no_policy_beats_the_bounds(uniform) -> None:
    lengths = uniform[:4000] // 10 + 1
    least, edges = waste.best_buckets(lengths, buckets=6)
    assert edges[-1] == lengths.max()
    padded = np.asarray(edges)[np.searchsorted(edges, lengths)]  # every row to its bucket's edge
    assert least == pytest.approx(waste.waste(lengths.sum(), padded.sum()))
    equal = LengthBatching(group="buckets", buckets=6).edges(lengths)
    to_edge = np.append(equal, lengths.max())[np.searchsorted(equal, lengths)]
    assert least < waste.waste(lengths.sum(), to_edge.sum())
    packed = measured(lengths, LengthBatching(group="packed", block=128, pool=50), rows=8)
    assert 1 - lengths.sum() / (128 * least_bins(lengths, capacity=128)) <= packed < 0.03


@pytest.mark.parametrize("seed", range(20))
def test_the_dynamic_programme_is_the_best_of_all_choices(seed) -> None:
    lengths = np.random.default_rng(seed).integers(1, 9, 12)
    values = np.unique(lengths)
    for buckets in (1, 2, 3):
        inner = itertools.combinations(values[:-1], min(buckets, len(values)) - 1)
        least = min(np.array([*edges, values[-1]])[np.searchsorted([*edges, values[-1]], lengths)].sum() for edges in inner)
        assert waste.best_buckets(lengths, buckets=buckets)[0] == pytest.approx(1 - lengths.sum() / least)


@pytest.mark.parametrize("seed", range(20))
def test_packing_puts_every_row_once_into_bins_that_hold_it(seed) -> None:
    lengths = np.random.default_rng(seed).integers(1, 41, 300)
    bins = pack(lengths, capacity=40)
    assert sorted(itertools.chain.from_iterable(bins)) == list(range(300))
    assert max(lengths[each].sum() for each in bins) <= 40
    least = least_bins(lengths, capacity=40)
    assert -(-lengths.sum() // 40) <= least <= len(bins) <= 11 / 9 * least + 6 / 9 + 1


def test_bins_of_rows_just_above_a_half_are_half_empty() -> None:
    lengths = [21] * 10
    assert len(pack(lengths, capacity=40)) == least_bins(lengths, capacity=40) == 10  # L1 says 6
    with pytest.raises(ValueError, match="a row of 41 tokens does not fit into 40 positions"):
        pack([41], capacity=40)
