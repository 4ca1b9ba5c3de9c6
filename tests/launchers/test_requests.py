"""What an engine of other machines has to be told is refused before anything is submitted."""

import pytest

from adaptive_bench.experiment import build
from tests.conftest import composed


@pytest.mark.parametrize("engine", ["slurm", "ray"])
@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "device=auto: hydra/launcher={engine} trains on other machines; set device=cpu or device=cuda"),
        (
            ("device=cuda",),
            "device=cuda and hydra.launcher.gpus=0: with device=cuda, set how many GPUs hydra/launcher={engine} gives",
        ),
        (("device=cpu", "hydra.launcher.gpus=1"), "device=cpu and hydra.launcher.gpus=1"),
    ],
)
def test_a_run_needs_its_device(cli, tmp_path, engine, words, says):
    code, _, err = cli("train", "-m", "seed=0,1", f"hydra/launcher={engine}", *words, f"results={tmp_path / 'new'}")
    assert (code, err.count("\n")) == (1, 1)
    assert says.format(engine=engine) in err
    assert not (tmp_path / "new").exists()


def test_another_machine_may_have_the_device_that_this_one_lacks(monkeypatch):
    monkeypatch.setattr(build.machine.torch.cuda, "is_available", lambda: False)
    words = ("hydra/launcher=ray", "device=cuda", "hydra.launcher.gpus=1", "hydra.launcher.cpus=3", "threads=null")
    cfg = composed(*words, "hydra.mode=MULTIRUN")
    planned = build.plan(cfg, cfg.hydra, elsewhere=True)
    assert (planned.machine.device, planned.machine.threads) == ("cuda", 3)
    with pytest.raises(ValueError, match="torch finds no CUDA device here"):
        build.plan(cfg, cfg.hydra)


def test_without_sbatch_the_sweep_is_refused(cli, tmp_path, monkeypatch):
    pytest.importorskip("submitit", reason="adaptive_bench[slurm] is not installed")
    monkeypatch.setenv("PATH", "/nowhere")
    code, _, err = cli("train", "-m", "seed=0,1", "hydra/launcher=slurm", "device=cpu", f"results={tmp_path / 'new'}")
    assert code == 1
    assert "there is no sbatch here; start the sweep where Slurm takes jobs" in err
