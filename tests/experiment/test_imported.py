"""Logs of other programs, judged like our own runs."""

import math

import numpy as np
import pandas as pd
import pytest

from adaptive_bench.__main__ import main
from adaptive_bench.analysis import read, table


def logs(**arms: float) -> pd.DataFrame:
    """Five seeds of arms that come up with these speeds; one grows its batch half-way."""
    noise, rows = np.random.default_rng(0), []
    for arm, speed in arms.items():
        for seed in range(5):
            for samples in range(0, 10_001, 500):
                value = 90 * (1 - math.exp(-speed * samples / 3000)) + noise.normal() / 2
                rows.append((arm, seed, samples, samples / 1000, "accuracy", value, 128 if speed > 1 and samples > 5000 else 32))
    return pd.DataFrame(rows, columns=["arm", "seed", "samples", "seconds", "metric", "value", "size"])


@pytest.fixture
def imported(tmp_path, capsys):
    """Write a frame as CSV and import it with these words; returns what was said and the exit code."""

    def call(frame: pd.DataFrame, *words: str) -> tuple[str, int]:
        frame.to_csv(tmp_path / "logs.csv", index=False)
        code = main(["import", str(tmp_path / "logs.csv"), str(tmp_path / "results"), *words])
        said = capsys.readouterr()
        return said.out + said.err, code

    return call


def test_logs_get_a_verdict(imported, tmp_path, capsys):
    frame = logs(ours=2.0, baseline=1.0)
    assert imported(frame) == (f"import: 10 runs added to {tmp_path / 'results'}, 0 were there before\n", 0)
    (made,) = table(read(tmp_path / "results"), baseline="baseline")
    assert made.title == "imported / imported"
    assert {row.label: row.verdict for row in made.rows} == {"ours": "faster, not worse", "baseline": "baseline"}
    assert not made.timed  # who knows what else these machines did
    (timed,) = table(read(tmp_path / "results"), baseline="baseline", allow_mixed_timing=True)
    assert timed.timed
    assert main(["report", str(tmp_path / "results"), "--baseline", "baseline", "-o", str(tmp_path / "a.html")]) == 0
    assert main(["status", str(tmp_path / "results")]) == 0
    assert "imported imported ours seed=3, imported" in capsys.readouterr().out


def test_what_was_imported_is_what_is_read(imported, tmp_path):
    frame = logs(ours=2.0)
    imported(frame)
    runs = read(tmp_path / "results")
    for record in runs.records.to_dict("records"):
        of = frame[frame["seed"] == record["seed"]]
        curve = runs.validation(record["run"])
        assert curve["samples"].tolist() == of["samples"].tolist()
        assert curve["value"].tolist() == of["value"].tolist()
        assert curve["seconds"].tolist() == of["seconds"].tolist()
        assert (record["best"], record["final"]) == (of["value"].max(), of["value"].iloc[-1])
        assert record["steps"] == round(5000 / 32 + 5000 / 128)
        assert curve["step"].iloc[-1] == record["steps"]
        assert set(runs.trace(record["run"])["batch_size"]) == {32, 128}


def test_a_second_time_nothing_is_added(imported, tmp_path):
    imported(logs(ours=2.0))
    said, code = imported(logs(ours=2.0, baseline=1.0))
    assert (said, code) == (f"import: 5 runs added to {tmp_path / 'results'}, 5 were there before\n", 0)
    assert len(read(tmp_path / "results").records) == 10


def test_other_names_and_values_that_a_file_lacks(imported, tmp_path):
    frame = logs(ours=2.0).rename(columns={"samples": "_step", "value": "val/acc"}).drop(columns=["metric", "seconds"])
    said, code = imported(
        frame,
        "--column",
        "samples=_step",
        "--column",
        "value=val/acc",
        "--constant",
        "metric=accuracy",
        "--constant",
        "dataset=x",
    )
    assert code == 0, said
    records = read(tmp_path / "results").records
    assert set(records["dataset"]) == {"x"}
    assert records["seconds_train"].isna().all()


def test_a_test_split_and_a_run_that_has_diverged(imported, tmp_path):
    frame = logs(ours=2.0)
    last = frame[frame["samples"] == 10_000].assign(split="test", value=lambda rows: 50.0 + rows["seed"])
    last.loc[last["seed"] == 4, "value"] = math.inf
    imported(pd.concat([frame.assign(split="validation"), last]))
    records = read(tmp_path / "results").records.set_index("seed")
    assert records["status"].tolist() == ["done"] * 4 + ["diverged"]
    assert records["final"].tolist()[:4] == [50, 51, 52, 53]


def test_a_chart_that_wandb_has_exported(imported, tmp_path):
    chart = pd.DataFrame({"Step": [0, 100, 200]})
    for name, values in {
        "gns seed=0": [1.0, 20.0, 30.0],
        "gns seed=1": [2.0, math.nan, 31.0],
        "fixed_32": [1.5, 10.0, 15.0],
    }.items():
        for suffix in ("", "__MIN", "__MAX"):
            chart[f"{name} - accuracy{suffix}"] = values
    said, code = imported(chart, "--constant", "size=10")
    assert code == 0, said
    runs = read(tmp_path / "results")
    assert runs.records[["label", "seed"]].to_numpy().tolist() == [["fixed_32", 0], ["gns", 0], ["gns", 1]]
    assert [len(runs.validation(run)) for run in runs.records["run"]] == [3, 3, 2]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seed": "one"}, "line 2: seed='one' is no number"),
        ({"seed": 0.5}, "line 2: seed=0.5: a whole number from 0 up is expected"),
        ({"samples": -1}, "line 2: samples=-1: a whole number from 0 up is expected"),
        ({"size": 0}, "line 2: size=0: a whole number from 1 up is expected"),
        ({"metric": "loss"}, "metric=loss: accuracy or perplexity is expected"),
        ({"samples": 500}, "line 3: a second value at the same samples of the same arm, seed and split"),
        ({"split": "train"}, "split=train: validation or test is expected"),
    ],
)
def test_bad_rows_are_named(change, words, imported, tmp_path):
    frame = logs(ours=2.0).astype(object)
    for name, value in change.items():
        frame.loc[0, name] = value
    said, code = imported(frame.assign(split=frame["split"].fillna("validation")) if "split" in frame else frame)
    assert code == 1
    assert words in said
    assert not (tmp_path / "results" / "compact").exists()


def test_accuracies_are_in_percent(imported):
    said, code = imported(logs(ours=2.0).assign(value=lambda rows: rows["value"] / 100))
    assert code == 1
    assert "multiply them by 100" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--column", "seed=number"), "has no column number; it has arm, seed,"),
        (("--column", "seed"), "seed: OURS=... is expected"),
    ],
)
def test_bad_names_are_refused(words, said, imported):
    assert said in imported(logs(ours=2.0), *words)[0]


def test_missing_columns_and_files_are_named(imported, tmp_path, capsys):
    assert (
        "lacks the columns value; it has arm, seed, samples, seconds, metric, size"
        in imported(logs(a=1.0).drop(columns="value"))[0]
    )
    assert main(["import", str(tmp_path / "none.csv")]) == 1
    assert "none.csv cannot be read as CSV" in capsys.readouterr().err
