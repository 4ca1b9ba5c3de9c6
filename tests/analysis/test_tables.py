from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from filelock import FileLock

from adaptive_bench import analysis
from adaptive_bench.analysis import read, table
from adaptive_bench.analysis.columns import raw_rows, text_frame
from adaptive_bench.analysis.goals import read_goals, write_goals
from adaptive_bench.analysis.sentences import sentences
from adaptive_bench.analysis.tables import Table

if TYPE_CHECKING:
    from tests.analysis.conftest import Results


def only(results: Results, **options: Any) -> Table:
    (found,) = table(read(results.folder), **options)
    return found


def cell(found: Table, arm: str, column: str) -> str:
    return text_frame(found).set_index("arm").loc[arm, column]


def notes(found: Table) -> str:
    return "\n".join(analysis.notes(found))


def test_two_arms_and_three_seeds_by_hand(two_by_three: Results) -> None:
    # t(2, .975) = 4.302653.
    # accuracy: 90 91 92 has mean 91, s = 1, half 4.302653 / sqrt(3) = 2.484138, of the logit ln(91 / 9) = 2.313635 it is
    #   2.484138 * 100 / (91 * 9) = .303313: logits 2.010322 and 2.616948 are 88.19 and 93.19 %; 92 92 95 has mean 93,
    #   s = sqrt(3), half 4.3027, of the logit .660930: 87.28 and 96.26 %;
    #   differences 2 1 3 have mean 2, s = 1, half 2.484138, t = 2 sqrt(3), p = 1 - t / sqrt(2 + t^2) = .0742 (2 degrees).
    #   Holm over two tests: 2 * .0742 = .148, and the speed-up's t = sqrt(3), p = 1 - sqrt(3 / 5) = .225, stays.
    # target: 10 + .95 (90 - 10) = 86, which a straight line from 10 to 90 crosses after .95 of its length.
    # samples: .95 * 1000 2000 4000, geometric mean 1900; .95 * 500 500 4000, geometric mean 950. Log ratios ln 2 * (1, 2, 0):
    #   mean ln 2, half = 2.484138 ln 2 = 1.721873, exp(half) = 5.5950, so 2.00 [.357, 11.190].
    # updates: samples / 32 = 59.4 against samples / 64 = 14.8, ratio 4 [.715, 22.380].
    # seconds: 1 ms a sample against 1.25 ms with measuring: 1.9 against 1.1875, ratio 1.6 [.286, 8.952].
    # whole runs: samples 1000 2000 4000 have the geometric mean 2000, 500 500 4000 have 1000; updates 32 63 125 have
    #   252,000^(1/3) = 63.2, 8 8 63 have 4,032^(1/3) = 15.9; seconds 1 2 4: log 2 times (0, 1, 2), so 2 times or by 5.5950;
    #   .625 .625 5: 1.25, logs ln .625 + ln 8 (0, 0, 1), s = ln 8 / sqrt(3), half 4.302653 ln 8 / 3 = 2.982367, exp 19.734.
    frame = text_frame(only(two_by_three))
    assert frame.to_dict("list") == {
        "arm": ["fixed_small", "jump"],
        "verdict": ["baseline", "no difference shown"],
        "runs": ["3", "3"],
        "reached": ["3/3", "3/3"],
        "speed-up, samples": ["baseline", "2.00 [0.36, 11.19]"],
        "p (Holm), speed-up": ["-", "0.23"],
        "detectable": ["-", ">100 [5.31, >100]"],
        "test accuracy (%)": ["91.00 [88.19, 93.19]", "93.00 [87.28, 96.26]"],
        "difference": ["baseline", "+2.00 [-0.48, +4.48]"],
        "p (Holm)": ["-", "0.15"],
        "samples trained": ["2,000", "1,000"],
        "updates": ["63", "16"],
        "training seconds": ["2.000 [0.357, 11.190]", "1.250 [0.063, 24.668]"],
        "samples to target": ["1,900", "950"],
        "updates to target": ["59", "15"],
        "seconds to target": ["1.900", "1.188"],
        "speed-up, updates": ["baseline", "4.00 [0.71, 22.38]"],
        "speed-up, seconds": ["baseline", "1.60 [0.29, 8.95]"],
        "statistical part": ["baseline", "2.00 [0.36, 11.19]"],
        "hardware part": ["baseline", "1.00 [1.00, 1.00]"],
        "overhead part": ["baseline", "0.800 [0.800, 0.800]"],
    }


