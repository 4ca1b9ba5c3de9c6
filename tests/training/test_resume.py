"""Killed and started again, a run ends bit for bit where the uninterrupted one ends."""

import multiprocessing
import os
import random
import signal
from pathlib import Path

import pandas as pd
import pytest
import torch

from adaptive_bench.execution import snapshot
from adaptive_bench.training import checkpoint
from tests.conftest import composed

# every part of a run that has a state: BatchNorm, momentum, a scheduler and an estimator that measure (the rows it samples
# have a generator too), crops and flips; checkpoints fall inside epochs
RUN = (
    "scheduler=divebatch", "scheduler.initial=8", "scheduler.delta=0.1", "scheduler.monotone=false", "batch_size.maximum=40",
    "epochs=3", "lr_schedule=cosine", "lr_rule=adascale", "optimizer.lr=0.02", "dataset.crop=1", "dataset.flip=true",
    "order=curriculum", "order.scoring_epochs=1", "momentum_half_life=100",
    "checkpoint_every=0.17", "evaluate_every=0.4",
)  # fmt: skip
PLACES = ("before a step", "after backward", "after the update", "while a file is replaced", "before the record")


def child(results: Path, place: str | None, count: int, overrides: tuple[str, ...]) -> None:
    """Train; at the `count`-th time that `place` is reached, die."""
    from adaptive_bench.experiment import record, run
    from adaptive_bench.training import trainer

    left = count

    def dying(function):
        def wrapped(*args, **kwargs):
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **kwargs)

        return wrapped

    torch.set_num_threads(1)
    if place == "before a step":
        trainer.Trainer.step = dying(trainer.Trainer.step)
    elif place == "after backward":
        trainer.Update.step = dying(trainer.Update.step)
    elif place == "after the update":
        trainer.Trainer._record = dying(trainer.Trainer._record)
    elif place == "while a file is replaced":
        Path.replace = dying(Path.replace)
    elif place == "before the record":
        left = 1
        record.write_parquet = dying(record.write_parquet)
    trainer.MOST_SAVING = 1  # a checkpoint at every chance
    run.train(composed(*overrides, f"results={results}"))


# what the first run does not have: a text with its carried state, micro-batches, blocks that grow, a geometric grid
TEXT = (
    "dataset=markov_text", "model=lstm_small", "model.dropout=0.2", "dataset.train_size=3003", "dataset.validation_size=500",
    "dataset.test_size=500", "epochs=3", "scheduler=inner_product_test", "scheduler.initial=8", "scheduler.theta=0.1",
    "scheduler.cooldown=0.3", "batch_size.maximum=16", "scheduler@block_scheduler=loss", "block_scheduler.initial=20",
    "block_scheduler.every=500", "block_scheduler.dead_zone=0", "block_scheduler.rate=100", "checkpoint_every=0.17",
    "evaluate_every={first:0.1,factor:1.5}",
)  # fmt: skip


# sentences of many lengths in growing batches
SENTENCES = (
    "dataset=lengths", "model=gpt_mini", "model.width=16", "model.layers=1", "dataset.train_size=300", "epochs=3",
    "scheduler=gns", "scheduler.initial=8", "scheduler.cooldown=0.3", "batch_size.maximum=24", "batch_size.minimum=4",
    "order=by_length", "checkpoint_every=0.17",
)  # fmt: skip
CUTS = {
    "text": TEXT,
    "padded": (*SENTENCES, "batching=padded"),
    "tokens": (*SENTENCES, "batching=tokens", "scheduler=exponential", "scheduler.interval=0.5"),
    "packed": (*SENTENCES, "batching=packed", "batching.block=60", "scheduler=exponential", "scheduler.interval=0.5"),
}


def run_child(results: Path, place: str | None = None, count: int = 0, overrides: tuple[str, ...] = RUN) -> int | None:
    # a server that has imported all of it forks the children: a fresh interpreter for each would take minutes
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["adaptive_bench.experiment.run", "adaptive_bench.datasets", "adaptive_bench.models", "tests.conftest"]
    )
    process = context.Process(target=child, args=(results, place, count, overrides))
    process.start()
    process.join(60)
    return process.exitcode


def outcome(results: Path) -> tuple[str, pd.DataFrame, pd.DataFrame]:
    (folder,) = (results / "runs").iterdir()
    record, trace, evaluations = (pd.read_parquet(folder / f"{name}.parquet") for name in ("record", "trace", "evaluations"))
    clocks = [name for name in trace if name.startswith("seconds_")]
    return record["weights"].item(), trace.drop(columns=clocks), evaluations.drop(columns=clocks)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    results = tmp_path_factory.mktemp("uninterrupted")
    assert run_child(results) == 0
    return outcome(results)


# every test run kills once at each place
@pytest.mark.parametrize("kill", [pytest.param(kill, marks=() if kill < len(PLACES) else pytest.mark.slow) for kill in range(20)])
def test_killed_and_resumed_equals_uninterrupted(uninterrupted, tmp_path, kill):
    weights, trace, evaluations = uninterrupted
    rng = random.Random(kill)
    place = PLACES[kill % len(PLACES)]
    # configuration, first states, and a checkpoint about every second step are replaced
    count = rng.randint(1, len(trace) if place != "while a file is replaced" else 12)
    assert run_child(tmp_path, place, count) == -signal.SIGKILL
    (folder,) = (tmp_path / "runs").iterdir()
    assert not (folder / "record.parquet").exists()
    assert run_child(tmp_path) == 0
    again_weights, again_trace, again_evaluations = outcome(tmp_path)
    pd.testing.assert_frame_equal(again_trace, trace, check_exact=True)
    pd.testing.assert_frame_equal(again_evaluations, evaluations, check_exact=True)
    assert again_weights == weights
    kept = {path.name for path in folder.iterdir()}
    assert kept == {".lock", "config.yaml", "evaluations.parquet", "record.parquet", "trace.parquet"}


