"""One self-contained page with everything that a results folder says, the answer first."""

import errno
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import jinja2
import numpy as np
import pandas as pd

from adaptive_bench.files import replacing
from adaptive_bench.schema import FINISHED, MADE_WITH

from . import cells, verdict
from .across import Across, across
from .columns import GROUPS, QUALITY, VERDICT, Column, columns
from .front import front
from .notes import EXPLANATIONS, notes
from .read import Runs
from .sentences import sentence
from .tables import Table, table
from .targets import COSTS
from .timing import values

FIRST_SHOWN = (VERDICT, QUALITY)  # groups of columns; the others are hidden at first
SPARK = 40  # points of a run's small curves, at most
SPARK_SIZE = (120, 28)
# from good to bad, as the answer lists them
ORDER = (
    verdict.FASTER_NOT_WORSE, verdict.FASTER_UNDECIDED, verdict.FASTER_WORSE, verdict.NO_DIFFERENCE, verdict.SLOWER,
    verdict.MISSED, verdict.NOT_YET, verdict.CANNOT_TELL,
)  # fmt: skip


def report(runs: Runs, path: str | Path, **options: Any) -> Path:
    """Write the page to `path`, which appears complete or not at all. The options are those of `table`."""
    found = table(runs, **options)
    with _whole(Path(path)) as file:
        file.write(_page(runs, found))
    return Path(path)


def _page(runs: Runs, found: list[Table]) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    counts = Counter(runs.records["status"])
    together = across(runs, found)
    return environment.get_template("report.html.j2").render(
        days=_days(runs.records.get("started", pd.Series(dtype=str))),
        counts=", ".join(f"{counts[status]} {status}" for status in counts),
        provenance=_provenance(runs.records),
        explanations=EXPLANATIONS,
        across=_across(together) if together else None,
        sections=[_section(runs, each, name=f"w{at}") for at, each in enumerate(found)],
    )


def _days(started: pd.Series) -> str:
    """The first and the last day on which runs started; the same runs make the same page, so that it states no other date."""
    days = sorted({str(time)[:10] for time in started.dropna() if time})
    return " to ".join(dict.fromkeys([*days[:1], *days[-1:]])) or "unknown days"


def _section(runs: Runs, found: Table, *, name: str) -> dict[str, Any]:
    from . import figures  # matplotlib takes a second to import, and a table needs none of it

    looked = figures.looks(found)
    others = [row for row in found.rows if row.change is not None and not row.control_of]
    shown = [column for column in columns(found) if column.heading]
    kinds = Counter(row.verdict for row in others)
    rows = sorted(others, key=lambda row: ORDER.index(row.verdict))
    return {
        "id": name,
        "title": found.title,
        "change": f"{'ratio' if found.logs else 'difference'} in {found.header}",
        "baseline": found.baseline,
        "answer": [(kind, kinds[kind]) for kind in ORDER if kinds[kind]],
        "sentences": [(row.verdict, sentence(found, row)) for row in (found.rows[0], *rows)],
        "figures": _figures(runs, found, name=name),
        "legend": [
            {"label": row.label, "color": "currentColor" if row.label == found.baseline else looked[row.label].color,
             "dashed": looked[row.label].linestyle != "-", "panel": _panel(figures.panels(found), row.label)}
            for row in found.rows
        ],
        "effects": [
            [effect.arm, effect.name, effect.control, cells.speedup(effect.speedup.effect), found.change(effect.change)]
            for effect in found.effects
        ],
        "devices": [str(each) for each in found.break_evens],
        "fronts": _fronts(found),
        "columns": [
            {"heading": column.heading, "group": column.group, "hidden": column.group not in FIRST_SHOWN} for column in shown
        ],
        "groups": [group for group in GROUPS if any(column.group == group for column in shown)],
        "first_shown": FIRST_SHOWN,
        "rows": [
            {"label": row.label, "id": f"{name}-a{at}", "cells": [(column.text(row), _order(column, row)) for column in shown]}
            for at, row in enumerate(found.rows)
        ],
        "notes": notes(found),
        "runs": _runs(runs, found, name=name),
    }  # fmt: skip


