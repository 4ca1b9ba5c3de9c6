from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from adaptive_bench.analysis.columns import text_frame
from tests.analysis.test_tables import cell, notes, only

if TYPE_CHECKING:
    from tests.analysis.conftest import Results


@pytest.mark.parametrize(
    ("metric", "header", "absent"),
    [
        ("samples", "samples", "samples trained"),
        ("steps", "updates", None),
        ("seconds", "seconds (train + measure)", "training seconds"),
    ],
)
def test_a_metric_that_is_a_total_is_not_shown_twice(two_by_three: Results, metric: str, header: str, absent: str | None) -> None:
    found = only(two_by_three, metric=metric)
    names = [name for name in text_frame(found) if "target" not in name and "speed-up" not in name]
    assert names.count(header) == 1
    assert absent not in names
    totals = {"samples trained", "updates", "training seconds"} - {header, absent}
    assert totals <= set(names)
    assert absent is None or absent not in notes(found).lower()


def test_the_tokens_of_a_text_can_be_the_metric(results: Results) -> None:
    results.add(metric="perplexity", maximise=False, curve=[(0, 1000), (1000, 100)])
    names = list(text_frame(only(results, metric="samples")))
    assert "tokens" in names
    assert not [name for name in names if "samples" in name]


def test_totals_are_those_of_runs_that_are_done(results: Results) -> None:
    results.add("fixed_small", seed=0, curve=[(0, 10), (3000, 90)])
    results.add_diverged("fixed_small", seed=1)  # after 1000
    results.add_diverged("jump", seed=0)
    found = only(results)
    assert cell(found, "fixed_small", "samples trained") == "3,000"
    assert cell(found, "fixed_small", "updates") == "94"
    assert cell(found, "fixed_small", "training seconds") == "3.000 [-]"
    assert [cell(found, "jump", name) for name in ("samples trained", "updates", "training seconds")] == ["-", "-", "-"]


def test_equal_totals_are_exact(results: Results) -> None:
    for seed in range(3):
        results.add(seed=seed, measure=0.5)
    totals = only(results).rows[0].totals
    assert [totals[cost].mean for cost in ("samples", "steps", "seconds")] == [1000, 32, 1.5]
