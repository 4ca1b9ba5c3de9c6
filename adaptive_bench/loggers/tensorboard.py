"""A mirror of a run in TensorBoard."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from adaptive_bench.loggers.base import Logger, Row


class TensorBoardMirror(Logger):
    """One folder of events a run, FOLDER/tensorboard/NAME RUN, with the samples as the step: steps change their size.

    A resumed run is logged from its first step again, and TensorBoard drops what it had.
    """

    def __init__(self, *, run: str, cell: str, name: str, settings: Mapping[str, Any], folder: str) -> None:
        self.folder = Path(folder) / "tensorboard" / f"{name} {run[:8]}".replace("/", "-")
        self.about = {"run": run, "cell": cell, **settings}
        self.writer: SummaryWriter | None = None

    def start(self, steps: Sequence[Row], evaluations: Sequence[Row]) -> None:
        self.writer = SummaryWriter(self.folder, purge_step=0)
        self.writer.add_text("settings", "\n".join(f"    {name}: {value}" for name, value in self.about.items()))
        for row in steps:
            self.step(row)
        for row in evaluations:
            self.evaluation(row)

    def step(self, row: Row) -> None:
        self._add({name: value for name, value in row.items() if name != "samples"}, at=row["samples"])

    def evaluation(self, row: Row) -> None:
        self._add({f"{row['split']}/{name}": row[name] for name in ("value", "loss")}, at=row["samples"])

    def _add(self, values: Mapping[str, float], *, at: int) -> None:
        assert self.writer is not None, "started before it is told anything"
        for name, value in values.items():
            self.writer.add_scalar(name, value, global_step=at)

    def finish(self, summary: Mapping[str, Any]) -> None:
        if self.writer is None:  # the run failed before it began
            return
        self.writer.add_text("summary", "\n".join(f"    {name}: {value}" for name, value in summary.items()))
        self.writer.close()
