"""Controls from the finished runs of an arm to the effects in the table."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from omegaconf import OmegaConf

from adaptive_bench.analysis import read
from adaptive_bench.analysis.controls import CONTROLS, write_controls
from tests.analysis.conftest import Results, without_clocks

SMALL = ("model=mlp", "dataset.train_size=200", "epochs=2", "evaluate_every={first: 0.2, factor: 1.3}", "batch_size.maximum=64")
GNS = ("scheduler=gns", "scheduler.initial=8")


def _train(cli, *overrides: str, seeds: str = "0,1,2") -> None:
    code, _, err = cli("train", "-m", *SMALL, *overrides, f"seed={seeds}", "results=results")
    assert code == 0, err


def test_every_refusal_is_one_line_that_says_what_to_do(cli) -> None:
    _train(cli, "scheduler=fixed,gns", "scheduler.initial=8", seeds="0")
    for arm, said in {
        "nobody": "no arm is labelled 'nobody'; the arms are fixed, gns",
        "fixed": "fixed has fixed sizes, so that there is nothing to repeat; name an adaptive arm",
        "gns": "gns is done on one seed of digits / mlp (0); a control follows the sizes of another seed, so two are the least",
    }.items():
        code, out, err = cli("controls", "results", arm)
        assert (code, out) == (1, "")
        assert err == f"adaptive-bench: error: {said}\n"


def test_an_arm_without_a_finished_run_and_one_that_drives_both_sizes_are_refused(tmp_path) -> None:
    results = Results(tmp_path / "results")
    results.add("fixed_small")
    results.add_diverged("deba", seed=0)
    for seed in range(2):
        results.add("both", seed=seed, scheduler="gns", block_scheduler="linear")
    runs = read(results.folder)
    with pytest.raises(ValueError, match="no run of deba is done"):
        write_controls(runs, "deba", results.folder)
    with pytest.raises(ValueError, match="both drives both the batch and the block size"):
        write_controls(runs, "both", results.folder)


@pytest.mark.slow
@pytest.mark.parametrize("compacted", [False, True])
def test_controls_from_one_command_to_the_table_also_when_they_were_interrupted(cli, compacted) -> None:
    _train(cli, *GNS)
    _train(cli, "scheduler=fixed", "scheduler.initial=8")
    if compacted:
        assert cli("compact", "results")[0] == 0
    code, out, err = cli("controls", "results", "gns")
    assert code == 0, err
    assert "18 runs: 18 done" in out + err
    runs = read("results")
    labels = {f"gns: {control}" for control in CONTROLS}
    assert labels < set(runs.records["label"])
    assert (runs.records.groupby("label")["seed"].nunique() == 3).all()
    assert len(set(runs.records["workload"])) == 1
    sizes = {(row["label"], row["seed"]): _sizes(runs, row["run"]) for row in runs.records.to_dict("records")}
    for seed in range(3):
        assert sizes["gns: replay", seed] == sizes["gns", (seed + 1) % 3]
    printed = cli("tables", "results", "--format", "json")[1]
    (told,) = json.loads(printed)
    assert [effect["effect"] for effect in told["effects"]] == ["variation", "order", "feedback"]
    # two controls are gone, one of them in the middle: the same command makes the same table again
    lost = [row["run"] for row in runs.records.to_dict("records") if row["label"] in ("gns: replay", "gns: jump")]
    shutil.rmtree(Path("results/runs") / lost[0])
    (Path("results/runs") / lost[1] / "record.parquet").unlink()
    code, out, err = cli("controls", "results", "gns")
    assert code == 0, err
    again = json.loads(cli("tables", "results", "--format", "json")[1])[0]
    for row, other in zip(told["rows"], again["rows"], strict=True):
        assert without_clocks(row) == without_clocks(other)
    assert told["effects"] == again["effects"]


def _sizes(runs, run: str) -> list[int]:
    trace: pd.DataFrame = runs.trace(run, ("step", "samples", "batch_size"))
    sizes: list[int] = []
    for end, size in zip(trace["step"], trace["batch_size"], strict=True):
        sizes += [int(size)] * (int(end) - len(sizes))
    return sizes


@pytest.mark.slow
def test_a_sweep_can_be_written_and_planned_without_training(cli) -> None:
    _train(cli, *GNS, "lr_rule=sqrt", seeds="0,1")
    code, out, err = cli("controls", "results", "gns + sqrt", "--write", "mine")
    assert code == 0, err
    assert out == "controls: mine/sweep/gns_sqrt_controls.yaml\n"
    made = OmegaConf.load("mine/sweep/gns_sqrt_controls.yaml")
    assert made.scheduler.of == "gns + sqrt"
    assert made.hydra.sweeper.params.seed == "0,1"
    code, out, err = cli("plan", "sweep=gns_sqrt_controls", "results=results", "--config-dir", "mine")
    assert code == 0, err
    assert "12 runs in 6 cells: 12 to do" in out
    assert "control of gns + sqrt" in out


@pytest.mark.slow
def test_a_seed_that_no_trace_is_named_for_is_refused(cli) -> None:
    _train(cli, *GNS, seeds="0,1")
    assert cli("controls", "results", "gns", "--write", "mine")[0] == 0
    code, _, err = cli("plan", "sweep=gns_controls", "results=results", "seed=7", "--config-dir", "mine")
    assert code == 1
    assert "scheduler: trace: it names no run for seed 7, only for 0, 1; take these seeds, or add one" in err
