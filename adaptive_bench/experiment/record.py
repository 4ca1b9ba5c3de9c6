"""What a run leaves: its identity, its rows, its record, and the folder that holds them."""

import hashlib
import json
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
import pandas as pd

from adaptive_bench import compact
from adaptive_bench.files import is_alive, is_held, replacing
from adaptive_bench.loggers.base import Row
from adaptive_bench.schema import HOST, SILENT, TRACE, last_beat, noted, stable_names, unfinished_state

# settings that cannot change the outcome
OUTSIDE = (
    "results", "logger", "threads", "checkpoint_every", "checkpoint_seconds", "progress", "keep_weights", "dataset.root",
    "dataset.download",
)  # fmt: skip
BEAT = 10  # seconds between two signs of life
REACHED = ("samples", "budget", "sizes", "metric", "value")  # of a run's state, while it is unfinished


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """`run` is the digest of all settings that can change the outcome; `cell` is the same without the seed.

    Classes are named as `stable_names` does, so that moving one changes no digest.
    """

    run: str
    cell: str
    settings: Mapping[str, Any]  # flat, with dotted keys

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> "Identity":
        flat = dict(_flatten(stable_names(settings)))
        flat = {key: value for key, value in flat.items() if not any(key == out or key.startswith(f"{out}.") for out in OUTSIDE)}
        # a slot's seed equals the run's unless it was set
        drawn = {key for key, value in flat.items() if key.rpartition(".")[2] == "seed" and value == flat.get("seed")}
        seedless = {key: value for key, value in flat.items() if key not in drawn | {"seed"}}
        return cls(run=_digest(flat), cell=_digest(seedless), settings=flat)


