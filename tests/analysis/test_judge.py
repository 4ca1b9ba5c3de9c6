"""Statements held against tables whose intervals are known by hand."""

import math
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from adaptive_bench.analysis import read, table
from adaptive_bench.analysis.judge import (
    CONTRADICTED,
    SUPPORTED,
    UNDECIDED,
    Expectation,
    Finding,
    Statement,
    correlated,
    every,
    judge,
    judged,
    mostly,
    together,
    varies,
)
from tests.analysis.conftest import Results


@pytest.fixture
def results(tmp_path) -> Results:
    return Results(tmp_path)


def found(results: Results, of: str, expects: Expectation, *, arm: str = "jump", against: str = "fixed_small") -> Finding:
    runs = read(results.folder)
    (made,) = table(runs, baseline=against, target=50)
    return judge(Statement(arm=arm, against=against, of=of, expects=expects), made, runs)


@pytest.mark.parametrize(
    ("expects", "verdicts"),  # of intervals below, around and above 0, around and within the margin of 1
    [
        ("more", (CONTRADICTED, UNDECIDED, SUPPORTED, UNDECIDED, CONTRADICTED)),
        ("less", (SUPPORTED, UNDECIDED, CONTRADICTED, UNDECIDED, SUPPORTED)),
        ("not worse", (CONTRADICTED, UNDECIDED, SUPPORTED, SUPPORTED, SUPPORTED)),
        ("none", (CONTRADICTED, UNDECIDED, CONTRADICTED, SUPPORTED, SUPPORTED)),
        ("differs", (SUPPORTED, UNDECIDED, SUPPORTED, CONTRADICTED, SUPPORTED)),
    ],
)
def test_the_rule(expects: Expectation, verdicts: tuple[str, ...]) -> None:
    intervals = [(-3, -2), (-2, 3), (2, 3), (-0.5, 0.5), (-0.5, -0.1)]
    assert tuple(judged(*ends, expects=expects, least=1.0) for ends in intervals) == verdicts


def test_an_unknown_interval_shows_nothing() -> None:
    assert judged(math.nan, math.nan, expects="none", least=1.0) == UNDECIDED


def add_pairs(results: Results, *, factors: tuple[float, ...], gains: tuple[float, ...]) -> None:
    """Runs of jump that need 1 / factor of fixed_small's samples, and end so much higher."""
    for seed, (factor, gain) in enumerate(zip(factors, gains, strict=True)):
        results.add("fixed_small", seed=seed, curve=[(0, 10), (1000, 90)], final=90.0)
        results.add("jump", seed=seed, curve=[(0, 10), (1000 / factor, 90)], final=90.0 + gain, size=64, scheduler="jump")


def test_costs_and_test_values(results: Results) -> None:
    add_pairs(results, factors=(2.0, 2.0, 2.1), gains=(-2.0, -2.1, -1.9))
    fewer = found(results, "samples", "more")
    assert (fewer.verdict, fewer.sign, fewer.title) == (SUPPORTED, 1, "digits / mlp")
    assert fewer.effect.startswith("2.03 [1.9")
    assert found(results, "updates", "less").verdict == CONTRADICTED
    worse = found(results, "final", "more")
    # -2 with s = 0.1: the half-width is 4.303 x 0.1 / sqrt(3) = 0.248
    assert (worse.verdict, worse.effect) == (CONTRADICTED, "-2.00 [-2.25, -1.75]")
    assert found(results, "final", "not worse").verdict == CONTRADICTED
    assert float(worse.could_have_seen) > 0.248
    assert found(results, "final", "more", arm="fixed_small", against="jump").verdict == SUPPORTED


