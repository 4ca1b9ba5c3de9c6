import json
import subprocess
import sys
import textwrap

import pytest

from adaptive_bench.analysis import read
from adaptive_bench.experiment import machine
from adaptive_bench.experiment.record import Identity, RunFolder
from adaptive_bench.experiment.run import train
from adaptive_bench.training.trainer import Trainer

SETTINGS = {
    "seed": 1,
    "epochs": 4,
    "results": "a",
    "threads": 2,
    "dataset": {"root": "x", "train_size": None},
    "optimizer": {"lr": 0.1},
}


def changed(**settings) -> Identity:
    return Identity.of({**SETTINGS, **settings})


def test_a_setting_that_can_change_the_outcome_makes_another_run():
    base = changed()
    for other in (changed(epochs=5), changed(optimizer={"lr": 0.2}), changed(dataset={"root": "x", "train_size": 10})):
        assert other.run != base.run
        assert other.cell != base.cell


def test_a_seed_makes_another_run_of_the_same_cell():
    assert changed(seed=2).run != changed().run
    assert changed(seed=2).cell == changed().cell


@pytest.mark.parametrize(
    "settings",
    [{"results": "b"}, {"threads": 8}, {"logger": {"project": "p"}}, {"progress": False}, {"keep_weights": True}, {"epochs": 4.0},
     {"dataset": {"root": "elsewhere", "train_size": None}}],
)  # fmt: skip
def test_what_cannot_change_the_outcome_is_no_part_of_the_identity(settings):
    assert changed(**settings) == changed() or changed(**settings).run == changed().run


def test_the_order_of_settings_does_not_matter():
    assert Identity.of(dict(reversed(SETTINGS.items()))).run == changed().run


def test_a_folder_is_held_by_one_process_at_a_time(tmp_path):
    folder = RunFolder(tmp_path, "f" * 16)
    with folder.claimed("a: 1", {}) as mine:
        assert mine
        folder.beat(samples=5, budget=10)
        assert folder.state()["status"] == "running"
        script = f"""
            from pathlib import Path
            from adaptive_bench.experiment.record import RunFolder
            folder = RunFolder(Path({str(tmp_path)!r}), {"f" * 16!r})
            print(folder.state()["status"])
            with folder.claimed("b: 2", {{}}) as mine:
                print(mine)
        """
        out = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True).stdout
        assert out.split() == ["running", "False"]
        assert (folder.path / "config.yaml").read_text() == "a: 1"


@pytest.mark.parametrize(("error", "status"), [(RuntimeError("broke"), "failed"), (KeyboardInterrupt(), "interrupted")])
def test_how_a_run_ended_is_kept(tmp_path, error, status):
    folder = RunFolder(tmp_path, "f" * 16)
    with pytest.raises(type(error)), folder.claimed("", {}):
        raise error
    state = folder.state()
    assert state["status"] == status
    assert type(error).__name__ in state["reason"]
    with folder.claimed("", {}) as mine:
        assert mine


def test_a_finished_run_is_what_its_record_says(tmp_path):
    folder = RunFolder(tmp_path, "f" * 16)
    with folder.claimed("", {}):
        record = {"status": "diverged", "reason": "the loss became nan", "samples": 7}
        folder.finish(steps=[{"step": 1, "batch_size": 8, "block_size": 1, "lr": 0.1}], evaluations=[{"step": 0}], record=record)
    assert folder.finished
    assert folder.state()["status"] == "diverged"
    assert folder.state()["reason"] == "the loss became nan"
    assert not (folder.path / "state.json").exists()


def test_the_settings_of_an_identity_are_json():
    assert json.loads(json.dumps(changed().settings)) == {"seed": 1, "epochs": 4, "dataset.train_size": None, "optimizer.lr": 0.1}


def test_a_run_that_fails_leaves_what_places_it_and_one_that_ends_says_what_its_metric_is_the_mean_of(
    compose_small, tmp_path, monkeypatch
):
    cfg = compose_small(f"results={tmp_path}")
    monkeypatch.setattr(Trainer, "step", lambda trainer: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train(cfg)
    (about,) = tmp_path.glob("runs/*/about.json")
    (failed,) = read(tmp_path).records.to_dict("records")
    assert (failed["status"], failed["reason"]) == ("failed", "ZeroDivisionError: division by zero")
    monkeypatch.undo()
    train(cfg)
    assert not about.exists()
    (done,) = read(tmp_path).records.to_dict("records")
    for name in ("run", "cell", "label", "workload", "seed", "settings", "sources", "commit", "threads"):
        assert done[name] == failed[name]
    assert (done["status"], done["validation_size"], done["test_size"]) == ("done", 50, 50)
    assert done["sources"] == machine.sources()
