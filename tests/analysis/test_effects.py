"""What an arm has that its controls have not, on results whose effects are known."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy import stats

from adaptive_bench.analysis import notes, read, render, report, table
from adaptive_bench.analysis.effects import EFFECTS, explained

if TYPE_CHECKING:
    from adaptive_bench.analysis import Table
    from tests.analysis.conftest import Results

# samples to 90 by seed; every curve is a straight line, so costs to a target are in proportion
BASE, ARM = [1000, 1100, 1300], [500, 520, 600]


def _add(results: Results, arm: str, ends: list[float], *, size: int, final: float = 90.0, **record: object) -> None:
    for seed, end in enumerate(ends):
        results.add(arm, seed=seed, curve=[(0, 10), (end, 90)], final=final + seed / 10, size=size, **record)  # type: ignore[arg-type]


def _with_controls(results: Results, **ends: list[float]) -> Table:
    _add(results, "fixed_small", BASE, size=32)
    _add(results, "gns", ARM, size=48, scheduler="gns")
    for at, (control, samples) in enumerate(ends.items()):
        settings = {"scheduler.of": "gns", "scheduler.trace": "aa", "scheduler._target_": control}
        _add(results, "", samples, size=56 + at, scheduler=control, settings=settings)
    return table(read(results.folder))[0]


def test_effects_are_ratios_against_the_controls_paired_by_seed(results: Results) -> None:
    ends = {"mean_matched": [900, 1000, 1100], "shuffled": [600, 590, 720], "replay": [505, 515, 606]}
    found = _with_controls(results, **ends)
    assert [(effect.arm, effect.name, effect.control) for effect in found.effects] == [
        ("gns", "variation", "gns: mean_matched"),
        ("gns", "order", "gns: shuffled"),
        ("gns", "feedback", "gns: replay"),
    ]
    for effect in found.effects:
        logs = np.log(ends[EFFECTS[effect.name]]) - np.log(ARM)
        half = stats.t.ppf(0.975, 2) * logs.std(ddof=1) / np.sqrt(3)
        shown = effect.speedup.effect
        assert (shown.mean, shown.low, shown.high) == pytest.approx(
            (np.exp(logs.mean()), np.exp(logs.mean() - half), np.exp(logs.mean() + half)), rel=2e-3
        )  # crossings are interpolated
        assert effect.speedup.p == pytest.approx(stats.ttest_1samp(logs, 0).pvalue, rel=2e-2)
        assert effect.change.effect.mean == 0
    row = next(row for row in found.rows if row.label == "gns")
    assert row.verdict == "faster, not worse"


def test_the_numbers_stand_in_json_the_notes_and_the_report(results: Results) -> None:
    found = _with_controls(results, mean_matched=[900, 1000, 1100], shuffled=[600, 590, 720], replay=[505, 515, 606])
    (line,) = [note for note in notes(found) if "against its controls" in note]
    assert "variation 1.85 [" in line
    assert "order 1.18 [" in line
    assert "feedback 1.00 [" in line
    (told,) = json.loads(render([found], "json"))
    assert [effect["effect"] for effect in told["effects"]] == ["variation", "order", "feedback"]
    assert told["effects"][0]["speedup_samples_mean"] == pytest.approx(1.85, abs=0.01)
    assert told["effects"][0]["difference_mean"] == 0
    page = report(read(results.folder), results.folder / "report.html").read_text()
    assert "What the arm has that its controls have not" in page
    assert "gns: shuffled" in page


@pytest.mark.parametrize(
    ("mean_matched", "shuffled", "replay", "said"),
    [
        (ARM, ARM, ARM, "nothing but its average size is shown to be needed for it"),
        ([900, 1000, 1100], ARM, ARM, "sizes that vary explain it, in any order"),
        ([900, 1000, 1100], [800, 850, 960], ARM, "its sizes in their order explain it, without feedback"),
        ([900, 1000, 1100], [800, 850, 960], [700, 720, 850], "its feedback is part of it"),
    ],
)
def test_a_gain_is_explained_by_the_last_effect_that_is_shown(
    results: Results, mean_matched: list[float], shuffled: list[float], replay: list[float], said: str
) -> None:
    wobble = [1.001, 0.999, 1.0]
    ends = {"mean_matched": mean_matched, "shuffled": shuffled, "replay": replay}
    found = _with_controls(
        results, **{name: [a * b for a, b in zip(values, wobble, strict=True)] for name, values in ends.items()}
    )
    assert any(note.startswith(f"gns's gain over fixed_small: {said}.") for note in notes(found))


def test_a_control_is_held_against_its_arm_and_not_tested_against_the_baseline(results: Results) -> None:
    found = _with_controls(results, mean_matched=[900, 1000, 1100])
    row = next(row for row in found.rows if row.label == "gns: mean_matched")
    assert (row.verdict, row.control_of) == ("control", "gns")
    assert np.isnan([row.holm, row.speedup_holm]).all()
    assert found.family == 2  # gns alone
    assert any("there is no control for order, feedback" in note for note in notes(found))


def test_what_one_test_in_twenty_would_show_is_not_called_an_effect(results: Results) -> None:
    # the order has p = .015 alone, and .09 as one of six tests: three speed-ups and three changes
    found = _with_controls(results, mean_matched=ARM, shuffled=[600, 590, 720], replay=ARM)
    (order,) = [effect for effect in found.effects if effect.name == "order"]
    assert order.speedup.p < 0.05 < 6 * order.speedup.p
    assert any("nothing but its average size is shown to be needed for it" in note for note in notes(found))


def test_a_control_that_is_faster_than_its_arm_is_named(results: Results) -> None:
    found = _with_controls(results, mean_matched=[250.1, 260, 299.9], shuffled=ARM, replay=ARM)
    said = next(note for note in notes(found) if "against its controls" in note)
    assert "is shown to be needed for it, and it is slower than gns: mean_matched." in said


def test_a_control_that_still_had_the_sizes_of_its_arm_shows_no_effect_on_the_speed(results: Results) -> None:
    _add(results, "fixed_small", BASE, size=32)
    _add(results, "gns", ARM, size=48, scheduler="gns")
    _add(results, "", ARM, size=48, scheduler="replay", settings={"scheduler.of": "gns"})
    (effect,) = table(read(results.folder))[0].effects
    assert np.isnan(effect.speedup.effect.mean) and effect.change.effect.mean == 0


def test_no_gain_wants_no_explanation(results: Results) -> None:
    _add(results, "fixed_small", BASE, size=32)
    _add(results, "gns", [1005, 1090, 1310], size=48, scheduler="gns")
    _add(results, "", BASE, size=56, scheduler="replay", settings={"scheduler.of": "gns"})
    found = table(read(results.folder))[0]
    row = next(row for row in found.rows if row.label == "gns")
    of_arm = {effect.name: effect for effect in found.effects}
    said = explained(row, of_arm, maximise=True, endpoint="samples", baseline="fixed_small")
    assert said == "gns shows no gain over fixed_small that would want an explanation"


def test_a_label_that_only_looks_like_a_control_is_none(results: Results) -> None:
    _add(results, "fixed_small", BASE, size=32)
    _add(results, "gns", ARM, size=48)
    _add(results, "gns: replay", ARM, size=56)
    assert table(read(results.folder))[0].effects == ()