def test_an_effect_on_one_workload_against_that_on_another(tmp_path: Path) -> None:
    here, there = Results(tmp_path / "here"), Results(tmp_path / "there")
    add_pairs(here, factors=(2.0, 2.0, 2.1), gains=(-2.0, -2.1, -1.9))
    add_pairs(there, factors=(1.0, 1.02, 1.0), gains=(-1.0, -1.1, -0.9))
    both = [(next(iter(table(runs, baseline="fixed_small", target=50))), runs) for runs in map(read, (here.folder, there.folder))]

    def more(of: str, expects: Expectation) -> Finding:
        statement = Statement(arm="jump", against="fixed_small", of=of, expects=expects)
        return judge(statement, *both[0], than=(statement, *both[1]))

    # -2 - (-1) with s = 0.1 in both: 4 degrees of freedom, so the half-width is 2.776 x 0.1 x sqrt(2 / 3) = 0.227
    worse = more("final", "less")
    assert (worse.verdict, worse.effect) == (SUPPORTED, "-1.00 [-1.23, -0.77]")
    assert worse.title == "digits / mlp, more than jump against fixed_small"
    assert more("samples", "more").verdict == SUPPORTED
    assert more("samples", "more").effect.startswith("2.02 [")  # (4 x 2.1)^(1/3) / 1.02^(1/3)
    assert more("changes", "none").verdict == SUPPORTED


def test_of_a_perplexity_less_is_better(results: Results) -> None:
    for seed, factor in enumerate((0.9, 0.91, 0.89)):
        common = {"metric": "perplexity", "maximise": False, "seed": seed}
        results.add("fixed_small", curve=[(0, 900), (1000, 100)], final=100.0, **common)
        results.add("jump", curve=[(0, 900), (1000, 100)], final=100 * factor, size=64, scheduler="jump", **common)
    runs = read(results.folder)
    (made,) = table(runs, baseline="fixed_small", target=500)
    better = judge(Statement(arm="jump", against="fixed_small", of="final", expects="more"), made, runs)
    assert (better.verdict, better.effect[:5]) == (SUPPORTED, "0.900")


def test_columns_of_the_records_and_counts_of_changes(results: Results) -> None:
    add_pairs(results, factors=(1.0, 1.0, 1.0), gains=(0.0, 0.1, -0.1))
    steps = found(results, "steps", "less")
    assert (steps.verdict, steps.effect[:4]) == (SUPPORTED, "0.50")  # 16 steps of 64 rows against 32 of 32
    assert found(results, "changes", "none").verdict == SUPPORTED
    with pytest.raises(ValueError, match="of: taste is neither a cost, nor final, nor a column"):
        found(results, "taste", "more")


def test_a_quarter_of_the_budget_is_between_evaluations(results: Results) -> None:
    for seed in range(3):
        results.add("fixed_small", seed=seed, curve=[(0, 10), (80, 30), (400, 90)])  # at 100 samples: 30 + 60 / 16
        results.add("jump", seed=seed, curve=[(0, 10), (100, 40 + seed), (400, 60)], size=64, scheduler="jump")
    early = found(results, "quarter", "more")
    # 6.25, 7.25 and 8.25: the half-width is 4.303 / sqrt(3) = 2.48
    assert (early.verdict, early.effect) == (SUPPORTED, "+7.2 [+4.8, +9.7]")


def test_the_last_validation_loss_is_compared_as_a_ratio(results: Results) -> None:
    for seed in range(3):
        for arm, last in (("fixed_small", 90), ("jump", 45 + seed)):
            results.add(arm, seed=seed, curve=[(0, 10), (80, 30), (400, last)], scheduler=arm)
    # losses are 2 - value / 100: 1.10 against 1.55, 1.54 and 1.53
    assert found(results, "validation_loss", "more").effect.startswith(f"{(1.55 * 1.54 * 1.53) ** (1 / 3) / 1.1:.2f} [")


def test_falls_are_evaluations_that_are_worse_than_the_one_before(results: Results) -> None:
    for seed in range(3):
        results.add("fixed_small", seed=seed, curve=[(0, 10), (80, 30), (160, 20), (240, 90), (400, 85)])
        results.add("jump", seed=seed, curve=[(0, 10), (100, 40), (400, 60 + seed)], size=64, scheduler="jump")
    assert found(results, "falls", "less").effect == "-2.0 [-2.0, -2.0]"


