"""Checks that the assembled components of a run are compatible."""

import warnings
from collections.abc import Set as AbstractSet
from dataclasses import replace
from inspect import signature

from torch import nn

from adaptive_bench.datasets.base import Task
from adaptive_bench.datasets.sentences import Sentences
from adaptive_bench.estimators.auto import Auto
from adaptive_bench.estimators.base import GradientEstimator
from adaptive_bench.estimators.moments import IN_PIECES
from adaptive_bench.learning_rate import rules
from adaptive_bench.learning_rate.rules import LrRule, Unchanged
from adaptive_bench.schedulers.base import SizeScheduler
from adaptive_bench.schedulers.cabs import CABS
from adaptive_bench.schedulers.fixed import Fixed
from adaptive_bench.schedulers.inner_product_test import InnerProductTest
from adaptive_bench.schedulers.smith import Seesaw, Smith
from adaptive_bench.schedulers.trajectory import Control
from adaptive_bench.sizes import Position
from adaptive_bench.stats import Stat
from adaptive_bench.streams.lengths import LengthBatching
from adaptive_bench.training.size_controller import SizeController

LEAST_PIECES = 32  # micro-batches from which the variance of a single step is known to a quarter


def check_decay(scheduler: SizeScheduler, start: Position) -> None:
    """Raises ValueError if the size is to grow where the learning rate decays, and it never does."""
    if isinstance(scheduler, Smith):
        positions = [replace(start, samples=start.budget * share // 100) for share in range(100)]
        if len({scheduler.schedule(position) for position in positions}) == 1:
            name = type(scheduler).__name__.lower()
            raise ValueError(
                f"scheduler={name}: the size grows where the learning rate's schedule decays, and in this run it never does; "
                f"take lr_schedule=cosine or multistep, or arm={name}, which sets one"
            )


def check_pieces(scheduler: SizeScheduler, estimator: GradientEstimator) -> None:
    """Raises ValueError if a test of single steps reads a variance over samples off a few micro-batches."""
    if isinstance(estimator, Auto):
        estimator = estimator.chosen or estimator
    pieces = getattr(estimator, "chunks", LEAST_PIECES)
    if isinstance(scheduler, InnerProductTest) and scheduler.half_life == 0 and pieces < LEAST_PIECES:
        raise ValueError(
            f"half_life=0: the variance of a single step comes from {pieces} micro-batches, and the batch would grow on their "
            f"noise; take half_life=null, or estimator.chunks={LEAST_PIECES} or more"
        )


def check_own_rule(scheduler: SizeScheduler, rule: LrRule) -> None:
    """Raises ValueError if a method that is a size and a learning rate has another method's learning rate."""
    methods: dict[type[SizeScheduler], type[LrRule]] = {Smith: rules.Smith, Seesaw: rules.Seesaw}
    own = methods.get(type(scheduler))
    if own is not None and not isinstance(rule, own):
        name = own.__name__.lower()
        raise ValueError(
            f"scheduler={name}: the method is a size and a learning rate, and this run has another one; "
            f"add lr_rule={name}, or take arm={name}, which sets both"
        )


def batch_by_length(task: Task, model: nn.Module, batching: LengthBatching, smallest: int) -> None:
    """Let the task's training batches be made so, of `smallest` rows or more.

    Raises ValueError if its rows have no lengths, or if they cannot be batched so.
    """
    if not isinstance(task, Sentences):
        raise ValueError(
            f"the rows of {type(task).__name__} all have the same length; leave batching out, or take dataset=ptb_lines, "
            "wikitext2_lines or lengths"
        )
    if batching.group == "packed" and "segments" not in signature(model.forward).parameters:
        raise ValueError(
            f"group=packed: {type(model).__name__} would carry its state from one sentence of a row into the next; take "
            "model=gpt_mini or another batching"
        )
    batching.check(task.train.lengths, smallest=smallest)
    task.train.batching = batching


def check_statistics(batching: LengthBatching, needs: AbstractSet[Stat]) -> None:
    """Raises ValueError for statistics of packed rows; warns where those of rows of one length are no estimates."""
    if not (asked := sorted(needs & IN_PIECES)):
        return
    if batching.group == "packed":
        raise ValueError(
            f"group=packed: a packed row holds several sentences, so {', '.join(asked)} would be of rows and not of sentences; "
            "take batching=tokens or padded"
        )
    if batching.count == "tokens" and Stat.MICROBATCH_RATIO in needs:
        raise ValueError(
            "count=tokens: a budget of tokens holds any number of rows, and the ratio of equal micro-batches needs a multiple of "
            "theirs; take batching=padded, or scheduler.estimator=pair"
        )
    if batching.by_length:
        warnings.warn(
            f"batching: sentences of a batch share a length, so {', '.join(asked)} leave out how gradients differ between "
            "lengths, and a noise scale comes out too small; batching=padded measures all of it",
            stacklevel=3,
        )


def check_room(batch: SizeController, block: SizeController, start: Position) -> None:
    """Raises ValueError if the text is too short for the first step or for the largest number of columns."""
    columns, length, tokens = batch.peek(start), block.peek(start), start.epoch_samples
    if columns * length > tokens and all(slot.scheduler.propose(start) == slot.scheduler.initial for slot in (batch, block)):
        raise ValueError(
            f"the run starts with {columns} columns and blocks of {length}, {columns * length} tokens a step, but this text "
            f"has only {tokens} to predict; lower scheduler.initial or block_scheduler.initial, or take more text"
        )
    if not isinstance(batch.scheduler, Fixed) and batch.sizes.largest * length > tokens:
        raise ValueError(
            f"batch_size.maximum={batch.sizes.largest}: with so many columns of a text of {tokens} tokens, a column is shorter "
            f"than the first block of {length}; set batch_size.maximum to {tokens // length} or less, or take more text"
        )


def check_fixed_tokens(batch: SizeController, block: SizeController, start: Position) -> None:
    """Raises ValueError if the number of rows cannot follow the block: it is set elsewhere, or a block leaves no row."""
    if not isinstance(batch.scheduler, Fixed) or batch.sizes.multiple_of > 1:
        raise ValueError(
            f"tokens_per_step=fixed: the rows follow the block, but scheduler={type(batch.scheduler).__name__} and "
            f"batch_size.multiple_of={batch.sizes.multiple_of} set them too; take scheduler=fixed and batch_size.multiple_of=1"
        )
    if isinstance(block.scheduler, Control):
        raise ValueError(
            "tokens_per_step=fixed: every step has the tokens of the first one, but "
            f"block_scheduler={type(block.scheduler).__name__} starts with another block than the original run; take floating"
        )
    tokens = batch.peek(start) * block.peek(start)
    if block.sizes.largest > tokens and not isinstance(block.scheduler, Fixed):
        raise ValueError(
            f"block_size.maximum={block.sizes.largest}: with tokens_per_step=fixed a step has {tokens} tokens, less than one row "
            f"of that; set block_size.maximum to {tokens} or less, or take more columns"
        )


def check_conventions(tokens_per_step: str, task: Task, *, batch: SizeController, block: SizeController, rule: LrRule) -> None:
    """Raises ValueError if the settings for growing blocks contradict each other or the data set."""
    if tokens_per_step == "fixed" and not task.has_blocks:
        raise ValueError("tokens_per_step=fixed: the rows of this data set have no length; take floating")
    if task.sums_blocks and not isinstance(rule, Unchanged) and not isinstance(block.scheduler, Fixed):
        raise ValueError(
            f"lr_rule={type(rule).__name__}: with dataset.loss_reduction=sum_time the gradient already grows with the block, so "
            "the rule would count this growth twice; take dataset.loss_reduction=mean, or lr_rule=none"
        )
    if task.sums_blocks and isinstance(batch.scheduler, CABS):
        raise ValueError(
            "scheduler=CABS: it divides the gradient's variance by the loss; with dataset.loss_reduction=sum_time the variance "
            "is per block and the loss per token; take dataset.loss_reduction=mean"
        )


def check_shareable(*, is_ordered: bool) -> None:
    """Raises ValueError if this run cannot be trained by several processes."""
    if is_ordered:
        raise ValueError(
            "several processes: order=curriculum computes its scores in one process; take order=shuffled, or one process"
        )
