"""The loop. It knows no scheduler, model or data set by name, and it is handed finished objects."""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from adaptive_bench.checkpoint import load, pack, random_state, restore_random_state, save, unpack
from adaptive_bench.clock import Clock
from adaptive_bench.datasets.base import Task
from adaptive_bench.estimators.base import GradientEstimator
from adaptive_bench.loggers.base import Logger, Row
from adaptive_bench.schedulers.base import Observation, Stat
from adaptive_bench.size import BatchShape, Progress
from adaptive_bench.slot import Slot


class Diverged(RuntimeError):
    """The loss is no finite number any more: an outcome, not a fault."""


@dataclass(kw_only=True)
class Trainer:
    """Trains `model` on `task` for exactly `budget` samples. All intervals are in samples."""

    model: nn.Module
    task: Task
    optimizer: torch.optim.Optimizer
    batch: Slot
    block: Slot
    estimator: GradientEstimator
    lr: float
    lr_rule: Callable[[float], float]
    lr_schedule: Callable[[Progress], float]
    budget: int
    evaluate_every: int
    checkpoint_every: int
    device: torch.device
    checkpoint: Path | None = None
    max_grad_norm: float | None = None
    conditions: str = ""  # under which seconds are measured
    loggers: Sequence[Logger] = ()
    samples: int = field(default=0, init=False)
    steps: list[Row] = field(default_factory=list, init=False)
    evaluations: list[Row] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self.clock = Clock(self.device)
        self.timed_under = [self.conditions]
        self.needs = self.batch.scheduler.needs | self.block.scheduler.needs
        self.estimator.check(self.model, self.needs)

    @property
    def progress(self) -> Progress:
        return Progress(self.samples, self.budget, self.task.train.epoch_samples)

    def run(self) -> None:
        """Train from the checkpoint, if there is one, to the end of the budget. Raises Diverged."""
        self.resume()
        self.warm_up()
        for logger in self.loggers:
            logger.start(self.steps, self.evaluations)
        if not self.evaluations:
            self.evaluate("validation")
        while self.samples < self.budget:
            before = self.samples
            self.step()
            if self.samples == self.budget:
                self.evaluate("test")
            if self._crossed(self.checkpoint_every, before):
                self.save()

    def warm_up(self) -> None:
        """Throw away a step on a copy of the model, timed apart, and leave no trace of it in the run.

        The first step of a process pays for loading kernels; a table would charge that to whichever arm came first.
        """
        with self.clock.running("warmup"), torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
            stream, estimator = self.task.train.state_dict(), self.estimator.state_dict()
            shape = BatchShape(self.batch.peek(self.progress), self.block.peek(self.progress)).within(self.budget)
            batch, model = self.task.train.take(shape), copy.deepcopy(self.model)
            for needs in (frozenset[Stat](), self.needs):
                self.estimator.backward(self.task.loss, model, batch, needs)
            self.task.train.load_state_dict(stream)
            self.estimator.load_state_dict(estimator)

    def step(self) -> None:
        """One update of the weights, and what it shows the schedulers."""
        progress, slots = self.progress, (self.batch, self.block)
        with self.clock.running("measure"):
            (batch, wish), (block, _) = (slot.advance(progress) for slot in slots)
            needs = [slot.needs(progress) for slot in slots]
        with self.clock.running("train"):
            shape = BatchShape(batch, block).within(self.budget - self.samples)
            seen = self.estimator.backward(self.task.loss, self.model, self.task.train.take(shape), frozenset().union(*needs))
            if not math.isfinite(seen.loss):
                raise Diverged(f"the loss became {seen.loss} at step {len(self.steps) + 1}, sample {self.samples}")
            lr = self._set_lr(progress)
            if self.max_grad_norm is not None:
                nn.utils.clip_grad_norm_(self.model.parameters(), self.max_grad_norm)
            self.optimizer.step()
        self.clock.move(seen.seconds, source="train", to="measure")
        self.samples += shape.samples
        due = self._crossed(self.evaluate_every, progress.samples) or self.samples == self.budget
        row = {"lr": lr, "loss": seen.loss, "batch_size": shape.batch, "batch_size_wished": float(wish)}
        row |= {"physical_batch": seen.physical_batch, "block_size": shape.block}
        row |= {str(stat): seen.stats.get(stat, math.nan) for stat in sorted(self.needs)}
        self._record("step", self.steps, row)
        evaluation = self.evaluate("validation") if due else None
        with self.clock.running("measure"):
            for slot, wanted in zip(slots, needs, strict=True):
                stats = {stat: seen.stats[stat] for stat in wanted}
                after = Observation(
                    progress=self.progress, shape=shape, lr=lr, loss=seen.loss, stats=stats, evaluation=evaluation
                )
                slot.scheduler.observe(after)
            if self._crossed(progress.epoch_samples, progress.samples):
                self.estimator.start_epoch()

    def evaluate(self, split: str) -> float:
        """The task's metric on a whole split."""
        with self.clock.running("evaluate"):
            result = self.task.evaluate(self.model, split)
        self._record("evaluation", self.evaluations, {"split": split, "value": result.value, "loss": result.loss})
        if not math.isfinite(result.loss):
            raise Diverged(f"the {split} loss became {result.loss} at step {len(self.steps)}, sample {self.samples}")
        return result.value

    def _set_lr(self, progress: Progress) -> float:
        lr = self.lr * self.lr_rule(self.batch.growth * self.block.growth) * self.lr_schedule(progress)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        return lr

    def _crossed(self, interval: int, before: int) -> bool:
        return self.samples // interval > before // interval

    def _record(self, kind: str, rows: list[Row], row: Row) -> None:
        position = {"step": len(self.steps) + (kind == "step"), "samples": self.samples, "epoch": self.progress.epoch}
        seconds = {f"seconds_{name}": self.clock.seconds[name] for name in ("train", "measure", "evaluate")}
        with self.clock.running("store"):
            rows.append(position | seconds | row)
            for logger in self.loggers:
                getattr(logger, kind)(rows[-1])

    def save(self) -> None:
        """Write the checkpoint: everything that the rest of the run depends on, and the rows so far."""
        if self.checkpoint is None:
            return
        with self.clock.running("store"):
            state = {name: part.state_dict() for name, part in self._stateful().items()}
            state |= {"samples": self.samples, "steps": pack(self.steps), "evaluations": self.evaluations}
            state |= {"timed_under": self.timed_under}
            save(state | {"random": random_state()}, self.checkpoint)

    def resume(self) -> None:
        """Go back to the checkpoint, if there is one."""
        state = load(self.checkpoint, device=self.device) if self.checkpoint else None
        if state is None:
            return
        for name, part in self._stateful().items():
            part.load_state_dict(state[name])
        self.samples, self.steps, self.evaluations = state["samples"], unpack(state["steps"]), state["evaluations"]
        self.timed_under = list(dict.fromkeys([*state["timed_under"], self.conditions]))
        restore_random_state(state["random"])

    def _stateful(self) -> dict[str, Any]:
        return {
            "model": self.model, "optimizer": self.optimizer, "batch": self.batch, "block": self.block,
            "estimator": self.estimator, "stream": self.task.train, "clock": self.clock,
        }  # fmt: skip
