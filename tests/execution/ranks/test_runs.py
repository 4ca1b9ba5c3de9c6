"""Several processes train one run as a single one would; what they cannot train is refused."""

import json
import os
import re
from pathlib import Path

import pandas as pd
import pytest

from adaptive_bench.execution.ranks import STARTED, Ranks
from adaptive_bench.experiment.build import build, plan
from tests.conftest import composed
from tests.execution.ranks.conftest import RUNS, rows, together, torchrun, train

# no BatchNorm and no dropout: what goes through the model at once makes no difference; and a rate that amplifies no rounding
PLAIN = (
    "model.norm=group",
    "dataset.train_size=240",
    "epochs=3",
    "lr_schedule=cosine",
    "evaluate_every=0.5",
    "optimizer.lr=0.01",
)
FIVES = ("estimator.microbatches=5", "batch_size.multiple_of=5")


QUICK = ("fixed", "deba", "gns")


@pytest.mark.parametrize("name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in RUNS])
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


TEXT = (
    "dataset=markov_text", "dataset.train_size=3000", "dataset.validation_size=200", "dataset.test_size=200",
    "dataset.evaluation_batch=5", "scheduler.initial=4", "scheduler@block_scheduler=linear", "block_scheduler.initial=4",
    "batch_size.maximum=40", "epochs=1.5", "optimizer.lr=0.1",
)  # fmt: skip

GROWING = ("scheduler=exponential", "scheduler.interval=0.3")


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ("model=lstm_small", "model.init=0.5", *GROWING),  # so large that the carried state matters
        ("model=gpt_mini", "model.dropout=0", "model.layers=2", *GROWING),
        ("model=lstm_small", "model.init=0.5", "scheduler=gns", "estimator=microbatch", "scheduler.cooldown=0.1"),
    ],
    ids=["lstm_small", "gpt_mini", "gns"],
)
def test_two_processes_train_on_text_as_one_does(words: tuple[str, ...], tmp_path: Path) -> None:
    """Columns and blocks change, and the last step of an epoch has fewer columns: states pass from rank to rank."""
    assert together(train, tmp_path / "two", *TEXT, *words) == [0, 0]
    assert together(train, tmp_path / "one", *TEXT, *words, count=1) == [0]
    two, one = (rows(tmp_path / which) for which in ("two", "one"))
    for size in ("batch_size", "block_size"):
        assert two[size].tolist() == one[size].tolist()
        assert one[size].nunique() > 2
    fewer = one["batch_size"] < one["batch_size_granted"]
    assert (fewer & ~one["state_reset"]).any(), "columns that another rank has computed so far"
    pd.testing.assert_series_equal(two["loss"], one["loss"], rtol=1e-6, atol=1e-6)
    for statistic in {"grad_sq_norm", "grad_variance"} & set(one):
        pd.testing.assert_series_equal(two[statistic], one[statistic], rtol=1e-4)
    values = [rows(tmp_path / which, "evaluations")["loss"] for which in ("one", "two")]
    pd.testing.assert_series_equal(*values, rtol=1e-5)


@pytest.mark.slow
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


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
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
    code, _, err = cli("calibrate", "epochs=5")
    assert (code, err.count("start a calibration without torchrun")) == (1, 1)
    code, _, err = cli("train", "-m", "seed=0,1")
    assert code != 0
    assert "torchrun has started 2 processes, which train one run together: start a sweep without torchrun" in err


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
