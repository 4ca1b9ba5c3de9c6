"""The command line as users meet it."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import torch

from tests.conftest import SMALL


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_a_missing_device_is_named(cli, tmp_path):
    code, _, err = cli("train", "device=cuda", f"results={tmp_path}")
    assert code == 1
    assert err.strip() == "adaptive-bench: error: device=cuda: torch finds no CUDA device here; take device=cpu or device=auto"


def test_a_need_that_the_estimator_cannot_provide_is_refused_with_both_names():
    from adaptive_bench.estimators import PerSample
    from adaptive_bench.models import mlp

    class Blind(PerSample):
        provides = frozenset()

    with pytest.raises(ValueError, match="Blind cannot measure mean_sample_sq_norm"):
        Blind().check(mlp(inputs=(4,), outputs=2), frozenset({"mean_sample_sq_norm"}))


def test_a_run_is_trained_once(cli, tmp_path):
    arguments = ("train", *SMALL, f"results={tmp_path}", "scheduler=divebatch", "scheduler.initial=16")
    code, out, _ = cli(*arguments)
    assert code == 0
    assert "done, test accuracy" in out
    (record,) = (tmp_path / "runs").glob("*/record.parquet")
    stamp = record.stat().st_mtime_ns
    code, out, _ = cli(*arguments)
    assert code == 0
    assert "was finished before; nothing to train" in out
    assert record.stat().st_mtime_ns == stamp
    columns = [
        "run",
        "cell",
        "dataset",
        "model",
        "scheduler",
        "block_scheduler",
        "lr_rule",
        "seed",
        "status",
        "reason",
        "metric",
        "best",
        "final",
        "samples",
        "steps",
        "seconds_train",
        "seconds_measure",
        "seconds_evaluate",
        "commit",
        "dirty",
        "device",
        "threads",
    ]
    assert set(columns) <= set(pd.read_parquet(record))


def test_a_sweep_with_a_run_that_diverges_goes_on(cli, tmp_path):
    arguments = ("train", "-m", *SMALL, f"results={tmp_path}", "model.norm=none", "optimizer.lr=0.05,1e30", "seed=0,1")
    code, _, err = cli(*arguments)
    assert code == 0
    assert "4 runs: 2 diverged, 2 done" in err
    records = pd.concat(map(pd.read_parquet, (tmp_path / "runs").glob("*/record.parquet")))
    diverged = records[records["status"] == "diverged"]
    assert len(diverged) == 2
    assert diverged["final"].isna().all()
    assert diverged["reason"].str.contains("the loss became").all()
    code, _, err = cli(*arguments)
    assert code == 0
    assert "4 runs, 4 of them finished before: nothing to train" in err
    code, out, _ = cli("status", str(tmp_path))
    assert code == 0
    assert "4 runs: 2 diverged, 2 done" in out
    code, out, _ = cli("tables", str(tmp_path), "--format", "json")
    assert code == 0
    (table,) = json.loads(out)
    assert sorted((row["n"], row["diverged"]) for row in table["rows"]) == [(0, 2), (2, 0)]


def test_every_failed_run_of_a_sweep_is_named_at_the_end(cli, tmp_path, monkeypatch):
    from adaptive_bench.training.trainer import Trainer

    step = Trainer.step

    def failing(self):
        if self.samples > 100 and self.batch_size.sizes.maximum > 50:
            raise RuntimeError("out of order")
        step(self)

    monkeypatch.setattr(Trainer, "step", failing)
    code, _, err = cli("train", "-m", *SMALL, f"results={tmp_path}", "batch_size.maximum=40,60", "seed=0,1")
    assert code == 1
    assert "4 runs: 2 done, 2 failed" in err
    assert err.count("out of order") >= 2
    code, out, _ = cli("status", str(tmp_path))
    assert "2 done, 2 failed" in out
    assert "RuntimeError: out of order" in out
    monkeypatch.setattr(Trainer, "step", step)
    code, _, err = cli("train", "-m", *SMALL, f"results={tmp_path}", "batch_size.maximum=40,60", "seed=0,1")
    assert code == 0
    assert "4 runs: 4 done" in err


def test_a_swept_sweep_file_is_refused(cli, tmp_path):
    code, _, err = cli("train", "-m", "sweep=demo,demo", f"results={tmp_path}")
    assert code == 1
    assert "run one sweep after the other" in err


def test_status_of_a_killed_run_is_interrupted(cli, tmp_path):
    folder = tmp_path / "runs" / "0123456789abcdef"
    folder.mkdir(parents=True)
    (folder / "state.json").write_text(json.dumps({"status": "running", "reason": "", "samples": 10, "budget": 100}))
    code, out, _ = cli("status", str(tmp_path))
    assert code == 0
    assert "interrupted" in out
    assert "its process is gone" in out
    assert "10 / 100" in out


@pytest.mark.parametrize("command", ["status", "tables"])
def test_a_folder_without_runs_is_said_to_be_one(cli, tmp_path, command):
    code, _, err = cli(command, str(tmp_path / "nothing"))
    assert code == 1
    assert err.startswith("adaptive-bench: error: ")
    assert "nothing" in err


def test_list_shows_every_option_of_every_slot(cli):
    from adaptive_bench.__main__ import conf

    code, out, _ = cli("list")
    assert code == 0
    for file in conf().glob("*/[!_]*.yaml"):
        cells = [line.split("│") for line in out.splitlines() if line.startswith("│")]
        assert any(name.strip() == file.stem and len(what.split()) >= 2 for _, name, what, *_ in cells), file


def test_list_shows_of_every_scheduler_what_it_is_what_it_needs_and_where_it_is_from():
    from adaptive_bench.__main__ import conf
    from adaptive_bench.experiment.catalogue import describe

    rows = {file.stem: describe(file) for file in (conf() / "scheduler").glob("*.yaml")}
    for name, (what, needs, blocks, source, _) in rows.items():
        assert len(what.split()) >= 3, name
        assert needs
        assert blocks in ("yes", "no")
        assert source, name
    assert rows["gns"][1:4] == ["grad_sq_norm grad_variance", "no", rows["gns"][3]]
    assert rows["linear"][1:4] == ["nothing", "yes", "lab sheet, strategy 1"]


def test_list_shows_of_every_method_its_source_and_what_that_leaves_open():
    from adaptive_bench.__main__ import conf
    from adaptive_bench.experiment.catalogue import describe

    rows = {file.stem: describe(file) for file in (conf() / "arm").glob("*.yaml")}
    for name, (what, source, left_open, _) in rows.items():
        assert len(what.split()) >= 3, name
        assert bool(source) == bool(left_open), name
    assert rows["smith"][1] == "Smith, Kindermans, Ying, Le 2018, arXiv 1711.00489"
    assert not rows["fixed_small"][1]


def test_without_a_command_the_help_is_printed(cli):
    code, out, err = cli()
    assert (code, err) == (0, "")
    assert out == cli("--help")[1]
    assert "fetch" in out


def test_the_help_of_train_says_what_it_is(cli):
    code, out, _ = cli("train", "--help")
    assert code == 0
    assert out.startswith("adaptive-bench train [OVERRIDES]: one run")


@pytest.mark.parametrize(
    ("given", "meant"),
    [("optimizer.lrr=1", "optimizer.lr"), ("epoch=3", "epochs"), ("block_scheduler.intial=4", "block_scheduler.initial"),
     ("batch_size.maximun=4", "batch_size.maximum"), ("scheduler.zzz=4", "")],
)  # fmt: skip
def test_a_misspelt_setting_is_answered_with_the_nearest(cli, given, meant):
    code, _, err = cli("train", given)
    assert code == 1
    assert err.partition("Did you mean ")[2].strip() == (f"{meant}?" if meant else "")


def test_help_comes_at_once(tmp_path):
    script = Path(sys.executable).with_name("adaptive-bench")
    taken = []
    for _ in range(3):
        start = time.perf_counter()
        done = subprocess.run([script, "--help"], capture_output=True, text=True, cwd=tmp_path, check=True)
        taken.append(time.perf_counter() - start)
    assert "train" in done.stdout
    assert min(taken) < 1


def test_hydras_own_flags_work_through_the_installed_script(tmp_path):
    script = Path(sys.executable).with_name("adaptive-bench")
    done = subprocess.run(
        [script, "train", "--cfg", "job", "scheduler=adabatch", "seed=7"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=True,
    )
    assert "schedulers.exponential.AdaBatch" in done.stdout
    assert "seed: 7" in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_sweep_in_processes_leaves_a_table_and_a_report(tmp_path):
    script = str(Path(sys.executable).with_name("adaptive-bench"))
    env = {**os.environ, "PYTHONWARNINGS": "ignore"}
    overrides = [*SMALL[:3], "epochs=3", "arm=fixed_small,exponential", "seed=0,1", f"results={tmp_path}"]
    subprocess.run([script, "train", "sweep=demo", *overrides], check=True, env=env, capture_output=True)
    records = pd.concat(map(pd.read_parquet, (tmp_path / "runs").glob("*/record.parquet")))
    assert sorted(records["arm"]) == ["exponential", "exponential", "fixed_small", "fixed_small"]
    assert (records["threads"] * records["jobs"] <= max(os.cpu_count() or 1, records["jobs"].iloc[0])).all()
    page = tmp_path / "report.html"
    subprocess.run([script, "report", str(tmp_path), "-o", str(page)], check=True, env=env, capture_output=True)
    assert "fixed_small" in page.read_text()
