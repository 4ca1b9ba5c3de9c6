from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from adaptive_bench.analysis import Runs, Table, figures, read, table
from adaptive_bench.analysis.curve import Curve

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    from tests.analysis.conftest import Results


@pytest.fixture
def runs(two_by_three: Results) -> Runs:
    return read(two_by_three.folder)


@pytest.fixture
def found(runs: Runs) -> Table:
    return table(runs)[0]


def _line(figure: Figure, label: str) -> Line2D:
    return next(line for axes in figure.axes for line in axes.get_lines() if line.get_label() == label)


def test_a_curve_is_the_mean_over_seeds_and_ends_with_the_shortest(runs: Runs, found: Table) -> None:
    line = _line(figures.curves(runs, found), "fixed_small")
    # at 1000 samples the three lines are at 90, 10 + 80 / 2 and 10 + 80 / 4
    assert line.get_xdata()[-1] == 1000
    assert line.get_ydata()[-1] == pytest.approx((90 + 50 + 30) / 3)


def test_a_band_is_the_t_interval_of_the_tables(runs: Runs) -> None:
    curves = [Curve.of(runs.validation(run)) for run in runs.records.loc[runs.records["label"] == "fixed_small", "run"]]
    at, mean, low, high = figures._band(curves, x="samples", logs=False)
    values = np.array([90, 50, 30])
    half = 4.302652729911275 * values.std(ddof=1) / np.sqrt(3)  # t(2, 0.975)
    assert at[-1] == 1000
    assert (mean[-1], low[-1], high[-1]) == pytest.approx((values.mean(), values.mean() - half, values.mean() + half))


def test_the_axis_of_a_curve_is_cut_near_the_target_and_whole_on_demand(runs: Runs, found: Table) -> None:
    near, whole = (figures.curves(runs, found, near=near).axes[0].get_ylim() for near in (True, False))
    assert near[0] < found.target < near[1]
    assert near[1] - near[0] < (whole[1] - whole[0]) / 2


def test_less_is_better_for_a_perplexity(results: Results) -> None:
    for seed in range(2):
        results.add(seed=seed, metric="perplexity", maximise=False, curve=[(0, 1000), (1000, 100 + seed)], best=100.0 + seed)
    runs = read(results.folder)
    found = table(runs)[0]
    axes = figures.curves(runs, found).axes[0]
    assert axes.get_yscale() == "log"
    assert 90 < axes.get_ylim()[0] < 101 < found.target < axes.get_ylim()[1] < 300


def test_an_arm_looks_the_same_in_every_figure(runs: Runs, found: Table) -> None:
    drawn = [figures.curves(runs, found, x="seconds"), figures.speedups(runs, found), figures.sizes(runs, found)]
    assert {_line(figure, "jump").get_color() for figure in drawn} == {figures.looks(found)["jump"].color}
    assert _line(drawn[0], "fixed_small").get_color() == figures.INK


