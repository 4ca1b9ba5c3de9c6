"""Folding finished runs loses none and changes nothing that is read, whatever interrupts it."""

import shutil
from collections.abc import Callable
from pathlib import Path

import filelock
import pandas as pd
import pytest

from adaptive_bench import compact
from adaptive_bench.analysis import Runs, read
from adaptive_bench.analysis.stability import stability_of
from adaptive_bench.experiment.record import RunFolder
from adaptive_bench.experiment.recorded import read_trajectory
from adaptive_bench.schema import PIECES
from tests.analysis.conftest import Results


@pytest.fixture
def results(tmp_path: Path) -> Results:
    """Runs of two arms, of which one diverged and two have not ended."""
    made = Results(tmp_path / "results")
    made.add_two_by_three()
    made.add_diverged("late", seed=0)
    made.add_unfinished("late", seed=1, status="failed", reason="broke")
    made.add_unfinished("late", seed=2, status="interrupted")
    return made


def equal(one: Runs, other: Runs) -> None:
    """The same records and the same curves."""
    pd.testing.assert_frame_equal(one.records, other.records)
    for run in one.records.loc[one.records["status"].isin(["done", "diverged"]), "run"]:
        pd.testing.assert_frame_equal(one.evaluations(run), other.evaluations(run))
        pd.testing.assert_frame_equal(one.validation(run), other.validation(run))


def test_what_is_read_stays_the_same(results: Results) -> None:
    before = read(results.folder)
    for run in before.records["run"][:7]:
        before.validation(run)
    assert compact.fold(results.folder) == (7, {"unfinished": 2})
    assert sorted(path.name[-1] for path in (results.folder / "runs").iterdir()) == ["1", "2"]
    equal(before, read(results.folder))
    assert compact.fold(results.folder) == (0, {"unfinished": 2})
    results.add("new", seed=9)
    more = read(results.folder)
    more.validation(more.records["run"].iloc[0])
    assert compact.fold(results.folder) == (1, {"unfinished": 2})
    equal(more, read(results.folder))
    assert len(compact.parts(results.folder)) == 2


KILLS = [
    ("mkdir", 0),
    ("mkdir", 1),
    *(("write_table", at) for at in range(3)),
    ("rename", 0),
    *(("rmtree", at) for at in range(7)),
]


@pytest.mark.parametrize(("what", "count"), KILLS)
def test_a_kill_between_two_writes_loses_no_run(results: Results, monkeypatch: pytest.MonkeyPatch, what: str, count: int) -> None:
    before = read(results.folder)
    before.validation(before.records["run"].iloc[0])
    calls = 0

    def killed_at_last(function: Callable, *, half_done: bool) -> Callable:
        def call(*arguments: object, **options: object) -> object:
            nonlocal calls
            calls += 1
            if calls <= count:
                return function(*arguments, **options)
            if half_done:  # a folder is removed file by file
                next(file for file in sorted(arguments[0].iterdir()) if file.suffix == ".parquet").unlink()
            raise KeyboardInterrupt

        return call

    owner = {"mkdir": Path, "rename": Path, "rmtree": shutil, "write_table": compact.pq}[what]
    monkeypatch.setattr(owner, what, killed_at_last(getattr(owner, what), half_done=what == "rmtree"))
    with pytest.raises(KeyboardInterrupt):
        compact.fold(results.folder)
    monkeypatch.undo()
    equal(before, read(results.folder))
    _, left = compact.fold(results.folder)
    assert left == {"unfinished": 2}
    equal(before, read(results.folder))
    assert len(list((results.folder / "runs").iterdir())) == 2
    assert len(compact.runs(results.folder)) == 7
    assert [path.name for path in (results.folder / "compact").glob(".part*")] == []


def test_runs_that_are_written_and_runs_with_weights_are_left(results: Results) -> None:
    held, weighty = results.add("held"), results.add("weighty")
    (weighty / "weights.pt").write_bytes(b"")
    with filelock.FileLock(held / ".lock"):
        assert compact.fold(results.folder) == (7, {"unfinished": 2, "being written": 1, "with weights": 1})
        assert (held / "record.parquet").exists()
    assert (weighty / "trace.parquet").exists()
    assert compact.fold(results.folder) == (1, {"unfinished": 2, "with weights": 1})


def test_one_compaction_at_a_time(results: Results) -> None:
    compact.fold(results.folder)
    with (
        filelock.FileLock(results.folder / "compact" / ".lock"),
        pytest.raises(ValueError, match=r"is being compacted by another process"),
    ):
        compact.fold(results.folder)


