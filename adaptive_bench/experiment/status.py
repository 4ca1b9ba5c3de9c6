"""The status of every run of a results folder."""

from collections import Counter
from pathlib import Path
from typing import cast

from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from adaptive_bench.experiment.record import RunFolder
from adaptive_bench.schema import check_form


def show(results: Path) -> None:
    """Print a line a run and the counts. Raises ValueError if there is no run."""
    check_form(results)
    folders = sorted(path for path in (results / "runs").glob("*") if path.is_dir())
    if not folders:
        raise ValueError(f"{results} holds no runs; `adaptive-bench train results={results}` makes one")
    table = Table("run", "status", "samples", "what", "reason")
    counts: Counter[str] = Counter()
    for path in folders:
        state = RunFolder(results, path.name).state()
        counts[state["status"]] += 1
        done = f"{state['samples']:,} / {state['budget']:,}" if "samples" in state else ""
        table.add_row(path.name, state["status"], done, *map(escape, (describe(path / "config.yaml"), state["reason"])))
    console = Console(width=None if Console().is_terminal else 200)
    console.print(table)
    console.print(f"{len(folders)} runs: " + ", ".join(f"{count} {status}" for status, count in sorted(counts.items())))


def describe(config: Path) -> str:
    """The targets of a run's main slots and its seed: what tells runs apart at a glance."""
    if not config.exists():
        return ""
    cfg = cast(DictConfig, OmegaConf.load(config))
    names = (cfg[slot]["_target_"].rsplit(".", 1)[-1] for slot in ("dataset", "model", "scheduler", "block_scheduler"))
    return " ".join([*names, f"seed={cfg.seed}"])
