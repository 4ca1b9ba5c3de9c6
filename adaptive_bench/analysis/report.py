"""One self-contained page with everything that a results folder says."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

import jinja2
import pandas as pd

from adaptive_bench.files import replacing
from adaptive_bench.schema import MADE_WITH

from .columns import text_frame
from .notes import notes
from .read import Runs
from .tables import Table, table
from .timing import values

RUN_COLUMNS = {
    "run": "run",
    "label": "arm",
    "seed": "seed",
    "status": "status",
    "reason": "reason",
    "best": "best",
    "final": "final",
}


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
    return environment.get_template("report.html.j2").render(
        written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        counts=runs.records["status"].value_counts().to_dict(),
        provenance=_provenance(runs.records),
        sections=[_section(runs, each) for each in found],
    )


def _section(runs: Runs, found: Table) -> dict[str, Any]:
    records = runs.of(found.workload)
    frame = text_frame(found)
    return {
        "id": found.workload,
        "title": found.title,
        "header": list(frame.columns),
        "rows": frame.to_numpy().tolist(),
        "notes": notes(found),
        "figures": _figures(runs, found),
        "run_header": list(RUN_COLUMNS.values()),
        "runs": [_run(record) for record in records.to_dict("records")],
    }


def _figures(runs: Runs, found: Table) -> list[str]:
    from . import figures  # seaborn takes seconds to import, and a table needs none of it

    drawn = [figures.curves(runs, workload=found.workload)]
    if found.timed:
        drawn.append(figures.curves(runs, workload=found.workload, x="seconds"))
    drawn.append(figures.sizes(runs, workload=found.workload))
    if (runs.of(found.workload)["block_scheduler"] != "fixed").any():
        drawn.append(figures.sizes(runs, workload=found.workload, column="block_size"))
    if len(found.rows) > 1:
        drawn.append(figures.speedups(runs, workload=found.workload, baseline=found.baseline))
    return [figures.image(figure, alt=figures.alternative(figure)) for figure in drawn]


def _run(record: dict[Any, Any]) -> dict[str, Any]:
    cells = [record[name] for name in RUN_COLUMNS]
    return {"diverged": record["status"] == "diverged", "cells": [_cell(value) for value in cells]}


def _cell(value: Any) -> str:
    if pd.isna(value):
        return "-"
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
