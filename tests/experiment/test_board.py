"""The page that follows the runs of a results folder."""

import itertools
import json
import os
import threading
import time

import pytest
from rich.console import Console

from adaptive_bench import schema
from adaptive_bench.__main__ import main
from adaptive_bench.experiment import board as boards
from adaptive_bench.experiment import record
from adaptive_bench.experiment.board import Board, sparkline
from adaptive_bench.experiment.record import RunFolder
from adaptive_bench.loggers.heartbeat import POINTS, Heartbeat

RUN = "f" * 16


def printed(page) -> str:
    console = Console(width=200, record=True)
    console.print(page)
    return console.export_text()


def test_a_running_run_has_its_speed_its_time_left_its_sizes_and_its_last_metric(tmp_path, monkeypatch):
    now = itertools.count(100, 10)  # ten seconds between two looks
    monkeypatch.setattr(boards.time, "monotonic", lambda: next(now))
    folder, waiting = RunFolder(tmp_path, RUN), RunFolder(tmp_path, "e" * 16)
    waiting.queued(f"{schema.FORM_LINE}# b\n", by=os.getpid())
    page = Board(tmp_path)
    with folder.claimed(f"{schema.FORM_LINE}# digits mlp gns seed=0\n", {}):
        common = {"pid": 1, "host": "far", "budget": 1000, "metric": "accuracy"}
        folder._write_state("running", "", samples=100, sizes=[8, 8], value=None, **common)
        assert "10%" in printed(page.page())
        folder._write_state("running", "", samples=400, sizes=[8, 8, 64], value=61.234, **common)
        said = printed(page.page())
        assert page.goes_on
    line = next(line for line in said.splitlines() if "gns" in line)
    cells = [cell.strip() for cell in line.split("│")[1:-1]]
    assert cells[:4] == ["digits mlp gns seed=0", "far", "40%", "30"]  # 300 samples in ten seconds
    assert cells[4:] == ["0:00:20", "▁▁█ 64", "accuracy 61.23"]
    assert "2 runs: 1 queued, 1 running; 30 samples/s" in said


def test_it_ends_with_the_runs(tmp_path, capsys):
    with pytest.raises(RuntimeError), RunFolder(tmp_path, RUN).claimed(schema.FORM_LINE, {}):
        raise RuntimeError("broken")
    assert main(["status", str(tmp_path), "--watch"]) == 0
    assert "1 runs: 1 failed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("sizes", "shown"), [([8], "▁"), ([8, 8], "▁▁"), ([1, 2, 4, 8, 16, 32, 64, 128], "▁▂▃▄▅▆▇█"), ([128, 1], "█▁")]
)
def test_sizes_stand_on_a_logarithmic_scale(sizes, shown):
    assert sparkline(sizes) == shown


def test_sizes_are_kept_at_equal_distances_of_the_budget():
    beats = []
    heart = Heartbeat(lambda **reached: beats.append(reached), budget=4800, metric="accuracy")
    steps = [{"samples": samples, "batch_size_granted": samples, "block_size_granted": 2} for samples in range(10, 4801, 10)]
    heart.start(steps[:100], [{"split": "validation", "value": 50.0}, {"split": "test", "value": 60.0}])
    for row in steps[100:]:
        heart.step(row)
    assert beats[0] == {"samples": 1000, "budget": 4800, "sizes": beats[0]["sizes"], "metric": "accuracy", "value": 50.0}
    assert heart.sizes == [20, *(2 * samples for samples in range(200, 4801, 4800 // POINTS))]


@pytest.fixture
def elsewhere(tmp_path):
    """A run that a machine trains whose lock is not seen here."""
    folder = RunFolder(tmp_path, RUN)
    folder.path.mkdir(parents=True)
    folder._state.write_text(json.dumps({"status": "running", "reason": "", "pid": 1, "host": "far", "samples": 5, "budget": 9}))
    return folder


def test_a_run_of_another_machine_runs_as_long_as_it_gives_signs_of_life(elsewhere, monkeypatch):
    monkeypatch.setattr(record, "SILENT", 3)
    assert elsewhere.state()["status"] == "running"
    over = threading.Event()

    def live():
        while not over.wait(0.2):
            os.utime(elsewhere._state)

    far = threading.Thread(target=live)
    far.start()
    try:
        with elsewhere.claimed("", {}) as mine:
            assert not mine
    finally:
        over.set()
        far.join()
    # it is silent now: after a while it is given up
    with elsewhere.claimed("", {}) as mine:
        assert mine
        assert elsewhere.state()["host"] == schema.HOST


def test_a_machine_that_is_silent_for_long_is_not_waited_for(elsewhere):
    os.utime(elsewhere._state, (time.time() - 2 * schema.SILENT,) * 2)
    assert elsewhere.state()["status"] == "interrupted"
    before = time.monotonic()
    with elsewhere.claimed("", {}) as mine:
        assert mine
    assert time.monotonic() - before < 1


def test_a_run_gives_signs_of_life_however_long_its_steps_take(tmp_path, monkeypatch):
    monkeypatch.setattr(record, "BEAT", 0.05)
    folder = RunFolder(tmp_path, RUN)
    with folder.claimed("", {}):
        os.utime(folder._state, (0, 0))
        assert "no sign of life" in folder.state()["reason"] or schema.last_beat(folder.path) > 0
        time.sleep(0.5)
        assert schema.last_beat(folder.path) > 0
        assert folder.state() | {"reason": ""} == folder.state()


@pytest.mark.parametrize(
    ("process", "status"),
    [(os.getpid(), "queued"), (None, "queued"), (2**22 + 1, schema.NOT_STARTED)],
    ids=["ours", "none of ours", "one that is gone"],
)
def test_a_run_is_queued_as_long_as_its_sweep_is_there(process, status, tmp_path):
    folder = RunFolder(tmp_path, RUN)
    folder.queued(schema.FORM_LINE, by=process)
    assert folder.state()["status"] == status
    folder.withdrawn()
    assert folder.state()["status"] == schema.NOT_STARTED
