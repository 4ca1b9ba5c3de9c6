"""Figures of one table, and of several together. An arm looks the same in every figure of its table.

The baseline is drawn in the colour of the text. More than ten other arms share a figure by panels, in which arms of one scheduler
stand together and those of other panels are grey lines: no colour means two arms at a time.
"""

import html
import io
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from scipy import stats

from adaptive_bench.schema import FINISHED

from . import metrics
from .across import Across
from .arms import PARTS, Arm, ArmSummary, is_idle, speedup
from .break_even import GRID as BREAK_EVEN_GRID
from .curve import Curve
from .front import front
from .intervals import CONFIDENCE, NO_INTERVAL, Interval, quantile
from .metrics import unit
from .read import Runs
from .tables import Table
from .targets import crossings, levels
from .verdict import NOT_YET

INK = "#111213"  # of text, axes and the baseline; on a page it becomes the colour of the page's text
GREY = "#8b929b"
# each has a contrast of at least 3.6 with white and with a dark page, so that figures need no second version
PALETTE = (
    "#2f7ed8", "#d9630b", "#14966b", "#c2569b", "#8a68d8", "#a37f00", "#d6453d", "#1f93ad", "#8c6d52", "#7d7f88",
)  # fmt: skip
NOT_STATED = ("Creator", "Date", "Format", "Type")  # what matplotlib would write into a file
DASHES = ("-", "--")  # every second colour is dashed, for readers who see few colours
LEVELS = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.925, 0.95, 0.965, 0.98, 1.0)
GRID = 61  # points of a curve, at most
BREAK_EVENS = BREAK_EVEN_GRID[1:]  # what a logarithmic axis can show
SIZES = 3_000  # points of a figure of sizes, at most: more would not be seen, and take megabytes
AXES = {"seconds": "seconds (train + measure)", "steps": "updates", "batch_size": "batch size", "block_size": "block size"}
STYLE = {
    "svg.fonttype": "none", "svg.hashsalt": "adaptive_bench", "font.size": 9, "axes.titlesize": 9, "axes.spines.top": False,
    "axes.spines.right": False, "grid.color": GREY, "grid.alpha": 0.3, "lines.linewidth": 1.4, "lines.markersize": 4,
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How an arm is drawn."""

    color: str
    linestyle: str


def panels(table: Table) -> list[list[str]]:
    """The arms beside the baseline, at most ten a panel; arms of one scheduler stay together as far as they fit."""
    others = [row.label for row in table.rows if row.label != table.baseline]
    if len(others) <= len(PALETTE):
        return [others]
    schedulers = dict(zip(table.records["label"], table.records["scheduler"], strict=True))
    families: dict[str, list[str]] = {}
    for label in others:
        families.setdefault(schedulers[label], []).append(label)
    found: list[list[str]] = []
    for family in families.values():
        for start in range(0, len(family), len(PALETTE)):
            part = family[start : start + len(PALETTE)]
            if found and len(found[-1]) + len(part) <= len(PALETTE):
                found[-1] += part
            else:
                found.append(part)
    return found


def looks(table: Table) -> dict[str, Look]:
    """By label; arms of different panels may share a look."""
    found = {
        label: Look(color=PALETTE[at], linestyle=DASHES[at % 2]) for panel in panels(table) for at, label in enumerate(panel)
    }
    return {table.baseline: Look(color=INK, linestyle="-")} | found


def curves(runs: Runs, table: Table, *, x: str = "samples", near: bool = True, legend: bool = True) -> Figure:
    """The validation metric against samples, steps or seconds: the mean of an arm's runs that are done, with its 95 % t band.

    `near` cuts the axis of the metric to where the arms differ: around the target and the best values.
    """
    metric = table.records["metric"].iloc[0]
    done = table.records[table.records["status"] == "done"]
    bands = {
        str(label): _band([runs.curve(run) for run in arm["run"]], x=x, logs=metric == "perplexity")
        for label, arm in done.groupby("label", sort=False)
    }
    limits = _limits(table, bands) if near and bands else None

    def draw(axes: Axes, label: str, look: Look) -> None:
        if label not in bands:
            return
        at, mean, low, high = bands[label]
        axes.plot(at, mean, color=look.color, linestyle=look.linestyle, label=_plain(label))
        axes.fill_between(at, low, high, color=look.color, alpha=0.15, linewidth=0)

    def finish(axes: Axes) -> None:
        axes.axhline(table.target, color=INK, linewidth=0.8, linestyle=":")
        if limits:
            axes.set_ylim(*limits)
            axes.set_title(f"the axis begins at {limits[0]:.4g} and ends at {limits[1]:.4g}", loc="left", color=GREY)
        if metric == "perplexity":
            _log_axis(axes, "y")

    others = {label: band[:2] for label, band in bands.items()}
    return _figure(table, draw, finish, x=_axis(table, x), y=f"validation {unit(metric)}", legend=legend, others=others)


def sizes(runs: Runs, table: Table, *, column: str = "batch_size", legend: bool = True) -> Figure:
    """The batch size (or block size) against samples (tokens), a thin line for each run."""
    finished = table.records[table.records["status"].isin(FINISHED)]
    of_arm = {str(label): arm["run"] for label, arm in finished.groupby("label", sort=False)}
    most = max(20, SIZES // max(len(finished), 1))

    def draw(axes: Axes, label: str, look: Look) -> None:
        lines = []
        for run in of_arm.get(label, ()):
            values, edges = sizes_of(runs, run, column=column, most=most)
            lines.append((edges, np.append(values, values[-1:])) if len(values) else (np.empty(0), np.empty(0)))
        if lines:
            axes.step(
                *_one_line(lines), where="post", linewidth=0.8, label=_plain(label), color=look.color, linestyle=look.linestyle
            )

    def finish(axes: Axes) -> None:
        _log_axis(axes, "y", base=2)

    return _figure(table, draw, finish, x=_axis(table, "samples"), y=AXES[column], legend=legend)


def speedups(runs: Runs, table: Table, *, legend: bool = True) -> Figure:
    """The speed-up of the endpoint against the target's level.

    A line begins where the arm had done something else than the baseline and no crossing is too early to be placed, and ends
    where a run misses the target.
    """
    reference = table.records[table.records["label"] == table.baseline]
    found: dict[str, list[tuple[float, Interval]]] = {}
    for level, target in levels(runs, baseline=reference, fractions=LEVELS).items():
        arms = {
            label: Arm.of(runs, label, records, metric=table.metric, target=target)
            for label, records in runs.arms[table.workload].items()
        }
        usual = arms.pop(table.baseline)
        for label, arm in arms.items():
            missed = usual.missed() or arm.missed() or is_idle(runs, baseline=usual, arm=arm)
            effect = NO_INTERVAL if missed else speedup(table.endpoint, baseline=usual, arm=arm).effect
            found.setdefault(label, []).append((100 * level, effect))

    def draw(axes: Axes, label: str, look: Look) -> None:
        if label not in found:
            return
        at, mean, low, high = np.array([[level, each.mean, each.low, each.high] for level, each in found[label]]).T
        axes.plot(at, mean, color=look.color, linestyle=look.linestyle, marker="o", markersize=3, label=_plain(label))
        axes.fill_between(at, low, high, alpha=0.15, linewidth=0, color=look.color)

    def finish(axes: Axes) -> None:
        axes.axhline(1, linewidth=1, color=INK)
        _log_axis(axes, "y")

    return _figure(
        table, draw, finish, x=f"target (% of the way to the median best of {_plain(table.baseline)})",
        y=f"speed-up in {table.name_of(table.endpoint)}", legend=legend,
    )  # fmt: skip


def reached(runs: Runs, table: Table, *, legend: bool = True) -> Figure:
    """The share of an arm's runs that have reached the target, against the endpoint's cost (Kaplan and Meier 1958)."""
    found = {}
    counted = table.records[table.records["status"] != "running"]
    for label, arm in counted.groupby("label", sort=False):
        spent = np.array([*_spent(runs, table, runs.arms[table.workload][str(label)], target=table.target).values()])
        ends = arm[table.endpoint].to_numpy(dtype=float)
        hit = np.isfinite(spent)
        # a run that diverged or failed never reaches the target, however long it is followed
        never = ~hit & (arm["status"] != "done").to_numpy()
        follow = np.where(never, np.nanmax([*ends, 1.0]), ends)[~hit]
        share = stats.ecdf(stats.CensoredData(uncensored=spent[hit], right=follow)).cdf
        found[str(label)] = (np.append(0.0, share.quantiles), np.append(0.0, share.probabilities))
    end = float(np.nanmax([*counted[table.endpoint], 1.0]))

    def draw(axes: Axes, label: str, look: Look) -> None:
        if label not in found:
            return
        at, share = found[label]
        drawn = (np.append(at, max(end, at[-1])), 100 * np.append(share, share[-1]))
        axes.step(*drawn, where="post", color=look.color, linestyle=look.linestyle, label=_plain(label))

    def finish(axes: Axes) -> None:
        axes.set_ylim(-2, 102)

    return _figure(table, draw, finish, x=_axis(table, table.endpoint), y="runs at the target (%)", legend=legend)


def pareto(table: Table, *, cost: str, legend: bool = True) -> Figure:
    """The metric against what whole runs cost, both with 95 % intervals; a line joins the arms on the front."""
    rows = {row.label: row for row in table.rows if row.n}
    on = sorted(
        (place.label for place in front(table, cost=cost) if not place.dominated_by), key=lambda x: rows[x].totals[cost].mean
    )

    def draw(axes: Axes, label: str, look: Look) -> None:
        if label not in rows:
            return
        paid, value = rows[label].totals[cost], rows[label].value
        # one line with a gap: along the cost, then along the metric; the marker is its second point
        cross = [paid.low, paid.mean, paid.high, math.nan, paid.mean, paid.mean], [value.mean] * 4 + [value.low, value.high]
        axes.plot(*cross, color=look.color, linewidth=1, marker="o", markevery=[1], label=_plain(label))

    def finish(axes: Axes) -> None:
        axes.step(
            [rows[label].totals[cost].mean for label in on], [rows[label].value.mean for label in on], where="post", color=INK,
            linewidth=0.8, linestyle=":",
        )  # fmt: skip
        if (axes.get_xlim()[1] / max(axes.get_xlim()[0], 1e-9)) > 3:
            _log_axis(axes, "x")
        if table.logs:
            _log_axis(axes, "y")

    name = {"samples": f"{table.counted_in} trained", "steps": "updates", "seconds": "seconds (train + measure)"}[cost]
    return _figure(table, draw, finish, x=f"{name}, whole runs", y=table.header, legend=legend)


def forest(table: Table, *, of: str) -> Figure:
    """Each arm against the baseline: the "speedup" of the endpoint, or the "change" of the metric, with 95 % intervals.

    For a speed-up what could not have been detected is shaded; for a change, what lies within the margin.
    """
    rows = [row for row in table.rows if row.change is not None]
    on_logs = of == "speedup" or table.logs
    looked = looks(table)
    with _styled():
        figure = _sheet(height=0.75 + 0.27 * len(rows), left=_beside(rows))
        axes = figure.add_subplot()
        axes.grid(axis="x")
        shown = [_shown(table, row, of=of) for row in rows]
        effects, places = [effect for effect, _ in shown], np.arange(len(rows))
        for at, row in enumerate(rows):
            if not math.isfinite(effects[at].mean):
                axes.text(
                    0.98,
                    at,
                    NOT_YET if row.idle else row.verdict,
                    transform=axes.get_yaxis_transform(),
                    ha="right",
                    va="center",
                    color=GREY,
                )
        means, lows, highs = (
            np.array([getattr(each, part) for each in effects], dtype=float) for part in ("mean", "low", "high")
        )
        # names stand at the axis: more arms than colours need none
        colors = [looked[row.label].color if len(rows) <= len(PALETTE) else INK for row in rows]
        axes.hlines(places, lows, highs, colors=colors, linewidth=1.5, zorder=2)
        axes.scatter(means, places, c=colors, s=18, zorder=3)
        left, right = np.array([undetected for _, undetected in shown], dtype=float).reshape(-1, 2).T
        axes.barh(places, right - left, left=left, height=0.8, color=GREY, alpha=0.22)
        bounds = np.concatenate([means, lows, highs])
        bounds = bounds[np.isfinite(bounds) & ((bounds > 0) | (not on_logs))]
        if of == "change" and table.margin:
            bad = metrics.more_is_better(table.records, metric=table.metric)
            size = 1 + table.margin / 100 if table.logs else table.margin
            axes.axvline(-size if bad else size, color=GREY, linewidth=0.8, linestyle="--")
        axes.axvline(1 if on_logs else 0, color=INK, linewidth=1)
        _pad(axes, [*bounds, 1.0 if on_logs else 0.0], logs=on_logs)
        if on_logs:
            _log_axis(axes, "x")
        axes.set_yticks(range(len(rows)), [_short(row.label) for row in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlabel(
            f"speed-up in {table.name_of(table.endpoint)} (right is faster)"
            if of == "speedup"
            else f"{'ratio' if table.logs else 'difference'} in {table.header}"
        )
    return figure


def decomposed(table: Table) -> list[ArmSummary]:
    """The arms whose speed-up in seconds has parts."""
    rows = [row for row in table.rows if row.parts and not row.idle]
    return [row for row in rows if all(math.isfinite(row.parts[part].estimate) for part in PARTS)]


def decomposition(table: Table) -> Figure:
    """The logarithm of each arm's speed-up in seconds as the sum of its parts, stacked; the dot is the whole."""
    rows = decomposed(table)
    with _styled():
        figure = _sheet(height=0.95 + 0.27 * len(rows), left=_beside(rows), top=0.3)
        axes = figure.add_subplot(xlabel="ln(speed-up in seconds): right of 0 is faster")
        axes.grid(axis="x")
        for at, row in enumerate(rows):
            ends = {True: 0.0, False: 0.0}  # of the stack to the right, and to the left
            for part, color in zip(PARTS, PALETTE, strict=False):
                size = row.parts[part].estimate
                axes.barh(at, size, left=ends[size > 0], height=0.6, color=color, label=None if at else part)
                ends[size > 0] += size
            axes.plot(sum(row.parts[part].estimate for part in PARTS), at, "o", color=INK)
        axes.axvline(0, color=INK, linewidth=1)
        axes.set_yticks(range(len(rows)), [_short(row.label) for row in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        figure.legend(loc="upper right", ncols=len(PARTS), frameon=False, borderaxespad=0)
    return figure


def break_even(table: Table, *, legend: bool = True) -> Figure:
    """The speed-up in time to the target against a device's half-saturation size B_half; the first point stands for 0."""
    found = {each.label: each for each in table.break_evens}

    def draw(axes: Axes, label: str, look: Look) -> None:
        if label not in found:
            return
        each = found[label]
        axes.plot(BREAK_EVENS, each.mean[1:], color=look.color, linestyle=look.linestyle, label=_plain(label))
        axes.fill_between(BREAK_EVENS, each.lower[1:], each.upper[1:], color=look.color, alpha=0.12, linewidth=0)

    def finish(axes: Axes) -> None:
        axes.axhline(1, linewidth=1, color=INK)
        if not math.isnan(here := table.half_saturation):
            axes.axvline(max(here, BREAK_EVENS[0]), linewidth=0.8, linestyle=":", color=INK)
        _log_axis(axes, "x")
        _log_axis(axes, "y")

    return _figure(table, draw, finish, x="B_half of the device", y="speed-up in time", legend=legend)


def profiles(found: Across, *, legend: bool = True) -> Figure:
    """Performance profiles (Dolan and More 2002) of arms across workloads, with bands from resampled seeds."""
    name = {"steps": "updates"}.get(found.endpoint, found.endpoint)
    chosen = sorted(range(len(found.arms)), key=lambda at: -float(found.profiles[at].mean()))
    with _styled():
        figure = _sheet(height=3.2, width=5 + 2 * legend, left=0.65, right=0.15 + 2 * legend)
        axes = figure.add_subplot(xlabel=f"{name} to the target / least of all arms", ylabel="workloads (%)")
        axes.grid()
        for rank, at in reversed([*enumerate(chosen)]):
            look = Look(color=PALETTE[rank], linestyle=DASHES[rank % 2]) if rank < len(PALETTE) else None
            shares = 100 * np.stack([found.profiles[at], found.low[at], found.high[at]])
            if look is None:
                axes.step(found.factors, shares[0], where="post", color=GREY, linewidth=0.5)
                continue
            axes.step(
                found.factors, shares[0], where="post", color=look.color, linestyle=look.linestyle, label=_plain(found.arms[at])
            )
            axes.fill_between(found.factors, shares[1], shares[2], step="post", color=look.color, alpha=0.12, linewidth=0)
        axes.set_ylim(-2, 102)
        _log_axis(axes, "x")
        if legend:
            handles, names = axes.get_legend_handles_labels()
            axes.legend(handles[::-1], names[::-1], loc="upper left", bbox_to_anchor=(1.01, 1), fontsize="small", frameon=False)
    return figure


def save(figure: Figure, path: Path) -> None:
    """The figure as a file of its own; the same runs make the same bytes."""
    with _styled():
        figure.savefig(path, metadata=dict.fromkeys(NOT_STATED) if path.suffix == ".svg" else None)


def svg(figure: Figure, *, alt: str, name: str) -> str:
    """The figure as an <svg> element for a page, in the colours of the page's text; `name` makes its ids its own."""
    buffer = io.StringIO()
    with _styled():  # the same runs give the same bytes
        figure.savefig(buffer, format="svg", transparent=True, metadata=dict.fromkeys(NOT_STATED))
    text = buffer.getvalue()
    size = re.search(r'viewBox="[^"]*"', text)
    assert size is not None
    inside = text[text.index(">", size.end()) + 1 :]
    inside = re.sub(
        r"<metadata>.*?</metadata>|<!--.*?-->|\n\s*", lambda found: " " if found[0].isspace() else "", inside, flags=re.S
    )
    inside = re.sub(
        r' id="(?!(?:[mp]|C\d+_\d+_)[0-9a-f]{10}")[^"]*"| font-family: [^;"]*;?', "", inside
    )  # digests are referred to
    inside = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", inside).replace(INK, "currentColor")
    inside = re.sub(r' transform="rotate\(-0 [^"]*"', "", inside)
    inside = re.sub(r' (?:d|x|y)="[^"]*"', lambda found: _shorter(found[0]), inside)
    return f'<svg role="img" aria-label="{html.escape(alt)}" {size[0]}>{inside.strip()}'


def _shorter(path: str) -> str:
    """An attribute to a tenth of a point; in a path, a pair after M or L needs no L of its own."""
    path = re.sub(r"(\d\.\d)\d+", r"\1", path)
    return path if "C" in path else re.sub(r"\s+(?:L\s+)?", " ", path)


def alternative(figure: Figure) -> str:
    """What the figure shows, in words."""
    axes = figure.axes[0]
    arms = dict.fromkeys(name for each in figure.axes for name in each.get_legend_handles_labels()[1])
    shown = f" Arms: {', '.join(arms)}." if arms else ""
    return f"{axes.get_ylabel() or 'arms'} against {axes.get_xlabel()}.{shown}".replace("\\$", "$")


def _figure(
    table: Table,
    draw: Callable[[Axes, str, Look], None],
    finish: Callable[[Axes], None],
    *,
    x: str,
    y: str,
    legend: bool,
    others: Mapping[str, tuple[np.ndarray, np.ndarray]] | None = None,
) -> Figure:
    """A panel below the other, each with the baseline, its own arms, and the lines of all `others` in grey."""
    parts, looked = panels(table), looks(table)
    with _styled():
        beside = (0.55 + 0.067 * max(map(len, looked))) * legend  # inches
        figure = _sheet(width=5 + beside, height=3.2 * len(parts), left=0.65, right=0.15 + beside, between=0.55)
        for at, panel in enumerate(parts):
            axes = figure.add_subplot(len(parts), 1, at + 1, xlabel=x, ylabel=y)
            axes.grid()
            if grey := [line for label, line in (others or {}).items() if label not in (*panel, table.baseline)]:
                axes.plot(*_one_line(grey), color=GREY, linewidth=0.5, alpha=0.6)
            for label in (table.baseline, *panel):
                draw(axes, label, looked[label])
            finish(axes)
            if legend and axes.get_legend_handles_labels()[1]:
                axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), fontsize="small", frameon=False)
    return figure


def _spent(runs: Runs, table: Table, records: Sequence[Mapping[str, Any]], *, target: float) -> dict[int, float]:
    """The endpoint's cost of each run to the target, by seed."""
    return {seed: getattr(found, table.endpoint) for seed, found in crossings(runs, records, target=target).items()}


def _sheet(
    *, height: float, width: float = 5, left: float, right: float = 0.15, top: float = 0.25, between: float = 0.0
) -> Figure:
    """A figure with margins in inches: matplotlib's own layouts draw everything twice, which takes a report twice as long."""
    figure = Figure(figsize=(width, height))  # no pyplot: its list of figures is global
    figure.subplots_adjust(
        left=left / width, right=1 - right / width, bottom=0.48 / height, top=1 - top / height, hspace=between / 2.4
    )
    return figure


def _beside(rows: Sequence[ArmSummary]) -> float:
    """Inches that the names of arms take beside an axis."""
    return 0.2 + 0.073 * max((len(_short(row.label)) for row in rows), default=0)


def _one_line(lines: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Several lines as one with gaps, which is drawn in a fraction of the time."""
    x, y = (np.concatenate([np.append(line[at], math.nan) for line in lines]) for at in range(2))
    return x, y


@contextmanager
def _styled() -> Iterator[None]:
    with matplotlib.rc_context(STYLE):  # type: ignore[arg-type]
        yield


def _axis(table: Table, column: str) -> str:
    return table.counted_in if column == "samples" else AXES[column]


def _band(runs: Sequence[Curve], *, x: str, logs: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Points, mean and its bounds of several curves, up to where the shortest ends: beyond it a mean would be one of fewer seeds.

    Perplexities are taken as logarithms. A value that is not finite leaves a gap.
    """
    columns = [(getattr(curve, x), curve.value) for curve in runs]
    end = min(at[-1] for at, _ in columns)
    grid = np.unique(np.concatenate([at for at, _ in columns]))
    grid = grid[grid <= end]
    if len(grid) > GRID:
        grid = np.linspace(grid[0], end, GRID)
    values = np.stack([np.interp(grid, at, value) for at, value in columns])
    with np.errstate(invalid="ignore", divide="ignore"):
        values = np.log(values) if logs else values
        mean = np.where(np.isfinite(values).all(axis=0), values.mean(axis=0), math.nan)
        half = math.nan
        if len(runs) > 1:
            half = quantile(len(runs) - 1, CONFIDENCE) * values.std(axis=0, ddof=1) / math.sqrt(len(runs))
        parts = [mean, mean - half, mean + half]
    mean, low, high = (np.exp(part) for part in parts) if logs else parts
    return grid, mean, low, high


def _limits(table: Table, bands: dict[str, Any]) -> tuple[float, float] | None:
    """Of the metric's axis: from somewhat below the target to just above the best value, on logarithms for perplexity."""
    maximise = bool(table.records["maximise"].iloc[0])
    logs = table.records["metric"].iloc[0] == "perplexity"
    means = np.concatenate([mean for _, mean, _, _ in bands.values()])
    means = np.log(means) if logs else means
    means = means[np.isfinite(means)]
    if not len(means) or math.isnan(table.target):
        return None
    target = math.log(table.target) if logs else table.target
    sign = 1 if maximise else -1
    best, worst = (sign * means).max() * sign, (sign * means).min() * sign
    room = max(abs(best - target), 0.02 * abs(best - worst))
    ends = sorted((target - sign * 2 * room, max(best * sign, target * sign) * sign + sign * 0.5 * room))
    return tuple(np.exp(ends).tolist()) if logs else tuple(ends)


def sizes_of(runs: Runs, run: str, *, column: str = "batch_size", most: int) -> tuple[np.ndarray, np.ndarray]:
    """The sizes of a run and the samples between which each was used."""
    steps = runs.trace(run, ("samples", column))
    if len(steps) > 1 and steps[column].iloc[-1] < steps[column].iloc[-2]:
        steps = steps.iloc[:-1]  # cut by the budget, which says nothing of the scheduler
    return _constant_parts(steps, column=column, most=most)


def _constant_parts(trace: pd.DataFrame, *, column: str, most: int = SIZES) -> tuple[np.ndarray, np.ndarray]:
    """Each size and the samples between which it was used; `samples` counts the step's own, so a part ends there.

    Of more than `most` parts, evenly spread ones are kept.
    """
    last = trace[trace[column] != trace[column].shift(-1)]
    if len(last) > most:
        last = last.iloc[np.unique(np.linspace(0, len(last) - 1, most).astype(int))]
    return last[column].to_numpy(dtype=float), np.concatenate([[0.0], last["samples"].to_numpy(dtype=float)])


def _shown(table: Table, row: ArmSummary, *, of: str) -> tuple[Interval, tuple[float, float]]:
    """What a forest shows of an arm, and the range that is shaded."""
    nothing = (math.nan, math.nan)
    if of == "change":
        assert row.change is not None
        return row.change.effect, nothing
    effect, size = row.speedups[table.endpoint].effect, row.detectable.mean
    if row.idle or not math.isfinite(effect.mean):
        return NO_INTERVAL, nothing
    return effect, (1 / size, size) if math.isfinite(size) else nothing


def _pad(axes: Axes, values: Sequence[float], *, logs: bool) -> None:
    """Limits of the horizontal axis that hold these values; a wide interval must not make the others points."""
    ends = np.log(values) if logs else np.array(values)
    ends = np.clip(ends, -math.log(20), math.log(20)) if logs else ends
    room = max(0.08 * (ends.max() - ends.min()), 0.01)
    limits = (ends.min() - room, ends.max() + room)
    axes.set_xlim(*(np.exp(limits) if logs else limits))


def _log_axis(axes: Axes, which: str, *, base: float = 10) -> None:
    """A logarithmic axis whose ticks are plain numbers."""
    (axes.set_xscale if which == "x" else axes.set_yscale)("log", base=base)
    axis = axes.xaxis if which == "x" else axes.yaxis
    low, high = axes.get_xlim() if which == "x" else axes.get_ylim()
    if base == 10 and low > 0 and high / low < 3:  # powers of ten would give one tick or none
        axis.set_major_locator(MaxNLocator(5))
    else:
        axis.set_major_locator(LogLocator(base=base, subs=(1, 2, 5) if base == 10 and high < 300 * low else (1,), numticks=9))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))


def _short(label: str, most: int = 32) -> str:
    """For an axis: settings without their groups (window=5, not scheduler.window=5); a long name keeps both its ends."""
    label = re.sub(r"[a-z_.]+\.(?=\w+=)", "", label)
    return _plain(label if len(label) <= most else f"{label[: most // 2]}...{label[3 - most // 2 :]}")


def _plain(text: str) -> str:
    """A dollar would start a formula."""
    return text.replace("$", "\\$")
