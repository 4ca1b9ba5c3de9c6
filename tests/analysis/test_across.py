from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from adaptive_bench.analysis import across, read, table
from adaptive_bench.analysis.across import Across, _median

if TYPE_CHECKING:
    from tests.analysis.conftest import Results

# samples of whole runs, by data set and arm; the target is a fixed share of the way, so costs are in proportion to them
ENDS = {
    "digits": {"fixed_small": 1000, "quick": 500, "slow": 2000},
    "cifar10": {"fixed_small": 1000, "quick": 2000, "slow": 4000},
    "cifar100": {"fixed_small": 1000, "quick": 500, "slow": 1500},
}


@pytest.fixture
def found(results: Results) -> Across:
    for dataset, arms in ENDS.items():
        for arm, end in arms.items():
            for seed in range(3):
                model = "mlp" if dataset == "digits" else "resnet8"
                size, final = 32 if arm == "fixed_small" else 64, 90 + (arm == "slow") + seed / 10
                results.add(arm, dataset=dataset, model=model, seed=seed, size=size, curve=[(0, 10), (end, 90)], final=final)
    runs = read(results.folder)
    made = across(runs, table(runs))
    assert made is not None
    return made


def test_a_profile_is_the_share_of_workloads_within_a_factor_of_the_best(found: Across) -> None:
    # costs over the least: fixed_small 2, 1, 2; quick 1, 2, 1; slow 4, 4, 3 (digits, cifar10, cifar100)
    expected = {"fixed_small": (2, 1, 2), "quick": (1, 2, 1), "slow": (4, 4, 3)}
    for arm, profile in zip(found.arms, found.profiles, strict=True):
        for factor, share in zip(found.factors, profile, strict=True):
            near = [abs(ratio / factor - 1) < 0.01 for ratio in expected[arm]]
            if not any(near):  # crossings are interpolated
                assert share == pytest.approx(np.mean([ratio <= factor for ratio in expected[arm]])), (arm, factor)
    assert found.factors[0] == 1
    assert found.factors[-1] >= 4
    assert (found.low <= found.profiles + 1e-12).all()
    assert (found.profiles <= found.high + 1e-12).all()


def test_ranks_are_means_over_workloads(found: Across) -> None:
    ranks = found.ranks.set_index("arm")
    assert ranks["cost_rank"].to_dict() == pytest.approx({"quick": 4 / 3, "fixed_small": 5 / 3, "slow": 3})
    assert ranks["cost_first"].to_dict() == {"quick": 2, "fixed_small": 1, "slow": 0}
    # equal medians share their ranks: 2 and 3 behind slow
    assert ranks["value_rank"].to_dict() == pytest.approx({"quick": 2.5, "fixed_small": 2.5, "slow": 1})
    assert ranks["value_first"].to_dict() == {"quick": 0, "fixed_small": 0, "slow": 3}


def test_the_best_arm_is_told_by_data_set_dimension_model_and_parameters(found: Across) -> None:
    rows = {(row["kind"], row["name"]): row for row in found.best.to_dict("records")}
    assert [key for key in rows if key[0] == "data set"] == [("data set", name) for name in ("cifar10", "cifar100", "digits")]
    assert rows["data set", "cifar10"]["fastest"] == "fixed_small"
    assert rows["data set", "digits"]["fastest"] == "quick"
    assert rows["data set", "digits"]["fastest_share"] == 1
    assert rows["data set", "digits"]["best"] == "slow"
    assert rows["dimension", "3,072"]["workloads"] == 2
    assert rows["model", "resnet8"]["workloads"] == 2
    assert rows["model", "mlp"]["fastest"] == "quick"
    assert rows["parameters", "100"]["workloads"] == 3


def test_arms_that_share_the_first_place_are_all_named(results: Results) -> None:
    for dataset in ("digits", "cifar10"):
        for seed in range(3):
            for arm in ("fixed_small", "twin"):
                results.add(arm, dataset=dataset, seed=seed)
            results.add("slow", dataset=dataset, seed=seed, curve=[(0, 10), (2000, 80)], size=64)
    runs = read(results.folder)
    made = across(runs, table(runs))
    assert made is not None
    for row in made.best.to_dict("records"):
        assert (row["fastest"], row["best"]) == ("fixed_small, twin", "fixed_small, twin")
        assert (row["fastest_share"], row["best_share"]) == (1, 1)


def test_a_miss_is_never_within_any_factor(results: Results) -> None:
    for dataset in ("digits", "cifar10"):
        for seed in range(3):
            results.add("fixed_small", dataset=dataset, seed=seed)
            if dataset == "cifar10":
                results.add_diverged("jump", seed=seed)
            else:
                results.add("jump", dataset="cifar10", seed=seed, curve=[(0, 10), (500, 90)], size=64)
    results.add("extra", dataset="digits")
    runs = read(results.folder)
    made = across(runs, table(runs))
    assert made is not None
    jump = made.profiles[made.arms.index("jump")]
    assert jump.max() == 0.5
    assert made.left_out == ("extra",)
    digits = next(row for row in made.best.to_dict("records") if row["name"] == "digits")
    assert digits["fastest"] == "fixed_small"


def test_one_workload_or_one_arm_gives_nothing(two_by_three: Results) -> None:
    runs = read(two_by_three.folder)
    assert across(runs, table(runs)) is None
    two_by_three.add("fixed_small", dataset="cifar10")
    runs = read(two_by_three.folder)
    assert across(runs, table(runs)) is None


def test_a_workload_without_a_target_is_named_and_left_out(results: Results) -> None:
    for dataset in ("digits", "cifar10"):
        for arm in ("fixed_small", "jump"):
            results.add(arm, dataset=dataset, size=32 if arm == "fixed_small" else 64)
    for arm in ("fixed_small", "jump"):
        results.add_unfinished(arm, seed=0, status="failed", dataset="cifar100", size=32 if arm == "fixed_small" else 64)
    runs = read(results.folder)
    made = across(runs, table(runs))
    assert made is not None
    assert made.without_target == ("cifar100 / mlp",)
    assert len(made.workloads) == 2


def test_the_median_knows_infinities_and_leaves_out_what_is_missing() -> None:
    nan, inf = math.nan, math.inf
    values = np.array([[1, 3, nan, 2], [1, inf, nan, nan], [inf, inf, 1, nan], [nan, nan, nan, nan], [4, 2, 1, 3]])
    assert _median(values).tolist() == [2, inf, inf, inf, 2.5]
