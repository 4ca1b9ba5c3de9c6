"""Read a results folder: one row a started run, the curves of finished ones and their steps when asked for."""

import json
import re
import warnings
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from adaptive_bench import compact
from adaptive_bench.schema import (
    CHOICES,
    EVALUATIONS,
    FINISHED,
    LOSS_VARIANCE,
    MEASURED,
    NOT_STARTED,
    PIECES,
    PLACED,
    READ,
    RESOLUTION,
    TEXTS,
    check_form,
    distinct,
    unfinished_state,
)

from . import labels
from .curve import COLUMNS, Curve

AS = {"lost": "interrupted", "queued": "running"}  # what tables count a run of an engine as


@dataclass(frozen=True, eq=False)
class Runs:
    """The runs of a results folder that have started.

    `records` has the columns of every record.parquet and `seconds` (train + measure), `workload`, `title` (of the workload) and
    `label` (of the arm). The column `settings` holds dictionaries. A run is "done" or "diverged", or it has no result and is
    "failed", "interrupted" or "running": what only an end can tell is then nan, or "" in a column of text.
    """

    folder: Path
    records: pd.DataFrame
    replays: dict[str, tuple[Any, Any]] = field(default_factory=dict, repr=False)  # of `device.replayed`, each with its profile

    def evaluations(self, run: str) -> pd.DataFrame:
        """Both splits of one run, in time order. Raises ValueError for a run that is not finished."""
        if run not in self._evaluations:
            raise ValueError(f"run {run} is not finished, so it has no evaluations; let it end, or leave it out")
        return self._evaluations[run]

    def validation(self, run: str) -> pd.DataFrame:
        """The validation curve of one run, from the untrained model on."""
        if run not in self._validation:
            self.evaluations(run)  # raises for an unfinished one
            raise ValueError(
                f"run {run} has no validation value, not even of the untrained model; delete its folder and rerun it"
            )
        return self._validation[run]

    def curve(self, run: str) -> Curve:
        """The validation curve as arrays."""
        if run not in self._as_arrays:
            self.validation(run)  # raises for a run that has none
        return self._as_arrays[run]

    def trace(self, run: str, columns: Sequence[str] = PIECES) -> pd.DataFrame:
        """One row a step of a finished run, with these columns; of a compacted run, one row a piece of equal steps, at its end.

        Raises ValueError for a run that is not finished, and for columns that a compacted run does not have (it has PIECES).
        """
        path = self.folder / "runs" / run / "trace.parquet"
        if not path.exists() and compact.holds(self.folder, run):
            if unknown := sorted({*columns} - {*PIECES, MEASURED, LOSS_VARIANCE}):
                raise ValueError(f"run {run} is compacted, so its trace has no {', '.join(unknown)}; it has {', '.join(PIECES)}")
            return compact.pieces(self.folder, run)[list(columns)]
        steps: pd.DataFrame = compact.table(path, columns=columns, only=True).to_pandas()
        return steps

    def config(self, run: str) -> str:
        """The text of a run's config.yaml: all its settings. Raises ValueError for a run without one."""
        if compact.holds(self.folder, run):
            return str(compact.record(self.folder, run)["config"])
        try:
            return (self.folder / "runs" / run / "config.yaml").read_text()
        except OSError as error:
            raise ValueError(f"run {run}: its config.yaml cannot be read ({error.strerror}); let the run start again") from error

    def has_steps(self, run: str) -> bool:
        """Whether the trace of a finished run has a row a step; that of a compacted one has not."""
        return (self.folder / "runs" / run / "trace.parquet").exists()

    @cached_property
    def arms(self) -> dict[str, dict[str, list[dict[str, Any]]]]:
        """The records as dictionaries, by workload and by label."""
        found: dict[str, dict[str, list[dict[str, Any]]]] = {}
        for row in _records(self.records):
            found.setdefault(row["workload"], {}).setdefault(row["label"], []).append(row)
        return found

    # all curves are read when the first one is asked for: a table needs them all, and one by one they take three times as long

    @cached_property
    def _as_arrays(self) -> dict[str, Curve]:
        curves = self._curves[self._curves["split"] == "validation"]
        code, names = pd.factorize(curves["run"])
        order = np.argsort(code, kind="stable")
        ends = np.cumsum(np.bincount(code, minlength=len(names)))[:-1]
        parts = [np.split(curves[column].to_numpy(dtype=float)[order], ends) for column in COLUMNS]
        return {str(name): Curve(*arrays) for name, *arrays in zip(names, *parts, strict=True)}

    @cached_property
    def _evaluations(self) -> dict[str, pd.DataFrame]:
        return compact.by_run(self._curves)

    @cached_property
    def _validation(self) -> dict[str, pd.DataFrame]:
        curves = self._curves[self._curves["split"] == "validation"]
        return compact.by_run(curves.assign(seconds=curves["seconds_train"] + curves["seconds_measure"]))

    @cached_property
    def _curves(self) -> pd.DataFrame:
        finished = self.records.loc[self.records["status"].isin(FINISHED), "run"]
        return _bulk(self.folder, "evaluations", finished, columns=EVALUATIONS)


