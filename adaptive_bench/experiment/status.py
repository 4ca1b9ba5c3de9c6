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


def runs_of(results: Path) -> list[str]:
    """The digests of all runs. Raises ValueError if there is none."""
    check_form(results)
    runs = sorted({*compact.runs(results), *(path.name for path in (results / "runs").glob("*") if path.is_dir())})
    if not runs:
        raise ValueError(f"{results} holds no runs; `adaptive-bench train results={results}` makes one")
    return runs


def show(results: Path) -> None:
    """Print a line a run and the counts. Raises ValueError if there is no run."""
    runs = runs_of(results)
    table = Table("run", "status", "samples", "what", "reason")
    folders = {run: RunFolder(results, run) for run in runs}
    named = titles({run: folder.config() for run, folder in folders.items()})
    states = {run: state(folder) for run, folder in folders.items()}
    for run, at in states.items():
        done = f"{at['samples']:,} / {at['budget']:,}" if "samples" in at else ""
        table.add_row(run, at["status"], done, *map(escape, (named[run], at["reason"])))
    out = console()
    out.print(table)
    out.print(counted(states))


def counted(states: Mapping[str, Mapping[str, Any]]) -> str:
    """How many runs have each status."""
    counts = Counter(at["status"] for at in states.values())
    return f"{len(states)} runs: " + ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))


def state(folder: RunFolder) -> dict[str, Any]:
    """`RunFolder.state`, also of a run with a damaged file, with the engine's name for one that is queued."""
    try:
        found = folder.state()
        if folder.finished and folder.path.is_dir():
            compact.check(folder.path)
    except ValueError as error:
        return {"status": "damaged", "reason": str(error)}
    if found["status"] == "queued" and (job := folder.job()):
        found["reason"] = f"{job['engine']} job {job['job_id']}"
    return found


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
