"""A sweep: check all runs before the first one starts, show one bar, and list every failure at the end."""

import tempfile
import threading
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any, ClassVar

from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from rich.progress import Progress, TaskID

from adaptive_bench.execution import interruption, ranks
from adaptive_bench.experiment.build import RunSpec, build
from adaptive_bench.experiment.plans import Overrides, runs, titles
from adaptive_bench.experiment.run import message
from adaptive_bench.experiment.status import counted
from adaptive_bench.loggers.progress import bars
from adaptive_bench.schema import GOING_ON, check_form

REFRESH = 0.5  # seconds between two looks at the runs' folders


class Sweep(Callback):
    """Hydra's callback for sweeps. Hydra turns exceptions of callbacks into warnings, so a SystemExit stops it."""

    watch: ClassVar["Watch | None"] = None  # on the class, because the instance is copied to every worker

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        try:
            ranks.refuse_several("a sweep")
            if not config.hydra.sweeper._target_.endswith(".BasicSweeper"):
                return  # a search chooses its runs one after the other; each is checked when it starts
            plans = check(config)
        except (ValueError, HydraException, OmegaConfBaseException) as error:
            raise SystemExit(message(error)) from error
        Sweep.watch = Watch(plans, show=config.progress)
        if not Sweep.watch.waiting:
            raise SystemExit(0)  # do not start workers that would have nothing to do

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        found = Path(config.hydra.sweep.dir) / "optimization_results.yaml"  # what Optuna's sweeper leaves
        if found.exists():
            print(f"the search ended ({found}):\n{found.read_text().strip()}")

    @classmethod
    def close(cls) -> int:
        """End the watch, if there was a sweep; returns the number of runs without a result."""
        watch, cls.watch = cls.watch, None
        return watch.close() if watch else 0


def check(config: DictConfig) -> dict[Overrides, RunSpec]:
    """The specifications of all runs of a sweep. One run of each unfinished cell is built as a test. Raises ValueError."""
    plans, tried = dict[Overrides, RunSpec](), set[str]()
    for words, cfg, planned in runs(config):
        plans[words] = planned
        if planned.identity.cell not in tried and not planned.folder.finished:
            # on the CPU: this process does not train, so it must not occupy the memory of a device
            build(cfg, replace(planned, machine=replace(planned.machine, device="cpu")))
            tried.add(planned.identity.cell)
    check_writable(planned.results)
    check_form(planned.results)
    return plans


def check_writable(results: Path) -> None:
    try:
        results.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=results):
            pass
    except OSError as error:
        raise ValueError(f"results folder {results} cannot be written ({error}); choose another with results=DIR") from error


class Watch:
    """Watches the folders of a sweep's runs, wherever they are trained: one bar for the sweep, one for each running run."""

    def __init__(self, plans: dict[Overrides, RunSpec], *, show: bool) -> None:
        self.planned = plans  # by their overrides
        self.plans = {planned.identity.run: planned for planned in plans.values()}
        self.titles = titles([*plans.values()])
        self.waiting = [planned for planned in self.plans.values() if not planned.folder.finished]
        self.total = len(self.waiting)
        self.bars: Progress = bars(show=show)
        self.tasks: dict[str, TaskID] = {}
        before = len(self.plans) - self.total
        self._print(
            f"{len(self.plans)} runs"
            + (f", {before} of them finished before" if before else "")
            + ("" if self.total else ": nothing to train")
        )
        self.overall = self.bars.add_task("sweep", total=self.total, unit="runs", note="")
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look_until_over, daemon=True)
        if self.total:
            self.bars.start()
            self._thread.start()
        self._received = 0
        self._signals = ExitStack()
        self._signals.enter_context(interruption.handled_by(self._end))

    def _end(self, number: int, frame: FrameType | None) -> None:
        """The handler of a signal: the launcher ends its runs with checkpoints, then this process ends. A second one: at once."""
        self._received += 1
        if self._received > 1:
            raise KeyboardInterrupt
        raise interruption.Interrupted.by(number)

    def _look_until_over(self) -> None:
        while not self._over.wait(REFRESH):
            self.look()

    def look(self) -> None:
        for planned in [*self.waiting]:
            if planned.folder.finished:
                self._finished(planned)
            elif (state := planned.folder.noted())["status"] == "running" and "samples" in state:
                self._under_way(planned, state)
        self.bars.update(self.overall, completed=self.total - len(self.waiting))

    def _under_way(self, planned: RunSpec, state: dict[str, Any]) -> None:
        run = planned.identity.run
        if run not in self.tasks:
            self.tasks[run] = self.bars.add_task(self.titles[run], total=state["budget"], unit="samples", note="")
        self.bars.update(self.tasks[run], completed=state["samples"])

    def _finished(self, planned: RunSpec) -> None:
        self.waiting.remove(planned)
        if (task := self.tasks.pop(planned.identity.run, None)) is not None:
            self.bars.remove_task(task)
        record = planned.folder.record()
        outcome = f"test {record['metric']} {record['final']:.2f}" if record["status"] == "done" else record["reason"]
        self._print(f"{record['status']}: {self.titles[planned.identity.run]}, {outcome}")

    def close(self) -> int:
        """Stop watching; print how the runs ended and list those without a result.

        Returns the number of runs without a result, except those that another process is still training.
        """
        self._signals.close()
        self._over.set()
        if self.total:
            self._thread.join()
            self.look()
            self.bars.stop()
        states = {run: planned.folder.state() for run, planned in self.plans.items()}
        self._print(counted(states))
        if like_fixed := self._like_fixed():
            self._print(f"never another size or learning rate than fixed: {', '.join(like_fixed)}")
        lost = 0
        for planned in self.waiting:
            state = states[planned.identity.run]
            self._print(f"{state['status']}: {self.titles[planned.identity.run]} ({planned.folder.path}): {state['reason']}")
            lost += state["status"] not in GOING_ON
        return lost

    def _like_fixed(self) -> list[str]:
        """The titles of the finished runs that took the same sizes and learning rates as a fixed one, on the same workload."""
        fixed = set[tuple[str, ...]]()
        others = []
        for planned in self.plans.values():
            if not planned.folder.finished:
                continue
            key = (planned.choices["dataset"], planned.choices["model"], str(planned.seed), planned.folder.trajectory())
            if planned.choices["scheduler"] == planned.choices["block_scheduler"] == "fixed":
                fixed.add(key)
            else:
                others.append((key, self.titles[planned.identity.run]))
        return [title for key, title in others if key in fixed]

    def _print(self, line: str) -> None:
        self.bars.console.print(line, highlight=False, markup=False, soft_wrap=True)