def test_the_notes_say_where_the_numbers_come_from(two_by_three: Results) -> None:
    text = notes(only(two_by_three))
    assert "Verdicts: samples to the target against fixed_small, margin 0.5 points; p over 2 tests." in text
    assert "Target: validation accuracy (%) 86, 95 % of the way to fixed_small's median best on the same seeds" in text
    assert "Seeds: 0, 1, 2." in text
    assert "device cpu; threads 2; jobs 1; allocator tuned" in text
    assert len(text) < 400  # what holds for every table is said elsewhere


def test_another_baseline_turns_the_table(two_by_three: Results) -> None:
    found = only(two_by_three, baseline="jump")
    assert [row.label for row in found.rows] == ["jump", "fixed_small"]
    assert cell(found, "fixed_small", "difference") == "-2.00 [-4.48, +0.48]"
    assert cell(found, "fixed_small", "speed-up, samples") == "0.500 [0.089, 2.797]"


def test_an_unknown_baseline_lists_the_labels(two_by_three: Results) -> None:
    with pytest.raises(ValueError, match="one of: fixed_small, jump"):
        only(two_by_three, baseline="fixed_big")


def test_a_workload_without_the_wanted_baseline_says_so(two_by_three: Results) -> None:
    two_by_three.add("fixed_small", dataset="cifar10")
    cifar, digits = table(read(two_by_three.folder), baseline="jump")
    assert (cifar.baseline, digits.baseline) == ("fixed_small", "jump")
    assert "against fixed_small (no arm here is labelled 'jump')" in notes(cifar)


def test_the_smallest_fixed_size_is_the_baseline_by_default(results: Results) -> None:
    for size in (256, 32):
        results.add("", size=size)
    results.add("adabatch", scheduler="adabatch", size=16)
    results.add("", block_scheduler="exponential", size=8)
    assert only(results).baseline == "fixed (scheduler.initial=32)"


def test_the_first_label_is_the_baseline_if_nothing_is_fixed(results: Results) -> None:
    results.add("b", scheduler="deba")
    results.add("a", scheduler="gns")
    assert only(results).baseline == "a"


def test_a_target_that_all_miss(two_by_three: Results) -> None:
    found = only(two_by_three, target=99.0)
    assert cell(found, "jump", "reached") == "0/3"
    assert cell(found, "jump", "samples to target") == "inf"
    assert cell(found, "jump", "speed-up, samples") == "-"
    assert "set by hand" in notes(found)
    assert [cell(found, "jump", name) for name in ("detectable", "p (log-rank)", "verdict")] == ["-", "-", "missed"]


def test_some_misses_show_the_median_and_no_speed_up(results: Results) -> None:
    for seed in range(3):
        results.add("fixed_small", seed=seed)
        results.add("jump", seed=seed, curve=[(0, 10), (500, 90 if seed else 20)], size=64, scheduler="jump")
    found = only(results, target=50.0)
    # costs 250, 250 and a miss, the baseline's 500 each; up to 500, where the arm's runs end: (250 + 250 + 500) / 3 = 333, ratio
    # 1.5; 250 250 500 over 333 less 1 is -.25 -.25 .5, s = .433, half 4.302653 * .433 / sqrt(3) = 1.0757, exp(.4055 -+ 1.0757)
    assert cell(found, "jump", "reached") == "2/3"
    assert cell(found, "jump", "samples to target") == "median 250"
    assert cell(found, "jump", "speed-up, samples") == "1.50 [0.51, 4.40] (to the budget)"
    assert cell(found, "jump", "samples up to the budget") == "333"
    assert cell(found, "jump", "verdict") == "missed"


