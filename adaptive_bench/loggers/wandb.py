"""A mirror of a run in Weights & Biases."""

import shutil
import subprocess
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import wandb

from adaptive_bench.loggers.base import Logger, Row

PATIENCE = 30  # seconds for a server's answer


def sync(results: Path) -> int:
    """Upload the offline runs of a results folder that are not uploaded yet, by `wandb sync`; its exit code."""
    waiting = [path.parent for path in sorted((results / "wandb").glob("offline-run-*/*.wandb")) if not _synced(path)]
    print(f"{len(waiting)} runs of {results} are to be uploaded", flush=True)
    if not waiting:
        return 0
    return subprocess.run([sys.executable, "-m", "wandb", "sync", "--yes", *map(str, waiting)], check=False).returncode


def _synced(file: Path) -> bool:
    return file.with_name(f"{file.name}.synced").exists()


class WandbMirror(Logger):
    """One W&B run a run of ours, with the digest as its id, grouped by cell (everything but the seed), always finished.

    Offline unless told otherwise, and where no server answers: `adaptive-bench sync` uploads it later. A resumed run is logged
    from its first step again under the same id: its new file takes the place of older ones, and a server drops the steps it has.
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
        for old in (Path(self.arguments["dir"]) / "wandb").glob(f"offline-run-*-{self.arguments['id']}"):
            shutil.rmtree(old, ignore_errors=True)
        try:
            self.run = self._begun(self.arguments["mode"])
        except wandb.Error as error:
            if self.arguments["mode"] != "online":
                raise
            reason = str(error).splitlines()[0]
            warnings.warn(f"W&B: {reason}; the run is kept offline, `adaptive-bench sync` uploads it", stacklevel=2)
            wandb.teardown()  # it holds the id of the run that did not begin
            self.run = self._begun("offline")
        waiting = list(evaluations)
        for row in steps:
            while waiting and waiting[0]["step"] < row["step"]:
                self.evaluation(waiting.pop(0))
            self.step(row)
        for row in waiting:
            self.evaluation(row)

    def _begun(self, mode: str) -> "wandb.Run":
        # create_new: a process may hold several runs, and W&B would go on writing into the first one
        settings = wandb.Settings(silent=True, console="off", init_timeout=PATIENCE)
        return wandb.init(**self.arguments | {"mode": mode}, reinit="create_new", settings=settings)

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
