"""Small sweeps in processes of their own, and what they leave."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from adaptive_bench.schedulers import Fixed, Observation


class Breaking(Fixed):
    """Raises an error at the second step."""

    def observe(self, seen: Observation) -> None:
        if seen.position.samples > 50:
            raise RuntimeError("broken")


TINY = ("model=mlp", "dataset.train_size=200", "progress=false", "threads=1", "device=cpu")
SHORT = (*TINY, "epochs=3")
LONG = (*TINY, "epochs=400", "scheduler.initial=5", "evaluate_every=100")  # ten seconds and more
ENDLESS = (*LONG, "epochs=100000")
# a text whose state is carried from block to block
RECURRENT = ("dataset=markov_text", "model=lstm_small", "dataset.train_size=5000", "scheduler.initial=8", "epochs=1", *TINY[2:])


def start(
    *words: str, into: Path, results: Path | None = None, environment: Mapping[str, str] = os.environ,
    python: Sequence[str] = (sys.executable,), flags: Sequence[str] = ("-m",),
) -> subprocess.Popen[str]:  # fmt: skip
    """`adaptive-bench train` with these flags. Output goes to files in the folder, as do results unless they go elsewhere."""
    into.mkdir(exist_ok=True)
    with (into / "out").open("w") as out, (into / "err").open("w") as err:
        return subprocess.Popen(
            [*python, "-m", "adaptive_bench", "train", *flags, *words, f"results={results or into / 'results'}"],
            stdout=out, stderr=err, text=True, start_new_session=True, env=dict(environment),
        )  # fmt: skip


def train(*words: str, into: Path, code: int = 0, **how: Any) -> str:
    """The same to its end. Returns what it said."""
    process = start(*words, into=into, **how)
    ended = process.wait(200)
    said = (into / "err").read_text()
    assert ended == code, said
    assert "Traceback" not in said
    return said


def left(into: Path, name: str) -> dict[str, dict[str, Any]]:
    """state.json or job.json of each run that has it, by its digest."""
    return {path.parent.name: json.loads(path.read_text()) for path in (into / "results").glob(f"runs/*/{name}")}


def statuses(into: Path) -> list[str]:
    return sorted(state["status"] for state in left(into, "state.json").values())


def wait_for_samples(process: subprocess.Popen[str], into: Path, *, runs: int = 1) -> dict[str, dict[str, Any]]:
    """Until so many runs are training; their states."""
    until = time.monotonic() + 100
    while True:
        training = {run: state for run, state in left(into, "state.json").items() if state.get("samples", 0) > 0 and state["pid"]}
        if len(training) >= runs:
            return training
        assert process.poll() is None, (into / "err").read_text()
        assert time.monotonic() < until, (into / "err").read_text()
        time.sleep(0.05)


def weights(into: Path) -> dict[str, str]:
    found = [pd.read_parquet(path).iloc[0] for path in (into / "results").glob("runs/*/record.parquet")]
    return {record["run"]: record["weights"] for record in found}
