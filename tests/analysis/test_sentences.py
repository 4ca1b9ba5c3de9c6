from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from adaptive_bench.analysis import read, table
from adaptive_bench.analysis.sentences import sentences

if TYPE_CHECKING:
    from tests.analysis.conftest import Results


def _said(results: Results, **options: object) -> dict[str, str]:
    found = table(read(results.folder), **options)[0]  # type: ignore[arg-type]
    return {row.label: text for row, text in zip(found.rows, sentences(found), strict=True)}


def _add(results: Results, arm: str, ends: list[float], finals: list[float] | None = None, **record: object) -> None:
    for seed, end in enumerate(ends):
        value = finals[seed] if finals else 90.0
        results.add(arm, seed=seed, curve=[(0, 10), (end, 90)], final=value, **record)  # type: ignore[arg-type]


def test_every_verdict_is_a_sentence_with_its_numbers(results: Results) -> None:
    ends = [1000, 1010, 1020, 1030, 1040]
    _add(results, "fixed_small", ends, [90.0, 90.1, 90.2, 90.3, 90.4], size=32)
    halves = [500, 506, 509, 516, 519]
    _add(results, "quick", halves, [90.1, 90.1, 90.3, 90.3, 90.5], size=40)
    _add(results, "rash", halves, [86.0, 86.1, 86.2, 86.3, 86.4], size=48)
    _add(results, "vague", halves, [88.0, 92.0, 90.0, 87.0, 94.0], size=56)
    _add(results, "slow", [end * 4 for end in halves], [90.0, 90.1, 90.2, 90.3, 90.4], size=64)
    _add(results, "noisy", [500, 2000, 1000, 1500, 700], [90.0, 90.1, 90.2, 90.3, 90.4], size=72)
    _add(results, "same", ends, [90.0, 90.1, 90.2, 90.3, 90.4], size=32)
    for seed in range(5):
        if seed:
            results.add_diverged("broken", seed=seed)
        else:
            results.add("broken", seed=seed)
    said = _said(results, target=50.0)
    assert said["fixed_small"] == "fixed_small is the baseline: 5 of 5 runs reached the target (50.00), 510 samples."
    assert said["quick"].startswith(
        "quick is faster to the target (50.00), not worse by 0.5 points or more: speed-up in samples 2.00 [2.00, 2.00]"
    )
    assert said["rash"].startswith("rash is faster to the target (50.00), but it ends worse: speed-up")
    assert "Test accuracy (%) changes by -4.00 [" in said["rash"]
    assert said["vague"].startswith(
        "vague is faster to the target (50.00), and whether it ends worse by 0.5 points is undecided (corrected p 1): speed-up"
    )
    assert said["slow"].startswith("slow is slower: it needs 2.00 [")
    assert " times the samples of fixed_small to reach the target (50.00). Test accuracy" in said["slow"]
    assert said["noisy"].startswith("noisy shows no difference in samples to the target (50.00): speed-up ")
    assert "would have been found" in said["noisy"]
    assert said["same"].startswith("same cannot be judged at the target (50.00): 5 of its 5 runs reached it before they did")
    assert said["broken"].startswith("broken missed the target (50.00) in 4 of 5 runs")


def test_an_interval_that_excludes_1_without_a_difference_is_explained(results: Results) -> None:
    ends = [1000, 1010, 1020]
    _add(results, "fixed_small", ends)
    for at in range(12):
        _add(results, f"arm{at}", [end * (1.3 + 0.04 * seed) for seed, end in enumerate(ends)], size=40 + at)
    text = _said(results)["arm3"]
    assert "shows no difference" in text
    assert "its interval leaves out 1, but not after the correction for 24 tests (p 0." in text


@pytest.mark.parametrize(("target", "reason"), [(None, "two runs of each arm"), (13.0, "first two evaluations")])
def test_what_cannot_be_judged_says_why(results: Results, target: float | None, reason: str) -> None:
    _add(results, "fixed_small", [1000])
    _add(results, "jump", [500], size=64)
    assert reason in _said(results, target=target)["jump"]


def test_equal_ratios_leave_nothing_to_test(results: Results) -> None:
    _add(results, "fixed_small", [1000, 2000])
    _add(results, "jump", [500, 1000], size=64)
    assert _said(results)["jump"].startswith("jump cannot be judged: its speed-up is the same in every pair")


def test_an_arm_without_a_finished_run_and_a_table_without_a_target(results: Results) -> None:
    results.add_diverged("fixed_small", seed=0)
    results.add_unfinished("other", seed=0, status="failed", reason="out of memory")
    said = _said(results)
    assert said["fixed_small"] == "fixed_small is the baseline: no run of it is done, so there is no target."
    assert said["other"].startswith("other missed") or said["other"] == "other cannot be judged: there is no target."


def test_a_perplexity_is_a_ratio(results: Results) -> None:
    for arm, factor in (("fixed_small", 1.0), ("jump", 0.9)):
        for seed in range(3):
            results.add(
                arm, seed=seed, metric="perplexity", maximise=False, curve=[(0, 1000), (1000 * factor + seed, 100)], best=100.0,
                size=32 if factor == 1 else 64, final=110.0 * factor + seed / 10,
            )  # fmt: skip
    text = _said(results)["jump"]
    assert "Test perplexity is 0.900 [" in text
    assert "times that of fixed_small." in text
    assert "tokens" in text