@pytest.mark.parametrize("name", [pytest.param(name, marks=() if name == "text" else pytest.mark.slow) for name in CUTS])
@pytest.mark.filterwarnings("ignore:batching. sentences of a batch")
def test_a_text_resumes_in_the_middle_of_its_columns_or_of_its_pool(tmp_path, name):
    run = tuple(setting for setting in CUTS[name] if name in ("text", "padded") or not setting.startswith("scheduler.cooldown"))
    assert run_child(tmp_path / "whole", overrides=run) == 0
    weights, trace, evaluations = outcome(tmp_path / "whole")
    assert len(set(trace["batch_size_granted"])) > 1
    assert len(set(trace["block_size"])) > 1 or name == "packed"
    assert len(evaluations) > 8 or name != "text"
    for kill, (place, count) in enumerate([("before a step", 12), ("after backward", 23), ("after the update", 31)]):
        assert run_child(tmp_path / str(kill), place, count, overrides=run) == -signal.SIGKILL
        assert run_child(tmp_path / str(kill), overrides=run) == 0
        again_weights, again_trace, again_evaluations = outcome(tmp_path / str(kill))
        pd.testing.assert_frame_equal(again_trace, trace, check_exact=True)
        pd.testing.assert_frame_equal(again_evaluations, evaluations, check_exact=True)
        assert again_weights == weights


def test_the_run_that_is_killed_has_something_to_lose(uninterrupted):
    _, trace, _ = uninterrupted
    assert trace["batch_size"].nunique() > 2
    assert trace["mean_sample_sq_norm"].notna().any()
    assert trace["lr"].nunique() > 5


def test_a_resumed_run_does_not_start_over(tmp_path):
    assert run_child(tmp_path, "before a step", 25) == -signal.SIGKILL
    (folder,) = (tmp_path / "runs").iterdir()
    kept = checkpoint.load(folder / "checkpoint.pt", device=torch.device("cpu"))
    assert kept is not None
    assert kept["samples"] >= 24 * 8 - 60
    assert len(kept["steps"]["step"]) == kept["steps"]["step"][-1]


@pytest.mark.parametrize("offset", [0, 1, 31, 32, 33, *range(100, 1500, 100), -1])
def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_is_taken(tmp_path, offset):
    path = tmp_path / "checkpoint.pt"
    for samples in (1, 2):
        checkpoint.save({"samples": samples, "values": torch.arange(100)}, path, keep_previous=True)
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    path.write_bytes(content)
    with pytest.warns(UserWarning, match=r"digest differ.*checkpoint\.damaged; the run goes on from before it"):
        kept = checkpoint.newest(path, device=torch.device("cpu"))
    assert kept is not None
    assert kept["samples"] == 1
    assert not path.exists()
    checkpoint.previous(path).write_bytes(content[:-5])
    with pytest.warns(UserWarning, match="digest differ"):
        assert checkpoint.newest(path, device=torch.device("cpu")) is None


def test_a_run_with_damaged_checkpoints_starts_anew_and_ends_the_same(uninterrupted, tmp_path):
    assert run_child(tmp_path, "before a step", 25) == -signal.SIGKILL
    (folder,) = (tmp_path / "runs").iterdir()
    kept = sorted(folder.glob("checkpoint.*"))
    assert [path.name for path in kept] == ["checkpoint.previous.pt", "checkpoint.pt"]
    for path in kept:
        path.write_bytes(path.read_bytes()[:-100])
    assert run_child(tmp_path) == 0
    assert outcome(tmp_path)[0] == uninterrupted[0]
    assert not any(folder.glob("checkpoint*"))


@pytest.mark.parametrize("content", [b"", b"PK no archive", b"bad\n", bytes(100), b"\x80\x02}q\x00."[:3]])
def test_an_unreadable_checkpoint_is_named(tmp_path, content):
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"cannot be read .* delete it"):
        checkpoint.load(path, device=torch.device("cpu"))


def test_the_generator_that_dropout_draws_from_is_kept(tmp_path):
    state = snapshot.random_state(torch.device("cpu"))
    checkpoint.save({"random": state}, tmp_path / "checkpoint.pt")
    drawn = torch.rand(5)
    kept = checkpoint.load(tmp_path / "checkpoint.pt", device=torch.device("cpu"))
    assert kept is not None
    snapshot.restore_random_state(kept["random"], torch.device("cpu"))
    assert torch.equal(torch.rand(5), drawn)


def test_rows_survive_packing():
    rows = [{"step": 1, "loss": 0.1, "stat": float("inf")}, {"step": 2**40, "loss": 1 / 3, "stat": 2.0}]
    assert checkpoint.unpack(checkpoint.pack(rows)) == rows
    assert checkpoint.unpack(checkpoint.pack([])) == []
