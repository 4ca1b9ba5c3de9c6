"""Whether the parts of a run fit together, asked when it is assembled."""

from adaptive_bench.datasets.base import Task
from adaptive_bench.learning_rate.rules import LrRule, Unchanged
from adaptive_bench.schedulers.cabs import CABS
from adaptive_bench.schedulers.fixed import Fixed
from adaptive_bench.schedulers.trajectory import Control
from adaptive_bench.sizes import Position
from adaptive_bench.training.size_controller import SizeController
from adaptive_bench.validation import one_of


def check_room(batch: SizeController, block: SizeController, start: Position) -> None:
    """Whether a text is long enough for the first step, and for as many columns as there may be."""
    columns, length, tokens = batch.peek(start), block.peek(start), start.epoch_samples
    if columns * length > tokens and all(slot.scheduler.propose(start) == slot.scheduler.initial for slot in (batch, block)):
        raise ValueError(
            f"the run starts with {columns} columns and blocks of {length}, {columns * length} tokens a step, and this text has "
            f"{tokens} to predict; lower scheduler.initial or block_scheduler.initial, or take more text"
        )
    if not isinstance(batch.scheduler, Fixed) and batch.sizes.largest * length > tokens:
        raise ValueError(
            f"batch_size.maximum={batch.sizes.largest}: so many columns of a text with {tokens} tokens to predict are shorter "
            f"than the first block of {length}; set batch_size.maximum to {tokens // length} or less, or take more text"
        )


def check_fixed_tokens(batch: SizeController, block: SizeController, start: Position) -> None:
    """Whether rows can follow the block: nothing else may set them, and there is at least one for the longest block."""
    if not isinstance(batch.scheduler, Fixed) or batch.sizes.multiple_of > 1:
        raise ValueError(
            f"tokens_per_step=fixed: the rows follow the block, but scheduler={type(batch.scheduler).__name__} and "
            f"batch_size.multiple_of={batch.sizes.multiple_of} set them, too; take scheduler=fixed and batch_size.multiple_of=1"
        )
    if isinstance(block.scheduler, Control):
        raise ValueError(
            "tokens_per_step=fixed: a step keeps the tokens of the first one, and "
            f"block_scheduler={type(block.scheduler).__name__} begins with another block than the run it alters; take floating"
        )
    tokens = batch.peek(start) * block.peek(start)
    if block.sizes.largest > tokens and not isinstance(block.scheduler, Fixed):
        raise ValueError(
            f"block_size.maximum={block.sizes.largest}: with tokens_per_step=fixed a step has {tokens} tokens, less than one row "
            f"of that; set block_size.maximum to {tokens} or less, or take more columns"
        )


def check_conventions(tokens_per_step: str, task: Task, *, batch: SizeController, block: SizeController, rule: LrRule) -> None:
    """Whether what is to happen to a step as its block grows is possible, and happens once."""
    one_of("tokens_per_step", tokens_per_step, ("floating", "fixed"))
    if tokens_per_step == "fixed" and not task.has_blocks:
        raise ValueError("tokens_per_step=fixed: the rows of this data set have no length; take floating")
    if task.sums_blocks and not isinstance(rule, Unchanged) and not isinstance(block.scheduler, Fixed):
        raise ValueError(
            f"lr_rule={type(rule).__name__}: with dataset.loss_reduction=sum_time the gradient grows with the block already, and "
            "the rule would count that growth twice; take dataset.loss_reduction=mean, or lr_rule=none"
        )
    if task.sums_blocks and isinstance(batch.scheduler, CABS):
        raise ValueError(
            "scheduler=CABS: it divides the gradient's variance by the loss, and with dataset.loss_reduction=sum_time the one is "
            "of a whole block, the other of a token; take dataset.loss_reduction=mean"
        )


def check_shareable(task: Task, *, is_ordered: bool) -> None:
    """Whether several processes can train one run."""
    if task.has_blocks:
        raise ValueError(
            "several processes: the rows of a text carry a state, which only the process that computed it has; start a run on a "
            "text with one process"
        )
    if is_ordered:
        raise ValueError(
            "several processes: the scores of order=curriculum are found by a single one; take order=shuffled, or one process"
        )
