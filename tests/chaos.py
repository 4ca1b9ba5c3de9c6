"""`make chaos`: a sweep that is killed at random moments and started again leaves what an undisturbed one leaves.

`python -m tests.chaos ENGINE [--kills N] [--seeds N]` with joblib, slurm or ray. It prints the kills by kind, and what
differs; its exit code is 1 if anything does.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from tests.daemons import APART, Slurm, apart, end, slurm
from tests.launchers.sweeps import TINY, left, start

SWEEP = (*TINY, "scheduler=fixed,exponential,gns,divebatch", "scheduler.initial=10", "epochs=400", "checkpoint_seconds=1")
CLOCKS = ("seconds", "started", "timed_under", "loss_variance")  # columns that may differ, by how they begin
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)


@dataclass
class Sweep:
    """A sweep that is started again whenever it has ended."""

    into: Path
    words: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    python: tuple[str, ...] = (sys.executable,)
    starts: int = 0

    def start(self) -> None:
        self.starts += 1
        self.process = start(*self.words, into=self.into, environment=self.environment, python=self.python)

    def worker(self, chance: random.Random) -> int | None:
        """A process that trains a run."""
        pids = [state["pid"] for state in left(self.into, "state.json").values() if state["status"] == "running"]
        return chance.choice(pids) if pids else None


Disturbance = Callable[[Sweep, random.Random], str]


def kill(sweep: Sweep, chance: random.Random) -> str:
    """One of its processes, or all of its group, by one of three signals."""
    target, number = chance.choice(("group", "main", "worker")), chance.choice(SIGNALS)
    with suppress(ProcessLookupError):
        if target == "group":
            os.killpg(sweep.process.pid, number)
        elif (pid := sweep.process.pid if target == "main" else sweep.worker(chance)) is not None:
            os.kill(pid, number)
    if target != "worker":
        sweep.process.wait(100)
    return f"{target} {number.name}"


def kill_ray(sweep: Sweep, chance: random.Random) -> str:
    """As `kill`, or Ray's daemon of the machine."""
    if chance.random() < 0.3 and (raylets := [pid for pid in apart(sweep.process.pid) if _name(pid) == "raylet"]):
        os.kill(raylets[0], signal.SIGKILL)
        sweep.process.wait(200)
        said = "raylet SIGKILL"
    else:
        namespace = apart(sweep.process.pid)
        said = kill(sweep, chance)
        if sweep.process.poll() is not None:  # what Ray leaves of a cluster whose driver was killed
            end(namespace)
    return said