def test_a_run_that_is_both_folded_and_a_folder_is_one_run(results: Results, tmp_path: Path) -> None:
    shutil.copytree(results.folder / "runs", tmp_path / "before")
    before = read(results.folder)
    before.validation(before.records["run"].iloc[0])
    compact.fold(results.folder)
    shutil.copytree(tmp_path / "before", results.folder / "runs", dirs_exist_ok=True)
    (part,) = compact.parts(results.folder)
    shutil.copytree(part, part.with_name(f"{part.name}-copied"))
    equal(before, read(results.folder))


def test_folding_while_the_analysis_reads(results: Results) -> None:
    before, during = read(results.folder), read(results.folder)
    before.validation(before.records["run"].iloc[0])
    compact.fold(results.folder)
    equal(before, during)


@pytest.mark.parametrize("folder", ["none", "."])
def test_a_folder_without_runs_is_refused(tmp_path: Path, folder: str) -> None:
    with pytest.raises(ValueError, match="holds no runs"):
        compact.fold(tmp_path / folder)


def test_runs_of_another_form_are_refused(results: Results) -> None:
    compact.fold(results.folder)
    (part,) = compact.parts(results.folder)
    part.rename(part.with_name("2-" + part.name[2:]))
    with pytest.raises(ValueError, match="was made by another version"):
        read(results.folder)


@pytest.mark.parametrize(
    "overrides",
    [
        # a growing size, the last of which the budget cuts, and one that ends in whole steps
        ("scheduler=exponential", "scheduler.initial=16", "batch_size.growth_cap=null", "epochs=2.13"),
        ("scheduler.initial=50",),
        # ends of epochs cut the steps of a text
        ("dataset=markov_text", "model=lstm_small", "scheduler=cyclical", "scheduler.initial=4",
         "scheduler@block_scheduler=linear", "block_scheduler.initial=5", "batch_size.maximum=100", "dataset.train_size=1000"),
    ],
)  # fmt: skip
def test_a_folded_run_is_finished_and_replays(trained, cli, overrides) -> None:
    folder = trained(*overrides)
    results, run = folder.parents[1], RunFolder(folder.parents[1], folder.name)
    trace = pd.read_parquet(folder / "trace.parquet")
    columns = ("batch_size", "block_size")
    steadiness = stability_of(read(results), records=read(results).records)
    before = [read_trajectory(folder.name, results=results, column=column) for column in columns]
    state, record, config, trajectory = run.state(), run.record(), run.config(), run.trajectory()
    cli("status", str(results))  # takes what the training printed, too
    listed = cli("status", str(results))
    assert cli("compact", str(results))[1] == f"compact: 1 runs folded into {results / 'compact'}, 0 left\n"
    assert not folder.exists()
    assert run.finished
    assert (run.state(), run.config(), run.trajectory()) == (state, config, trajectory)
    assert {name: str(value) for name, value in record.items()}.items() <= {k: str(v) for k, v in run.record().items()}.items()
    assert cli("status", str(results)) == listed
    for named in (folder.name, folder, folder / "trace.parquet"):
        assert [read_trajectory(named, results=results, column=column) for column in columns] == before
    with pytest.raises(ValueError, match="not enough values to unpack"):
        trained(*overrides)  # it makes no folder
    pd.testing.assert_frame_equal(stability_of(read(results), records=read(results).records), steadiness)
    pieces = read(results).trace(folder.name)
    assert list(pieces) == list(PIECES)
    ends = trace[trace["step"].isin(pieces["step"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(pieces, ends[list(PIECES)])
    with pytest.raises(ValueError, match="is compacted, so its trace has no lr"):
        read(results).trace(folder.name, ("step", "lr"))


def test_a_run_that_diverged_at_once_has_no_pieces(results: Results) -> None:
    folder = results.add_diverged("soon", seed=5)
    pd.read_parquet(folder / "trace.parquet").head(0).to_parquet(folder / "trace.parquet")
    compact.fold(results.folder)
    assert read(results.folder).trace(folder.name).empty
    with pytest.raises(ValueError, match="holds no step"):
        read_trajectory(folder.name, results=results.folder, column="batch_size")


def test_an_older_record_gets_the_digest_of_its_sizes(results: Results) -> None:
    path = results.add("old") / "record.parquet"
    pd.read_parquet(path).drop(columns="trajectory").to_parquet(path)
    run = RunFolder(results.folder, path.parent.name)
    before = run.trajectory()
    compact.fold(results.folder)
    assert run.trajectory() == before
    assert before == compact.trajectory(pd.DataFrame({"batch_size": [32.0] * 32, "block_size": 1, "lr": float("nan")}))
