"""What is done on a copy of the model and leaves no trace in the run."""

import copy
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager

import torch
from torch import nn

from adaptive_bench.datasets.base import Task
from adaptive_bench.estimators.base import GradientEstimator
from adaptive_bench.schedulers.base import Stat
from adaptive_bench.size import BatchShape


def warm_up(model: nn.Module, task: Task, estimator: GradientEstimator, *, shape: BatchShape, needs: AbstractSet[Stat]) -> None:
    """Throw away a plain and a measured step.

    The first step of a process pays for loading kernels; a table would charge that to whichever arm came first.
    """
    with _aside(model, task, estimator) as model:
        batch = task.train.take(shape)
        for wanted in (frozenset[Stat](), needs):
            estimator.backward(task.loss, model, batch, wanted)


def diversity_bound(model: nn.Module, task: Task, estimator: GradientEstimator, *, shape: BatchShape) -> float:
    """n sum_i |g_i|^2 / |sum_i g_i|^2 over the n rows of an epoch, at fixed weights: the bound B_S(w) of Yin et al. 2018
    (arXiv 1706.05699).

    One pass over the epoch that the stream is in, with its augmentation, in batches of `shape`. Exact as far as the estimator
    is: with `estimator=per_sample estimator.fraction=1` every sample counts. Infinite where the gradients add up to nothing.
    """
    with _aside(model, task, estimator) as model:
        task.train.restart_epoch()
        estimator.start_epoch()
        needs = frozenset({Stat.SAMPLE_SQ_NORMS, Stat.EPOCH_GRAD_SQ_NORM})
        left, rows, sum_of_sq_norms, sq_norm_of_sum = task.train.epoch_samples, 0, 0.0, 0.0
        while left:
            batch = task.train.take(shape.within(left))
            stats = estimator.backward(task.loss, model, batch, needs).stats
            left -= batch.shape.samples
            if stats:
                rows += len(batch)
                sum_of_sq_norms += len(batch) * stats[Stat.SAMPLE_SQ_NORMS]
                sq_norm_of_sum = stats[Stat.EPOCH_GRAD_SQ_NORM]
    return rows * sum_of_sq_norms / sq_norm_of_sum if sq_norm_of_sum > 0 else float("inf")


@contextmanager
def _aside(model: nn.Module, task: Task, estimator: GradientEstimator) -> Iterator[nn.Module]:
    """A copy of the model; stream, task, estimator and random numbers are afterwards as they were."""
    device = next(model.parameters()).device
    kept = [(part, copy.deepcopy(part.state_dict())) for part in (task.train, task, estimator)]
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        yield copy.deepcopy(model)
    for part, state in kept:
        part.load_state_dict(state)
