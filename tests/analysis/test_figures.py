from __future__ import annotations

import base64
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from adaptive_bench.analysis import Runs, figures, read

if TYPE_CHECKING:
    from tests.analysis.conftest import Results


@pytest.fixture
def runs(two_by_three: Results) -> Runs:
    return read(two_by_three.folder)


def test_a_curve_is_the_mean_over_seeds_and_ends_with_the_shortest(runs: Runs) -> None:
    figure = figures.curves(runs, workload=runs.records["workload"].iloc[0])
    line = next(line for line in figure.axes[0].get_lines() if line.get_label() == "fixed_small")
    # at 1000 samples the three lines are at 90, 10 + 80 / 2 and 10 + 80 / 4
    assert line.get_xdata()[-1] == 1000
    assert line.get_ydata()[-1] == pytest.approx((90 + 50 + 30) / 3)


def test_an_arm_looks_the_same_in_every_figure(runs: Runs) -> None:
    workload = runs.records["workload"].iloc[0]
    drawn = [figures.curves(runs, workload=workload, x="seconds"), figures.speedups(runs, workload=workload)]
    colors = [{line.get_color() for line in figure.axes[0].get_lines() if line.get_label() == "jump"} for figure in drawn]
    assert colors[0] == colors[1] == {figures.styles(["fixed_small", "jump"])["jump"]["color"]}


def test_twenty_five_arms_can_be_told_apart() -> None:
    looks = figures.styles(str(at) for at in range(25))
    assert len({tuple(look.items()) for look in looks.values()}) == 25


def test_a_size_holds_until_the_end_of_its_last_step() -> None:
    trace = pd.DataFrame({"samples": [8, 16, 32, 40], "batch_size": [8, 8, 16, 8]})
    values, edges = figures._constant_parts(trace, column="batch_size")
    assert values.tolist() == [8, 16, 8]
    assert edges.tolist() == [0, 16, 32, 40]


def test_every_run_has_its_sizes(runs: Runs) -> None:
    figure = figures.sizes(runs, workload=runs.records["workload"].iloc[0])
    assert len(figure.axes[0].patches) == 6
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["fixed_small", "jump"]


def test_the_samples_of_a_text_are_tokens(results: Results) -> None:
    results.add(metric="perplexity", maximise=False, curve=[(0, 1000), (1000, 100)])
    runs = read(results.folder)
    workload = runs.records["workload"].iloc[0]
    assert figures.curves(runs, workload=workload).axes[0].get_xlabel() == "tokens"
    assert figures.sizes(runs, workload=workload).axes[0].get_xlabel() == "tokens"
    assert figures.speedups(runs, workload=workload).axes[0].get_ylabel() == "speed-up in tokens (x)"


def test_the_speed_up_of_straight_lines_is_the_same_at_every_level(runs: Runs) -> None:
    figure = figures.speedups(runs, workload=runs.records["workload"].iloc[0])
    line = next(line for line in figure.axes[0].get_lines() if line.get_label() == "jump")
    assert np.asarray(line.get_ydata()) == pytest.approx(2)


@pytest.mark.parametrize("fmt", ["svg", "png"])
def test_an_image_holds_its_data_and_says_what_it_shows(runs: Runs, fmt: str) -> None:
    figure = figures.sizes(runs, workload=runs.records["workload"].iloc[0])
    tag = figures.image(figure, alt='a "b" <c>', fmt=fmt)
    assert tag.startswith('<img alt="a &quot;b&quot; &lt;c&gt;" src="data:image/')
    data = base64.b64decode(tag.split("base64,")[1].removesuffix('">'))
    assert data.startswith(b"\x89PNG") if fmt == "png" else data.rstrip().endswith(b"</svg>")
    assert tag == figures.image(figure, alt='a "b" <c>', fmt=fmt)


def test_another_image_format_is_refused(runs: Runs) -> None:
    with pytest.raises(ValueError, match="expected svg or png"):
        figures.image(figures.sizes(runs, workload=runs.records["workload"].iloc[0]), alt="", fmt="gif")


def test_the_alternative_names_the_arms(runs: Runs) -> None:
    figure = figures.curves(runs, workload=runs.records["workload"].iloc[0])
    assert figures.alternative(figure) == "digits / mlp: validation accuracy (%) against samples. Arms: fixed_small, jump."


def test_the_package_loads_neither_seaborn_nor_torch() -> None:
    code = "import sys, adaptive_bench.analysis; sys.exit(bool({'seaborn', 'matplotlib', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_values_that_are_not_finite_leave_a_gap(results: Results) -> None:
    for seed in range(2):
        results.add(seed=seed, curve=[(0, float("inf")), (500, float("nan")), (1000, 90.0)], metric="perplexity")
    runs = read(results.folder)
    figure = figures.curves(runs, workload=runs.records["workload"].iloc[0])
    (line,) = [line for line in figure.axes[0].lines if len(line.get_xdata())]
    drawn = np.asarray(line.get_ydata(), dtype=float)
    assert not np.isinf(drawn).any()
    assert drawn[-1] == pytest.approx(90.0)
    assert "data:image" in figures.image(figure, alt="")


def test_a_run_that_diverged_at_once_has_no_sizes(results: Results) -> None:
    folder = results.add_diverged("deba", seed=0)
    pd.read_parquet(folder / "trace.parquet").head(0).to_parquet(folder / "trace.parquet")
    runs = read(results.folder)
    figure = figures.sizes(runs, workload=runs.records["workload"].iloc[0])
    assert all(not len(part.get_data().values) for part in figure.axes[0].patches)
    assert "data:image" in figures.image(figure, alt="")