def _figures(runs: Runs, found: Table, *, name: str) -> dict[str, list[str]]:
    """The figures of a section by the part of the page in which they stand; a part without any is left out."""
    from . import figures

    drawn: dict[str, list[Any]] = {
        "forest": [],
        "curves": [],
        "more": [],
        "sizes": [],
        "decomposition": [],
        "devices": [],
        "fronts": [],
    }
    compared = [row for row in found.rows if row.change is not None]
    if compared:
        drawn["forest"] = [figures.forest(found, of=of) for of in ("speedup", "change")]
    clocks = [cost for cost in COSTS if cost in ("samples", found.endpoint) or (cost == "seconds" and found.timed)]
    if any(row.n for row in found.rows):
        drawn["curves"] = [figures.curves(runs, found, x=clock, legend=False) for clock in clocks]
        drawn["more"] = [figures.curves(runs, found, near=False, legend=False)]
    if compared and not math.isnan(found.target):
        drawn["more"].append(figures.speedups(runs, found, legend=False))
        if any(row.reached < row.started for row in found.rows):
            drawn["curves"].append(figures.reached(runs, found, legend=False))
    if any(row.n or row.counts["diverged"] for row in found.rows):
        drawn["sizes"] = [figures.sizes(runs, found, legend=False)]
        if (found.records["block_scheduler"] != "fixed").any():
            drawn["sizes"].append(figures.sizes(runs, found, column="block_size", legend=False))
    if found.timed and figures.decomposed(found):
        drawn["decomposition"] = [figures.decomposition(found)]
    if found.break_evens:
        drawn["devices"] = [figures.break_even(found, legend=False)]
    drawn["fronts"] = [figures.pareto(found, cost=cost, legend=False) for cost in _costs(found) if _differ(found, cost)]
    return {
        part: [
            figures.svg(figure, alt=f"{found.title}: {figures.alternative(figure)}", name=f"{name}-{part}{at}")
            for at, figure in enumerate(several)
        ]
        for part, several in drawn.items()
        if several
    }


def _panel(panels: Sequence[Sequence[str]], label: str) -> int:
    return next((at for at, panel in enumerate(panels) if label in panel), 0)


def _costs(found: Table) -> list[str]:
    """The costs against which the metric has a front: not against itself."""
    return [cost for cost in found.costs if cost != found.metric and sum(row.n > 0 for row in found.rows) > 1]


def _differ(found: Table, cost: str) -> bool:
    """Whether whole runs differ by more than 1 % in this cost; with equal samples a front is one arm."""
    paid = [row.totals[cost].mean for row in found.rows if row.n]
    return max(paid) > 1.01 * min(paid)


def _fronts(found: Table) -> dict[str, Any] | None:
    costs = _costs(found)
    if not costs:
        return None
    places = {cost: {place.label: str(place) for place in front(found, cost=cost)} for cost in costs}
    labels = [row.label for row in found.rows if row.n]
    return {
        "header": ["arm", *(f"by {found.name_of(cost)}" for cost in costs)],
        "rows": [[label, *(places[cost][label] for cost in costs)] for label in labels],
    }


def _order(column: Column, row: Any) -> str:
    """What a column is sorted by: its first number, or "" for text, which sorts as it reads."""
    numbers = [value for value in column.raw(row).values() if isinstance(value, int | float)]
    return f"{numbers[0]:.9g}" if numbers and math.isfinite(numbers[0]) else "inf" if numbers else ""


def _across(found: Across) -> dict[str, Any]:
    from . import figures

    ranks = [
        [row["arm"], *(_rank(row, name) for name in ("cost", "value")), str(row["cost_first"]), str(row["value_first"])]
        for row in found.ranks.to_dict("records")
    ]
    best = [
        [row["kind"], row["name"], str(row["workloads"]), *(_most(row, name) for name in ("fastest", "best"))]
        for row in found.best.to_dict("records")
    ]
    return {
        "workloads": len(found.workloads),
        "endpoint": {"steps": "updates"}.get(found.endpoint, found.endpoint),
        "left_out": found.left_out,
        "without_target": found.without_target,
        "figure": figures.svg(
            figure := figures.profiles(found), alt=f"Performance profiles: {figures.alternative(figure)}", name="across"
        ),
        "ranks": ranks,
        "best": best,
    }