def test_an_arm_that_had_not_acted_has_no_speed_up_even_where_a_run_missed(results: Results) -> None:
    for seed in range(3):
        results.add("fixed_small", seed=seed)
        results.add("jump", seed=seed, curve=[(0, 10), (1000, 90 if seed else 20)])  # the same sizes throughout
    found = only(results, target=50.0)
    assert [cell(found, "jump", name) for name in ("verdict", "speed-up, samples", "speed-up, updates", "detectable")] == [
        "missed", "not yet different", "not yet different", "-",
    ]  # fmt: skip
    assert "speed-up" not in sentences(found)[1]


def test_targets_without_one_for_a_workload_are_refused_by_its_name(two_by_three: Results, tmp_path: Path) -> None:
    runs = read(two_by_three.folder)
    write_goals(runs, tmp_path / "goals.yaml")
    goals = read_goals(tmp_path / "goals.yaml")
    with pytest.raises(ValueError, match="has none for digits / mlp; write one from runs with these settings"):
        table(runs, targets={"another": next(iter(goals.values()))})


def test_a_diverged_run_is_counted_and_misses(results: Results) -> None:
    for seed in range(3):
        results.add("fixed_small", seed=seed)
    results.add("jump", seed=0)
    results.add("jump", seed=1)
    results.add_diverged("jump", seed=2)
    found = only(results)
    jump = found.rows[1]
    assert (jump.n, jump.counts["diverged"], jump.started, jump.reached) == (2, 1, 3, 2)
    assert cell(found, "jump", "runs") == "2 done, 1 diverged"
    assert cell(found, "jump", "reached") == "2/3"
    # 90 twice, of 1,000 samples: a deviation of .1 / sqrt(12) = .0289, half 12.7062 * .0289 / sqrt(2) = .2594, of the logit .0288
    assert cell(found, "jump", "test accuracy (%)") == "90.00 [89.74, 90.26]"
    assert "Misses, with no final value: 1 diverged of jump." in notes(found)


def test_failed_and_interrupted_runs_are_misses_and_running_ones_are_not(results: Results) -> None:
    for seed in range(4):
        results.add("fixed_small", seed=seed)
    results.add("jump", seed=0, scheduler="jump")
    results.add_unfinished("jump", seed=1, scheduler="jump", status="failed", reason="out of memory")
    results.add_unfinished("jump", seed=2, scheduler="jump", status="interrupted")
    with FileLock(results.add_unfinished("jump", seed=3, scheduler="jump", status="running") / ".lock"):
        found = only(results)
    assert cell(found, "jump", "runs") == "1 done, 1 failed, 1 interrupted, 1 running"
    assert cell(found, "jump", "reached") == "1/3"
    assert cell(found, "jump", "verdict") == "missed"
    assert "Misses, with no final value: 1 failed of jump, 1 interrupted of jump. Still running and left out: 1." in notes(found)


def test_an_arm_whose_runs_all_failed_is_listed(results: Results) -> None:
    results.add("fixed_small")
    results.add_unfinished("jump", seed=0, scheduler="jump", status="failed", reason="out of memory")
    found = only(results)
    assert [cell(found, "jump", name) for name in ("runs", "reached", "verdict", "difference")] == [
        "0 done, 1 failed", "0/1", "missed", "-"
    ]  # fmt: skip
    assert "No run is done of jump." in notes(found)


def test_a_mixture_of_versions_is_refused_unless_it_is_wanted(results: Results) -> None:
    results.add("fixed_small")
    results.add("jump", sources="beef", torch="2.14")
    with pytest.raises(ValueError, match=r"different versions \(sources: 5a5a, beef; torch: 2.13, 2.14\)"):
        only(results)
    assert "Runs of different versions are pooled: sources 5a5a, beef; torch 2.13, 2.14." in notes(
        only(results, allow_mixed_versions=True)
    )


