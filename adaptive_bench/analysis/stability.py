"""How steadily a run trained: changes of its sizes, and the noise of its training loss."""

import math
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from adaptive_bench.compact import loss_variance
from adaptive_bench.schema import LOSS_VARIANCE

from .acting import GRANTED, STEPS
from .read import Runs

WITH_LOSS = (*STEPS, "loss", "cut")  # what is read of a trace that has a row a step


@dataclass(frozen=True, slots=True, kw_only=True)
class Stability:
    """What `stability` found in one run; counts are whole numbers, `loss_variance` is in squares of the loss's unit."""

    changes: int
    reversals: int
    dips: int
    loss_variance: float


def stability_of(runs: Runs, *, records: pd.DataFrame) -> pd.DataFrame:
    """By label, the means of `steadiness` over an arm's runs."""
    return steadiness(runs, records=records).drop(columns="seed").groupby("label").mean()


def steadiness(runs: Runs, *, records: pd.DataFrame) -> pd.DataFrame:
    """Of every run that is done what `stability` finds, the peak of memory and the samples calibrated on, with label and seed.

    A share of memory is nan where none was read, samples are nan where an old record does not say.
    """
    done = records[records["status"] == "done"]
    rows = []
    for row in done.to_dict("records"):
        trace = runs.trace(row["run"], WITH_LOSS if runs.has_steps(row["run"]) else (*STEPS, LOSS_VARIANCE))
        found = asdict(stability(trace, runs.validation(row["run"]), maximise=row["maximise"]))
        rows.append(found | {name: row.get(name, math.nan) for name in ("memory_used", "calibration_samples", "tuning_samples")})
    return pd.DataFrame(rows, dtype=float).assign(label=done["label"].to_numpy(), seed=done["seed"].to_numpy())


def stability(trace: pd.DataFrame, curve: pd.DataFrame, *, maximise: bool) -> Stability:
    """Changes of the granted sizes in a run's trace, what its validation `curve` did after them, and the noise of its loss.

    - `changes`: rows whose granted batch or block size differs from the row before; what cuts a step is no change.
    - `reversals`: changes in which a size moves against its own move before; batch and block are followed apart.
    - `dips`: gaps between two evaluations that contain a change and at whose end the value is worse than at the start, or nan.
    - `loss_variance`: the mean over pieces (runs of steps of the same granted sizes) of `compact.loss_variance`; nan if no piece
      has one.

    `trace` has a row a step, or a row a piece with the column LOSS_VARIANCE. `curve` has samples, ascending, and value.
    """
    samples = trace["samples"].to_numpy()
    moves = _moves(trace)
    changed = moves.any(axis=1)
    return Stability(
        changes=int(changed.sum()),
        reversals=int(_reversed(moves).sum()),
        dips=_dips(samples[:-1][changed], curve, maximise=maximise),
        loss_variance=_loss_variance(trace, piece=np.concatenate([[0], changed.cumsum()])[: len(trace)]),
    )


def reaction(trace: pd.DataFrame, *, after: float) -> float:
    """The samples from `after` to the next change of a granted size; to the end of the run where none follows."""
    samples = trace["samples"].to_numpy()
    changes = samples[:-1][_moves(trace).any(axis=1)]
    return float(changes[changes > after].min(initial=samples[-1]) - after)


def _moves(trace: pd.DataFrame) -> np.ndarray:
    """The signs by which the granted sizes change from each row to the next, of shape (rows - 1, 2)."""
    return np.sign(np.diff(trace[GRANTED].to_numpy(dtype=float), axis=0))


def _reversed(moves: np.ndarray) -> np.ndarray:
    """The rows in which a column has the opposite sign of its last one that was not 0."""
    found = np.zeros(len(moves), dtype=bool)
    for column in moves.T:
        at = np.flatnonzero(column)
        found[at[1:][column[at[1:]] != column[at[:-1]]]] = True
    return found


def _dips(changes: np.ndarray, curve: pd.DataFrame, *, maximise: bool) -> int:
    """`changes` are the samples trained before each change."""
    values = curve["value"].to_numpy(dtype=float) * (1 if maximise else -1)
    after = np.unique(np.searchsorted(curve["samples"].to_numpy(), changes, side="right"))  # at the change itself is before it
    after = after[(after > 0) & (after < len(values))]
    return int((~(values[after] >= values[after - 1])).sum())


def _loss_variance(trace: pd.DataFrame, *, piece: np.ndarray) -> float:
    of_steps = trace[LOSS_VARIANCE] if LOSS_VARIANCE in trace else loss_variance(trace)
    return float(of_steps.groupby(piece).first().mean())
