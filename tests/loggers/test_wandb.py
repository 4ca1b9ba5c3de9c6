"""The mirror holds what the Parquet holds: read back from a real offline run file."""

import json
import struct
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from adaptive_bench.__main__ import main
from adaptive_bench.experiment.run import train
from adaptive_bench.loggers import wandb as mirrors
from tests.conftest import broken_after, composed

# wandb's own packages warn on import and in their file format; not ours to mend
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning", "ignore::UserWarning")


def records(file: Path) -> Iterator[bytes]:
    """The records of a W&B file: 7 bytes of header, then LevelDB's log format (no reader is shipped with wandb any more).

    Blocks of 32 KiB; in front of each piece its checksum (4 bytes), length (2) and kind (1: whole, 2: first, 3: middle, 4: last).
    """
    content = file.read_bytes()
    assert content[:4] == b":W&B"
    position, parts = 7, []
    while position + 7 <= len(content):
        if 32768 - position % 32768 < 7:  # no room for another header: padding
            position += 32768 - position % 32768
            continue
        _, length, kind = struct.unpack_from("<IHB", content, position)
        parts.append(content[position + 7 : position + 7 + length])
        position += 7 + length
        if kind in (1, 4):
            yield b"".join(parts)
            parts = []


def read(file: Path) -> dict:
    """Run, history, configuration and summary of one W&B file."""
    from wandb.proto import wandb_internal_pb2

    found: dict = {"runs": [], "history": defaultdict(dict), "config": {}, "summary": {}, "exit": []}
    for data in records(file):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            found["runs"].append((record.run.run_id, record.run.run_group, record.run.project))
            found["config"] |= {
                item.key or tuple(item.nested_key): json.loads(item.value_json) for item in record.run.config.update
            }
        elif kind == "config":
            found["config"] |= {item.key or tuple(item.nested_key): json.loads(item.value_json) for item in record.config.update}
        elif kind == "history":
            row = {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
            found["history"][row["_step"]] |= row
        elif kind == "summary":
            found["summary"] |= {
                item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in record.summary.update
            }
        elif kind == "exit":
            found["exit"].append(record.exit.exit_code)
    return found


@pytest.fixture(scope="module")
def mirrored(tmp_path_factory):
    """Two runs in one process."""
    results = tmp_path_factory.mktemp("results")
    for seed in (0, 1):
        train(
            composed(
                f"results={results}", "logger=wandb", "scheduler=divebatch", "scheduler.initial=16", f"seed={seed}", "epochs=1"
            )
        )
    return results


def by_run(results: Path) -> dict[str, Path]:
    return {file.stem.removeprefix("run-"): file for file in (results / "wandb").rglob("run-*.wandb")}


def test_two_runs_in_one_process_are_two_finished_wandb_runs(mirrored):
    files = by_run(mirrored)
    finished = pd.concat(map(pd.read_parquet, (mirrored / "runs").glob("*/record.parquet"))).set_index("run")
    assert set(files) == set(finished.index)
    assert len(files) == 2
    found = [read(file) for file in files.values()]
    assert {one["runs"][0][0] for one in found} == set(files)
    assert {one["runs"][0][1] for one in found} == set(finished["cell"])  # one group: everything but the seed
    assert len(set(finished["cell"])) == 1
    assert [one["exit"] for one in found] == [[0], [0]]


def test_the_mirror_holds_the_metrics_of_the_parquet(mirrored):
    for run, file in by_run(mirrored).items():
        found = read(file)
        trace = pd.read_parquet(mirrored / "runs" / run / "trace.parquet")
        assert len(trace) > 5
        for row in trace.to_dict("records"):
            logged = found["history"][row["step"]]
            for name, value in row.items():
                assert logged[name] == pytest.approx(value, rel=1e-12, nan_ok=True), name
        for row in pd.read_parquet(mirrored / "runs" / run / "evaluations.parquet").to_dict("records"):
            logged = found["history"][row["step"]]
            assert logged[f"{row['split']}/value"] == row["value"]
            assert logged[f"{row['split']}/loss"] == pytest.approx(row["loss"], rel=1e-12)


def test_configuration_and_summary_are_there(mirrored):
    for run, file in by_run(mirrored).items():
        found = read(file)
        record = pd.read_parquet(mirrored / "runs" / run / "record.parquet").iloc[0]
        settings = json.loads(record["settings"])
        assert settings["scheduler.delta"] == 0.1
        assert {key: found["config"][key] for key in settings} == settings
        for name in ("status", "final", "best", "samples", "weights", "seconds_train"):
            assert found["summary"][name] == record[name], name


def test_an_unknown_mode_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"logger\.mode=on"):
        train(composed(f"results={tmp_path}", "logger=wandb", "logger.mode=on"))
    assert list(tmp_path.iterdir()) == []


def test_a_resumed_run_is_in_one_file_with_each_step_once(tmp_path):
    words = (f"results={tmp_path}", "logger=wandb", "scheduler.initial=10", "checkpoint_every=0.5")
    with broken_after(10), pytest.raises(RuntimeError, match="broken"):
        train(composed(*words))
    assert len(by_run(tmp_path)) == 1
    train(composed(*words))
    ((run, file),) = by_run(tmp_path).items()
    assert read(file)["exit"] == [0]
    assert len(read(file)["history"]) == len(pd.read_parquet(tmp_path / "runs" / run / "trace.parquet")) + 1


def test_a_server_that_does_not_answer_does_no_harm(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setattr(mirrors, "PATIENCE", 3)
    mirrors.wandb.teardown()  # it keeps what it read of the environment
    with pytest.warns(UserWarning, match="the run is kept offline, `adaptive-bench sync` uploads it"):
        train(composed(f"results={tmp_path}", "logger=wandb", "logger.mode=online"))
    assert [path.name for path in tmp_path.glob("runs/*/record.parquet")] == ["record.parquet"]
    (kept,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    assert read(kept)["exit"] == [0]
    mirrors.wandb.teardown()


def test_what_is_offline_is_uploaded_once(tmp_path, monkeypatch, capsys):
    called = []
    monkeypatch.setattr(
        mirrors.subprocess, "run", lambda words, check: called.append(words) or subprocess.CompletedProcess(words, 3)
    )
    assert main(["sync", str(tmp_path)]) == 0
    assert called == []
    for name in ("offline-run-1-a", "offline-run-2-b"):
        (tmp_path / "wandb" / name).mkdir(parents=True)
        (tmp_path / "wandb" / name / "run.wandb").touch()
    (tmp_path / "wandb" / "offline-run-1-a" / "run.wandb.synced").touch()
    assert main(["sync", str(tmp_path)]) == 3
    assert called == [[sys.executable, "-m", "wandb", "sync", "--yes", str(tmp_path / "wandb" / "offline-run-2-b")]]
    assert "1 runs of" in capsys.readouterr().out