def test_one_target_does_not_fit_two_workloads(two_by_three: Results) -> None:
    two_by_three.add("fixed_small", dataset="ptb", metric="perplexity", maximise=False, curve=[(0, 1000), (1000, 100)])
    with pytest.raises(ValueError, match="one target for 2 workloads"):
        table(read(two_by_three.folder), target=86.0)


@pytest.mark.parametrize("target", [101.0, -1.0, math.inf])
def test_a_target_that_the_metric_cannot_have_is_refused(two_by_three: Results, target: float) -> None:
    with pytest.raises(ValueError, match="validation accuracy; a number from 0 to 100 is expected"):
        only(two_by_three, target=target)


def test_siblings_with_other_settings_are_hinted_at(results: Results) -> None:
    results.add("fixed_small")
    results.add("jump", settings={"epochs": 8})
    for found in table(read(results.folder)):
        assert "settings that all arms must share keep it apart from digits / mlp (epochs=" in notes(found)


def test_the_parts_of_a_speed_up_in_seconds_add_up(two_by_three: Results) -> None:
    row = only(two_by_three).rows[1]
    parts = sum(part.estimate for part in row.parts.values())
    assert parts == pytest.approx(row.speedups["seconds"].estimate, abs=1e-12)


@pytest.mark.parametrize(
    ("finals", "verdict"),
    [
        ([91.0, 91.1, 90.9], "faster, not worse"),
        ([84.0, 84.3, 83.7], "faster, worse"),
        ([89.0, 93.0, 91.0], "faster, quality undecided"),
    ],
)
def test_a_speed_up_is_judged_with_its_quality(results: Results, finals: list[float], verdict: str) -> None:
    for seed, final in enumerate(finals):
        results.add("fixed_small", seed=seed, final=90.0 + seed / 100)
        results.add("jump", seed=seed, curve=[(0, 10), (300 + seed, 90)], final=final, scheduler="jump", size=64)
    assert cell(only(results), "jump", "verdict") == verdict
    assert cell(only(results, baseline="jump"), "fixed_small", "verdict") == "slower"


def test_updates_can_be_the_endpoint(two_by_three: Results) -> None:
    found = only(two_by_three, endpoint="steps", margin=1.0)
    assert cell(found, "jump", "speed-up, updates") == "4.00 [0.71, 22.38]"
    assert "Verdicts: updates to the target against fixed_small, margin 1 points" in notes(found)
    with pytest.raises(ValueError, match="an endpoint of 'watts'; expected one of samples, steps, seconds"):
        only(two_by_three, endpoint="watts")


def test_targets_of_other_seeds_come_from_a_file(two_by_three: Results, tmp_path: Path) -> None:
    from adaptive_bench.analysis import read_goals, write_goals

    path = tmp_path / "targets.yaml"
    assert write_goals(read(two_by_three.folder), path, fraction=0.5) == [
        "digits / mlp: validation accuracy of 50, from the seeds 0, 1, 2"
    ]
    found = only(two_by_three, targets=read_goals(path))
    assert found.target == 50
    assert (
        f"50 % of the way to fixed_small's median best on seeds 0, 1, 2, 0, 1, 2 of which are in this table ({path})."
        in notes(found)
    )
    path.write_text(path.read_text().replace("target:", "taget:"))
    with pytest.raises(ValueError, match=r"targets.yaml: entry 1 has .*taget.*; exactly workload, title"):
        read_goals(path)


def test_an_arm_that_always_diverges(results: Results) -> None:
    results.add("fixed_small")
    results.add_diverged("jump", seed=0)
    found = only(results)
    assert cell(found, "jump", "runs") == "0 done, 1 diverged"
    assert cell(found, "jump", "test accuracy (%)") == "-"
    assert cell(found, "jump", "difference") == "-"


def test_a_baseline_that_always_diverges_sets_no_target(results: Results) -> None:
    results.add_diverged("fixed_small", seed=0)
    results.add("jump")
    found = only(results)
    assert math.isnan(found.target)
    assert "Target: none" in notes(found)
    assert cell(found, "jump", "reached") == "0/1"


