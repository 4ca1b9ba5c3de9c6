"""Every method for the block size against the formula of its source, in float64, on what its own run has measured."""

import math
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path

import pytest

from adaptive_bench.__main__ import conf
from adaptive_bench.experiment.assemble import experiment
from tests.conftest import composed

N, EPOCHS, LARGEST = 2000, 10, 256
RUN = (
    "dataset=markov_text", f"dataset.train_size={N + 1}", "model=lstm_small", f"epochs={EPOCHS}", "scheduler.initial=4",
    f"block_size.maximum={LARGEST}", "optimizer.lr=0.5",
)  # fmt: skip
CONTROLS = {"block_matched_tokens", "block_matched_updates", "block_reversed", "block_shrinking", "block_shuffled"}
DRAWN = {"block_random"}  # every step by itself; its law is in tests/schedulers/test_random_bptt.py


def grows(first: float, factor: float, every: float | None = None) -> Callable[[float, float], float]:
    """first * factor^i after i intervals, which are a fifth of the budget where `every` gives no epochs."""
    return lambda epoch, fraction: first * factor ** math.floor((5 * fraction if every is None else epoch / every) + 1e-9)


BY_CLOCK: dict[str, Callable[[float, float], float]] = {
    "block_doubling": grows(16, 2),
    "block_start_8": grows(8, 2),
    "block_start_32": grows(32, 2),
    "block_growing": grows(3, 2),
    "block_factor_1_5": grows(16, 1.5),
    "block_factor_4": grows(16, 4),
    "block_every_5": grows(16, 2, EPOCHS / 10),
    "block_every_20": grows(16, 2, EPOCHS * 0.4),
    "block_linear": lambda epoch, fraction: 16 + 60 * math.floor(5 * fraction + 1e-9),
    "block_jump": lambda epoch, fraction: 16 if epoch < 0.4 * EPOCHS - 1e-9 else 256,
    "block_root": lambda epoch, fraction: 16 + (LARGEST - 16) * math.sqrt(min(1.0, fraction / 0.3)),
    **{f"block_{size}": grows(size, 1) for size in (3, 16, 32, 35, 64, 128, 256)},
}
RATES = {  # Zaremba et al. 2014: constant for some epochs, then smaller in each; 0.8 is that of the reference implementation
    "zaremba_small": (20, 1.0, lambda epoch: 0.5 ** max(0, math.floor(epoch) + 1 - 4)),
    "zaremba_medium": (35, 1.0, lambda epoch: 0.8 ** max(0, math.floor(epoch) + 1 - 6)),
}
BY_FEEDBACK = {"block_plateau", "block_loss"}


def trained(arm: str, results: Path, *more: str) -> tuple[list[dict[str, float]], list[float], list[int]]:
    """The steps of a run, its validation values at the ends of epochs, and the samples before each step."""
    trainer = experiment(composed(*RUN, *more, f"arm={arm}", f"results={results}"))
    trainer.run()
    ends = [row["samples"] for row in trainer.steps]
    values = [row["value"] for row in trainer.evaluations if row["split"] == "validation"][1:]
    return trainer.steps, values, [0, *ends[:-1]]


def granted(wish: float) -> int:
    return math.floor(min(max(wish, 1), LARGEST) + 0.5)


def test_every_arm_for_the_block_size_has_a_formula_or_is_a_control() -> None:
    arms = {file.stem for file in (conf() / "arm").glob("*.yaml") if file.stem.startswith(("block", "zaremba"))}
    assert arms == {*BY_CLOCK, *RATES, *BY_FEEDBACK, *CONTROLS, *DRAWN}


@pytest.mark.slow
@pytest.mark.parametrize("arm", BY_CLOCK)
def test_a_block_that_follows_the_clock(arm: str, tmp_path: Path) -> None:
    steps, _, before = trained(arm, tmp_path)
    expected = [granted(BY_CLOCK[arm](samples / N, samples / (N * EPOCHS))) for samples in before]
    assert [row["block_size_granted"] for row in steps] == expected
    assert len({row["lr"] for row in steps}) == 1


@pytest.mark.slow
@pytest.mark.parametrize("arm", RATES)
def test_zarembas_learning_rate(arm: str, tmp_path: Path) -> None:
    block, rate, decay = RATES[arm]
    trainer = experiment(composed(*RUN[:-1], f"arm={arm}", f"results={tmp_path}"))
    trainer.update.lr = rate
    trainer.run()
    before = [0, *accumulate(row["batch_size"] * row["block_size"] for row in trainer.steps)][:-1]
    assert {row["block_size_granted"] for row in trainer.steps} == {block}
    assert [row["lr"] for row in trainer.steps] == pytest.approx([rate * decay(samples / N) for samples in before], rel=1e-9)


@pytest.mark.slow
def test_a_block_that_doubles_on_a_plateau(tmp_path: Path) -> None:
    steps, values, before = trained("block_plateau", tmp_path, "block_scheduler.threshold=0.2")
    best, stalled, ended, last, wish, wishes = -math.inf, 0, 0, 16, 16.0, list[float]()
    for row, samples in zip(steps, before, strict=True):
        while samples // N > ended:  # an epoch has ended, and with it an evaluation
            value, ended = -values[ended], ended + 1
            if best == -math.inf or value > best + 0.2 * abs(best):
                best, stalled = value, 0
            else:
                stalled += 1
            if stalled > 1:
                stalled, wish = 0, max(wish, last * 2)
        wishes.append(wish)
        last = row["block_size_granted"]
    assert [row["block_size_granted"] for row in steps] == [granted(wish) for wish in wishes]
    assert len(set(wishes)) > 1


@pytest.mark.slow
def test_a_block_that_follows_the_loss(tmp_path: Path) -> None:
    steps, _, before = trained("block_loss", tmp_path, "block_scheduler.dead_zone=0", "block_scheduler.rate=50")
    losses, wishes, spent, ended, last, wish = list[float](), list[float](), list[tuple[int, float]](), 0, 16, 16.0
    for row, samples in zip(steps, before, strict=True):
        if samples // N > ended:
            ended = samples // N
            losses.append(sum(count * loss for count, loss in spent) / sum(count for count, _ in spent))
            spent = []
            if len(losses) > 1:
                delta = (losses[-1] - losses[-2]) / abs(losses[-2])
                wish = last * min(max(1 - 50 * delta, 0.8), 1.25)
        wishes.append(wish)
        spent.append((row["samples"] - samples, row["loss"]))
        last = row["block_size_granted"]
    assert [row["block_size_granted"] for row in steps] == [max(16, granted(wish)) for wish in wishes]
    assert len(set(wishes)) > 2
