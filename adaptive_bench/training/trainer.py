"""The loop. It knows no scheduler, model or data set by name, and it is handed finished objects."""

import math
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from adaptive_bench.datasets.base import Evaluation, Task
from adaptive_bench.estimators.base import GradientEstimator, Measurement
from adaptive_bench.execution.clock import Clock
from adaptive_bench.execution.physical_batch import PhysicalBatch
from adaptive_bench.execution.precision import Precision
from adaptive_bench.execution.ranks import Ranks
from adaptive_bench.execution.snapshot import random_state, restore_random_state
from adaptive_bench.loggers.base import Logger, Row
from adaptive_bench.sizes import BatchShape, Position
from adaptive_bench.stats import Observation, Stat
from adaptive_bench.streams.base import Batch
from adaptive_bench.training import probes
from adaptive_bench.training.checkpoint import load, pack, save, unpack
from adaptive_bench.training.size_controller import SizeController
from adaptive_bench.training.update import Update

SURVEYED = frozenset({Stat.DIVERSITY_BOUND})  # measured by a pass over the data, not on the backward pass of a step


class Diverged(RuntimeError):
    """The loss is no finite number any more: an outcome, not a fault."""


@dataclass(kw_only=True)
class Trainer:
    """Trains `model` on `task` for exactly `budget` samples. All intervals are in samples."""

    model: nn.Module
    task: Task
    descent: Update
    batch: SizeController
    block: SizeController
    estimator: GradientEstimator
    precision: Precision
    chunks: PhysicalBatch
    ranks: Ranks = field(default_factory=Ranks)
    budget: int
    evaluate_every: int
    checkpoint_every: int
    device: torch.device
    checkpoint: Path | None = None
    order_samples: Callable[[nn.Module, Task], float] | None = (
        None  # puts the samples in order; returns what that cost in seconds
    )
    conditions: str = ""  # under which seconds are measured
    fixed_tokens: bool = (
        False  # whether rows become fewer as the block grows, so that a step keeps its samples, to the nearest row
    )
    loggers: Sequence[Logger] = ()
    samples: int = field(default=0, init=False)
    steps: list[Row] = field(default_factory=list, init=False)
    evaluations: list[Row] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self.clock = Clock(self.device)
        self.timed_under = [self.conditions]
        self.slots = {"batch": self.batch, "block": self.block}
        self.listeners: tuple[SizeController | Update, ...] = (self.batch, self.block, self.descent)
        self.needs = self.batch.scheduler.needs | self.block.scheduler.needs | self.descent.rule.needs
        self.estimator.check(self.model, self.needs - SURVEYED, multiple_of=self.batch.sizes.multiple_of, ranks=self.ranks.count)

    @property
    def position(self) -> Position:
        return Position(self.samples, self.budget, self.task.train.epoch_samples)

    def run(self) -> None:
        """Train from the checkpoint, if there is one, to the end of the budget. Raises Diverged."""
        if self.order_samples is not None:  # by the model as it starts; a checkpoint's clocks hold these seconds already
            self.clock.seconds["measure"] += self.order_samples(self.model, self.task)
        self.resume()
        with self.clock.running("warmup"):
            first = self._shape(*(slot.peek(self.position) for slot in self.slots.values())).within(self.budget)
            probes.warm_up(self.model, self.task, self.estimator, self._backward, shape=first, needs=self.needs - SURVEYED)
        for logger in self.loggers:
            logger.start(self.steps, self.evaluations)
        if not self.evaluations:
            self.evaluate("validation")
        while self.samples < self.budget:
            before = self.samples
            self.step()
            if self.samples == self.budget:
                if not self._crossed(self.evaluate_every, before):
                    self.evaluate("validation")
                self.evaluate("test")
            if self._crossed(self.checkpoint_every, before):
                self.save()

    def step(self) -> None:
        """One update of the weights, and what it shows the schedulers."""
        position, trained = self.position, self.clock.seconds["train"]
        with self.clock.running("measure"):
            (batch, wish), (block, _) = (slot.advance(position) for slot in self.slots.values())
            reasons = {f"{name}_{key}": why for name, slot in self.slots.items() for key, why in slot.signals(position).items()}
        with self.clock.running("train"):
            granted = self._shape(batch, block)
            rows = self.task.train.take(granted.within(self.budget - self.samples))
            shape = rows.shape  # a text may have had less left
            needs = [part.needs(position, shape.samples) for part in self.listeners]
            asked = frozenset[Stat]().union(*needs)
            seen = self._backward(rows, asked - SURVEYED)
            if not math.isfinite(seen.loss):
                raise Diverged(f"the loss became {seen.loss} at step {len(self.steps) + 1}, sample {self.samples}")
            skipped = self.precision.overflowed(self.model.parameters())
            ratio = self.batch.growth * self.block.growth * granted.batch / batch  # of samples a step
            lr = self.descent.step(self.model, position, ratio=ratio, samples=shape.samples, skip=skipped)
        took = self.clock.seconds["train"] - trained
        self.samples += shape.samples
        loss = self.task.sample_loss(seen.loss, shape)
        # every rank's schedulers must see the same: seconds differ, and the last digits of what a device has summed up may
        stats, took = self.ranks.from_first(({**seen.stats, **self._survey(asked, granted)}, took))
        row = {"lr": lr, "loss": loss, "batch_size": shape.batch, "batch_size_wished": float(wish)}
        row |= {"physical_batch": seen.physical_batch, "block_size": shape.block, "batch_size_granted": granted.batch}
        row |= {
            "block_size_granted": block,
            "state_reset": rows.place is not None and rows.place.resets_state,
            "skipped": skipped,
        }
        row |= {str(stat): stats.get(stat, math.nan) for stat in sorted(self.needs)} | reasons
        self._record("step", self.steps, row)
        whole = shape == granted
        self._tell(Observation(position=position, shape=shape, lr=lr, loss=loss, stats=stats, seconds=took, uncut=whole), needs)

    def _backward(self, rows: Batch, needs: AbstractSet[Stat]) -> Measurement:
        """The gradients of a batch, and what is measured on them."""
        loss, scale = self.precision.applied_to(self.task.loss), self.precision.loss_scale
        return self.estimator.backward(
            loss, self.model, rows, needs, loss_scale=scale, chunks=self.chunks, ranks=self.ranks, clock=self.clock
        )

    def _tell(self, seen: Observation, needs: Sequence[frozenset[Stat]]) -> None:
        """Evaluate if it is time to, and show the listeners the step that started at `seen.position`."""
        before, seen = seen.position, replace(seen, position=self.position)
        if self._crossed(self.evaluate_every, before.samples):
            result = self.evaluate("validation")
            value = result.value if self.task.maximise else -result.value
            seen = replace(seen, evaluation=value, validation_loss=result.loss)
        with self.clock.running("measure"):
            for part, wanted in zip(self.listeners, needs, strict=True):
                part.observe(replace(seen, stats={stat: seen.stats[stat] for stat in wanted & seen.stats.keys()}))
            if self._crossed(before.epoch_samples, before.samples):
                self.estimator.start_epoch()

    def _shape(self, batch: int, block: int) -> BatchShape:
        """The shape of a step whose slots were granted these sizes."""
        return BatchShape(max(1, math.floor(batch / self.block.growth + 0.5)) if self.fixed_tokens else batch, block)

    def _survey(self, asked: frozenset[Stat], shape: BatchShape) -> dict[Stat, float]:
        """The statistics that take a pass over the data, at the weights as they now are."""
        if Stat.DIVERSITY_BOUND not in asked:
            return {}
        with self.clock.running("measure"):
            bound = probes.diversity_bound(self.model, self.task, self.estimator, self._backward, shape=shape)
        return {Stat.DIVERSITY_BOUND: bound}

    def evaluate(self, split: str) -> Evaluation:
        """The task's metric on a whole split."""
        with self.clock.running("evaluate"), self.precision.autocast():
            self.ranks.broadcast(self.model)
            result = self.ranks.from_first(self.task.evaluate(self.model, split))
        self._record("evaluation", self.evaluations, {"split": split, "value": result.value, "loss": result.loss})
        if not math.isfinite(result.loss):
            raise Diverged(f"the {split} loss became {result.loss} at step {len(self.steps)}, sample {self.samples}")
        return result

    def _crossed(self, interval: int, before: int) -> bool:
        return self.samples // interval > before // interval

    def _record(self, kind: str, rows: list[Row], row: Row) -> None:
        clocks = {"step": len(self.steps) + (kind == "step"), "samples": self.samples, "epoch": self.position.epoch}
        seconds = {f"seconds_{name}": self.clock.seconds[name] for name in ("train", "measure", "evaluate")}
        with self.clock.running("store"):
            rows.append(clocks | seconds | row)
            for logger in self.loggers:
                getattr(logger, kind)(rows[-1])

    def save(self) -> None:
        """Write the checkpoint: everything that the rest of the run depends on, and the rows so far."""
        if self.checkpoint is None:
            return
        with self.clock.running("store"):
            self.ranks.broadcast(self.model)
            state = {name: part.state_dict() for name, part in self._stateful().items()}
            state |= {"samples": self.samples, "steps": pack(self.steps), "evaluations": self.evaluations}
            state |= {"timed_under": self.timed_under}
            state |= {"ranks": self.ranks.gather({"random": random_state(), "chunks": self.chunks.state_dict()})}
            if self.ranks.is_first:
                save(state, self.checkpoint)

    def resume(self) -> None:
        """Go back to the checkpoint, if there is one. Raises ValueError if this rank does not find the first one's."""
        state = load(self.checkpoint, device=self.device) if self.checkpoint else None
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
        self.chunks.load_state_dict(own["chunks"])
        restore_random_state(own["random"])

    def _stateful(self) -> dict[str, Any]:
        return {
            "model": self.model, "optimizer": self.descent.optimizer, "lr_rule": self.descent.rule,
            "lr_schedule": self.descent.schedule, **self.slots, "estimator": self.estimator, "precision": self.precision,
            "task": self.task, "stream": self.task.train, "clock": self.clock,
        }  # fmt: skip
