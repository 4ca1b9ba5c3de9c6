"""Stability by hand."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest

from adaptive_bench.analysis.stability import Stability, reaction, stability
from adaptive_bench.compact import loss_variance
from adaptive_bench.schema import LOSS_VARIANCE

NO_CURVE = pd.DataFrame({"samples": [0], "value": [10.0]})


def trace_of(batch: Sequence[int], block: Sequence[int] | None = None, **columns: object) -> pd.DataFrame:
    """Steps of 10 samples, whatever is granted."""
    frame = pd.DataFrame({"batch_size_granted": batch, "block_size_granted": block or 1, "cut": False, "loss": 1.0})
    return frame.assign(samples=range(10, 10 * len(batch) + 1, 10), **columns)


def curve_of(*values: float, every: int = 20) -> pd.DataFrame:
    return pd.DataFrame({"samples": [every * at for at in range(len(values))], "value": values})


def of(trace: pd.DataFrame, curve: pd.DataFrame = NO_CURVE, *, maximise: bool = True) -> Stability:
    return stability(trace, curve, maximise=maximise)


@pytest.mark.parametrize("count", [0, 1])
def test_nothing_happens_in_no_step_and_in_one(count):
    found = of(trace_of([32] * count))
    assert (found.changes, found.reversals, found.dips) == (0, 0, 0)
    assert math.isnan(found.loss_variance)


@pytest.mark.parametrize(
    ("batch", "block", "changes", "reversals"),
    [
        ([32, 32, 64, 64, 128], None, 2, 0),
        ([32, 64, 32, 64, 64, 32], None, 4, 3),  # oscillation
        ([8, 8, 8, 8], [16, 32, 32, 16], 2, 1),
        ([32, 64, 64, 128], [64, 32, 16, 16], 3, 0),  # one grows and the other shrinks: nothing turns back
        ([32, 64, 32], [16, 32, 64], 2, 1),  # both change at once: one change each
        ([32, 64, 64, 64, 32], [16, 16, 32, 16, 16], 4, 2),  # a block in between does not hide the batch's turn
    ],
)
def test_changes_and_reversals(batch, block, changes, reversals):
    found = of(trace_of(batch, block))
    assert (found.changes, found.reversals) == (changes, reversals)


@pytest.mark.parametrize(("after", "samples"), [(0, 20), (15, 5), (20, 20), (30, 10), (40, 20), (60, 0)])
def test_the_reaction_is_the_way_to_the_next_change_or_to_the_end(after, samples):
    trace = trace_of([32, 32, 64, 64, 128, 128])  # changes at 20 and 40 of 60 samples
    assert reaction(trace, after=after) == samples
    pieces = trace.iloc[[1, 3, 5]]  # a row a piece, as compacted runs have them
    assert reaction(pieces, after=after) == samples


def test_a_cut_step_is_no_change():
    trace = trace_of([32] * 6, batch_size=[32, 32, 8, 32, 32, 8], cut=[False, False, True] * 2)
    assert of(trace).changes == 0


def test_dips_compare_the_evaluations_around_a_change():
    trace = trace_of([32, 32, 64, 64, 128, 128, 256, 256])  # changes at 20, 40 and 60 samples
    # evaluated at 20, before the change there: its gap is 20 to 40
    assert of(trace, curve_of(50, 40, 60, 70, 65)).dips == 1
    assert of(trace, curve_of(50, 60, 55, 50, 45)).dips == 3
    assert of(trace, curve_of(50, 60, 55, 50, 45), maximise=False).dips == 0
    assert of(trace, curve_of(50, 60, 60, 60, math.nan)).dips == 1
    assert of(trace, curve_of(50, 60)).dips == 0  # evaluated no more


def test_changes_between_the_same_two_evaluations_count_as_one_dip():
    assert of(trace_of([32, 64, 128, 64]), curve_of(50, 40, every=40)).dips == 1


def test_the_variance_of_a_loss_that_swings_on_a_trend():
    # second half: 10 steps, differences -0.1 - 2 and -0.1 + 2 in turn, five and four of them: a mean square of 4 about their mean
    losses = [9.0] * 10 + [5 - 0.1 * t + (-1) ** t for t in range(10)]
    # n = 9, five of -2 and four of +2 about -2/9: (9 * 4 - 9 * (2 / 9)^2) / 8 = 4.444..., halved
    assert of(trace_of([32] * 20, loss=losses)).loss_variance == pytest.approx((36 - 4 / 9) / 8 / 2)
    assert of(trace_of([32] * 20, loss=[9 - 0.3 * t for t in range(20)])).loss_variance == pytest.approx(0, abs=1e-12)


def test_pieces_are_taken_apart_and_short_ones_and_cut_steps_left_out():
    swing = [float((-1) ** t) for t in range(10)]
    still = [0.0] * 10
    late = swing + still + [7.0, -7.0] * 4
    batch = [1] * 28 + [2] * 10 + [4] * 10 + [8] * 8
    trace = trace_of(batch, loss=[100.0, 0.0] * 14 + late)
    alone = (36 - 4 / 9) / 8 / 2  # of `swing`; that of `still` is 0 and the last piece has 8 steps
    assert of(trace).loss_variance == pytest.approx(alone / 2)
    # an outlier in a cut step does not count, and leaves 9 steps of that piece: too few
    trace.loc[30, ["loss", "cut"]] = [1000.0, True]
    assert of(trace).loss_variance == 0


def test_pieces_of_steps_say_the_same_as_steps():
    losses = np.random.default_rng(0).normal(size=80)
    trace = trace_of([32] * 30 + [64] * 20 + [32] * 30, loss=losses)
    pieces = trace.assign(**{LOSS_VARIANCE: loss_variance(trace)}).iloc[[29, 44, 49, 79]].drop(columns=["loss", "cut"])
    whole, short = of(trace, curve_of(50, 40, 30)), of(pieces, curve_of(50, 40, 30))
    assert (short.changes, short.reversals) == (whole.changes, whole.reversals) == (2, 1)
    late = np.diff(losses[40:50]).var(ddof=1) / 2, np.diff(losses[50:]).var(ddof=1) / 2  # of two pieces, in the second half
    assert short.loss_variance == whole.loss_variance == pytest.approx(sum(late) / 2)
