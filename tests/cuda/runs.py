"""Small runs on a device, and how often a step of theirs waits for it."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from adaptive_bench.experiment.assemble import experiment
from adaptive_bench.training.trainer import Trainer
from tests.conftest import broken_after, composed
from tests.cuda.pretend import OnDevice, Pretended

TEXT = ("dataset=markov_text", "dataset.train_size=2500", "scheduler.initial=8", "batch_size.maximum=60", "epochs=1")


def trainer(device: str, into: Path, *words: str) -> Trainer:
    return experiment(composed(f"results={into}", f"device={device}", *words))


def weights(trained: Trainer) -> dict[str, Tensor]:
    """On the CPU, wherever they were trained."""
    found = trained.model.state_dict().items()
    return {name: (value.held if isinstance(value, OnDevice) else value).clone() for name, value in found}


def waits_a_step(device: Pretended, into: Path, *words: str, steps: int = 4) -> dict[str, float]:
    """By the place in the package, after two steps in which things are made that stay."""
    running = trainer("cuda", into, *words)
    for _ in range(2):
        running.step()
    device.waits.clear()
    for _ in range(steps):
        running.step()
    return {place: count / steps for place, count in sorted(device.waits.items())}


def resumes_the_same(into: Path, *words: str) -> None:
    """A run that breaks off half-way and goes on ends on the weights of a whole one, bit for bit."""
    words = (*words, "checkpoint_every=0.2", "evaluate_every=1")
    whole = trainer("cuda", into / "whole", *words)
    whole.run()
    with broken_after(len(whole.steps) // 2), pytest.raises(RuntimeError, match="broken"):
        trainer("cuda", into / "broken", *words).run()
    torch.manual_seed(12345)  # another process has drawn nothing yet
    again = trainer("cuda", into / "broken", *words)
    again.run()
    resumed = weights(again)
    for name, value in weights(whole).items():
        assert torch.equal(resumed[name], value), name
