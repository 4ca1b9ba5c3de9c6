"""Side computations, the warm-up and passes over the data set, after which model, stream and random numbers are as before."""

import copy
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import replace

from torch import nn

from adaptive_bench.datasets.base import Task
from adaptive_bench.estimators.base import GradientEstimator
from adaptive_bench.estimators.request import BackwardResult
from adaptive_bench.execution.snapshot import Snapshot
from adaptive_bench.sizes import BatchShape
from adaptive_bench.stats import Stat
from adaptive_bench.streams.base import Batch

Backward = Callable[[Batch, AbstractSet[Stat]], BackwardResult]  # the run's own, by `estimator` on `model`


def warm_up(
    model: nn.Module, task: Task, estimator: GradientEstimator, backward: Backward, *, shape: BatchShape, needs: AbstractSet[Stat]
) -> None:
    """Make a plain and a measured backward pass and throw both away.

    The first step of a process pays for loading kernels; a table would charge that to whichever arm came first. A compiled model
    also sees a second size, which it compiles for any size, and an evaluation: else only arms that change the size paid for that.
    """
    compiled = model._compiled_call_impl is not None
    with _aside(model, task, estimator):
        for each in (shape, _another(shape, most=task.train.most_rows)) if compiled else (shape,):
            task.train.restart_epoch()
            batch = task.train.take(each)
            for wanted in (frozenset[Stat](), needs):
                backward(batch, wanted)
        if compiled:
            task.evaluate(model, "validation")


def _another(shape: BatchShape, *, most: int) -> BatchShape:
    """Another number of rows; torch takes 1 as a case of its own."""
    return replace(shape, batch=2 * shape.batch if 2 * shape.batch <= most else max(2, shape.batch // 2))


def diversity_bound(
    model: nn.Module, task: Task, estimator: GradientEstimator, backward: Backward, *, shape: BatchShape
) -> float:
    """n sum_i |g_i|^2 / |sum_i g_i|^2 over the n rows of an epoch, at fixed weights: the bound B_S(w) of Yin et al. 2018
    (arXiv 1706.05699).

    One pass over the epoch that the stream is in, with its augmentation, in batches of `shape`. Exact as far as the estimator
    is: with `estimator=per_sample estimator.fraction=1` every sample counts. Infinite where the gradients add up to nothing.
    """
    with _aside(model, task, estimator):
        task.train.restart_epoch()
        estimator.start_epoch()
        needs = frozenset({Stat.MEAN_SAMPLE_SQ_NORM, Stat.EPOCH_GRAD_SQ_NORM})
        left, rows, sum_of_sq_norms, sq_norm_of_sum = task.train.epoch_samples, 0, 0.0, 0.0
        while left:
            batch = task.train.take(shape, left=left)
            stats = backward(batch, needs).stats
            left -= batch.shape.samples
            if stats:
                rows += len(batch)
                sum_of_sq_norms += len(batch) * stats[Stat.MEAN_SAMPLE_SQ_NORM]
                sq_norm_of_sum = stats[Stat.EPOCH_GRAD_SQ_NORM]
    return rows * sum_of_sq_norms / sq_norm_of_sum if sq_norm_of_sum > 0 else float("inf")


@contextmanager
def _aside(model: nn.Module, task: Task, estimator: GradientEstimator) -> Iterator[None]:
    """Backward passes on the model itself, which a compiled one has to be; afterwards it has no gradients.

    Its buffers, stream, task, estimator and random numbers are as they were.
    """
    before = Snapshot(model)
    kept = [(part, copy.deepcopy(part.state_dict())) for part in (task.train, task, estimator)]
    yield
    before.restore()
    for part, state in kept:
        part.load_state_dict(state)
