"""A page of the terminal that follows the runs of a results folder, whichever machines write it."""

import math
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from adaptive_bench.experiment.record import RunFolder
from adaptive_bench.experiment.status import counted, runs_of, state, titles
from adaptive_bench.schema import FINISHED, GOING_ON

LOOK = 2  # seconds between two looks
BLOCKS = "▁▂▃▄▅▆▇█"


def watch(results: Path) -> None:
    """Show the page until no run is running or queued any more. Where there is no terminal, once."""
    board, out = Board(results), Console()
    if not out.is_terminal:
        out.print(board.page())
        return
    with Live(board.page(), console=out, auto_refresh=False, screen=False) as live:
        while board.goes_on:
            time.sleep(LOOK)
            live.update(board.page(), refresh=True)


class Board:
    """What is known of the runs after each look at their folders."""

    def __init__(self, results: Path) -> None:
        self.results = results
        self.states = dict[str, dict[str, Any]]()
        self._first = dict[str, tuple[float, int]]()  # when a running run was first seen, and its samples then
        self._speed = dict[str, float]()  # samples a second since then
        self._configs = dict[str, str]()

    @property
    def goes_on(self) -> bool:
        return any(at["status"] in GOING_ON for at in self.states.values())

    def look(self) -> None:
        """Read what can have changed: a finished run stays as it is."""
        now = time.monotonic()
        for run in runs_of(self.results):
            if self.states.get(run, {}).get("status") in FINISHED:
                continue
            folder = RunFolder(self.results, run)
            at = self.states[run] = state(folder)
            self._configs[run] = self._configs.get(run) or folder.config()
            if at["status"] == "running" and "samples" in at:
                since, samples = self._first.setdefault(run, (now, at["samples"]))
                self._speed[run] = (at["samples"] - samples) / (now - since) if now > since else 0
            else:
                self._first.pop(run, None)
                self._speed.pop(run, None)

    def page(self) -> Group:
        self.look()
        named = titles({run: self._configs[run] for run in self._speed})
        table = Table("what", "where", "done", "samples/s", "left", "sizes", "validation")
        for run in self._speed:
            table.add_row(*map(escape, self._row(named[run], run)))
        return Group(table, f"{counted(self.states)}; {sum(self._speed.values()):,.0f} samples/s")

    def _row(self, name: str, run: str) -> list[str]:
        at, speed = self.states[run], self._speed[run]
        return [
            name,
            at.get("host", ""),
            f"{at['samples'] / at['budget']:.0%}",
            f"{speed:,.0f}" if speed else "",
            str(timedelta(seconds=round((at["budget"] - at["samples"]) / speed))) if speed else "",
            f"{sparkline(at['sizes'])} {at['sizes'][-1]:,}" if at.get("sizes") else "",
            f"{at['metric']} {at['value']:.2f}" if at.get("value") is not None else "",
        ]


def sparkline(sizes: Sequence[int]) -> str:
    """Sizes as blocks, on a logarithmic scale from the smallest to the largest."""
    lowest, highest = math.log(min(sizes)), math.log(max(sizes))
    steps = [(math.log(size) - lowest) / (highest - lowest) if highest > lowest else 0 for size in sizes]
    return "".join(BLOCKS[round(step * (len(BLOCKS) - 1))] for step in steps)
