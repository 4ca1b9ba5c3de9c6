"""The suite can see what block size buys: a text with a known answer, in blocks that hold the answer and in ones that do not."""

import pandas as pd
import pytest

from adaptive_bench.datasets.markov_text import best_perplexity

PROCESS = {"vocabulary": 8, "distance": 6, "strength": 0.9}
TEXT = (
    "dataset=markov_text", *(f"dataset.{name}={value}" for name, value in PROCESS.items()), "model=lstm_small",
    "optimizer=adamw", "optimizer.lr=0.01", "lr_schedule=cosine", "max_grad_norm=1", "scheduler.initial=16",
    "dataset.validation_size=2000", "dataset.test_size=20000",
)  # fmt: skip


def final(folder) -> float:
    return pd.read_parquet(folder / "record.parquet")["final"].item()


@pytest.mark.slow
def test_blocks_that_hold_the_dependency_come_within_3_percent_of_the_best_perplexity(trained):
    reached = final(trained(*TEXT, "block_scheduler.initial=32", "dataset.train_size=400000", "epochs=4"))
    best = best_perplexity(32, **PROCESS)
    assert best == pytest.approx(1.595, abs=5e-4)
    # a test text is one draw: its own entropy can be a little below that of the process
    assert 0.98 * best < reached < 1.03 * best


@pytest.mark.slow
def test_blocks_below_the_distance_stay_where_the_closed_form_says(trained):
    reached = final(trained(*TEXT, "block_scheduler.initial=3", "dataset.train_size=100000", "epochs=1"))
    best = best_perplexity(3, **PROCESS)
    assert best == 8
    assert reached == pytest.approx(best, rel=0.05)
