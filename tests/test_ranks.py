"""Several processes train one model as a single one would: the same sizes, losses and statistics."""

import json
import math
import multiprocessing
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import distributed, nn

from adaptive_bench.build import build, plan
from adaptive_bench.chunks import Chunks
from adaptive_bench.estimators import Auto, GradientEstimator, MicroBatch, PerSample, Sheet
from adaptive_bench.ranks import STARTED, Ranks
from adaptive_bench.record import RunFolder
from adaptive_bench.schedulers.base import Stat
from adaptive_bench.streams.base import Batch
from tests.conftest import composed
from tests.estimators.conftest import MODELS, mean_cross_entropy, random_batch

ESTIMATORS: dict[str, Callable[[], GradientEstimator]] = {
    "per_sample": lambda: PerSample(fraction=1 / 6),
    "exact": lambda: PerSample(fraction=1),
    "microbatch": lambda: MicroBatch(chunks=6),
    "auto": lambda: Auto(fraction=1 / 3),
    "sheet": lambda: Sheet(microbatches=6),
}
SIZES = (12, 7, 1, 2, 18)  # of batches; some have fewer rows than there are ranks, or than micro-batches
# no BatchNorm and no dropout: what goes through the model at once makes no difference; and a rate that amplifies no rounding
PLAIN = (
    "model.norm=group",
    "dataset.train_size=240",
    "epochs=3",
    "lr_schedule=cosine",
    "evaluate_every=0.5",
    "optimizer.lr=0.01",
)
RUNS = {
    "fixed": ("scheduler.initial=25",),
    "divebatch": (
        "scheduler=divebatch",
        "scheduler.initial=15",
        "scheduler.interval=1",
        "scheduler.delta=0.1",
        "scheduler.monotone=false",
    ),
    "deba": (
        "scheduler=deba",
        "scheduler.initial=16",
        "scheduler.cooldown=0.5",
        "scheduler.up=0.5",
        "scheduler.down=0.5",
        "lr_rule=sqrt",
        "epochs=6",
    ),
    "gns": ("scheduler=gns", "scheduler.initial=9", "scheduler.cooldown=0.3", "scheduler.monotone=true", "estimator=microbatch"),
    "inner_product_test": ("scheduler=inner_product_test", "scheduler.initial=9", "scheduler.theta=0.2"),
    "adascale": ("scheduler=exponential", "scheduler.initial=10", "scheduler.interval=0.7", "lr_rule=adascale"),
    "goodput": ("scheduler=goodput", "scheduler.initial=16", "scheduler.cooldown=0.5"),  # it reads a clock
}
# every kind of state: BatchNorm and dropout, which are each rank's own
STATEFUL = (
    "model=vit_tiny", "dataset.train_size=120", "scheduler=gns", "scheduler.initial=9", "scheduler.cooldown=0.3",
    "estimator=microbatch", "estimator.chunks=2", "model.dropout=0.2", "checkpoint_every=0.3",
)  # fmt: skip


FIVES = ("estimator.microbatches=5", "batch_size.multiple_of=5")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
    return port


