"""One update of the weights: learning rate, clipping, momentum, and the optimiser's step."""

from dataclasses import dataclass

import torch
from torch import nn

from adaptive_bench.execution.memory import ran_out
from adaptive_bench.learning_rate.rules import LrRule
from adaptive_bench.learning_rate.schedules import LrSchedule
from adaptive_bench.sizes import Position
from adaptive_bench.stats import Observation, Stat


@dataclass(kw_only=True)
class Update:
    """lr = base * rule(size ratio) * schedule(position).

    With `momentum_half_life`, in samples, the momentum of a step of b samples is 2^(-b / half-life): a gradient's weight then
    halves after so many samples whatever the batch size, where a constant momentum forgets per step. It sets SGD's momentum or
    Adam's first beta.
    """

    optimizer: torch.optim.Optimizer
    lr: float
    rule: LrRule
    schedule: LrSchedule
    max_grad_norm: float | None = None
    momentum_half_life: float | None = None

    def __post_init__(self) -> None:
        groups = self.optimizer.param_groups
        if self.momentum_half_life is not None and not all("momentum" in group or "betas" in group for group in groups):
            raise ValueError(
                f"momentum_half_life={self.momentum_half_life}: {type(self.optimizer).__name__} has no momentum and no betas; "
                "leave it null or take optimizer=sgd"
            )

    def needs(self, position: Position, samples: int) -> frozenset[Stat]:
        """The statistics that the LR rule needs from the step of so many samples that starts at `position`."""
        return self.rule.needs if self.rule.measures(position, samples) else frozenset()

    def observe(self, seen: Observation) -> None:
        self.rule.observe(seen)
        self.schedule.observe(seen)

    def step(self, model: nn.Module, position: Position, *, ratio: float, samples: int, skip: bool = False) -> float:
        """Update the weights by the gradients in `.grad`, of a step of so many samples (`skip`: do not); returns the rate."""
        lr = self.lr * self.rule.factor(ratio) * self.schedule(position)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
            if self.momentum_half_life is not None:
                _set_momentum(group, 0.5 ** (samples / self.momentum_half_life))
        if skip:
            return lr
        if self.max_grad_norm is not None:
            nn.utils.clip_grad_norm_(model.parameters(), self.max_grad_norm)
        try:
            self.optimizer.step()
        except (RuntimeError, MemoryError) as error:
            if ran_out(error):  # its state is as large as the weights, once or twice, and smaller batches do not change that
                raise ValueError(
                    "the weights, their gradient and the optimiser's state do not fit into the device's memory: take a smaller "
                    "model, or optimizer=sgd, whose state is smaller than Adam's"
                ) from error
            raise
        return lr


def _set_momentum(group: dict[str, object], momentum: float) -> None:
    if "momentum" in group:
        group["momentum"] = momentum
    else:
        group["betas"] = (momentum, *group["betas"][1:])  # type: ignore[index]
