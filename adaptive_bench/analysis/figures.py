"""Figures of one workload. Means are over seeds with the t interval of the tables; an arm looks the same in every figure."""

import base64
import html
import io
import itertools
from collections.abc import Iterable
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import seaborn as sns  # type: ignore[import-untyped,unused-ignore]
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter

from . import baseline as baselines
from .compare import ratio
from .intervals import t_interval
from .metrics import counted_in, unit
from .read import FINISHED, Runs
from .targets import costs, levels

AXES = {"seconds": "seconds (train + measure)", "batch_size": "batch size", "block_size": "block size"}
LEVELS = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.925, 0.95, 0.965, 0.98, 1.0)
GRID = 201  # points of a curve, at most
COLORS = (0, 1, 2, 3, 4, 7, 9)  # of seaborn's ten; the other three look much like these
LINES = ("-", "--", ":", "-.")


def styles(labels: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Colour and line of each arm: seven colours that the colour-blind can tell apart, then the same with other lines."""
    palette = sns.color_palette("colorblind", 10).as_hex()
    looks = itertools.product(LINES, [palette[at] for at in COLORS])
    return {
        label: {"color": color, "linestyle": line}
        for label, (line, color) in zip(sorted(set(labels)), itertools.cycle(looks), strict=False)
    }


def curves(runs: Runs, *, workload: str, x: str = "samples") -> Figure:
    """The validation metric against samples or seconds: the mean of an arm's runs that are done, with its 95 % t band."""
    records = runs.of(workload)
    figure, axes = _canvas(records, x=_axis(records, x), y=f"validation {unit(records['metric'].iloc[0])}")
    looks = styles(runs.records["label"])
    for label, arm in records[records["status"] == "done"].groupby("label", sort=False):
        points = _on_grid([runs.validation(run) for run in arm["run"]], x=x)
        sns.lineplot(points, x="x", y="value", ax=axes, errorbar=_bounds, label=_plain(str(label)), **looks[str(label)])
    axes.set(xlabel=_axis(records, x), ylabel=axes.get_ylabel())
    if records["metric"].iloc[0] == "perplexity":
        axes.set_yscale("log")
    return _with_legend(figure, axes)


def sizes(runs: Runs, *, workload: str, column: str = "batch_size") -> Figure:
    """The batch size (or block size) against samples (tokens), a thin line for each run."""
    records = runs.of(workload)
    figure, axes = _canvas(records, x=_axis(records, "samples"), y=AXES[column])
    looks = styles(runs.records["label"])
    for label, arm in records[records["status"].isin(FINISHED)].groupby("label", sort=False):
        for at, run in enumerate(arm["run"]):
            name = None if at else _plain(str(label))  # one entry of the legend an arm
            steps = runs.trace(run, ("samples", column))
            if len(steps) > 1 and steps[column].iloc[-1] < steps[column].iloc[-2]:
                steps = steps.iloc[:-1]  # cut by the budget, which says nothing of the scheduler
            values, edges = _constant_parts(steps, column=column)
            # a size that changes at every step would make a page of megabytes as vectors
            axes.stairs(
                values, edges, baseline=None, linewidth=0.8, rasterized=len(values) > 2_000, label=name, **looks[str(label)]
            )
    axes.set_yscale("log", base=2)
    axes.yaxis.set_major_formatter(ScalarFormatter())
    return _with_legend(figure, axes)


def speedups(runs: Runs, *, workload: str, baseline: str | None = None) -> Figure:
    """The speed-up in samples against the target's level; a line ends where a run misses the target."""
    records = runs.of(workload)
    chosen = baselines.choose(records, wanted=baseline)
    name = f"target (% of the way to the median best of {_plain(chosen)})"
    figure, axes = _canvas(records, x=name, y=f"speed-up in {_axis(records, 'samples')} (x)")
    looks = styles(runs.records["label"])
    for label, points in _speedups(runs, records=records, chosen=chosen).groupby("label", sort=False):
        axes.plot(points["level"], points["mean"], marker="o", markersize=3, label=_plain(str(label)), **looks[str(label)])
        axes.fill_between(
            points["level"], points["low"], points["high"], alpha=0.2, linewidth=0, color=looks[str(label)]["color"]
        )
    axes.axhline(
        1, linewidth=1, color=looks[chosen]["color"], linestyle=looks[chosen]["linestyle"], label=f"{_plain(chosen)} (baseline)"
    )
    return _with_legend(figure, axes)


def image(figure: Figure, *, alt: str, fmt: str = "svg") -> str:
    """The figure as an <img> element that holds its own data, as vectors (svg) or as pixels (png)."""
    kinds = {"svg": "image/svg+xml", "png": "image/png"}
    if fmt not in kinds:
        raise ValueError(f"no image format {fmt!r}; expected svg or png")
    buffer = io.BytesIO()
    anonymous = dict.fromkeys(("Creator", "Date", "Format", "Type") if fmt == "svg" else ("Software",))
    with matplotlib.rc_context({"svg.hashsalt": "adaptive_bench"}):  # the same runs give the same bytes
        figure.savefig(buffer, format=fmt, dpi=150, metadata=anonymous)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img alt="{html.escape(alt)}" src="data:{kinds[fmt]};base64,{data}">'


def alternative(figure: Figure) -> str:
    """What the figure shows, in words."""
    axes = figure.axes[0]
    arms = ", ".join(axes.get_legend_handles_labels()[1])
    return f"{axes.get_title()}: {axes.get_ylabel()} against {axes.get_xlabel()}. Arms: {arms or 'none'}.".replace("\\$", "$")


def _axis(records: pd.DataFrame, column: str) -> str:
    return counted_in(records) if column == "samples" else AXES[column]


def _canvas(records: pd.DataFrame, *, x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(8, 4), layout="constrained")  # no pyplot: its list of open figures is global
    axes = figure.add_subplot(title=_plain(records["title"].iloc[0]), xlabel=x, ylabel=y)
    axes.grid(alpha=0.3)
    return figure, axes


def _with_legend(figure: Figure, axes: Axes) -> Figure:
    if (own := axes.get_legend()) is not None:
        own.remove()  # seaborn's, which would cover the curves
    if axes.get_legend_handles_labels()[1]:
        figure.legend(loc="outside right upper", fontsize="small", frameon=False)
    return figure


def _plain(text: str) -> str:
    """A dollar would start a formula."""
    return text.replace("$", "\\$")


def _on_grid(runs: list[pd.DataFrame], *, x: str) -> pd.DataFrame:
    """Each run's curve at the same points, up to where the shortest ends: beyond it the mean would be one of fewer seeds."""
    end = min(float(curve[x].iloc[-1]) for curve in runs)
    grid = np.unique(np.concatenate([curve[x].to_numpy(dtype=float) for curve in runs]))
    grid = grid[grid <= end]
    if len(grid) > GRID:
        grid = np.linspace(grid[0], end, GRID)
    return pd.concat(
        [pd.DataFrame({"x": grid, "value": np.interp(grid, curve[x], curve["value"])}) for curve in runs], ignore_index=True
    )


def _bounds(values: pd.Series) -> tuple[float, float]:
    interval = t_interval(values)
    return interval.low, interval.high


def _constant_parts(trace: pd.DataFrame, *, column: str) -> tuple[np.ndarray, np.ndarray]:
    """Each size and the samples between which it was used; `samples` counts the step's own, so a part ends there."""
    last = trace[trace[column] != trace[column].shift(-1)]
    return last[column].to_numpy(dtype=float), np.concatenate([[0.0], last["samples"].to_numpy(dtype=float)])


def _speedups(runs: Runs, *, records: pd.DataFrame, chosen: str) -> pd.DataFrame:
    reference = records[records["label"] == chosen]
    targets = levels(runs, baseline=reference, fractions=LEVELS)
    points = []
    for level, target in targets.items():
        spent = {label: costs(runs, records=arm, target=target)["samples"] for label, arm in records.groupby("label", sort=False)}
        for label in [other for other in spent if other != chosen]:
            effect = ratio(spent[chosen], spent[label]).effect
            points.append({"label": label, "level": 100 * level, "mean": effect.mean, "low": effect.low, "high": effect.high})
    return pd.DataFrame(points, columns=["label", "level", "mean", "low", "high"])