def _rank(row: Mapping[Any, Any], name: str) -> str:
    mean, low, high = (row[f"{name}_{part}"] for part in ("rank", "low", "high"))
    return f"{mean:.1f} [{low:.1f}, {high:.1f}]"


def _most(row: Mapping[Any, Any], name: str) -> str:
    return f"{row[name]} ({100 * row[f'{name}_share']:.0f} %)" if row[name] else cells.NOTHING


def _runs(runs: Runs, found: Table, *, name: str) -> dict[str, Any]:
    """Every run by arm, with its small curves. Settings that all runs share, or all of an arm, are said once."""
    of_arm = runs.arms[found.workload]
    shared = _common(found.records["settings"])
    arms = []
    for at, row in enumerate(found.rows):
        records = of_arm[row.label]
        own = _common([record["settings"] for record in records])
        arms.append(
            {
                "id": f"{name}-a{at}",
                "label": row.label,
                "settings": _settings({key: value for key, value in own.items() if key not in shared}),
                "runs": [_run(runs, record, common=own) for record in records],
            }
        )
    return {"count": len(found.records), "shared": _settings(shared), "arms": arms}


def _run(runs: Runs, record: Mapping[Any, Any], *, common: Mapping[str, Any]) -> dict[str, Any]:
    from .figures import sizes_of

    curve = sizes = ""
    if record["status"] in FINISHED:
        validation = runs.curve(record["run"])
        curve = _spark(validation.samples, validation.value, logs=record["metric"] == "perplexity")
        used, edges = sizes_of(runs, record["run"], most=SPARK // 2)
        sizes = _spark(np.repeat(edges, 2)[1:-1], np.repeat(used, 2), logs=True)  # each size is level, up to where it ended
    settings = {key: value for key, value in record["settings"].items() if key not in common}
    cells = [record[name] for name in ("run", "seed", "status", "best", "final", "samples", "steps")]
    return {
        "status": record["status"],
        "cells": [_cell(value) for value in cells],
        "reason": record["reason"],
        "settings": _settings({key: value for key, value in settings.items() if key != "seed"}),
        "curve": curve,
        "sizes": sizes,
    }


def _spark(at: np.ndarray, values: np.ndarray, *, logs: bool) -> str:
    """The points of a small line, from the bottom left to the top right of its box; "" where there is no line."""
    if len(at) > SPARK:
        kept = np.unique(np.linspace(0, len(at) - 1, SPARK).astype(int))
        at, values = at[kept], values[kept]
    with np.errstate(invalid="ignore", divide="ignore"):
        values = np.log(values) if logs else values
    good = np.isfinite(values)
    at, values = at[good], values[good]
    if len(at) < 2:
        return ""
    (width, height), span, rise = SPARK_SIZE, np.ptp(at) or 1.0, np.ptp(values)
    left = (at - at.min()) / span * width
    up = (values - values.min()) / rise if rise else np.full(len(values), 0.5)
    return " ".join(f"{a:.0f},{b:.0f}" for a, b in zip(left, 1 + (1 - up) * (height - 2), strict=True))


def _common(settings: Sequence[Mapping[str, Any]] | pd.Series) -> dict[str, Any]:
    """What all of them have, with the same value."""
    first, *others = settings
    missing = object()
    return {key: value for key, value in first.items() if all(other.get(key, missing) == value for other in others)}


def _settings(settings: Mapping[str, Any]) -> str:
    return "\n".join(f"{key}: {json.dumps(value)}" for key, value in sorted(settings.items()))


def _cell(value: Any) -> str:
    if pd.isna(value):
        return cells.NOTHING
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _provenance(records: pd.DataFrame) -> dict[str, str]:
    """What the runs were made with: every value of each column that describes code, machine or versions."""
    return {name: ", ".join(values(records, name)) for name in MADE_WITH if name in records}


@contextmanager
def _whole(path: Path) -> Iterator[TextIO]:
    """A file that becomes `path` once it is complete; opened first, so that a bad path is refused before anything is drawn."""
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as part, part.open("w", encoding="utf-8") as file:
            yield file
    except OSError as error:
        raise ValueError(f"{path} cannot be written ({error.strerror}); name a file in a folder where you may write") from error
