"""Results folders whose tables are known beforehand, and the statistics against other implementations of them."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.duration.survfunc import SurvfuncRight, survdiff
from statsmodels.stats.multitest import multipletests

from adaptive_bench.analysis import read, table, verdict
from adaptive_bench.analysis.compare import WELCH, difference, holm
from adaptive_bench.analysis.survival import log_rank, restricted_mean
from adaptive_bench.schema import TRACE

TARGET = 70.0
ENDS = (1000, 1100, 900)  # the baseline crosses at three quarters of them
CROSSED = np.array([750.0, 825.0, 675.0])


def line(end, *, top=90.0):
    """Twenty evaluations on a straight line from 10 to `top`; to 90, the fifteenth is exactly the target."""
    return [(end * k / 20, 10 + (top - 10) * k / 20) for k in range(21)]


def add(results, arm, ends, *, start=0, top=90.0, **record):
    return [results.add(arm, seed=start + at, curve=line(end, top=top), **record) for at, end in enumerate(ends)]


def rows(results, *, target=TARGET):
    """The rows of the only table by label."""
    (found,) = table(read(results.folder), target=target)
    return {row.label: row for row in found.rows}


def write_trace(folder, *pieces):
    """A row (end in samples, granted size) a piece."""
    ends, sizes = zip(*pieces, strict=True)
    trace = pd.DataFrame({"samples": ends, "batch_size_granted": sizes, "block_size_granted": 1})
    trace.reindex(columns=list(TRACE)).to_parquet(folder / "trace.parquet")


def test_crossings_at_an_evaluation_are_exact(results):
    add(results, "fixed_small", ENDS)
    add(results, "jump", [end / 2 for end in ENDS], size=64)
    found = rows(results)
    assert found["fixed_small"].costs["samples"].value.mean == pytest.approx(stats.gmean(CROSSED), rel=1e-12)
    assert found["jump"].speedups["samples"].effect.mean == pytest.approx(2, rel=1e-12)
    assert found["jump"].speedups["seconds"].effect.mean == pytest.approx(2, rel=1e-12)
    assert found["jump"].speedups["steps"].effect.mean == pytest.approx(4, rel=1e-12)


def test_an_arm_that_always_misses_spends_at_least_the_whole_budget(results):
    add(results, "fixed_small", ENDS)
    add(results, "slow", [2000] * 3, top=60.0, size=64)
    found = rows(results)["slow"]
    assert (found.verdict, found.reached, found.costs["samples"].complete) == (verdict.MISSED, 0, False)
    assert found.costs["samples"].value.mean == math.inf
    assert found.costs["samples"].restricted == 2000
    # up to 1,100 samples, the longest run of the baseline, the means are 750 and 1,100
    assert found.speedups["samples"].effect.mean == pytest.approx(750 / 1100, rel=1e-12)


def test_a_miss_counts_up_to_the_end_of_the_run(results):
    add(results, "fixed_small", ENDS)
    add(results, "jump", [600, 600], size=64)
    results.add("jump", seed=2, curve=line(600, top=60.0), size=64)
    found = rows(results)["jump"]
    assert (found.verdict, found.reached, found.started) == (verdict.MISSED, 2, 3)
    assert found.costs["samples"].value.mean == 450  # the median
    assert found.costs["samples"].restricted == pytest.approx(500)  # of 450, 450 and 600
    assert found.speedups["samples"].effect.mean == pytest.approx(600 / 500)  # nobody of the baseline is there at 600
    times, reached = np.array([*CROSSED, 450, 450, 600]), np.array([1, 1, 1, 1, 1, 0])
    assert found.log_rank == pytest.approx(survdiff(times, reached, np.repeat([0, 1], 3))[1], abs=1e-9)


def test_a_run_that_diverged_never_reaches_the_target(results):
    add(results, "fixed_small", ENDS)
    add(results, "wild", [600, 600], size=64)
    results.add("wild", seed=2, curve=line(400), size=64, status="diverged", reason="loss is nan", final=math.nan)
    found = rows(results)["wild"]
    assert (found.verdict, found.reached, found.counts["diverged"], found.n) == (verdict.MISSED, 2, 1, 2)
    assert found.costs["samples"].restricted == pytest.approx(500)  # 600 for the one that diverged at 400


def test_one_seed_has_a_ratio_and_nothing_else(results):
    add(results, "fixed_small", ENDS[:1])
    add(results, "jump", [500], size=64)
    found = rows(results)["jump"]
    assert found.speedups["samples"].effect.mean == pytest.approx(2, rel=1e-12)
    numbers = [found.speedups["samples"].p, found.speedups["samples"].effect.low, found.holm, found.detectable.mean]
    assert np.isnan(numbers).all()
    assert found.verdict == verdict.CANNOT_TELL


def test_unmatched_seeds_are_compared_by_welch(results):
    add(results, "fixed_small", ENDS)
    add(results, "jump", [500, 520, 470, 510], start=7, size=64)
    found = rows(results)["jump"]
    theirs = stats.ttest_ind(np.log(CROSSED), np.log(0.75 * np.array([500, 520, 470, 510])), equal_var=False)
    assert found.speedups["samples"].method == WELCH
    assert found.speedups["samples"].p == pytest.approx(theirs.pvalue, abs=1e-9)
    assert found.missing == (0, 1, 2)
    assert found.speedup_holm == pytest.approx(2 * theirs.pvalue, abs=1e-9)  # the change is the larger of two p


def test_equal_accuracies_are_known_to_their_rounding(results):
    for arm, size in (("fixed_small", 32), ("jump", 64)):
        add(results, arm, ENDS, size=size, final=90.0, test_size=1000)  # in steps of 0.1 points
    found = rows(results)["jump"]
    half = stats.t.ppf(0.975, 2) * 0.1 / math.sqrt(12) * math.sqrt(2 / 3)
    assert found.change.effect.high == pytest.approx(half)
    assert found.change.effect.low == pytest.approx(-half)
    assert found.change.p == 1
    assert 89.8 < found.value.low < 90 < found.value.high < 90.2


def test_the_same_gain_in_every_seed_has_a_p(results):
    add(results, "fixed_small", ENDS, final=90.0, test_size=1000)
    add(results, "jump", ENDS, size=64, final=90.5, test_size=1000)
    change = rows(results)["jump"].change
    assert change.p == pytest.approx(2 * stats.t.sf(0.5 / (0.1 / math.sqrt(12) * math.sqrt(2 / 3)), 2))


@pytest.mark.parametrize(("changes_at", "inactive", "said"), [(384, 3, verdict.NOT_YET), (320, 0, verdict.FASTER_NOT_WORSE)])
def test_an_arm_that_only_changed_after_the_crossing(results, changes_at, inactive, said):
    for folder in add(results, "fixed_small", [1000, 1010, 990], final=90.0, test_size=1000):
        write_trace(folder, (1000, 32))
    for folder in add(results, "late", [500, 500, 500], scheduler="late", final=90.0, test_size=1000):
        write_trace(folder, (changes_at, 32), (500, 64))
    found = rows(results)["late"]  # it crosses at 375
    assert (found.inactive, found.verdict) == (inactive, said)


def test_a_target_met_at_the_last_evaluation_is_not_confirmed(results):
    add(results, "fixed_small", ENDS)
    found = rows(results, target=90.0)["fixed_small"]
    assert (found.reached, found.unconfirmed) == (3, 3)
    assert found.costs["samples"].value.mean == pytest.approx(stats.gmean(ENDS), rel=1e-12)
    assert rows(results)["fixed_small"].unconfirmed == 0


def test_a_single_value_at_the_target_is_no_crossing(results):
    for seed, end in enumerate(ENDS):
        curve = line(end)
        curve[5] = (curve[5][0], TARGET)
        results.add("fixed_small", seed=seed, curve=curve)
    found = rows(results)["fixed_small"]
    assert found.first == 3
    assert found.costs["samples"].value.mean == pytest.approx(stats.gmean(CROSSED), rel=1e-12)


def censored(rng, *, n, ties):
    """Costs (inf for a miss) and how long each run was followed; many are censored before the longest one ends."""
    times, followed = rng.exponential(10, n), rng.uniform(2, 20, n)
    if ties:
        times, followed = np.ceil(times), np.ceil(followed)
    return dict(enumerate(np.where(times <= followed, times, np.inf))), dict(enumerate(followed))


def as_seen(spent, followed):
    spent, followed = (np.array([*each.values()]) for each in (spent, followed))
    reached = np.isfinite(spent)
    return np.where(reached, spent, followed), reached.astype(int)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("horizon", [4.0, 9.5, 15.0])
def test_restricted_means_are_areas_under_statsmodels_curve(ties, horizon):
    rng = np.random.default_rng(1)
    for _ in range(20):
        spent, followed = censored(rng, n=8, ties=ties)
        theirs = SurvfuncRight(*as_seen(spent, followed))
        inside = theirs.surv_times < horizon
        edges = np.concatenate([[0], theirs.surv_times[inside], [horizon]])
        area = (np.diff(edges) * np.concatenate([[1], theirs.surv_prob[inside]])).sum()
        assert restricted_mean(spent, followed, horizon=horizon) == pytest.approx(area, abs=1e-9)


@pytest.mark.parametrize("ties", [False, True])
def test_the_log_rank_test_is_that_of_statsmodels(ties):
    rng = np.random.default_rng(2)
    for _ in range(20):
        both = [censored(rng, n=n, ties=ties) for n in (6, 9)]
        seen = [as_seen(*each) for each in both]
        times, reached = (np.concatenate(parts) for parts in zip(*seen, strict=True))
        theirs = survdiff(times, reached, np.repeat([0, 1], [6, 9]))[1]
        assert log_rank(*both[0], *both[1]) == pytest.approx(theirs, abs=1e-9)


def test_holm_is_that_of_statsmodels():
    rng = np.random.default_rng(3)
    for n in (1, 2, 8, 56):
        p = rng.uniform(size=n) ** 3
        assert holm(p) == pytest.approx(multipletests(p, method="holm")[1], abs=1e-9)


def test_welch_is_that_of_scipy():
    rng = np.random.default_rng(4)
    for n, m in ((2, 3), (3, 3), (5, 9)):
        left, right = rng.normal(0, 1, n), rng.normal(1, 3, m)
        found = difference(pd.Series(left), pd.Series(right, index=range(100, 100 + m)))
        theirs = stats.ttest_ind(right, left, equal_var=False)
        assert found.p == pytest.approx(theirs.pvalue, abs=1e-9)
        bounds = theirs.confidence_interval(0.95)
        assert (found.effect.low, found.effect.high) == pytest.approx((bounds.low, bounds.high), abs=1e-9)
