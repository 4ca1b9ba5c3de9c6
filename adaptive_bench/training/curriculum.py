"""Curriculum learning: the training samples come from easy to hard, whatever the scheduler makes of the batch size."""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from adaptive_bench.datasets.base import Task
from adaptive_bench.datasets.sentences import Sentences
from adaptive_bench.execution.clock import Clock
from adaptive_bench.sizes import BatchShape
from adaptive_bench.streams.base import Batch, Stream
from adaptive_bench.streams.order import epoch_generator
from adaptive_bench.training import checkpoint
from adaptive_bench.validation import Count, Positive, Whole, check_fields


@runtime_checkable
class Scorable(Protocol):
    """What a task offers if its training samples can be scored one by one and put in an order."""

    @property
    def train(self) -> Stream: ...

    def loss(self, model: nn.Module, batch: Batch) -> Tensor: ...

    def sample_losses(self, model: nn.Module) -> Tensor:
        """The loss of each training sample (n,) in the data set's order, without augmentation."""
        ...

    def rank(self, scores: Tensor, *, span: float) -> None:
        """Serve the training samples from a low score to a high one, as `Order.rank` says."""
        ...


@dataclass(frozen=True, slots=True)
class Scores:
    """A difficulty for each training sample, (n,) on the CPU, and the seconds it took to find them all."""

    difficulty: Tensor
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Curriculum:
    """Easy samples first, by the loss of a briefly trained copy of the model; over `span` epochs the order becomes a shuffle.

    Curricula: Bengio et al. (2009, ICML). Scoring by a model of the same architecture, self-taught: Hacohen and Weinshall (2019,
    arXiv 1904.03626). Here the copy learns for `scoring_epochs` epochs of the ordinary order at batch size `batch` by SGD with
    momentum 0.9 and without weight decay, and a sample's difficulty is its loss then. How the order follows from it:
    `Order.rank`.
    """

    span: Positive  # epochs
    scoring_epochs: Whole
    batch: Count  # samples
    lr: Positive

    def __post_init__(self) -> None:
        check_fields(self)

    def check(self, task: Task) -> None:
        """Raises ValueError for a task whose samples cannot be scored."""
        _scorable(task)

    def order_samples(self, model: nn.Module, task: Task, *, seed: int, cache: Path) -> float:
        """Put the task's training samples in order. Returns the seconds that scoring took, whichever run spent them: a run that
        finds the scores in the cache is charged the same as the one that made them.
        """
        found = self.scores(model, task, seed=seed, cache=cache)
        _scorable(task).rank(found.difficulty, span=self.span)
        return found.seconds

    def scores(self, model: nn.Module, task: Task, *, seed: int, cache: Path) -> Scores:
        """The scores in the file `cache`, or fresh ones, which are then kept there.

        Neither the model nor the stream's position nor torch's generators change, so that a run goes the same way after both.
        `model` is the run's freshly initialised one, and no ranking has ordered the task yet. The cache belongs to one data set,
        model, seed and scoring, all of which its name stands for. Raises ValueError if it holds something else.
        """
        scorable = _scorable(task)
        count = task.train.epoch_samples
        kept = checkpoint.newest(cache, device=torch.device("cpu"))
        if kept is not None:
            return _checked(kept, cache, count=count)
        device = next(model.parameters()).device
        clock = Clock(device)
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            with clock.running("warmup"):  # the first step of a process pays for loading kernels: not charged, as in the run
                self._train(copy.deepcopy(model), scorable, samples=self.batch)
            with clock.running("measure"):
                torch.manual_seed(epoch_generator(seed, 0, purpose=4).initial_seed())  # the copy's dropout
                scorer = copy.deepcopy(model)
                self._train(scorer, scorable, samples=self.scoring_epochs * count)
                difficulty = scorable.sample_losses(scorer).cpu()
        if not difficulty.isfinite().all():
            raise ValueError(
                f"lr={self.lr}: the loss of the scoring epochs is no finite number any more; a smaller one is expected"
            )
        clock.settle()
        found = Scores(difficulty, clock.seconds["measure"])
        cache.parent.mkdir(parents=True, exist_ok=True)
        checkpoint.save({"difficulty": found.difficulty, "seconds": found.seconds}, cache)
        return found

    def _train(self, model: nn.Module, task: Scorable, *, samples: int) -> None:
        """Train `model` for so many samples from the stream's beginning; the stream goes back to where it was."""
        optimizer = torch.optim.SGD(model.parameters(), lr=self.lr, momentum=0.9)
        stream, before, left = task.train, task.train.state_dict(), samples
        model.train()
        stream.load_state_dict({"epoch": 0, "position": 0})
        try:
            while left > 0:
                batch = stream.take(BatchShape(min(self.batch, stream.most_rows)), left=left)
                optimizer.zero_grad()
                task.loss(model, batch).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                left -= batch.shape.samples
        finally:
            stream.load_state_dict(before)


@dataclass(frozen=True, slots=True, kw_only=True)
class ByLength:
    """Short sentences first; over `span` epochs the order becomes a shuffle, as for a curriculum: see `Order.rank`.

    Batches that are grouped by length in a pool keep this order from pool to pool only.
    """

    span: Positive  # epochs

    def __post_init__(self) -> None:
        check_fields(self)

    def check(self, task: Task) -> None:
        """Raises ValueError for a task whose rows all have the same length."""
        if not isinstance(task, Sentences):
            raise ValueError(f"the rows of {type(task).__name__} all have the same length; take order=shuffled")

    def order_samples(self, model: nn.Module, task: Task, *, seed: int, cache: Path) -> float:
        """Put the task's training sentences in order; it takes no seconds to speak of."""
        self.check(task)
        assert isinstance(task, Sentences), "just checked"
        task.rank(torch.from_numpy(task.train.lengths), span=self.span)
        return 0.0


def _scorable(task: Task) -> Scorable:
    if not isinstance(task, Scorable):
        raise ValueError(
            f"the samples of {type(task).__name__} cannot be scored one by one, which a curriculum needs; take order=shuffled"
        )
    return task


def _checked(kept: object, cache: Path, *, count: int) -> Scores:
    """What a file holds, if it is the scores of `count` samples."""
    match kept:
        case {"difficulty": Tensor() as difficulty, "seconds": float(seconds)} if difficulty.shape == (count,):
            if difficulty.isfinite().all():
                return Scores(difficulty, seconds)
    raise ValueError(f"{cache} does not hold the scores of {count} samples; delete it and they are found again")