def test_one_seed_has_means_without_brackets(results: Results) -> None:
    results.add("fixed_small")
    results.add("jump", curve=[(0, 10), (500, 90)], size=64)
    found = only(results)
    assert cell(found, "jump", "test accuracy (%)") == "90.00 [-]"
    assert cell(found, "jump", "speed-up, samples") == "2.00 [-]"
    assert "One seed gives no interval" in notes(found)


def test_one_arm(results: Results) -> None:
    results.add("jump")
    assert cell(only(results), "jump", "difference") == "baseline"


def test_a_missing_seed_is_shown_and_left_out_of_the_pairs(results: Results) -> None:
    for seed in range(3):
        results.add("fixed_small", seed=seed, curve=[(0, 10), (1000 * (seed + 1), 90)])
    for seed in (0, 2):
        results.add("jump", seed=seed, curve=[(0, 10), (500 * (seed + 1), 90)], size=64)
    found = only(results)
    assert cell(found, "jump", "missing seeds") == "1"
    assert cell(found, "jump", "speed-up, samples") == "2.00 [2.00, 2.00]"
    assert found.rows[1].speedups["samples"].effect.n == 2
    assert "jump lacks 1." in notes(found)


def test_other_seeds_are_compared_by_welch(results: Results) -> None:
    for seed in range(3):
        results.add("fixed_small", seed=seed, curve=[(0, 10), (1000 + seed, 90)])
        results.add("jump", seed=seed + 10, curve=[(0, 10), (500 + seed, 90)])
    assert "Welch's interval instead of pairs, because too few seeds are shared with the baseline: jump." in notes(only(results))


@pytest.mark.parametrize("condition", [{"device": "cuda"}, {"threads": 1}, {"jobs": 2}, {"jobs": 0}, {"allocator": "glibc"}])
def test_mixed_timing_leaves_the_seconds_out(results: Results, condition: dict[str, object]) -> None:
    results.add("fixed_small")
    results.add("jump", **condition)
    found = only(results)
    assert not [name for name in text_frame(found) if "seconds" in name]
    assert f"mixed or unknown {next(iter(condition))} (" in notes(found)
    assert "--allow-mixed-timing" in notes(found)
    allowed = only(results, allow_mixed_timing=True)
    assert cell(allowed, "jump", "seconds to target") == "0.9500"
    assert "mixed or unknown conditions" in notes(allowed)


def test_seconds_are_left_out_where_nobody_knows_what_ran_beside_a_run(results: Results) -> None:
    for label in ("fixed_small", "jump"):
        results.add(label, jobs=0)
    assert not [name for name in text_frame(only(results)) if "seconds" in name]
    assert "they were timed under mixed or unknown jobs (unknown)" in notes(only(results))


def test_a_table_of_mixed_seconds_has_no_metric(results: Results) -> None:
    results.add("fixed_small")
    results.add("jump", threads=1)
    assert "difference" not in text_frame(only(results, metric="seconds"))


def test_seconds_are_averaged_and_compared_on_logarithms(two_by_three: Results) -> None:
    found = only(two_by_three, metric="seconds")
    # 1 2 4 seconds: 2 [2 / 5.595, 2 * 5.595]; 1.25 * .5 .5 4 = 1.25; the ratio is new / old
    assert cell(found, "fixed_small", "seconds (train + measure)") == "2.000 [0.357, 11.190]"
    assert cell(found, "jump", "ratio to baseline") == "0.625 [0.112, 3.497]"


@pytest.mark.parametrize("metric", ["best", "samples", "steps", "parameters", "seconds_evaluate", "seconds_store"])
def test_any_numeric_column_can_be_the_metric(two_by_three: Results, metric: str) -> None:
    assert only(two_by_three, metric=metric).metric == metric


@pytest.mark.parametrize("metric", ["accuracy", "device", "dirty"])
def test_other_columns_cannot(two_by_three: Results, metric: str) -> None:
    with pytest.raises(ValueError, match=r"metric must be one of: batch_variation, best, final"):
        only(two_by_three, metric=metric)


