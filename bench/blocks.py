"""What our training step costs a language model, in tokens a second, and what it costs to change the block at every step.

lstm_650 on 64 columns with 10,000 words. First, for three block sizes, `Trainer.step` as the configuration builds it against a
loop written by hand that does the same arithmetic, which is checked before anything is timed. Then blocks of 80 and of 48 in turn
against 64. The two of a comparison take turns (A B A B ...), so that a drift of the machine's speed hits both; medians over
the rounds. About seven minutes on two cores, and to be run alone: `make bench`, or

    python bench/blocks.py --root DIR    # on Penn Treebank, which DIR/ptb holds
"""

import argparse
import copy
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional as F

from adaptive_bench.__main__ import conf
from adaptive_bench.experiment.assemble import experiment
from adaptive_bench.experiment.machine import prepare
from adaptive_bench.streams import ColumnStream
from adaptive_bench.training.trainer import Trainer

BLOCKS, MEAN = (16, 64, 256), 64
COLUMN, TURN = 2048, 128  # positions: of each column, and of each column in one turn, if a block is not longer
LR, MAX_NORM, CHECKED = 1.0, 5.0, 2  # learning rate, gradient norm, steps that are compared before the timing
LEAST, LEAST_CHANGING = 0.95, 1 / 1.02  # ratios aimed at
SETTINGS = (
    "model=lstm_650", "optimizer.momentum=0", "optimizer.nesterov=false", "optimizer.weight_decay=0", f"optimizer.lr={LR}",
    f"max_grad_norm={MAX_NORM}", "epochs=1", "device=cpu", "progress=false",
)  # fmt: skip
# an interval is MEAN positions: the step from 0 takes 80, the step from 80, in the second interval, takes 48, and so on from 128
CHANGING = (
    "scheduler@block_scheduler=cyclical", "block_scheduler.initial=80", "block_scheduler.increment=-32",
    "block_scheduler.cycle=2", f"block_scheduler.interval={MEAN / COLUMN}",
)  # fmt: skip

Step = Callable[[], float]  # returns the mean loss of its tokens


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How large the measurement is."""

    rows: int
    positions: int  # of each column that are timed in each loop
    settings: tuple[str, ...] = ()


FULL = Scale(rows=64, positions=1024)
QUICK = Scale(rows=4, positions=256, settings=("model.embedding=32", "model.hidden=32"))
GENERATED = ("dataset=markov_text", "dataset.vocabulary=10000")


class Bare:
    """The loop written by hand: columns are slices of one tensor, the state goes on without its gradient."""

    def __init__(self, model: nn.Module, tokens: Tensor, *, rows: int, block: int) -> None:
        self.model, self.block, self.position = model, block, 0
        self.inputs, self.targets = tokens[:-1].view(rows, -1), tokens[1:].view(rows, -1)
        self.optimizer = torch.optim.SGD(model.parameters(), lr=LR)
        self.state: tuple[Tensor, ...] | None = None

    def step(self) -> float:
        here = slice(self.position, self.position + self.block)
        self.position += self.block
        self.optimizer.zero_grad()
        logits, state = self.model(self.inputs[:, here], self.state)
        self.state = tuple(part.detach() for part in state)
        loss = F.cross_entropy(logits.flatten(0, 1), self.targets[:, here].flatten())
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.model.parameters(), MAX_NORM)
        self.optimizer.step()
        return loss.item()


def trainer_of(scale: Scale, folder: Path, *overrides: str) -> Trainer:
    chosen = [*SETTINGS, *scale.settings, f"scheduler.initial={scale.rows}", f"dataset.train_size={scale.rows * COLUMN + 1}"]
    with initialize_config_dir(str(conf()), version_base="1.3"):
        cfg = compose("config", [*chosen, f"results={folder}", *overrides], return_hydra_config=True)
    return experiment(cfg)


def stepping(trainer: Trainer) -> Step:
    def step() -> float:
        trainer.step()
        return float(trainer.steps[-1]["loss"])

    return step


def seconds(step: Step, count: int) -> float:
    start = time.perf_counter()
    for _ in range(count):
        step()
    return time.perf_counter() - start


def take_turns(first: Step, second: Step, *, steps: int, block: int, scale: Scale) -> tuple[float, float, float]:
    """Medians over the rounds: tokens a second of both, and the ratio of the first to the second in the same round.

    A turn is so many steps, of `block` positions on average.
    """
    rounds = [(seconds(first, steps), seconds(second, steps)) for _ in range(scale.positions // (steps * block))]
    tokens = steps * scale.rows * block
    one, other = (tokens / statistics.median(taken) for taken in zip(*rounds, strict=True))
    return one, other, statistics.median(theirs / mine for mine, theirs in rounds)


def against_the_bare_loop(scale: Scale, folder: Path, block: int) -> tuple[float, float, float]:
    trainer = trainer_of(scale, folder, f"block_scheduler.initial={block}")
    text = trainer.task.train
    assert isinstance(text, ColumnStream)
    bare = Bare(copy.deepcopy(trainer.model), text.tokens, rows=scale.rows, block=block)
    losses = []
    for step in (stepping(trainer), bare.step):  # which also warms both up
        torch.manual_seed(0)  # the same activations are dropped
        losses.append(torch.tensor([step() for _ in range(CHECKED)]))
    torch.testing.assert_close(*losses, rtol=1e-5, atol=0)
    return take_turns(stepping(trainer), bare.step, steps=max(1, TURN // block), block=block, scale=scale)


def changing_against_constant(scale: Scale, folder: Path) -> tuple[float, float, float]:
    trainers = [trainer_of(scale, folder, *blocks) for blocks in (CHANGING, [f"block_scheduler.initial={MEAN}"])]
    changing, constant = map(stepping, trainers)
    for step in (changing, constant):
        seconds(step, 2)
    assert [row["block_size"] for trainer in trainers for row in trainer.steps] == [80, 48, MEAN, MEAN]
    return take_turns(changing, constant, steps=2, block=MEAN, scale=scale)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", help="folder that holds ptb/; without it a generated text of as many words is read")
    parser.add_argument("--threads", type=int, help="default: one a core")
    parser.add_argument("--quick", action="store_true", help="a tiny network and few rounds, to see that it works")
    arguments = parser.parse_args()
    here = prepare(device="cpu", threads=arguments.threads, jobs=1)
    text = GENERATED if arguments.root is None else ("dataset=ptb", f"dataset.root={arguments.root}")
    scale = QUICK if arguments.quick else FULL
    scale = replace(scale, settings=(*scale.settings, *text, f"threads={here.threads}"))

    title = f"torch {here.torch}, {here.allocator}, threads {here.threads}, {scale.rows} columns"
    table = Table("steps", "tokens a second", "against", "tokens a second", "ratio", "aim", title=title)
    with tempfile.TemporaryDirectory() as folder:
        for block in BLOCKS:
            ours, bare, ratio = against_the_bare_loop(scale, Path(folder), block)
            table.add_row(f"block {block}", f"{ours:,.0f}", "bare loop", f"{bare:,.0f}", f"{ratio:.3f}", f">= {LEAST:.2f}")
        ours, constant, ratio = changing_against_constant(scale, Path(folder))
        cells = f"{ours:,.0f}", f"block {MEAN}", f"{constant:,.0f}", f"{ratio:.3f}", f">= {LEAST_CHANGING:.2f}"
        table.add_row("blocks 80 and 48 in turn", *cells)
    Console().print(table)


if __name__ == "__main__":
    main()