def test_more_arms_than_colours_stand_in_panels_by_scheduler(results: Results) -> None:
    results.add()
    for at in range(28):
        results.add(f"arm{at}", scheduler=f"rule{at // 7}")
    runs = read(results.folder)
    found = table(runs)[0]
    panels = figures.panels(found)
    assert sorted(label for panel in panels for label in panel) == sorted(f"arm{at}" for at in range(28))
    looks = figures.looks(found)
    for panel in panels:
        assert len({looks[label].color for label in panel}) == len(panel)
        assert "fixed_small" not in panel
        rules = {int(label[3:]) // 7 for label in panel}
        assert all({f"arm{at}" for at in range(28) if at // 7 == rule} <= {*panel} for rule in rules)
    assert len(figures.curves(runs, found).axes) == len(panels) == 4


def test_a_family_of_more_arms_than_colours_is_cut(results: Results) -> None:
    results.add()
    for at in range(23):
        results.add(f"arm{at}", scheduler="gns")
    found = table(read(results.folder))[0]
    assert [len(panel) for panel in figures.panels(found)] == [10, 10, 3]


def test_a_size_holds_until_the_end_of_its_last_step() -> None:
    trace = pd.DataFrame({"samples": [8, 16, 32, 40], "batch_size": [8, 8, 16, 8]})
    values, edges = figures._constant_parts(trace, column="batch_size")
    assert values.tolist() == [8, 16, 8]
    assert edges.tolist() == [0, 16, 32, 40]


def test_of_too_many_sizes_evenly_spread_ones_are_kept() -> None:
    trace = pd.DataFrame({"samples": np.arange(1, 1001) * 8, "batch_size": np.arange(1000)})
    values, edges = figures._constant_parts(trace, column="batch_size", most=50)
    assert (len(values), values[0], values[-1], edges[-1]) == (50, 0, 999, 8000)
    assert np.diff(values).max() <= 21


def test_every_run_has_its_sizes(runs: Runs, found: Table) -> None:
    figure = figures.sizes(runs, found)
    ends = np.asarray(_line(figure, "jump").get_xdata(), dtype=float)
    assert np.isnan(ends).sum() == 3  # a gap after each run
    assert np.nanmax(ends) == 4032
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["fixed_small", "jump"]
    assert figures.sizes(runs, found, legend=False).axes[0].get_legend() is None


def test_the_samples_of_a_text_are_tokens(results: Results) -> None:
    for arm in ("fixed_small", "jump"):
        results.add(arm, metric="perplexity", maximise=False, curve=[(0, 1000), (1000, 100)], best=100.0)
    runs = read(results.folder)
    found = table(runs)[0]
    assert figures.curves(runs, found).axes[0].get_xlabel() == "tokens"
    assert figures.sizes(runs, found).axes[0].get_xlabel() == "tokens"
    assert figures.speedups(runs, found).axes[0].get_ylabel() == "speed-up in tokens"
    assert figures.forest(found, of="speedup").axes[0].get_xlabel().startswith("speed-up in tokens")


def test_settings_stand_on_an_axis_without_their_groups(results: Results) -> None:
    results.add("fixed_small")
    for window in (5, 100):
        settings: dict[str, object] = {"scheduler.window": window, "batch_size.cooldown": window}
        results.add("deba", curve=[(0, 10), (500, 95)], settings=settings)
    (found,) = table(read(results.folder))
    names = [tick.get_text() for tick in figures.forest(found, of="speedup").axes[0].get_yticklabels()]
    assert names == ["deba (cooldown=5, window=5)", "deba (cooldown=100, window=100)"]


def test_the_speed_up_of_straight_lines_is_the_same_at_every_level(runs: Runs, found: Table) -> None:
    line = _line(figures.speedups(runs, found), "jump")
    assert np.asarray(line.get_ydata()) == pytest.approx(2)


def test_a_forest_shows_the_interval_of_the_table_and_shades_what_could_not_be_detected(results: Results) -> None:
    results.add_two_by_three()
    results.add("late", seed=0, size=48)
    found = table(read(results.folder))[0]
    axes = figures.forest(found, of="speedup").axes[0]
    row = next(row for row in found.rows if row.label == "jump")
    at = [tick.get_text() for tick in axes.get_yticklabels()].index("jump")
    bars, points = axes.collections
    assert points.get_offsets()[at].tolist() == pytest.approx([row.speedups["samples"].effect.mean, at])
    low, high = (end[0] for end in bars.get_segments()[at])
    assert (low, high) == pytest.approx((row.speedups["samples"].effect.low, row.speedups["samples"].effect.high))
    shaded = axes.patches[at]
    assert shaded.get_x() == pytest.approx(1 / row.detectable.mean)
    assert shaded.get_x() + shaded.get_width() == pytest.approx(row.detectable.mean)
    margin = [line.get_xdata()[0] for line in figures.forest(found, of="change").axes[0].get_lines()]
    assert margin == [-0.5, 0]


def test_the_stack_of_a_decomposition_ends_at_the_whole(runs: Runs, found: Table) -> None:
    axes = figures.decomposition(found).axes[0]
    whole = float(axes.get_lines()[0].get_xdata()[0])
    assert whole == pytest.approx(found.rows[1].speedups["seconds"].estimate)
    assert sum(bar.get_width() for bar in axes.patches) == pytest.approx(whole)


def test_the_share_at_the_target_is_that_of_kaplan_and_meier(results: Results) -> None:
    for seed, end in enumerate((1000, 2000)):
        results.add(seed=seed, curve=[(0, 10), (end, 90)])
    results.add("jump", seed=0, curve=[(0, 10), (500, 90)])
    results.add_diverged("jump", seed=1)
    runs = read(results.folder)
    found = table(runs, target=50)[0]
    line = _line(figures.reached(runs, found), "jump")
    assert np.asarray(line.get_xdata())[:2] == pytest.approx([0, 250])
    assert {*np.asarray(line.get_ydata()).tolist()[1:]} == {50}  # the run that diverged never reaches it
    both = _line(figures.reached(runs, found), "fixed_small")
    assert np.asarray(both.get_ydata()).tolist() == [0, 50, 100, 100]
    assert np.asarray(both.get_xdata()) == pytest.approx([0, 500, 1000, 2000])


def test_a_page_s_svg_names_its_ids_takes_the_page_s_colours_and_is_the_same_again(runs: Runs, found: Table) -> None:
    tag = figures.svg(figures.sizes(runs, found), alt='a "b" <c>', name="w7")
    assert tag.startswith('<svg role="img" aria-label="a &quot;b&quot; &lt;c&gt;" viewBox="0 0 ')
    assert tag.endswith("</svg>")
    ids = re.findall(r'\bid="([^"]*)"', tag)
    assert ids
    assert all(name.startswith("w7-") for name in ids)
    assert {*re.findall(r'href="#([^"]*)"|url\(#([^)]*)\)', tag)} <= {(name, "") for name in ids} | {("", name) for name in ids}
    assert figures.INK not in tag
    assert "currentColor" in tag
    assert "http" not in tag
    assert tag == figures.svg(figures.sizes(runs, found), alt='a "b" <c>', name="w7")


def test_a_shorter_path_is_the_same_line() -> None:
    assert figures._shorter(' d="M 1.234 2 \nL 3 4.567 \nL 5 6 \n"') == ' d="M 1.2 2 3 4.5 5 6 "'
    assert figures._shorter(' d="M 0 1 \nC 1 2 3 4 5 6 \n"') == ' d="M 0 1 \nC 1 2 3 4 5 6 \n"'


def test_ticks_are_numbers_as_they_are(results: Results) -> None:
    for arm in ("fixed_small", "jump"):
        for seed in range(2):
            results.add(arm, seed=seed, curve=[(0, 10), (1000 + seed, 90)])
    tag = figures.svg(figures.forest(table(read(results.folder))[0], of="speedup"), alt="", name="a")
    ticks = re.findall(r">([\d.]+)</text>", tag)
    assert len(ticks) >= 2
    assert len({*ticks}) == len(ticks)


def test_the_alternative_names_the_arms(runs: Runs, found: Table) -> None:
    figure = figures.curves(runs, found)
    assert figures.alternative(figure) == "validation accuracy (%) against samples. Arms: fixed_small, jump."


def test_the_package_loads_neither_matplotlib_nor_torch() -> None:
    code = "import sys, adaptive_bench.analysis; sys.exit(bool({'matplotlib', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_values_that_are_not_finite_leave_a_gap(results: Results) -> None:
    for seed in range(2):
        results.add(seed=seed, curve=[(0, float("inf")), (500, float("nan")), (1000, 90.0)], metric="perplexity", best=90.0)
    runs = read(results.folder)
    figure = figures.curves(runs, table(runs, target=95)[0])
    drawn = np.asarray(_line(figure, "fixed_small").get_ydata(), dtype=float)
    assert not np.isinf(drawn).any()
    assert drawn[-1] == pytest.approx(90.0)
    assert "<path" in figures.svg(figure, alt="", name="a")


def test_a_run_that_diverged_at_once_has_no_sizes(results: Results) -> None:
    folder = results.add_diverged("deba", seed=0)
    pd.read_parquet(folder / "trace.parquet").head(0).to_parquet(folder / "trace.parquet")
    runs = read(results.folder)
    figure = figures.sizes(runs, table(runs)[0])
    assert np.isnan(np.asarray(_line(figure, "deba").get_xdata(), dtype=float)).all()
    assert "<svg" in figures.svg(figure, alt="", name="a")
