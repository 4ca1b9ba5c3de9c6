"""The status of every run of a results folder."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from omegaconf import OmegaConf
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from adaptive_bench import compact
from adaptive_bench.experiment.record import Identity, RunFolder
from adaptive_bench.schema import check_form, distinct


def console() -> Console:
    """For tables: as wide as the terminal, and wide where there is none."""
    return Console(width=None if Console().is_terminal else 200)


def show(results: Path) -> None:
    """Print a line a run and the counts. Raises ValueError if there is no run."""
    check_form(results)
    runs = sorted({*compact.runs(results), *(path.name for path in (results / "runs").glob("*") if path.is_dir())})
    if not runs:
        raise ValueError(f"{results} holds no runs; `adaptive-bench train results={results}` makes one")
    table = Table("run", "status", "samples", "what", "reason")
    counts: Counter[str] = Counter()
    folders = {run: RunFolder(results, run) for run in runs}
    named = titles({run: folder.config() for run, folder in folders.items()})
    for run, folder in folders.items():
        try:
            state = folder.state()
        except ValueError as error:  # of a damaged record
            state = {"status": "damaged", "reason": str(error)}
        counts[state["status"]] += 1
        done = f"{state['samples']:,} / {state['budget']:,}" if "samples" in state else ""
        table.add_row(run, state["status"], done, *map(escape, (named[run], state["reason"])))
    out = console()
    out.print(table)
    out.print(f"{len(folders)} runs: " + ", ".join(f"{count} {status}" for status, count in sorted(counts.items())))


def titles(configs: Mapping[str, str]) -> dict[str, str]:
    """The titles of runs from the texts of their config.yaml, in which the settings that tell equal ones apart are named."""
    found = {run: _title(config) for run, config in configs.items()}
    twice = {title for title, count in Counter(found.values()).items() if count > 1}
    # settings are read only where they are needed: a file takes hundredths of a second
    settings = {run: _settings(config) if found[run] in twice else {} for run, config in configs.items()}
    return distinct(found, settings=settings)


def _title(config: str) -> str:
    """The second line, a comment; empty without one."""
    lines = config.splitlines()
    return lines[1].removeprefix("# ") if lines[1:2] and lines[1].startswith("# ") else ""


def _settings(config: str) -> dict[str, Any]:
    if not config:
        return {}
    return dict(Identity.of(cast(dict[str, Any], OmegaConf.to_container(OmegaConf.create(config)))).settings)
