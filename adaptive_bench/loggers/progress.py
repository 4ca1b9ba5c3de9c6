"""The bar of a single run, on the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from adaptive_bench.loggers.base import Logger, Row


def bars(*, show: bool) -> Progress:
    """The look of every bar; on standard error, so that standard output stays for results. Nothing moves where no terminal is."""
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[unit]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
        disable=not (show and console.is_terminal),
    )


class ProgressBar(Logger):
    """One bar per run, counted in samples, followed by batch size, loss and the last validation metric."""

    def __init__(self, title: str, *, budget: int, metric: str) -> None:
        self.title = title
        self.budget = budget
        self.metric = metric
        self.bars = bars(show=True)
        self.task: TaskID | None = None
        self.last = ""

    def start(self, steps: Sequence[Row], evaluations: Sequence[Row]) -> None:
        self.bars.start()
        done = steps[-1]["samples"] if steps else 0
        self.task = self.bars.add_task(self.title, total=self.budget, completed=done, unit="samples", note="")

    def step(self, row: Row) -> None:
        if self.task is not None:
            note = f"batch {row['batch_size']}, loss {row['loss']:.4f}{self.last}"
            self.bars.update(self.task, completed=row["samples"], note=note)

    def evaluation(self, row: Row) -> None:
        self.last = f", {row['split']} {self.metric} {row['value']:.2f}"

    def finish(self, summary: Mapping[str, Any]) -> None:
        self.bars.stop()
