"""Synthetic results folders: what a sweep would have written, without the training."""

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import pytest

from adaptive_bench.schema import MADE_WITH, PLACED, RESOLUTION, TRACE

Curve: TypeAlias = Sequence[tuple[float, float]]  # (samples, value)

LINE: Curve = ((0, 10.0), (1000, 90.0))
SETTINGS: dict[str, object] = {"dataset.train_size": 1000, "epochs": 4, "scheduler._target_": "Fixed"}
RECORD: dict[str, object] = {
    "dataset": "digits",
    "model": "mlp",
    "scheduler": "fixed",
    "block_scheduler": "fixed",
    "lr_rule": "none",
    "batching": "",
    "padded_samples": 0,
    "least_padding": math.nan,
    "batch_variation": math.nan,
    "statistics": "",
    "memory_used": math.nan,
    "memory_changes": 0,
    "memory_ran_out": 0,
    "status": "done",
    "reason": "",
    "metric": "accuracy",
    "maximise": True,
    "seconds_evaluate": 0.1,
    "seconds_store": 0.0,
    "seconds_wall": 9.0,
    "commit": "abc123",
    "dirty": False,
    "device": "cpu",
    "threads": 2,
    "jobs": 1,
    "allocator": "tuned",
    "timed_under": "",
    "physical_batch": 32,
    "split_steps": 0,
    "parameters": 100,
    "weights": "",
    "torch": "2.13",
    "validation_size": 1000,
    "test_size": 1000,
    "sources": "5a5a",
    "trajectory": "7b7b",
}


@dataclass(frozen=True)
class Results:
    folder: Path

    def add(
        self,
        arm: str = "fixed_small",
        *,
        seed: int = 0,
        curve: Curve = LINE,
        size: int = 32,
        measure: float = 0.0,
        settings: dict[str, object] | None = None,
        **record: object,
    ) -> Path:
        """A finished run with this validation curve; a sample takes 1 ms to train and `measure` ms to measure.

        A curve of two points is a line, evaluated at forty places, among them those where half or 95 % of the way is done.
        """
        curve = _line(*curve) if len(curve) == 2 else curve
        values = [value for _, value in curve]
        end = curve[-1][0]
        row = RECORD | {"arm": arm, "seed": seed, "best": max(values), "final": values[-1]} | record
        row |= {
            "samples": end,
            "steps": math.ceil(end / size),
            "seconds_train": end / 1000,
            "seconds_measure": end * measure / 1000,
        }
        folder = self._place(row, size=size, settings=settings)
        _evaluations(curve, size=size, measure=measure).to_parquet(folder / "evaluations.parquet")
        _trace(end, size=size).to_parquet(folder / "trace.parquet")
        pd.DataFrame([row]).to_parquet(folder / "record.parquet")
        return folder

    def add_diverged(self, arm: str, *, seed: int) -> Path:
        """A run that reaches 90 and diverges afterwards."""
        return self.add(arm, seed=seed, status="diverged", reason="loss is nan", final=math.nan)

    def add_unfinished(
        self,
        arm: str,
        *,
        seed: int,
        status: str,
        reason: str = "",
        size: int = 32,
        settings: dict[str, object] | None = None,
        **about: object,
    ) -> Path:
        """A run that has started and has no result. One that is "running" is so while `locked` holds its folder."""
        row = RECORD | {"arm": arm, "seed": seed} | about
        folder = self._place(row, size=size, settings=settings)
        known = (*PLACED, *MADE_WITH, *RESOLUTION)
        (folder / "about.json").write_text(json.dumps({name: row[name] for name in known if name in row}))
        (folder / "state.json").write_text(json.dumps({"status": status, "reason": reason, "samples": 5, "budget": 10}))
        return folder

    def _place(self, row: dict[str, object], *, size: int, settings: dict[str, object] | None) -> Path:
        """Give the row its settings and its cell, and the run its folder."""
        row["settings"] = json.dumps(SETTINGS | {"scheduler.initial": size} | (settings or {}) | {"seed": row["seed"]})
        parts = [row["arm"], size, settings, *(row[name] for name in ("scheduler", "block_scheduler", "lr_rule", "dataset"))]
        row["cell"] = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]
        folder = self.folder / "runs" / f"{row['cell']}-{row['seed']}"
        folder.mkdir(parents=True)
        return folder

    def add_two_by_three(self) -> None:
        """Two arms and three seeds; every curve is one straight line from 10 to 90, which ends after `samples`."""
        for seed, (final, samples) in enumerate([(90.0, 1000), (91.0, 2000), (92.0, 4000)]):
            self.add("fixed_small", seed=seed, curve=[(0, 10), (samples, 90)], final=final)
        for seed, (final, samples) in enumerate([(92.0, 500), (92.0, 500), (95.0, 4000)]):
            self.add("jump", seed=seed, curve=[(0, 10), (samples, 90)], final=final, size=64, measure=0.25, scheduler="jump")


def _line(start: tuple[float, float], end: tuple[float, float]) -> Curve:
    shares = [at / 40 for at in range(41)]
    return [tuple((1 - share) * left + share * right for left, right in zip(start, end, strict=True)) for share in shares]  # type: ignore[misc]


def _evaluations(curve: Curve, *, size: int, measure: float) -> pd.DataFrame:
    frame = pd.DataFrame(curve, columns=["samples", "value"], dtype=float)
    frame["step"] = frame["samples"] / size
    frame["seconds_train"], frame["seconds_measure"] = frame["samples"] / 1000, frame["samples"] * measure / 1000
    frame["split"] = "validation"
    both = pd.concat([frame, frame.tail(1).assign(split="test")], ignore_index=True)
    return both.assign(epoch=0.0, seconds_evaluate=0.0, loss=2 - both["value"] / 100)


def _trace(end: float, *, size: int) -> pd.DataFrame:
    samples = np.arange(size, end + size, size)
    trace = pd.DataFrame({"step": range(1, len(samples) + 1), "samples": samples, "batch_size": size, "block_size": 1}).assign(
        batch_size_granted=size, block_size_granted=1
    )
    return trace.reindex(columns=list(TRACE))


@pytest.fixture(scope="session")
def results_in() -> Callable[[Path], Results]:
    """For fixtures that live longer than a test."""
    return Results


def without_clocks(row: dict[str, Any]) -> dict[str, Any]:
    """The numbers of an arm that another run of the same settings must repeat."""
    return {key: value for key, value in row.items() if "second" not in key and "_part" not in key}


@pytest.fixture
def results(tmp_path: Path) -> Results:
    return Results(tmp_path / "results")


@pytest.fixture
def two_by_three(results: Results) -> Results:
    results.add_two_by_three()
    return results
