"""The status of every run of a results folder."""

from collections import Counter
from pathlib import Path
from typing import Any, cast

from omegaconf import OmegaConf
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from adaptive_bench.experiment.record import Identity, RunFolder
from adaptive_bench.schema import check_form, distinct


def console() -> Console:
    """For tables: as wide as the terminal, and wide where there is none."""
    return Console(width=None if Console().is_terminal else 200)


def show(results: Path) -> None:
    """Print a line a run and the counts. Raises ValueError if there is no run."""
    check_form(results)
    folders = sorted(path for path in (results / "runs").glob("*") if path.is_dir())
    if not folders:
        raise ValueError(f"{results} holds no runs; `adaptive-bench train results={results}` makes one")
    table = Table("run", "status", "samples", "what", "reason")
    counts: Counter[str] = Counter()
    named = titles(folders)
    for path in folders:
        state = RunFolder(results, path.name).state()
        counts[state["status"]] += 1
        done = f"{state['samples']:,} / {state['budget']:,}" if "samples" in state else ""
        table.add_row(path.name, state["status"], done, *map(escape, (named[path.name], state["reason"])))
    out = console()
    out.print(table)
    out.print(f"{len(folders)} runs: " + ", ".join(f"{count} {status}" for status, count in sorted(counts.items())))


def titles(folders: list[Path]) -> dict[str, str]:
    """The titles of runs, from their folders, in which the settings that tell equal ones apart are named."""
    found = {path.name: _title(path / "config.yaml") for path in folders}
    twice = {title for title, count in Counter(found.values()).items() if count > 1}
    # settings are read only where they are needed: a file takes hundredths of a second
    settings = {path.name: _settings(path / "config.yaml") if found[path.name] in twice else {} for path in folders}
    return distinct(found, settings=settings)


def _title(config: Path) -> str:
    """The second line of a config.yaml, a comment; empty without one."""
    lines = config.read_text().splitlines() if config.exists() else []
    return lines[1].removeprefix("# ") if lines[1:2] and lines[1].startswith("# ") else ""


def _settings(config: Path) -> dict[str, Any]:
    if not config.exists():
        return {}
    return dict(Identity.of(cast(dict[str, Any], OmegaConf.to_container(OmegaConf.load(config)))).settings)