def _flatten(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            whole = isinstance(value, float) and value.is_integer()
            yield f"{prefix}{key}", int(value) if whole else value  # epochs=4 and epochs=4.0 are one run


def _digest(settings: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


class RunFolder:
    """runs/<digest> of a results folder.

    config.yaml is there from the start, and job.json if an engine trains the run; state.json, about.json and two checkpoints
    while it is unfinished; trace.parquet and evaluations.parquet at its end, and weights.pt if the weights are to be kept.
    record.parquet is written last, so its presence means "finished". Of a compacted run the folder is gone, and RESULTS/compact
    has what is left of it.
    """

    def __init__(self, results: Path, run: str) -> None:
        self.path = results / "runs" / run
        self._results, self._run = results, run
        self.checkpoint = self.path / "checkpoint.pt"
        self._state = self.path / "state.json"
        self._about = self.path / "about.json"
        self._job = self.path / "job.json"
        self._record = self.path / "record.parquet"
        self._beat = 0.0

    @property
    def finished(self) -> bool:
        return self._record.exists() or compact.holds(self._results, self._run)  # in this order: a folded run keeps its folder

    def record(self) -> dict[str, Any]:
        """The record of a finished run."""
        if compact.holds(self._results, self._run):
            return compact.record(self._results, self._run)
        return dict(compact.table(self._record, rows=1).to_pandas().iloc[0])

    def config(self) -> str:
        """The text of config.yaml; "" if there is none."""
        if compact.holds(self._results, self._run):
            return str(compact.record(self._results, self._run)["config"])
        config = self.path / "config.yaml"
        return config.read_text() if config.exists() else ""

    def trajectory(self) -> str:
        """A digest of the sizes and learning rates of a finished run, step by step."""
        record = self.record()
        if "trajectory" in record:
            return str(record["trajectory"])
        return compact.trajectory(pd.read_parquet(self.path / "trace.parquet"))  # the record is of an older version

    def queued(self, config: str, *, by: int | None) -> None:
        """An engine is to train the run: that of this machine's process `by`, or one that does without a process of ours."""
        self.path.mkdir(parents=True, exist_ok=True)
        self._job.unlink(missing_ok=True)
        with replacing(self.path / "config.yaml") as part:
            part.write_text(config)
        self._write_state("queued", "", pid=by, host=HOST, **self._reached())

    def withdrawn(self) -> None:
        """No engine is to train the run any more."""
        if self.noted()["status"] == "queued":
            if reached := self._reached():
                self._write_state("interrupted", "", **reached)
            else:
                self._state.unlink(missing_ok=True)

    def note_job(self, *, engine: str, job_id: str, host: str = "", log: str = "") -> None:
        """Leave job.json: who trains the run. Without a host, the run may have started, and what it says itself stays."""
        if host or not self._job.exists():
            with replacing(self._job) as part:
                part.write_text(json.dumps({"engine": engine, "job_id": job_id, "host": host, "log": log}))

    def job(self) -> dict[str, str]:
        """What job.json has; empty if there is none."""
        try:
            return dict(json.loads(self._job.read_text()))
        except (OSError, ValueError):
            return {}

    def ended(self, status: str, reason: str) -> None:
        """How a run ended that left no record, said by who has started its process, unless somebody trains it."""
        if not self.finished and not is_held(self.path / ".lock"):
            log = self.job().get("log", "")
            self._write_state(status, reason + f"; log: {log}" * bool(log), **self._reached())

    def _reached(self) -> dict[str, Any]:
        noted = self.noted()
        return {name: noted[name] for name in REACHED if name in noted}

    @contextmanager
    def claimed(self, config: str, about: Row) -> Iterator[bool]:
        """Lock the folder for one process; False if another process holds it. How the block ends is stored as the run's state.

        `config` and `about` are left as config.yaml and, until the run is finished, about.json, by which the analysis knows it.
        Raises ValueError if the folder cannot be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = filelock.FileLock(self.path / ".lock")
            lock.acquire(timeout=0.1)  # who only looks whether it is held holds it for a moment
        except filelock.Timeout:
            yield False
            return
        except OSError as error:
            raise ValueError(
                f"results folder {self.path} cannot be written ({error}); choose another with results=DIR"
            ) from error
        try:
            if self._trained_elsewhere():
                yield False
                return
            for unfinished in self.path.glob(".*.[0-9]*"):  # left by a process that was killed while writing
                unfinished.unlink()
            if not self.finished:
                with replacing(self.path / "config.yaml") as part:
                    part.write_text(config)
                self._running(**self._reached())
                with replacing(self._about) as part:  # after the state: a run that is known has one
                    part.write_text(json.dumps(about))
            with self._alive():
                yield True
        except BaseException as error:
            stopped = isinstance(error, (KeyboardInterrupt, SystemExit))
            with suppress(OSError):  # of a full disk: the error itself says more
                self._write_state("interrupted" if stopped else "failed", reason_of(error), **self._reached())
            raise
        finally:
            lock.release()

    @contextmanager
    def _alive(self) -> Iterator[None]:
        """In the block, show machines that do not see our lock that the run is being trained, however long a step takes."""
        over = threading.Event()

        def touch() -> None:
            while not over.wait(BEAT):
                with suppress(OSError):  # of a run that has just ended, or of a full disk
                    os.utime(self._state)

        thread = threading.Thread(target=touch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _trained_elsewhere(self) -> bool:
        """Whether another process trains the run, though its lock is not seen here: that of another machine, or it was deleted.

        Waits for its sign of life.
        """
        noted, seen = self.noted(), last_beat(self.path)
        process = noted.get("pid")
        gone = noted.get("host", HOST) == HOST and (process in (None, os.getpid()) or not is_alive(process))
        if noted["status"] != "running" or gone or time.time() - seen > SILENT:
            return False
        until = time.monotonic() + SILENT
        while last_beat(self.path) == seen and time.monotonic() < until:
            time.sleep(1)
        return last_beat(self.path) != seen

    def beat(self, **reached: Any) -> None:
        """Store how far the run is, at most once a second: samples and budget at least."""
        if time.monotonic() - self._beat > 1:
            self._beat = time.monotonic()
            self._running(**reached)

    def _running(self, **reached: Any) -> None:
        self._write_state("running", "", pid=os.getpid(), host=HOST, **reached)

    def finish(self, *, steps: Sequence[Row], evaluations: Sequence[Row], record: Row) -> None:
        """Write the tables of a run that is done or diverged. A run that diverges at once has an empty trace."""
        trace = write_parquet(self.path / "trace.parquet", steps, columns=TRACE)
        write_parquet(self.path / "evaluations.parquet", evaluations)
        write_parquet(self._record, [record | {"trajectory": compact.trajectory(trace)}])  # last: its presence means finished
        for checkpoint in self.path.glob(f"{self.checkpoint.stem}.*"):
            checkpoint.unlink()
        self._state.unlink(missing_ok=True)
        self._about.unlink(missing_ok=True)

    def noted(self) -> dict[str, Any]:
        """The state that the process of an unfinished run stored last, even if it is gone."""
        return noted(self.path)

    def state(self) -> dict[str, Any]:
        """{"status", "reason"} and, for an unfinished run, REACHED as last stored."""
        if self.finished:
            record = self.record()
            return {
                "status": record["status"],
                "reason": record["reason"],
                "samples": record["samples"],
                "budget": record["samples"],
            }
        return unfinished_state(self.path)

    def _write_state(self, status: str, reason: str, **more: Any) -> None:
        with replacing(self._state) as part:
            part.write_text(json.dumps({"status": status, "reason": reason, **more}))


def reason_of(error: object) -> str:
    """The reason of a run that an error has ended, on one line."""
    return f"{type(error).__name__}: {error}".splitlines()[0]


def write_parquet(path: Path, rows: Sequence[Row], *, columns: Sequence[str] = ()) -> pd.DataFrame:
    """Write the rows, or an empty table with these columns if there are none. Returns the table."""
    frame = pd.DataFrame(list(rows), columns=None if rows else list(columns))
    with replacing(path) as part:
        frame.to_parquet(part, index=False, store_schema=False)  # a copy of it would be most of a record
    return frame