def test_the_reaction_to_a_milestone_of_the_learning_rate(results: Results) -> None:
    for seed in range(3):
        for arm, change in (("fixed_small", 800), ("jump", 600 + 20 * seed)):
            settings: dict[str, object] = {"lr_schedule.milestones": [2]}  # of 4 epochs: after 500 of 1,000 samples
            folder = results.add(arm, seed=seed, curve=[(0, 10), (1000, 90)], size=20, settings=settings)
            trace = pd.read_parquet(folder / "trace.parquet")
            later = trace["samples"] > change
            trace.assign(batch_size_granted=trace["batch_size_granted"].where(~later, 40)).to_parquet(folder / "trace.parquet")
    sooner = found(results, "reaction", "less")
    # 100, 120 and 140 samples, where it is 350, 370 and 390 from the moments before; against 300, where it is 550
    expected = (100 / 350 * 120 / 370 * 140 / 390) ** (1 / 3) / (300 / 550)
    assert (sooner.verdict, sooner.effect[:5]) == (SUPPORTED, f"{expected:.3f}")
    without = Results(results.folder / "without")
    add_pairs(without, factors=(1.0, 1.0), gains=(0.0, 0.0))
    with pytest.raises(ValueError, match="a milestone of the learning rate; jump has none"):
        found(without, "reaction", "less")


def test_who_changes_sizes_all_the_time_reacts_to_nothing(results: Results) -> None:
    for seed in range(3):
        for arm, size in (("fixed_small", 20), ("jump", 25)):
            settings: dict[str, object] = {"lr_schedule.milestones": [2]}
            folder = results.add(arm, seed=seed, curve=[(0, 10), (1000, 90)], size=size, settings=settings)
            trace = pd.read_parquet(folder / "trace.parquet")
            late = trace["samples"] > 900  # of the first arm, which changes once; the other one changes at every step
            changed = late if arm == "fixed_small" else pd.Series(range(len(trace))) % 2 == 1
            trace.assign(batch_size_granted=trace["batch_size_granted"].mask(changed, 40)).to_parquet(folder / "trace.parquet")
    # the mean of 50, 100, ... 450 to 900 is 650
    usual, fixed = found(results, "reaction", "less"), 400 / 650
    assert usual.verdict == CONTRADICTED and usual.effect.startswith(f"{1 / fixed:.2f} [")


def test_the_decline_is_how_far_a_curve_ends_below_its_best(results: Results) -> None:
    for seed in range(3):
        results.add("fixed_small", seed=seed, curve=[(0, 10), (100, 50), (200, 80), (300, 90), (400, 90)])
        results.add(
            "jump", seed=seed, curve=[(0, 10), (100, 50), (200, 90), (300, 80), (400, 85 + seed)], size=64, scheduler="jump"
        )
    decline = found(results, "decline", "more")  # 5, 4 and 3 points
    assert (decline.verdict, decline.effect[:4]) == (SUPPORTED, "+4.0")


def test_values_against_a_number(results: Results) -> None:
    for seed, final in enumerate((90.0, 90.1, 89.9)):
        results.add("jump", seed=seed, final=final, measure=0.25, size=64, scheduler="jump")
    runs = read(results.folder)
    (made,) = table(runs, target=50)

    def of(name: str, expects: Expectation, number: float) -> Finding:
        return judge(Statement(arm="jump", against=number, of=name, expects=expects), made, runs)

    # 1 with s = 0.1, and a fifth of the time is 0.25 / 1.25
    assert (of("final", "more", 89.0).verdict, of("final", "more", 89.0).effect) == (SUPPORTED, "+1.00 [+0.75, +1.25]")
    assert of("final", "none", 90.0).verdict == SUPPORTED
    assert of("measuring", "less", 0.21).verdict == of("measuring", "more", 0.19).verdict == SUPPORTED
    assert of("measuring", "less", 0.01).effect.startswith("+0.1900")


def test_an_arm_or_baseline_that_is_not_there(results: Results) -> None:
    add_pairs(results, factors=(2.0, 2.0), gains=(0.0, 0.1))
    with pytest.raises(ValueError, match="has no arm 'other', only fixed_small, jump"):
        found(results, "final", "more", arm="other")
    runs = read(results.folder)
    (made,) = table(runs, baseline="jump", target=50)
    with pytest.raises(ValueError, match="has the baseline 'jump'; 'fixed_small' is expected"):
        judge(Statement(arm="jump", against="fixed_small", of="final", expects="more"), made, runs)


