import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from adaptive_bench.experiment import machine
from adaptive_bench.experiment.build import plan
from adaptive_bench.schema import UNKNOWN_JOBS
from tests.conftest import composed


@pytest.fixture(autouse=True)
def threads_as_before():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_cores_are_shared_among_jobs(monkeypatch):
    monkeypatch.setattr(machine, "available_cores", lambda: 8)
    assert machine.prepare(device="cpu", threads=None, jobs=3).threads == 2
    assert torch.get_num_threads() == 2
    assert machine.prepare(device="cpu", threads=None, jobs=99).threads == 1
    assert machine.prepare(device="cpu", threads=3, jobs=99).threads == 3
    assert torch.get_num_threads() == 3


def test_a_launcher_that_does_not_say_how_many_runs_share_the_machine(monkeypatch):
    monkeypatch.setattr(machine, "available_cores", lambda: 8)
    elsewhere = machine.prepare(device="cpu", threads=None, jobs=None)
    assert (elsewhere.threads, elsewhere.jobs) == (8, UNKNOWN_JOBS)
    assert "jobs unknown" in elsewhere.timing
    cfg = composed("hydra.mode=MULTIRUN")
    OmegaConf.set_readonly(cfg.hydra, False)
    OmegaConf.set_struct(cfg.hydra, False)
    assert plan(cfg, cfg.hydra).machine.jobs == 1  # one after the other
    cfg.hydra.launcher = {"_target_": "hydra_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher", "nodes": 1}
    assert plan(cfg, cfg.hydra).machine.jobs == UNKNOWN_JOBS
    cfg.hydra.launcher = {"_target_": "hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher", "n_jobs": 4}
    assert plan(cfg, cfg.hydra).machine.jobs == 4


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's allocator only")
@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({}, "glibc, buffers kept"),
        pytest.param({"MALLOC_TRIM_THRESHOLD_": "100000"}, "environment", marks=pytest.mark.slow),
    ],
)
def test_the_allocator_keeps_big_buffers(environment, says):
    # a buffer of 100 MB comes from its own mapping unless the threshold is raised; on Linux the maps say so
    script = (
        "import torch; from adaptive_bench.experiment.machine import prepare; "
        "print(prepare(device='cpu', threads=1, jobs=1).allocator); "
        "x = torch.ones(25_000_000); a = x.data_ptr(); del x; "
        "heap = next(l for l in open('/proc/self/maps') if '[heap]' in l).split()[0].split('-'); "
        "print(int(heap[0], 16) <= a < int(heap[1], 16))"
    )
    env = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")} | environment
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=env, check=True)
    assert done.stdout.splitlines() == [says, str(says.startswith("glibc"))]


def test_the_record_names_versions_and_commit():
    here = machine.prepare(device="cpu", threads=1, jobs=1)
    assert here.torch == torch.__version__
    assert here.python == platform.python_version()
    assert here.commit == "" or len(here.commit) == 40


def test_the_digest_of_the_sources_is_that_of_the_code_a_run_passes_through(tmp_path, monkeypatch):
    package = tmp_path / "adaptive_bench"
    shutil.copytree(Path(machine.__file__).parents[1], package)
    monkeypatch.setattr(machine, "__file__", str(package / "experiment" / "machine.py"))
    digests = [machine.sources.__wrapped__()]
    assert digests == [machine.sources()]  # of this checkout, where the folder lies elsewhere
    for name in ("analysis/read.py", "loggers/wandb.py", "serving/live.py", "__main__.py", "README.md"):
        (package / name).write_text("")
    assert machine.sources.__wrapped__() == digests[0]
    for name in ("schedulers/fixed.py", "schema.py", "models/new.py"):
        (package / name).write_text("# changed")
        digests.append(machine.sources.__wrapped__())
    (package / "models" / "new.py").rename(package / "models" / "newer.py")
    digests.append(machine.sources.__wrapped__())
    assert len(set(digests)) == 5
    assert all(re.fullmatch("[0-9a-f]{16}", digest) for digest in digests)
