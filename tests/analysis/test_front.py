from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from adaptive_bench.analysis import read, table
from adaptive_bench.analysis.front import front

if TYPE_CHECKING:
    from tests.analysis.conftest import Results


def _places(results: Results, cost: str) -> dict[str, str]:
    return {place.label: str(place) for place in front(table(read(results.folder))[0], cost=cost)}


def test_who_is_beaten_in_both_is_named_with_its_better(results: Results) -> None:
    for seed in range(3):
        wobble = seed / 10
        results.add("fixed_small", seed=seed, size=32, final=90 + wobble)
        results.add("dearer", seed=seed, size=16, final=89 + wobble)  # more updates, worse
        results.add("cheap", seed=seed, size=64, final=88 + wobble)  # fewer updates, worse
        results.add("alike", seed=seed, size=32, final=90 + (0.3, -0.2, -0.11)[seed])
    places = _places(results, "steps")
    assert places["fixed_small"] == places["cheap"] == "on the front"
    assert places["dearer"] == "dominated by fixed_small"
    assert places["alike"] == "dominated by fixed_small, within noise"


def test_a_lower_perplexity_is_better(results: Results) -> None:
    for arm, size, final in (("fixed_small", 32, 100.0), ("better", 32, 90.0)):
        for seed in range(3):
            results.add(arm, seed=seed, size=size, metric="perplexity", maximise=False, curve=[(0, 900), (1000, 95)],
                        best=95.0, final=final + seed)  # fmt: skip
    assert _places(results, "samples") == {"fixed_small": "dominated by better", "better": "on the front"}


def test_arms_without_a_finished_run_have_no_place_and_equals_share_the_front(results: Results) -> None:
    results.add("fixed_small")
    results.add("same", size=64)
    results.add_diverged("deba", seed=0)
    assert _places(results, "samples") == {"fixed_small": "on the front", "same": "on the front"}


@pytest.mark.parametrize("cost", ["samples", "steps", "seconds"])
def test_one_seed_has_no_noise_to_be_beyond(results: Results, cost: str) -> None:
    results.add("fixed_small", curve=[(0, 10), (1000, 90)], final=90.0)
    results.add("worse", curve=[(0, 10), (2000, 90)], final=80.0)
    assert _places(results, cost)["worse"] == "dominated by fixed_small, within noise"