def finding(of: str, verdict: str = UNDECIDED, *, sign: int = 0, arm: str = "jump") -> Finding:
    statement = Statement(arm=arm, against="fixed_small", of=of, expects="more")
    return Finding(statement=statement, title="", verdict=verdict, sign=sign, effect="", could_have_seen="")


def test_one_test_against_a_claim_contradicts_it_and_half_of_each_measure_must_support_it() -> None:
    yes, no, open_ = (finding("final", each) for each in (SUPPORTED, CONTRADICTED, UNDECIDED))
    assert together([yes, open_]) == SUPPORTED
    assert together([yes, open_, open_]) == UNDECIDED
    assert together([yes, no, yes]) == CONTRADICTED
    assert together([yes, yes, finding("seconds")]) == UNDECIDED  # not worse, and not shown to be faster
    assert together([yes, finding("seconds", SUPPORTED)]) == SUPPORTED
    assert together([open_]) == together([]) == UNDECIDED


def test_an_effect_varies_if_the_same_comparison_has_both_signs() -> None:
    up, down = finding("final", sign=1), finding("final", sign=-1)
    assert varies([up, down]) == SUPPORTED
    assert varies([up, up, finding("final")]) == UNDECIDED
    assert varies([up, finding("seconds", sign=-1), finding("final", sign=-1, arm="other")]) == UNDECIDED


def test_most_cases_are_half_of_the_tests() -> None:
    better, worse, neither = (finding("final", verdict) for verdict in (SUPPORTED, CONTRADICTED, UNDECIDED))
    assert mostly([better, better, worse, neither]) == SUPPORTED
    assert mostly([better, worse, worse, worse]) == CONTRADICTED
    assert mostly([better, neither, worse]) == mostly([better, worse]) == UNDECIDED
    assert mostly([]) == every([]) == UNDECIDED
    assert every([better, better]) == SUPPORTED
    assert every([better, neither]) == UNDECIDED
    assert every([better, worse]) == CONTRADICTED


def test_an_effect_goes_with_a_level_of_the_workloads() -> None:
    found = [replace(finding("seconds"), estimate=effect) for effect in (0.1, 0.2, 0.3, 0.5, 0.4, 0.6)]
    with_depth = correlated("depth", [1, 2, 3, 4, 5, 6], found, expects="more")
    # d^2 = 2: rho = 1 - 6 * 2 / 210 = 0.943; atanh 1.763 -+ 1.96 * sqrt(1.06 / 3) = 0.598 and 2.928
    assert (with_depth.effect, with_depth.verdict) == ("+0.94 [+0.54, +0.99]", SUPPORTED)
    assert correlated("depth", [6, 5, 4, 3, 2, 1], found, expects="more").verdict == CONTRADICTED
    assert correlated("depth", [3, 1, 2, 5, 4, 3], found, expects="differs").verdict == UNDECIDED


def test_workloads_on_which_the_effect_cannot_be_told_are_left_out_and_counted() -> None:
    found = [replace(finding("seconds"), estimate=effect) for effect in (0.1, math.nan, 0.3, 0.5, 0.4, 0.6)]
    told = correlated("depth", [1, 2, 3, 4, 5, 6], found, expects="more")
    # d^2 = 2: rho = 1 - 6 * 2 / 120 = 0.9; atanh 1.472 -+ 1.96 * sqrt(1.06 / 2) = 0.045 and 2.899
    assert (told.title, told.effect, told.verdict) == (
        "5 of 6 workloads, rank correlation with depth", "+0.90 [+0.05, +0.99]", SUPPORTED
    )  # fmt: skip
    few = correlated("depth", [1, 2, 3, 4], [replace(each, estimate=math.nan) for each in found[:1]] + found[2:5], expects="more")
    assert (few.effect, few.verdict, few.could_have_seen) == ("cannot tell", UNDECIDED, "")
