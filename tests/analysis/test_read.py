from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import filelock
import pandas as pd
import pytest

from adaptive_bench.analysis import read
from adaptive_bench.analysis.read import damaged
from adaptive_bench.schema import distinct

if TYPE_CHECKING:
    from tests.analysis.conftest import Results


def labels(results: Results) -> list[str]:
    return sorted(set(read(results.folder).records["label"]))


def test_a_run_that_neither_ended_nor_says_what_it_is_is_left_aside(results: Results) -> None:
    results.add(seed=0)
    (results.add(seed=1) / "record.parquet").unlink()
    (results.folder / "runs" / "empty").mkdir()
    (results.folder / "runs" / "notes.txt").write_text("foreign")
    assert read(results.folder).records["seed"].tolist() == [0]


def test_every_started_run_has_a_row(results: Results) -> None:
    results.add(seed=0, padded_samples=3)
    results.add_unfinished("fixed_small", seed=1, status="failed", reason="RuntimeError: broke")
    results.add_unfinished("jump", seed=0, status="running")  # and no process holds its lock
    held = results.add_unfinished("jump", seed=1, status="running")
    with filelock.FileLock(held / ".lock"):
        runs = read(results.folder)
    found = runs.records.set_index(["label", "seed"])
    assert found["status"].to_dict() == {
        ("fixed_small", 0): "done",
        ("fixed_small", 1): "failed",
        ("jump", 0): "interrupted",
        ("jump", 1): "running",
    }
    assert found["reason"].tolist() == ["", "RuntimeError: broke", "its process is gone", ""]
    assert found["workload"].nunique() == found["title"].nunique() == 1
    numbers = ["best", "final", "samples", "steps", "seconds", "seconds_train", "padded_samples", "memory_used"]
    assert found[found["status"] != "done"][numbers].isna().all(axis=None)
    assert found["padded_samples"].iloc[0] == 3
    assert found["dirty"].dtype == found["maximise"].dtype == bool
    assert found["threads"].tolist() == [2, 2, 2, 2]
    assert set(found["timed_under"]) == set(found["statistics"]) == {""}
    with pytest.raises(ValueError, match=r"not finished, so it has no evaluations"):
        runs.validation(found["run"].iloc[1])


@pytest.mark.parametrize(("status", "counts_as"), [("lost", "interrupted"), ("queued", "running")])
def test_a_run_of_an_engine_counts_as_what_it_comes_to(results: Results, status: str, counts_as: str) -> None:
    results.add_unfinished("jump", seed=3, status=status, reason="Slurm's job 1_0 ended as FAILED")
    (record,) = read(results.folder).records.to_dict("records")
    assert (record["status"], record["reason"]) == (counts_as, "Slurm's job 1_0 ended as FAILED")


def test_a_folder_of_unfinished_runs_only(results: Results) -> None:
    results.add_unfinished("jump", seed=3, status="failed", reason="broke")
    records = read(results.folder).records
    assert records[["seed", "status", "reason", "commit"]].to_numpy().tolist() == [[3, "failed", "broke", "abc123"]]
    assert records[["final", "seconds"]].isna().all(axis=None)


def test_a_run_that_has_just_ended_has_one_row(results: Results) -> None:
    folder = results.add_unfinished("jump", seed=0, status="running")
    shutil.copytree(folder, results.folder / "before")
    shutil.rmtree(folder)
    shutil.copytree(results.folder / "before", results.add("jump"), dirs_exist_ok=True)
    assert read(results.folder).records["status"].tolist() == ["done"]


@pytest.mark.parametrize(
    ("text", "says"), [("{", "is no JSON object"), ("[1]", "is no JSON object"), ("{}", "lacks cell, dataset")]
)
def test_a_corrupt_start_is_named(results: Results, text: str, says: str) -> None:
    (results.add_unfinished("jump", seed=0, status="failed") / "about.json").write_text(text)
    with pytest.raises(ValueError, match=rf"about\.json {says}"):
        read(results.folder)


def test_an_older_record_is_read(results: Results) -> None:
    path = results.add() / "record.parquet"
    results.add(seed=1)
    pd.read_parquet(path).drop(columns=["validation_size", "test_size", "sources", "trajectory"]).to_parquet(path)
    records = read(results.folder).records
    assert records["sources"].tolist() == ["", "5a5a"]
    assert records["validation_size"].isna().tolist() == [True, False]


def test_a_missing_folder_is_named(results: Results) -> None:
    with pytest.raises(ValueError, match=r"results is no folder"):
        read(results.folder)


def test_a_folder_without_runs(results: Results) -> None:
    results.folder.mkdir()
    with pytest.raises(ValueError, match="no run that has started"):
        read(results.folder)


def test_a_corrupt_record_is_named(results: Results) -> None:
    (results.add() / "record.parquet").write_bytes(b"PAR1 and then nothing")
    with pytest.raises(ValueError, match=r"record\.parquet cannot be read"):
        read(results.folder)


@pytest.mark.parametrize("name", ["record.parquet", "evaluations.parquet", "trace.parquet", "about.json"])
def test_a_damaged_run_is_left_out_if_asked_for_and_named(results: Results, name: str) -> None:
    whole = results.add()
    bad = results.add_unfinished("jump", seed=0, status="failed") if name == "about.json" else results.add(seed=1)
    (bad / name).write_bytes((bad / name).read_bytes()[:-20])
    assert list(damaged(results.folder)) == [bad.name]
    with pytest.warns(UserWarning, match=rf"left out, because they are damaged: .*{bad.name}"):
        runs = read(results.folder, skip_damaged=True)
    assert runs.records["run"].tolist() == [whole.name]
    assert len(runs.curve(whole.name).value)


