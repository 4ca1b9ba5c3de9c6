"""The rows of a comparison as a Markdown table and as a figure."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from adaptive_bench.files import replacing
from adaptive_bench.serving.bench import Conditions, Row
from adaptive_bench.serving.measures import Estimate
from adaptive_bench.serving.policies import Profile


def markdown(rows: Sequence[Row], profile: Profile, under: Conditions) -> str:
    """The table, and under it what its numbers mean."""
    frame = pd.DataFrame([_cells(row) for row in rows]).fillna("-")
    lines = "\n".join(f"- {note}" for note in notes(rows, profile, under))
    return f"{frame.to_markdown(index=False, disable_numparse=True)}\n\n{lines}"


def _cells(row: Row) -> dict[str, str]:
    got = row.measures
    cells = {
        "policy": row.policy,
        "load": f"{row.load:g}",
        "arrivals": row.arrivals,
        "p50 (ms)": _short(1e3 * got.p50.value),
        "p95 (ms)": _short(1e3 * got.p95.value),
        "p99 (ms)": _interval(got.p99, scale=1e3),
        "throughput (1/s)": _short(got.throughput),
        "goodput (1/s)": _short(got.goodput),
        "violations (%)": _interval(got.violations, scale=100),
        "refused (%)": _short(100 * got.refused),
        "mean batch": _short(got.batch),
    }
    if row.simulated is not None:
        cells["p50, simulated (ms)"] = _short(1e3 * row.simulated.p50.value)
        cells["mean, live / simulated"] = f"{got.mean.value / row.simulated.mean.value:.2f}"
    return cells


def _interval(estimate: Estimate, *, scale: float) -> str:
    return f"{_short(scale * estimate.value)} [{_short(scale * estimate.low)}, {_short(scale * estimate.high)}]"


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def notes(rows: Sequence[Row], profile: Profile, under: Conditions) -> list[str]:
    """What a reader has to know of the numbers."""
    saturated = profile.saturated(under.deadline, queue=under.queue)
    live = any(row.simulated is not None for row in rows)
    count = len(under.recording) if under.recording else 0
    return [
        f"A forward pass of n requests takes t(n) = {1e3 * profile.tau0:.4g} + {1e3 * profile.alpha:.4g} n ms"
        + (" (least squares over measured medians); rows are live." if live else "; rows are simulated with it."),
        f"Deadline D = {1e3 * under.deadline:.4g} ms; window W = {1e3 * under.wait:.4g} ms, with as many requests as can be "
        "processed in it; the tuned window has the highest goodput of those tried under Poisson arrivals of another seed. "
        "`deadline, N/2` refuses who would force a batch of less than half of what D allows.",
        f"Load 1 = {_short(saturated)} requests a second: a server always busy with the largest batches that D allows. "
        f"{under.requests:,} requests a row"
        + (f", {count:,} where they are replayed" if count else "")
        + f"; seed {under.seed}.",
        f"Latencies count from the intended arrival and are of answered requests; refused ones (more than {under.queue:,} "
        "waiting, or too old for `deadline`) are violations. Goodput: answers within D.",
        "[ ]: 95 % intervals by batch means, 20 batches.",
        "The closed loop is simulated and measured from when a client sends: it shows what waiting for the answer before the "
        "next request hides (coordinated omission).",
    ]


def figure(rows: Sequence[Row], under: Conditions) -> Figure:
    """The 99th percentile of the latency against throughput, a line a policy through its loads, a panel a law of arrivals."""
    laws = list(dict.fromkeys(row.arrivals for row in rows if "closed loop" not in row.arrivals))
    drawn = Figure(figsize=(4 * len(laws) + 2, 4), layout="constrained")  # no pyplot: its list of open figures is global
    panels = drawn.subplots(1, len(laws), sharey=True, squeeze=False)[0]
    for law, axes in zip(laws, panels, strict=True):
        looks = zip("osvD^*", ("-", "-", "--", ":", "-", "--"), strict=True)  # the tuned window and aimd often fall on each other
        for (marker, line), policy in zip(looks, dict.fromkeys(row.policy for row in rows), strict=True):
            points = [row.measures for row in rows if row.arrivals == law and row.policy == policy]
            x, y = [got.throughput for got in points], [1e3 * got.p99.value for got in points]
            axes.plot(x, y, marker=marker, markersize=5, linestyle=line, fillstyle="none", label=policy)
        axes.axhline(1e3 * under.deadline, linewidth=1, color="black", label="D")
        axes.set(title=law, xlabel="throughput (answers / s)", yscale="log")
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("99th percentile of the latency (ms)")
    drawn.legend(*panels[0].get_legend_handles_labels(), loc="outside right upper", fontsize="small", frameon=False)
    return drawn


def save(drawn: Figure, path: Path) -> None:
    """Write the figure as PNG. Raises ValueError if the file cannot be written."""
    if path.suffix != ".png":
        raise ValueError(f"{path}: a name that ends in .png is expected")
    try:
        with replacing(path) as part:
            drawn.savefig(part, format="png", dpi=150, metadata={"Software": None})  # the same rows give the same bytes
    except OSError as error:
        raise ValueError(f"{path} cannot be written ({error})") from error
