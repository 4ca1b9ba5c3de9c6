"""The training loop. It gets finished objects and knows no scheduler, model or data set by name."""

import math
import time
from bisect import bisect
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from adaptive_bench.datasets.base import Evaluation, Task
from adaptive_bench.estimators.base import GradientEstimator
from adaptive_bench.estimators.request import BackwardResult
from adaptive_bench.execution import interruption
from adaptive_bench.execution.clock import Clock
from adaptive_bench.execution.physical_batch import PhysicalBatch
from adaptive_bench.execution.precision import Precision
from adaptive_bench.execution.ranks import Ranks
from adaptive_bench.execution.snapshot import random_state, restore_random_state
from adaptive_bench.loggers.base import Logger, Row
from adaptive_bench.schema import TRACE
from adaptive_bench.sizes import BatchShape, Position
from adaptive_bench.stats import Observation, Stat
from adaptive_bench.streams.base import Batch
from adaptive_bench.training import probes
from adaptive_bench.training.checkpoint import newest, pack, save, unpack
from adaptive_bench.training.size_controller import SizeController
from adaptive_bench.training.update import Update

MOST_SAVING = 0.03  # the share of a run's time that checkpoints may take
PROBES = frozenset({Stat.DIVERSITY_BOUND})  # measured by a pass over the data set, not by the backward pass of a step


class Diverged(RuntimeError):
    """The loss is not finite any more: a result of the run, not an error of the program."""