def together(work: Callable[..., None], *arguments: Any, count: int = 2) -> list[int | None]:
    """Exit codes of so many processes that did `work` as the ranks of one run."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["adaptive_bench.run", "adaptive_bench.datasets", "adaptive_bench.models", "tests.conftest"])
    port = free_port()
    processes = [context.Process(target=as_rank, args=(rank, count, port, work, arguments)) for rank in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(100)
    return [process.exitcode for process in processes]


def as_rank(rank: int, count: int, port: int, work: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    os.environ |= {
        STARTED: "test", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count), "RANK": str(rank),
        "LOCAL_WORLD_SIZE": str(count), "LOCAL_RANK": str(rank),
    }  # fmt: skip
    work(*arguments)


def group() -> Ranks:
    distributed.init_process_group("gloo")
    return Ranks(rank=distributed.get_rank(), count=distributed.get_world_size())


def outcome(model: nn.Module, seen: Any) -> dict[str, Any]:
    gradients = [None if parameter.grad is None else parameter.grad.clone() for parameter in model.parameters()]
    return {"loss": seen.loss, "stats": dict(seen.stats), "gradients": gradients, "physical_batch": seen.physical_batch}


def measured(ranks: Ranks, *, most: int | None = None) -> dict[str, dict[str, Any]]:
    """What each estimator makes of each batch."""
    found = {}
    for name, make in ESTIMATORS.items():
        for kind in MODELS:
            torch.manual_seed(0)
            model, estimator = MODELS[kind]().double(), make()
            for size in SIZES:
                batch, needs = random_batch(size, seed=size), estimator.provides
                seen = estimator.backward(
                    mean_cross_entropy, model, batch, needs, loss_scale=8.0, chunks=Chunks(maximum=most), ranks=ranks
                )
                found[f"{name} {kind} {size}"] = outcome(model, seen)
    return found


def measure_as_rank(folder: Path) -> None:
    ranks = group()
    found = measured(ranks, most=2)
    found |= {"not finite": not_finite(ranks), "no memory": no_memory(ranks), "unused": unused(ranks)}
    torch.save(found, folder / f"{ranks.rank}.pt")


def not_finite(ranks: Ranks) -> dict[str, Any]:
    """The last rows, which are not the first rank's, give an infinite loss."""
    batch = random_batch(8)
    batch.inputs[-1] = math.inf
    torch.manual_seed(0)
    model = MODELS["mlp"]().double()
    return outcome(model, MicroBatch().backward(mean_cross_entropy, model, batch, frozenset({Stat.GRAD_NORM}), ranks=ranks))


def no_memory(ranks: Ranks) -> dict[str, Any]:
    """Only the second of two ranks has too little."""

    def loss(model: nn.Module, part: Batch) -> torch.Tensor:
        if ranks.rank == 1 and len(part) > 2:
            raise torch.OutOfMemoryError(f"{len(part)} rows are too many")
        return mean_cross_entropy(model, part)

    torch.manual_seed(0)
    model, estimator = MODELS["mlp"]().double(), PerSample(fraction=1)
    return outcome(model, estimator.backward(loss, model, random_batch(12, seed=12), estimator.provides, ranks=ranks))