def _name(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


def disturb_slurm(cluster: Slurm) -> Disturbance:
    def disturb(sweep: Sweep, chance: random.Random) -> str:
        jobs = [job["job_id"] for run, job in left(sweep.into, "job.json").items() if run in left(sweep.into, "state.json")]
        kind = chance.choice(("scancel", "requeue", "USR2", "step", "slurmd", "main"))
        if kind == "slurmd":
            cluster.stop("slurmd")
            cluster.start("slurmd")
        elif kind == "main":
            os.kill(sweep.process.pid, signal.SIGKILL)
            sweep.process.wait(100)
        elif kind == "step":
            if (pid := sweep.worker(chance)) is not None:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        elif jobs:
            words = {"scancel": ["scancel"], "requeue": ["scontrol", "requeue"], "USR2": ["scancel", "--signal=USR2"]}[kind]
            with suppress(subprocess.CalledProcessError):  # it has ended meanwhile
                cluster.ask(*words, chance.choice(jobs))
        return kind

    return disturb


def chaos(sweep: Sweep, disturb: Disturbance, *, kills: int, chance: random.Random, calm: float) -> Counter[str]:
    """Disturb the sweep so many times, each after a random time up to `calm` seconds of training; then let it end.

    It may end before that, so that it has to be long enough for all of them.
    """
    counts = Counter[str]()
    sweep.start()
    while counts.total() < kills and sweep.process.returncode != 0:
        _until_training(sweep)
        time.sleep(chance.uniform(0, calm))
        if sweep.process.poll() is None:
            counts[disturb(sweep, chance)] += 1
        if sweep.process.poll() not in (None, 0):
            sweep.start()
    while sweep.process.wait(3600) != 0:  # 1: what was killed last is lost, and trained the next time
        if sweep.process.returncode not in (1, 130, 143):
            raise RuntimeError((sweep.into / "err").read_text())
        sweep.start()
    return counts


def _until_training(sweep: Sweep) -> None:
    until = time.monotonic() + 60
    since = time.time()
    while sweep.process.poll() is None and time.monotonic() < until:
        states = (path.stat().st_mtime for path in (sweep.into / "results").glob("runs/*/state.json") if path.exists())
        with suppress(FileNotFoundError):
            if any(changed > since for changed in states):
                return
        time.sleep(0.1)


def differences(into: Path, other: Path) -> list[str]:
    """What the results folders of two sweeps do not have in common, clocks aside."""
    ours, theirs = ({path.name: path for path in (each / "results" / "runs").iterdir()} for each in (into, other))
    found = [f"{run}: only in one" for run in ours.keys() ^ theirs.keys()]
    for run in sorted(ours.keys() & theirs.keys()):
        for name in ("record", "trace", "evaluations"):
            frames = [_without_clocks(each[run] / f"{name}.parquet") for each in (ours, theirs)]
            if any(frame is None for frame in frames) or not frames[0].equals(frames[1]):
                found.append(f"{run}: {name}")
    tables = [_tables(each) for each in (into, other)]
    return [*found, *(["tables"] if tables[0] != tables[1] else [])]


def _without_clocks(path: Path) -> pd.DataFrame | None:
    if not path.exists():
        return None
    frame = pd.read_parquet(path)
    return frame[[name for name in frame if not str(name).startswith(CLOCKS)]]


def _tables(into: Path) -> Any:
    words = [sys.executable, "-m", "adaptive_bench", "tables", str(into / "results"), "--format", "json", "--baseline", "fixed"]
    return _unclocked(json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout))


def _unclocked(found: Any) -> Any:
    if isinstance(found, dict):
        return {name: _unclocked(value) for name, value in found.items() if "seconds" not in name}
    return [_unclocked(each) for each in found] if isinstance(found, list) else found


@contextmanager
def engine(name: str, folder: Path) -> Iterator[tuple[Sweep, Disturbance]]:
    words = (f"hydra/launcher={name}",)
    if name == "joblib":
        yield Sweep(folder / "killed", (*words, "hydra.launcher.n_jobs=2")), kill
    elif name == "ray":
        yield Sweep(folder / "killed", words, python=APART), kill_ray
    else:
        with slurm(folder / "slurm") as cluster:
            yield Sweep(folder / "killed", words, environment=cluster.environment), disturb_slurm(cluster)


def run(name: str, folder: Path, *, kills: int, sweep: tuple[str, ...], draw: int = 0, calm: float = 8) -> list[str]:
    """Both sweeps; prints the kills, and returns what differs."""
    with engine(name, folder) as (killed, disturb):
        killed.words = (*sweep, *killed.words)
        counts = chaos(killed, disturb, kills=kills, chance=random.Random(draw), calm=calm)
        whole = replace(killed, into=folder / "whole")
        whole.start()
        if whole.process.wait() != 0:
            raise RuntimeError((whole.into / "err").read_text())
    found = differences(folder / "killed", folder / "whole")
    runs = len([*(folder / "whole" / "results" / "runs").iterdir()])
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
    print(f"{name}: {runs} runs, {counts.total()} kills ({kinds}), {killed.starts} starts, {len(found)} differences")
    print(*found, sep="\n")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engine", choices=("joblib", "slurm", "ray"))
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seeds", type=int, default=10, help="runs of each of four schedulers (default: 10)")
    parser.add_argument("--draw", type=int, default=0, help="of the random moments")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        sweep = (*SWEEP, f"seed=range({chosen.seeds})")
        return int(bool(run(chosen.engine, Path(folder), kills=chosen.kills, sweep=sweep, draw=chosen.draw)))


if __name__ == "__main__":
    sys.exit(main())