def read(results: str | Path, *, skip_damaged: bool = False) -> Runs:
    """All runs under `results`/runs that have started; a folder without record.parquet and about.json holds none.

    Raises ValueError for a run with a damaged file. With `skip_damaged`, a warning names such runs, and they are left out.
    """
    folder = Path(results)
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder; expected a results folder, one that holds runs/<digest>/record.parquet")
    check_form(folder)
    skipped = damaged(folder) if skip_damaged else {}
    if skipped:
        warnings.warn(f"left out, because they are damaged: {'; '.join(skipped.values())}", stacklevel=2)
    unfinished = _unfinished(folder, without=skipped)  # first: a run that ends meanwhile is then found among the finished ones
    finished = _finished(folder, without=skipped)
    unfinished = [row for row in unfinished if row["run"] not in set(finished["run"])]
    if not len(finished) and not unfinished:
        raise ValueError(f"{folder} holds no run that has started (runs/<digest>); start one, or name another folder")
    records = pd.concat([finished, pd.DataFrame(unfinished)], ignore_index=True) if unfinished else finished
    records = _completed(records)
    _refuse_copies(records)
    return Runs(folder=folder, records=_named(records))


def damaged(results: Path) -> dict[str, str]:
    """What is wrong with the runs of a results folder whose files cannot be read, by run. Compacted ones are not looked at."""
    found = {}
    for run in sorted(path for path in (results / "runs").glob("*") if path.is_dir()):
        try:
            _check(run)
        except ValueError as error:
            found[run.name] = str(error)
    return found


def _check(run: Path) -> None:
    """Raises ValueError for a damaged file in the folder of a run."""
    if not (run / "record.parquet").exists():
        _about(run)
        return
    record = compact.check(run).to_pandas().iloc[0]
    _check_status(run, record["status"])
    _settings(record["settings"], run=run.name)


def _check_status(run: Path, status: str) -> None:
    if status not in FINISHED:
        raise ValueError(
            f"{run / 'record.parquet'} has the status {status!r}; a finished run is done or diverged. "
            "Delete the folder to rerun it"
        )


def _finished(folder: Path, *, without: Collection[str]) -> pd.DataFrame:
    runs = sorted({path.parent.name for path in (folder / "runs").glob("*/record.parquet")}.difference(without))
    records = _bulk(folder, "record", runs, columns=READ, rows=1).drop(columns="config", errors="ignore")
    for run, status in zip(records["run"], records["status"], strict=True) if len(records) else ():
        _check_status(folder / "runs" / run, status)
    return records


def _unfinished(folder: Path, *, without: Collection[str]) -> list[dict[str, Any]]:
    rows = []
    for run in sorted(path.parent for path in (folder / "runs").glob("*/about.json")):
        if run.name in without or not (about := _about(run)):
            continue
        state = unfinished_state(run)
        if state["status"] != NOT_STARTED:  # a run without a state has ended: its record is there by now
            rows.append(about | {"run": run.name, "status": AS.get(state["status"], state["status"]), "reason": state["reason"]})
    return rows


def _about(run: Path) -> dict[str, Any]:
    """What is known of a run before it ends; {} of one that has ended, or not started."""
    path = run / "about.json"
    try:
        about = {**json.loads(path.read_text())}
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} is no JSON object ({error}). Delete the folder and let the run start again") from error
    if missing := [name for name in PLACED if name not in about]:
        raise ValueError(f"{path} lacks {', '.join(missing)}; it was not written by this version. Delete the folder")
    return about