def unused(ranks: Ranks) -> dict[str, Any]:
    """A batch of one row, of which the second rank has none, and a layer that no row goes through."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 10), nn.Linear(3, 3)).double()

    def loss(model: nn.Sequential, part: Batch) -> torch.Tensor:
        return nn.functional.cross_entropy(model[1](model[0](part.inputs)), part.targets)

    return outcome(model, PerSample().backward(loss, model, random_batch(1), frozenset(), ranks=ranks))


@pytest.fixture(scope="module")
def ranks_measured(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("ranks")
    assert together(measure_as_rank, folder) == [0, 0]
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(2)]


@pytest.fixture(scope="module")
def alone_measured() -> dict[str, dict[str, Any]]:
    return measured(Ranks())


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_rank_has_the_gradient_and_the_statistics_of_the_whole_batch(
    name, kind, size, ranks_measured, alone_measured
) -> None:
    case = f"{name} {kind} {size}"
    alone = alone_measured[case]
    for found in (each[case] for each in ranks_measured):
        assert found["loss"] == pytest.approx(alone["loss"], rel=1e-9)
        assert found["stats"] == pytest.approx(alone["stats"], rel=1e-9, abs=1e-9, nan_ok=True)
        for ours, expected in zip(found["gradients"], alone["gradients"], strict=True):
            torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-12)
            assert ours.stride() == expected.stride()
    assert ranks_measured[0][case]["physical_batch"] <= 2, "as `most` says, on top of the ranks"


def test_a_loss_that_is_not_finite_on_one_rank_comes_back_to_all(ranks_measured) -> None:
    for found in (each["not finite"] for each in ranks_measured):
        assert not math.isfinite(found["loss"])
        assert found["stats"] == {}
        assert not any(isinstance(gradient, torch.Tensor) for gradient in found["gradients"])


def test_memory_that_runs_out_on_one_rank_is_its_own_affair(ranks_measured, alone_measured) -> None:
    first, second = (each["no memory"] for each in ranks_measured)
    assert (first["physical_batch"], second["physical_batch"]) == (6, 1)  # 6 and 3 rows are too many for it
    for found in (first, second):
        for ours, expected in zip(found["gradients"], alone_measured["exact mlp 12"]["gradients"], strict=True):
            torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-12)


def test_a_rank_without_rows_has_the_others_gradients_and_no_more(ranks_measured) -> None:
    alone = unused(Ranks())
    assert [gradient is None for gradient in alone["gradients"]] == [False, False, True, True]
    for found in (each["unused"] for each in ranks_measured):
        assert [gradient is None for gradient in found["gradients"]] == [False, False, True, True]
        torch.testing.assert_close(found["gradients"][0], alone["gradients"][0])


@given(total=st.integers(0, 10_000), count=st.integers(1, 70))
def test_shares_follow_one_another_and_differ_by_a_row(total: int, count: int) -> None:
    shares = [Ranks(rank=rank, count=count).share(total) for rank in range(count)]
    assert [start for start, _ in shares] == [0, *(stop for _, stop in shares[:-1])]
    assert shares[-1][1] == total
    sizes = [stop - start for start, stop in shares]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] - sizes[-1] <= 1


def train(results: Path, *overrides: str) -> None:
    from adaptive_bench import run

    run.train(composed(f"results={results}", *overrides))


def rows(results: Path, name: str = "trace") -> pd.DataFrame:
    (folder,) = (results / "runs").iterdir()
    frame = pd.read_parquet(folder / f"{name}.parquet")
    return frame.drop(columns=[column for column in frame if column.startswith("seconds_")])


@pytest.mark.parametrize("name", RUNS)
def test_two_processes_agree_with_one(name: str, tmp_path: Path) -> None:
    overrides = (*PLAIN, *RUNS[name])
    assert together(train, tmp_path / "two", *overrides) == [0, 0]
    two, record = rows(tmp_path / "two"), rows(tmp_path / "two", "record").iloc[0]
    assert record["ranks"] == 2
    assert record["threads"] == 1  # by SMALL
    if name != "fixed":
        assert two["batch_size"].nunique() > 2, "sizes change, and nobody waits for ever"
    if name == "goodput":  # its sizes follow from seconds, which are not the same twice
        return
    assert together(train, tmp_path / "one", *overrides, count=1) == [0]
    one = rows(tmp_path / "one")
    assert rows(tmp_path / "one", "record").iloc[0]["ranks"] == 1
    assert two["batch_size"].tolist() == one["batch_size"].tolist()
    pd.testing.assert_series_equal(two["loss"], one["loss"], rtol=1e-6, atol=1e-6)
    pd.testing.assert_series_equal(two["lr"], one["lr"], rtol=1e-6)
    values = [rows(tmp_path / which, "evaluations")["loss"] for which in ("one", "two")]
    pd.testing.assert_series_equal(*values, rtol=1e-5)


def die_at(step: int, rank: int, results: Path, *overrides: str) -> None:
    from adaptive_bench import trainer

    plain, left = trainer.Trainer.step, step

    def dying(self: trainer.Trainer) -> None:
        nonlocal left
        left -= 1
        if left == 0 and int(os.environ["RANK"]) == rank:
            os.kill(os.getpid(), signal.SIGKILL)
        plain(self)

    trainer.Trainer.step = dying  # type: ignore[method-assign]
    train(results, *overrides)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_run_whose_rank_was_killed_ends_as_interrupted_and_resumes(rank: int, tmp_path: Path) -> None:
    assert together(train, tmp_path / "whole", *STATEFUL) == [0, 0]
    start = time.monotonic()
    codes = together(die_at, 9, rank, tmp_path / "killed", *STATEFUL)
    assert time.monotonic() - start < 60
    assert codes[rank] == -signal.SIGKILL
    assert codes[1 - rank] == 1
    (folder,) = (tmp_path / "killed" / "runs").iterdir()
    state = RunFolder(tmp_path / "killed", folder.name).state()
    assert state["status"] == "interrupted"
    if rank == 1:
        assert "rank 0 of 2 lost another one" in state["reason"]
    kept = torch.load(folder / "checkpoint.pt", weights_only=True)
    assert 0 < kept["samples"] < 240
    first, second = (state["cpu"] for state in kept["random"])
    assert not torch.equal(first, second), "two ranks would drop the same units of different rows"
    assert together(train, tmp_path / "killed", *STATEFUL) == [0, 0]
    pd.testing.assert_frame_equal(rows(tmp_path / "killed"), rows(tmp_path / "whole"), check_exact=True)
    weights = [rows(tmp_path / which, "record").iloc[0]["weights"] for which in ("killed", "whole")]
    assert weights[0] == weights[1]


def torchrun(results: Path, *overrides: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "adaptive_bench"]
    small = ("dataset.train_size=200", "dataset.validation_size=50", "dataset.test_size=50", "dataset.crop=1", "epochs=2")
    return subprocess.Popen(
        [*command, "train", *small, *overrides, f"results={results}"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_torchrun_trains_one_run_and_says_so_once(tmp_path: Path) -> None:
    process = torchrun(tmp_path, "scheduler=exponential", "scheduler.initial=20", "scheduler.interval=0.5")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert len(re.findall("digits cnn_small exponential seed=0: done", out)) == 1
    record = rows(tmp_path, "record").iloc[0]
    assert (record["status"], record["ranks"]) == ("done", 2)
    assert record["threads"] == max(1, len(os.sched_getaffinity(0)) // 2)
    trace = rows(tmp_path)
    assert trace["batch_size"].nunique() > 2
    assert (trace["physical_batch"] == (trace["batch_size"] + 1) // 2).all()


def test_a_killed_rank_ends_torchrun(tmp_path: Path) -> None:
    overrides = ("epochs=200", "scheduler.initial=5", "checkpoint_every=0.1")
    process = torchrun(tmp_path, *overrides)
    until, found = time.monotonic() + 90, list[int]()
    while not found and time.monotonic() < until:
        time.sleep(0.2)
        if any((tmp_path / "runs").glob("*/checkpoint.pt")):
            children = subprocess.run(
                ["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, text=True, check=True
            )
            found = [int(word) for word in children.stdout.split()]
    killed = time.monotonic()
    os.kill(found[-1], signal.SIGKILL)
    process.communicate(timeout=60)
    assert process.returncode != 0
    assert time.monotonic() - killed < 60
    (folder,) = (tmp_path / "runs").iterdir()
    assert RunFolder(tmp_path, folder.name).state()["status"] == "interrupted"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("dataset=markov_text", "model=lstm_small", "dataset.train_size=9000"), "the rows of a text carry a state"),
        (("order=curriculum",), "take order=shuffled, or one process"),
        (("scheduler=gns", "estimator=microbatch", "estimator.chunks=3"), "set estimator.chunks to 4"),
        (("scheduler=gns", "scheduler.estimator=sheet", "estimator=sheet", *FIVES), "estimator.microbatches to 6"),
    ],
)
@pytest.mark.filterwarnings("ignore:scheduler.estimator=sheet")
def test_what_several_processes_cannot_train_is_refused(overrides, message, tmp_path) -> None:
    cfg = composed(f"results={tmp_path}", *overrides)
    with pytest.raises(ValueError, match=message):
        build(cfg, plan(cfg, cfg.hydra), among=Ranks(rank=0, count=2))


def test_torchrun_and_a_sweep_do_not_go_together(cli, monkeypatch) -> None:
    monkeypatch.setenv(STARTED, "test")
    monkeypatch.setenv("WORLD_SIZE", "2")
    code, _, err = cli("train", "-m", "seed=0,1")
    assert code != 0
    assert "torchrun has started 2 processes, which train one run together" in err


def test_the_number_of_ranks_is_part_of_what_a_run_is(tmp_path, monkeypatch) -> None:
    cfg = composed(f"results={tmp_path}")
    alone = plan(cfg, cfg.hydra).identity
    monkeypatch.setenv(STARTED, "test")
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    planned = plan(cfg, cfg.hydra)
    assert planned.identity.run != alone.run
    assert json.dumps(planned.identity.settings["ranks"]) == "4"
    assert planned.machine.timing.endswith("ranks 4")
