"""A mirror of a run in Weights & Biases."""

from collections.abc import Mapping, Sequence
from typing import Any

import wandb

from adaptive_bench.loggers.base import Logger, Row


class WandbMirror(Logger):
    """One W&B run a run of ours, with the digest as its id, grouped by cell (everything but the seed), always finished.

    Offline unless told otherwise. A resumed run is logged from its first step again under the same id: the last file
    holds all of it, and a server drops the steps it has.
    """

    def __init__(
        self,
        *,
        run: str,
        cell: str,
        name: str,
        settings: Mapping[str, Any],
        folder: str,
        project: str,
        entity: str | None,
        mode: str,
    ) -> None:
        if mode not in ("offline", "online", "disabled"):
            raise ValueError(f"mode={mode}: offline, online or disabled is expected")
        self.arguments: dict[str, Any] = {
            "id": run, "group": cell, "name": name, "config": dict(settings), "dir": folder,
            "project": project, "entity": entity, "mode": mode, "resume": "allow" if mode == "online" else None,
        }  # fmt: skip

        self.run: wandb.Run | None = None

    def start(self, steps: Sequence[Row], evaluations: Sequence[Row]) -> None:
        # create_new: a process may hold several runs, and W&B would go on writing into the first one
        self.run = wandb.init(**self.arguments, reinit="create_new", settings=wandb.Settings(silent=True, console="off"))
        waiting = list(evaluations)
        for row in steps:
            while waiting and waiting[0]["step"] < row["step"]:
                self.evaluation(waiting.pop(0))
            self.step(row)
        for row in waiting:
            self.evaluation(row)

    def step(self, row: Row) -> None:
        self._log(row, step=row["step"])

    def evaluation(self, row: Row) -> None:
        self._log({f"{row['split']}/{name}": value for name, value in row.items() if name != "split"}, step=row["step"])

    def _log(self, row: Row, *, step: int) -> None:
        assert self.run is not None, "started before it is told anything"
        self.run.log(row, step=step)

    def finish(self, summary: Mapping[str, Any]) -> None:
        if self.run is None:  # the run failed before it began
            return
        self.run.summary.update(dict(summary))
        self.run.finish(exit_code=0 if summary["status"] in ("done", "diverged") else 1)