@dataclass(kw_only=True)
class Trainer:
    """Trains `model` on `task` for exactly `budget` samples."""

    model: nn.Module
    task: Task
    update: Update
    batch_size: SizeController
    block_size: SizeController
    estimator: GradientEstimator
    precision: Precision
    physical_batch: PhysicalBatch
    ranks: Ranks = field(default_factory=Ranks)
    budget: int
    evaluate_at: Sequence[int]  # points in samples, ascending; 0 and the budget go without saying
    checkpoint_every: int  # samples
    checkpoint_seconds: float = math.inf  # after which one is due all the same
    device: torch.device
    checkpoint: Path | None = None
    order_samples: Callable[[nn.Module, Task], float] | None = None  # orders the training samples; returns the seconds it took
    conditions: str = ""  # under which seconds are measured
    fixed_tokens: bool = False  # keep the tokens of a step constant, to the nearest row: fewer rows as the block grows
    loggers: Sequence[Logger] = ()
    samples: int = field(default=0, init=False)
    steps: list[Row] = field(default_factory=list, init=False)
    evaluations: list[Row] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self.clock = Clock(self.device)
        self.timed_under = [self.conditions]
        self.saved, self.saving = time.monotonic(), 0.0  # when the last checkpoint was written, and the seconds that took
        self.sizes = {"batch": self.batch_size, "block": self.block_size}  # by the prefix of their columns in the trace
        self.observers: tuple[SizeController | Update, ...] = (self.batch_size, self.block_size, self.update)
        self.needs = self.batch_size.scheduler.needs | self.block_size.scheduler.needs | self.update.rule.needs
        multiple_of = self.batch_size.sizes.multiple_of
        self.estimator.check(self.model, self.needs - PROBES, multiple_of=multiple_of, ranks=self.ranks.count)
        self._loss = self.precision.applied_to(self.task.loss)

    @property
    def position(self) -> Position:
        return Position(self.samples, self.budget, self.task.train.epoch_samples)

    def run(self) -> None:
        """Train from the checkpoint, if any, to the end of the budget. Raises Diverged, and Interrupted after a signal."""
        if self.order_samples is not None:  # by the untrained model; the clock of a checkpoint includes these seconds
            self.clock.seconds["measure"] += self.order_samples(self.model, self.task)
        self.resume()
        with self.clock.running("warmup"):
            first = self._shape(*(controller.peek(self.position) for controller in self.sizes.values())).within(self.budget)
            probes.warm_up(self.model, self.task, self.estimator, self.backward, shape=first, needs=self.needs - PROBES)
        with self.clock.running("store"):  # whatever is not charged to another clock is bookkeeping
            for logger in self.loggers:
                logger.start(self.steps, self.evaluations)
            if not self.evaluations:
                self.evaluate("validation")
            while self.samples < self.budget:
                before = self.samples
                self.step()
                signal, due = self.ranks.from_first((interruption.received(), self._checkpoint_is_due(before)))
                if self.samples == self.budget:
                    if not self._evaluation_is_due(before):
                        self.evaluate("validation")
                    self.evaluate("test")
                if due or signal:
                    self.save()
                if signal and self.samples < self.budget:
                    raise interruption.Interrupted.by(signal)

    def step(self) -> None:
        """Take one optimiser step, record it, and let every observer see it."""
        start, trained = self.position, self.clock.seconds["train"]
        with self.clock.running("measure"):
            granted, decided = self._decide(start)
        with self.clock.running("train"):
            batch = self.task.train.take(granted, left=self.budget - self.samples)
            shape = batch.shape  # at the end of an epoch of text less than granted may be left
            asked = [observer.needs(start, shape.samples) for observer in self.observers]
            needs = frozenset[Stat]().union(*asked)
            found = self.backward(batch, needs - PROBES)
            if not math.isfinite(found.loss):
                raise Diverged(f"the loss became {found.loss} at step {len(self.steps) + 1}, sample {self.samples}")
            skipped = self.precision.overflowed(self.model.parameters())
            lr = self.update.step(self.model, start, ratio=self._ratio(granted), samples=shape.samples, skip=skipped)
        self.samples += shape.samples
        # all schedulers must see the first rank's numbers: seconds and the last digits of sums differ between ranks
        stats, took = self.ranks.from_first(
            ({**found.stats, **self._probe(needs, granted)}, self.clock.seconds["train"] - trained)
        )
        loss = self.task.sample_loss(found.loss, shape)
        seen = Observation(position=self.position, shape=shape, lr=lr, loss=loss, stats=stats, uncut=not batch.cut, seconds=took)
        row = self._row(seen, found, batch) | decided | {"skipped": skipped}
        self._record("step", self.steps, {name: row[name] for name in TRACE if name in row} | row)
        self._report(replace(seen, **self._evaluate_if_due(start)), asked)

    def backward(self, batch: Batch, needs: AbstractSet[Stat]) -> BackwardResult:
        """Leave the gradient of the batch in the `.grad`s; the statistics that are needed of it."""
        found = self.estimator.backward(
            self._loss, self.model, batch, needs, chunks=self.physical_batch, loss_scale=self.precision.loss_scale,
            ranks=self.ranks, clock=self.clock,
        )  # fmt: skip
        self.task.share(batch, self.ranks)
        return found

    def _decide(self, position: Position) -> tuple[BatchShape, Row]:
        """The granted shape of the step that starts at `position`, and what the trace says of the decision."""
        (batch, proposed), (block, _) = (controller.advance(position) for controller in self.sizes.values())
        granted = self._shape(batch, block)
        row: Row = {
            "batch_size_wished": float(proposed),
            "batch_size_granted": granted.batch,
            "block_size_granted": granted.block,
        }
        for prefix, controller in self.sizes.items():
            row |= {f"{prefix}_{name}": value for name, value in controller.signals(position).items()}
        return granted, row

    def _row(self, seen: Observation, found: BackwardResult, batch: Batch) -> Row:
        """What the trace says of a finished step; nan for the statistics that were not measured."""
        return {
            "lr": seen.lr,
            "loss": seen.loss,
            "batch_size": seen.shape.batch,
            "block_size": seen.shape.block,
            "physical_batch": found.physical_batch,
            "padded_samples": seen.shape.padded,
            "cut": batch.cut,
            "state_reset": batch.place is not None and batch.place.resets_state,
            **{str(stat): seen.stats.get(stat, math.nan) for stat in sorted(self.needs)},
        }

    def _shape(self, batch: int, block: int) -> BatchShape:
        """The shape of a step whose size controllers granted these sizes."""
        return BatchShape(max(1, math.floor(batch / self.block_size.growth + 0.5)) if self.fixed_tokens else batch, block)

    def _ratio(self, granted: BatchShape) -> float:
        """Samples of a granted step over those of the first one."""
        size = self.batch_size.size or granted.batch  # with fixed_tokens, rows differ from it
        return self.batch_size.growth * self.block_size.growth * granted.batch / size

    def _probe(self, needs: AbstractSet[Stat], shape: BatchShape) -> dict[Stat, float]:
        """The statistics that take a pass over the data set, at the updated weights."""
        if Stat.DIVERSITY_BOUND not in needs:
            return {}
        with self.clock.running("measure"):
            bound = probes.diversity_bound(self.model, self.task, self.estimator, self.backward, shape=shape)
        return {Stat.DIVERSITY_BOUND: bound}

    def _evaluate_if_due(self, before: Position) -> dict[str, Any]:
        """What an observation says of an evaluation, if one is due: the metric, negated where less is better, and the loss."""
        if not self._evaluation_is_due(before.samples):
            return {}
        result = self.evaluate("validation")
        return {"evaluation": result.value if self.task.maximise else -result.value, "validation_loss": result.loss}

    def _report(self, seen: Observation, asked: Sequence[frozenset[Stat]]) -> None:
        """Report a finished step to every observer, with the statistics that it asked for and no others."""
        with self.clock.running("measure"):
            for observer, wanted in zip(self.observers, asked, strict=True):
                observer.observe(replace(seen, stats={stat: seen.stats[stat] for stat in wanted & seen.stats.keys()}))
            if seen.crossed(seen.position.epoch_samples):
                self.estimator.start_epoch()

    def evaluate(self, split: str) -> Evaluation:
        """The task's metric on a whole split."""
        with self.clock.running("evaluate"), self.precision.autocast():
            self.ranks.broadcast(self.model)
            result = self.ranks.from_first(self.task.evaluate(self.model, split))
        self.clock.settle()
        self._record("evaluation", self.evaluations, {"split": split, "value": result.value, "loss": result.loss})
        if not math.isfinite(result.loss):
            raise Diverged(f"the {split} loss became {result.loss} at step {len(self.steps)}, sample {self.samples}")
        return result

    def _evaluation_is_due(self, before: int) -> bool:
        """Whether the step that started at `before` samples reached or passed a point."""
        return bisect(self.evaluate_at, self.samples) > bisect(self.evaluate_at, before)

    def _record(self, kind: str, rows: list[Row], row: Row) -> None:
        clocks = {"step": len(self.steps) + (kind == "step"), "samples": self.samples, "epoch": self.position.epoch}
        seconds = {f"seconds_{name}": self.clock.seconds[name] for name in ("train", "measure", "evaluate")}
        with self.clock.running("store"):
            rows.append(clocks | seconds | row)
            for logger in self.loggers:
                getattr(logger, kind)(rows[-1])

    def _checkpoint_is_due(self, before: int) -> bool:
        """After a step that started at `before` samples; never so often that it takes more than its share of the time."""
        since = time.monotonic() - self.saved
        wanted = self.samples // self.checkpoint_every > before // self.checkpoint_every or since > self.checkpoint_seconds
        return wanted and since > self.saving / MOST_SAVING

    def save(self) -> None:
        """Write the checkpoint: everything that the rest of the run depends on, and the rows so far."""
        if self.checkpoint is None:
            return
        started = time.monotonic()
        with self.clock.running("store"):
            self.ranks.broadcast(self.model)
            state = {name: part.state_dict() for name, part in self._stateful().items()}
            state |= {"samples": self.samples, "steps": pack(self.steps), "evaluations": self.evaluations}
            state |= {"timed_under": self.timed_under}
            state |= {
                "ranks": self.ranks.gather(
                    {"random": random_state(self.device), "physical_batch": self.physical_batch.state_dict()}
                )
            }
            if self.ranks.is_first:
                save(state, self.checkpoint, keep_previous=True)
        self.saved = time.monotonic()
        self.saving = self.saved - started

    def resume(self) -> None:
        """Go back to the checkpoint, if there is one. Raises ValueError if this rank does not find the first one's."""
        state = newest(self.checkpoint, device=self.device) if self.checkpoint else None
        found = None if state is None else state["samples"]
        if (expected := self.ranks.from_first(found)) != found:
            raise ValueError(
                f"{self.checkpoint}: rank {self.ranks.rank} finds {found or 'no'} samples trained, the first rank "
                f"{expected or 'none'}; all ranks must see the same results folder"
            )
        if state is None:
            return
        for name, part in self._stateful().items():
            part.load_state_dict(state[name])
        self.samples, self.steps, self.evaluations = state["samples"], unpack(state["steps"]), state["evaluations"]
        self.timed_under = list(dict.fromkeys([*state["timed_under"], self.conditions]))
        own = state["ranks"][self.ranks.rank]
        self.physical_batch.load_state_dict(own["physical_batch"])
        restore_random_state(own["random"], self.device)

    def _stateful(self) -> dict[str, Any]:
        return {
            "model": self.model, "optimizer": self.update.optimizer, "lr_rule": self.update.rule,
            "lr_schedule": self.update.schedule, **self.sizes, "estimator": self.estimator, "precision": self.precision,
            "task": self.task, "stream": self.task.train, "clock": self.clock,
        }  # fmt: skip
