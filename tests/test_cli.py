"""The command line as users meet it."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import torch
from omegaconf import OmegaConf

from adaptive_bench.experiment.sweep import Sweep
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


def test_plan_lists_the_runs_of_a_sweep_and_what_is_done_and_trains_nothing(cli, tmp_path):
    sweep = [*SMALL, f"results={tmp_path}", "optimizer.lr=0.1,0.2", "seed=range(3)"]
    code, out, _ = cli("plan", "-m", *sweep)
    assert (code, out.splitlines()[-1]) == (0, "6 runs in 2 cells: 6 to do")
    assert not list(tmp_path.iterdir())
    assert cli("train", *SMALL, f"results={tmp_path}", "optimizer.lr=0.2", "seed=1")[0] == 0
    code, out, _ = cli("plan", *sweep)
    assert out.splitlines()[-1] == "6 runs in 2 cells: 1 done, 5 to do"
    (done,) = [line for line in out.splitlines() if "│ done" in line]
    assert "seed=1 (optimizer.lr=0.2)" in done
    code, _, err = cli("train", "-m", *sweep)
    assert code == 0
    assert "6 runs, 1 of them finished before" in err  # the digests are the same
    assert "seed=2 (optimizer.lr=0.1), test accuracy" in err
    code, out, _ = cli("status", str(tmp_path))
    assert sum("seed=2 (optimizer.lr=0.1)" in line for line in out.splitlines()) == 1
    assert out.splitlines()[-1] == "6 runs: 6 done"


def test_a_search_prints_what_it_found(tmp_path, capsys):
    found = tmp_path / "optimization_results.yaml"
    found.write_text("name: optuna\nbest_params:\n  optimizer.lr: 0.1\nbest_value: 91.5\n")  # as Optuna's sweeper writes it
    Sweep().on_multirun_end(OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path)}}}))
    assert f"the search ended ({found}):\nname: optuna" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("scheduler=nope", "Could not find 'scheduler/nope'"),
        ("optimzer.lr=1", "Did you mean optimizer.lr?"),
        ("seed=-1,2", "seed=-1"),
    ],
)
def test_a_plan_of_nonsense_is_one_line(cli, override, says):
    code, _, err = cli("plan", override)
    assert code == 1
    assert err.startswith("adaptive-bench: error: ")
    assert says in err
    assert len(err.splitlines()) == 1


def test_options_of_a_folder_of_ones_own(cli, tmp_path, monkeypatch):
    for group, name, text in (
        ("scheduler", "own", "_target_: mine_alone.Own\ninitial: 8\n"),
        ("sweep", "mine", "# A sweep of mine.\n"),
    ):
        (tmp_path / "conf" / group).mkdir(parents=True)
        (tmp_path / "conf" / group / f"{name}.yaml").write_text(text)
    folder = str(tmp_path / "conf")
    for command in (
        ["list", "--config-dir", folder],
        ["train", "--config-dir", folder, "scheduler=own", f"results={tmp_path}/r"],
    ):
        code, _, err = cli(*command)
        assert code == 1
        assert "mine_alone.Own cannot be imported (No module named 'mine_alone'); is its folder on PYTHONPATH?" in err
        assert len(err.splitlines()) == 1
    (tmp_path / "mine_alone.py").write_text(
        'from adaptive_bench.schedulers import Fixed\n\nclass Own(Fixed):\n    """As before.\n\n    Source: ours.\n    """\n'
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    code, out, _ = cli("list", "--config-dir", folder)
    assert code == 0
    assert [line for line in out.splitlines() if "│ own " in line and "As before." in line]
    assert [line for line in out.splitlines() if "│ mine " in line and "A sweep of mine." in line]
    code, out, _ = cli("plan", "--config-dir", folder, "scheduler=own")
    assert "own seed=0" in out
    assert "there is no such folder" in cli("list", "--config-dir", str(tmp_path / "nowhere"))[2]


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("bash"), reason="a test of bash's completion")
@pytest.mark.parametrize(
    ("line", "offers"),
    [
        ("adaptive-bench ca", {"calibrate"}),
        ("adaptive-bench train sched", {"scheduler.", "scheduler="}),
        ("adaptive-bench train model=mobilenet_v3_s", {"model=mobilenet_v3_small", "model=mobilenet_v3_small_cpu"}),
        ("adaptive-bench plan scheduler=gns scheduler.kap", {"scheduler.kappa="}),
    ],
)
def test_bash_completes_commands_groups_options_and_keys(line: str, offers: set[str]):
    words = len(line.split())
    script = (
        'eval "$(adaptive-bench train -sc install=bash)"; complete -p adaptive-bench >&2; '
        f'COMP_LINE="{line}" COMP_POINT={len(line)} COMP_CWORD={words - 1}; hydra_bash_completion; echo "${{COMPREPLY[@]}}"'
    )
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    made = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True, env={**os.environ, "PATH": path})
    assert "-F hydra_bash_completion adaptive-bench" in made.stderr
    assert set(made.stdout.split()) == offers


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


def test_status_lists_a_damaged_run_and_tables_can_leave_it_out(cli, tmp_path):
    small = ("model=mlp", "dataset.train_size=100", "scheduler.initial=50", "epochs=1", "progress=false", "threads=1")
    assert cli("train", "-m", *small, "seed=0,1", f"results={tmp_path}")[0] == 0
    bad, _ = sorted((tmp_path / "runs").iterdir())
    (bad / "record.parquet").write_bytes(b"PAR1")
    code, out, _ = cli("status", str(tmp_path))
    assert code == 0
    assert "1 damaged, 1 done" in out
    code, _, err = cli("tables", str(tmp_path))
    assert (code, err.count("\n")) == (1, 1)
    assert f"{bad.name}/record.parquet cannot be read" in err
    with pytest.warns(UserWarning, match=bad.name):
        assert cli("tables", str(tmp_path), "--skip-damaged")[0] == 0


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


def test_list_shows_the_range_of_a_setting():
    from adaptive_bench.__main__ import conf
    from adaptive_bench.experiment.catalogue import describe

    shown = describe(conf() / "scheduler" / "gns.yaml")[-1]
    assert "kappa=1 (> 0)" in shown
    assert "estimator=pair (pair|sheet|raw)" in shown
    assert "monotone=False " in shown
    assert "dropout=0.1 (>= 0, < 1)" in describe(conf() / "model" / "gpt_mini.yaml")[-1]
    assert "lr=0.001 " in describe(conf() / "optimizer" / "adamw.yaml")[-1]  # torch's own


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


@pytest.mark.slow
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