def _completed(records: pd.DataFrame) -> pd.DataFrame:
    """With the columns that older or unfinished runs lack, parsed settings, and the columns that follow from others."""
    known = (*READ, *RESOLUTION, "sources", "trajectory", "tuning")
    records = records.assign(**{name: "" if name in TEXTS else np.nan for name in known if name not in records})
    records = records.fillna(dict.fromkeys(TEXTS, ""))
    records["dirty"] = records["dirty"].eq(True)  # nan is unknown
    settings = [_settings(text, run=run) for run, text in zip(records["run"], records["settings"], strict=True)]
    rows = _records(records[["dataset", "model", "metric"]])
    return records.assign(
        settings=pd.Series(settings, index=records.index, dtype=object),
        seconds=records["seconds_train"] + records["seconds_measure"],
        workload=[labels.workload(row, settings=each) for row, each in zip(rows, settings, strict=True)],
    )


def _settings(text: object, *, run: str) -> dict[str, object]:
    try:
        return {**json.loads(str(text))}
    except (json.JSONDecodeError, TypeError) as error:
        raise ValueError(f"run {run}: its column settings is no JSON object ({error}). Delete the folder and rerun it") from error


def _bulk(folder: Path, name: str, runs: Iterable[str], *, columns: Collection[str], rows: int | None = None) -> pd.DataFrame:
    """The rows of these runs and of all compacted ones, in the column `run` whose they are."""
    tables, errors = {}, {}
    for run in runs:
        try:
            tables[run] = compact.table(folder / "runs" / run / f"{name}.parquet", columns=columns, rows=rows)
        except ValueError as error:  # or it is compacted
            errors[run] = error
    folded = compact.folded(folder, name, columns=columns)  # last: a run that is compacted meanwhile is here
    known = {run for part in folded for run in part["run"].unique().to_pylist()}
    for run, unread in errors.items():
        if run not in known:
            raise unread
    own = {run: rows for run, rows in tables.items() if run not in known}
    found = [*([compact.gathered(own)] if own else []), *folded]
    frame: pd.DataFrame = compact.joined(found).to_pandas() if found else pd.DataFrame({"run": []})
    return frame


def _refuse_copies(records: pd.DataFrame) -> None:
    copies = records[records.duplicated(["cell", "seed"], keep=False)]
    if len(copies):
        runs = ", ".join(copies["run"])
        raise ValueError(
            f"the same cell and seed more than once, in the runs {runs}; one run a seed is expected. Delete the copies"
        )


def _named(records: pd.DataFrame) -> pd.DataFrame:
    titles = _titles(records)
    names: dict[str, str] = {}
    for _, group in records.groupby("workload"):
        names |= _labels(group)
    named = records.assign(title=records["workload"].map(titles), label=records["cell"].map(names))
    return named.sort_values(["title", "label", "seed"], key=_natural, ignore_index=True)


def _natural(column: pd.Series) -> pd.Series:
    """Sort keys under which 32 comes before 256 inside a name as well."""
    if column.name == "seed":
        return column
    return column.map(lambda text: re.sub(r"\d+", lambda digits: digits[0].zfill(12), text))


def _titles(records: pd.DataFrame) -> dict[str, str]:
    rows = _rows(records[["workload", "dataset", "model", "settings"]].drop_duplicates("workload"), key="workload")
    names = {digest: f"{row['dataset']} / {row['model']}" for digest, row in rows.items()}
    return distinct(names, settings={digest: labels.task_settings(row["settings"]) for digest, row in rows.items()})


def _labels(records: pd.DataFrame) -> dict[str, str]:
    rows = _rows(records[["cell", *CHOICES, "settings"]].drop_duplicates("cell"), key="cell")
    names = {digest: labels.label(row) for digest, row in rows.items()}
    return distinct(names, settings={digest: _without_seed(row["settings"]) for digest, row in rows.items()})


def _without_seed(settings: dict[str, object]) -> dict[str, object]:
    return {key: value for key, value in settings.items() if key != "seed"}


def _rows(records: pd.DataFrame, *, key: str) -> dict[str, dict[str, Any]]:
    return {row[key]: row for row in _records(records)}


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]
