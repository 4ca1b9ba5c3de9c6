"""Peaks of memory are read, running out of it is recognised, and a run under a limit ends where an unlimited one does."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

from adaptive_bench.execution.memory import CpuGauge, ran_out
from adaptive_bench.experiment.assemble import experiment
from tests.conftest import composed

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.mark.parametrize(
    ("error", "means_it"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (MemoryError(), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("could not create a primitive"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR"), True),
        (RuntimeError("GET was unable to find an engine to execute this computation"), True),
        (RuntimeError("could not create a primitive descriptor for an LSTM"), False),  # not supported
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("DefaultCPUAllocator"), False),
    ],
)
def test_running_out_of_memory_is_told_from_other_errors(error, means_it) -> None:
    assert ran_out(error) is means_it


@LINUX
def test_a_peak_is_that_since_the_last_reset() -> None:
    gauge = CpuGauge()
    gauge.reset()
    idle = gauge.used()
    large = torch.ones(50_000_000)  # 200 MB
    held = gauge.used()
    del large
    after = gauge.used()
    gauge.reset()
    assert 0 < idle < held <= 1
    assert after == pytest.approx(held, rel=0.05)  # a peak stays until it is reset
    assert gauge.used() == pytest.approx(idle, rel=0.1)


RUN = (  # no BatchNorm, no dropout; the batch doubles from 64 to 1,024
    "dataset=lengths", "dataset.train_size=1024", "dataset.validation_size=50", "dataset.test_size=50", "model=gpt_mini",
    "model.width=64", "model.layers=2", "model.dropout=0", "scheduler=exponential", "scheduler.factor=2", "scheduler.initial=64",
    "batch_size.maximum=1024", "optimizer.lr=0.1", "epochs=6", "threads=1", "progress=false", "keep_weights=true",
)  # fmt: skip
CHILD = """
import resource, sys
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from adaptive_bench.__main__ import conf
from adaptive_bench.execution.memory import _table, PROCESS
from adaptive_bench.experiment import run
room, overrides = int(sys.argv[1]), sys.argv[2:]
with initialize_config_dir(str(conf()), version_base="1.3"):
    cfg = compose("config", overrides, return_hydra_config=True)
HydraConfig.instance().set_config(cfg)
plain = run.build

def limited(*args, **kwargs):
    trainer = plain(*args, **kwargs)
    if room:  # above what the process has once the model is built: importing torch alone takes gigabytes of addresses
        size = _table(PROCESS / "status")["VmSize"] + room
        resource.setrlimit(resource.RLIMIT_AS, (size, size))
    return trainer

run.build = limited
run.train(cfg)
"""


def trained(results: Path, *overrides: str, room: int) -> tuple[pd.Series, dict[str, torch.Tensor]]:
    command = [sys.executable, "-c", CHILD, str(room), *RUN, *overrides, f"results={results}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    (folder,) = (results / "runs").iterdir()
    return pd.read_parquet(folder / "record.parquet").iloc[0], torch.load(folder / "weights.pt")


@LINUX
@pytest.mark.slow
def test_a_run_under_an_address_limit_survives_and_ends_where_an_unlimited_one_does(tmp_path) -> None:
    free, expected = trained(tmp_path / "free", room=0)
    bound, found = trained(tmp_path / "bound", "memory=limit", room=300 * 2**20)
    assert (free["split_steps"], free["physical_batch"]) == (0, 1024)
    assert bound["split_steps"] > 0
    assert bound["physical_batch"] < 1024
    assert 0.5 < bound["memory_used"] < 1
    assert bound["steps"] == free["steps"]
    for name, value in expected.items():
        assert torch.allclose(found[name], value, rtol=0, atol=1e-6), name


@LINUX
def test_the_scheduler_reads_the_peak_of_its_batch(tmp_path) -> None:
    trainer = experiment(composed(f"results={tmp_path}", "scheduler=memory", "scheduler.initial=16"))
    trainer.run()
    used = [row["memory_used"] for row in trainer.steps]
    assert all(0 < share < 1 for share in used)
    sizes = [row["batch_size"] for row in trainer.steps]
    assert max(sizes) > 16  # so small a batch leaves most of the memory idle


@LINUX
def test_memory_is_read_for_one_purpose_only(tmp_path) -> None:
    with pytest.raises(ValueError, match="memory=limit: scheduler=memory reads and resets the same peaks; leave memory out"):
        experiment(composed(f"results={tmp_path}", "scheduler=memory", "memory=limit"))


@LINUX
def test_a_limit_far_away_changes_nothing(tmp_path) -> None:
    ends = []
    for name, more in (("free", ()), ("limit", ("memory=limit",))):
        trainer = experiment(composed(f"results={tmp_path / name}", "model.norm=group", *more))
        trainer.run()
        ends.append([row["loss"] for row in trainer.steps])
    assert ends[0] == ends[1]
    assert trainer.physical_batch.peak < 0.9