def test_perplexity_is_minimised_on_logarithms(results: Results) -> None:
    for seed in range(2):
        results.add("fixed_small", seed=seed, curve=[(0, 1000), (1000, 100)], metric="perplexity", maximise=False, best=100.0)
        results.add("jump", seed=seed, curve=[(0, 1000), (500, 50)], metric="perplexity", maximise=False, best=50.0)
    found = only(results)
    assert found.target == pytest.approx(1000**0.05 * 100**0.95)
    assert list(text_frame(found))[4:] == [
        *("speed-up, tokens", "p (Holm), speed-up", "detectable", "test perplexity", "ratio to baseline", "p (Holm)"),
        *("tokens trained", "updates", "training seconds", "tokens to target", "updates to target", "seconds to target"),
        *("speed-up, updates", "speed-up, seconds", "statistical part", "hardware part", "overhead part"),
    ]
    assert cell(found, "fixed_small", "tokens trained") == "1,000"
    assert cell(found, "jump", "ratio to baseline") == "0.500 [0.500, 0.500]"
    assert cell(found, "jump", "reached") == "2/2"


def test_a_target_below_the_untrained_model_has_no_speed_up(two_by_three: Results) -> None:
    found = only(two_by_three, target=5.0)
    assert cell(found, "jump", "samples to target") == "0"
    assert cell(found, "jump", "speed-up, samples") == "too early"
    assert "meet it already" in notes(found)


def test_a_target_that_is_no_number_is_refused(two_by_three: Results) -> None:
    with pytest.raises(ValueError, match="a target of nan"):
        only(two_by_three, target=math.nan)


def test_uncommitted_changes_are_mentioned(results: Results) -> None:
    results.add(dirty=True)
    assert "1 of 1 runs were made from a working tree with uncommitted changes." in notes(only(results))


def test_padding_is_shown_where_there_is_any(results: Results) -> None:
    for seed in range(2):  # 1,000 samples of 1 ms each
        results.add("padded", seed=seed, padded_samples=2000, least_padding=0.1, batch_variation=0.08)
        results.add("dynamic", seed=seed, padded_samples=1250, least_padding=0.1, batch_variation=0.45)
    found = only(results, baseline="padded")
    columns = ["padding (%)", "least possible (%)", "variation of samples a batch", "samples a second"]
    assert [cell(found, "padded", name) for name in columns] == ["50.0", "10.0", "0.08", "1,000"]
    assert [cell(found, "dynamic", name) for name in columns] == ["20.0", "10.0", "0.45", "1,000"]
    (_, row) = raw_rows(found)
    assert (row["padding_percent"], row["tokens_per_second"]) == (pytest.approx(20), 1000)


def test_no_padding_no_columns(two_by_three: Results) -> None:
    assert not [name for name in text_frame(only(two_by_three)) if "padding" in name]


def test_a_noise_scale_of_batches_by_length_is_called_biased(results: Results) -> None:
    grouped = {"batching.group": "buckets"}
    results.add("gns, bucketed", settings=grouped, statistics="grad_sq_norm grad_variance")
    results.add("gns, padded", settings={"batching.group": "none"}, statistics="grad_sq_norm grad_variance")
    results.add("fixed_small, bucketed", settings=grouped)
    note = next(line for line in analysis.notes(only(results)) if line.startswith("Biased noise scale"))
    assert "share a length in gns, bucketed, so" in note


def test_peaks_of_memory_are_told(results: Results) -> None:
    assert "Memory" not in notes(only_with(results, "fixed_small"))
    results.add("memory", scheduler="memory", memory_used=0.884, memory_changes=3, memory_ran_out=1)
    text = notes(only(results))
    assert "Memory: memory at most 88 % of it, limit changed 3 times, memory ran out 1 times" in text
    assert "The sizes of memory follow the machine's memory: elsewhere they are others." in text


def only_with(results: Results, arm: str) -> Table:
    results.add(arm)
    return only(results)
