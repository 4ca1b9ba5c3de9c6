"""The first difference between two runs, by hand."""

import math
import time
from types import SimpleNamespace

import numpy as np
import pandas as pd

from adaptive_bench.analysis.acting import acted, first_change, first_difference
from adaptive_bench.schema import FIRST


def pieces(*rows: tuple[int, int], block: int = 1) -> pd.DataFrame:
    """A row (end in samples, batch size) a piece."""
    ends, sizes = zip(*rows, strict=True) if rows else ((), ())
    return pd.DataFrame({"samples": ends, "batch_size_granted": sizes, "block_size_granted": block}, dtype=int)


def steps(*rows: tuple[int, int], block: int = 1) -> pd.DataFrame:
    """The same, a row a step; the last step of a piece may be cut."""
    found, at = [], 0
    for end, size in rows:
        found += [(min(stop, end), size) for stop in range(at + size, end + size, size)]
        at = end
    return pieces(*found, block=block)


def test_the_samples_before_the_first_other_size():
    fixed, grown = ((10_000, 32),), ((4_640, 32), (10_000, 64))
    for ours in (pieces, steps):
        for theirs in (pieces, steps):
            assert first_difference(ours(*fixed), theirs(*grown)) == 4640
            assert first_difference(theirs(*grown), ours(*fixed)) == 4640
            assert first_difference(ours(*fixed), theirs((10_000, 256))) == 0
            assert first_difference(ours(*grown), theirs(*grown)) == math.inf


def test_a_difference_that_comes_and_goes_counts_where_it_came():
    assert first_difference(steps((960, 32)), steps((320, 32), (640, 64), (960, 32))) == 320


def test_a_block_that_differs_is_a_difference():
    assert first_difference(pieces((640, 32), block=16), pieces((640, 32), block=32)) == 0


def test_nothing_is_said_of_what_lies_behind_the_shorter_run():
    assert first_difference(steps((320, 32)), steps((320, 32), (640, 64))) == math.inf
    assert first_difference(steps((330, 32)), pieces((320, 32), (640, 64))) == 320
    assert first_difference(pieces(), pieces((640, 64))) == math.inf


def test_a_rule_of_the_learning_rate_acts_where_a_size_changes():
    grown, fixed = pieces((640, 32), (1280, 64)), pieces((1280, 32))
    assert first_change(grown) == 640
    assert first_change(fixed) == first_change(pieces()) == math.inf
    for known in ((32, 1, 640), (math.nan,) * 3):  # also of records that do not say when a size first changed
        plain = {"run": "plain", "settings": {"lr_rule._target_": "Unchanged"}, **dict(zip(FIRST, known, strict=True))}
        linear = plain | {"settings": {"lr_rule._target_": "Linear"}}
        runs = SimpleNamespace(trace=lambda run, columns: grown)
        assert acted(runs, plain, linear) == acted(runs, linear, plain) == 640
        assert acted(runs, plain, plain) == acted(runs, linear, linear) == math.inf
    held = {"run": "held", **dict(zip(FIRST, (32, 1, math.inf), strict=True))}
    assert acted(runs, held | {"settings": plain["settings"]}, held | {"settings": linear["settings"]}) == math.inf


def test_a_last_step_that_the_budget_cut_is_no_difference():
    assert first_difference(steps((1000, 64)), pieces((1000, 64))) == math.inf


def test_a_thousand_runs_take_no_time():
    rows = pd.DataFrame({"samples": np.arange(1, 201) * 32, "batch_size_granted": 32, "block_size_granted": 1})
    other = rows.assign(batch_size_granted=np.where(rows["samples"] > 3200, 64, 32))
    start = time.perf_counter()
    assert {first_difference(rows, other) for _ in range(1000)} == {3200.0}
    assert time.perf_counter() - start < 2  # it takes 0.3 s; a shared machine may be slower