def test_a_damaged_state_is_no_obstacle(results: Results) -> None:
    (results.add_unfinished("jump", seed=0, status="failed") / "state.json").write_text('{"status": "fai')
    assert read(results.folder).records[["status", "reason"]].to_numpy().tolist() == [
        ["interrupted", "its state.json is damaged"]
    ]


def test_missing_columns_are_named(results: Results) -> None:
    path = results.add() / "record.parquet"
    pd.read_parquet(path).drop(columns=["metric", "jobs"]).to_parquet(path)
    with pytest.raises(ValueError, match=r"record\.parquet lacks the columns metric, jobs"):
        read(results.folder)


@pytest.mark.parametrize("name", ["evaluations", "trace"])
def test_curves_and_steps_are_read_when_asked_for(results: Results, name: str) -> None:
    folder = results.add()
    (folder / f"{name}.parquet").unlink()
    runs = read(results.folder)
    with pytest.raises(ValueError, match=rf"{name}\.parquet cannot be read"):
        getattr(runs, name)(folder.name)


@pytest.mark.parametrize("text", ["{", "[]", "3"])
def test_settings_that_are_no_object_are_refused(results: Results, text: str) -> None:
    path = results.add() / "record.parquet"
    pd.read_parquet(path).assign(settings=text).to_parquet(path)
    with pytest.raises(ValueError, match="settings is no JSON object"):
        read(results.folder)


def test_a_copied_run_is_refused(results: Results) -> None:
    folder = results.add()
    folder.with_name("copy").mkdir()
    (folder.with_name("copy") / "record.parquet").write_bytes((folder / "record.parquet").read_bytes())
    with pytest.raises(ValueError, match="same cell and seed more than once"):
        read(results.folder)


def test_the_validation_curve_has_one_split_and_its_seconds(results: Results) -> None:
    folder = results.add(measure=0.25)
    curve = read(results.folder).validation(folder.name)
    assert curve["samples"].tolist() == [25 * at for at in range(41)]
    assert curve["seconds"].iloc[[0, -1]].tolist() == [0, 1.25]


def test_choices_make_the_label_of_a_run_without_an_arm(results: Results) -> None:
    results.add("", scheduler="divebatch")
    results.add("", scheduler="fixed", block_scheduler="exponential", lr_rule="sqrt")
    results.add("jump", scheduler="step", lr_rule="sqrt")
    assert labels(results) == ["divebatch", "fixed / exponential + sqrt", "jump"]


def test_equal_labels_get_the_settings_that_differ(results: Results) -> None:
    for size in (32, 256):
        results.add("", size=size)
        results.add("", size=size, seed=1)
    assert labels(results) == ["fixed (scheduler.initial=256)", "fixed (scheduler.initial=32)"]


def test_numbers_in_labels_are_in_order(results: Results) -> None:
    for size in (256, 32, 1024):
        results.add("", size=size)
    sizes = [label.split("=")[1] for label in read(results.folder).records["label"]]
    assert sizes == ["32)", "256)", "1024)"]


def test_a_setting_that_only_one_cell_has_is_enough() -> None:
    names = distinct({"a": "x", "b": "x"}, settings={"a": {"k": None}, "b": {}})
    assert names == {"a": "x (k=None)", "b": "x"}


def test_a_calibrated_arm_says_so(results):
    for settings in ({"scheduler.calibration": "c924ce69a73bc889"}, {"scheduler.calibration": None}):
        results.add("deba", settings=settings)
    assert [*read(results.folder).records["label"]] == ["deba", "deba, calibrated"]


def test_an_option_of_another_class_is_named_by_its_class():
    order = {"order._target_": "Curriculum", "order.span": 5}
    names = distinct({"a": "x", "b": "x"}, settings={"a": {}, "b": order})
    assert names == {"a": "x", "b": "x (order=Curriculum)"}
    names = distinct({"a": "x", "b": "x", "c": "x"}, settings={"a": {}, "b": order, "c": order | {"order.span": 9}})
    assert names == {"a": "x", "b": "x (order=Curriculum, order.span=5)", "c": "x (order=Curriculum, order.span=9)"}


def test_digests_tell_apart_what_no_setting_does() -> None:
    names = distinct({"aaaa": "x", "bbbb": "x", "cccc": "y"}, settings={"aaaa": {"k": 1}, "bbbb": {"k": "1"}, "cccc": {}})
    assert names == {"aaaa": "x (k=1) #aaaa", "bbbb": "x (k=1) #bbbb", "cccc": "y"}


def test_arms_differ_within_a_workload(results: Results) -> None:
    results.add("fixed_small", settings={"optimizer.lr": 0.1, "estimator.chunks": 4, "lr_rule": "none"})
    results.add("jump", settings={"optimizer.lr": 0.2, "estimator.chunks": 8, "batch_size.maximum": 512})
    assert read(results.folder).records["workload"].unique().size == 1


def test_two_tasks_of_one_data_set_and_model_have_their_own_titles(results: Results) -> None:
    results.add(settings={"epochs": 4})
    results.add(settings={"epochs": 8})
    results.add(dataset="cifar10")
    assert set(read(results.folder).records["title"]) == {"cifar10 / mlp", "digits / mlp (epochs=4)", "digits / mlp (epochs=8)"}
    assert labels(results) == ["fixed_small"]


def test_a_run_without_a_validation_value_is_named(results: Results) -> None:
    folder = results.add()
    path = folder / "evaluations.parquet"
    pd.read_parquet(path).query("split == 'test'").to_parquet(path)
    with pytest.raises(ValueError, match=f"run {folder.name} has no validation value"):
        read(results.folder).validation(folder.name)
