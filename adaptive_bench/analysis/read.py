"""Read a results folder: one row a finished run, its curves and steps when asked for."""

import json
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from adaptive_bench.schema import EVALUATIONS, READ, TRACE, check_form, distinct

from . import labels


@dataclass(frozen=True, eq=False)
class Runs:
    """The finished runs of a results folder.

    `records` has the columns of every record.parquet and `seconds` (train + measure), `workload`, `title` (of the workload) and
    `label` (of the arm). The column `settings` holds dictionaries.
    """

    folder: Path
    records: pd.DataFrame
    _loaded: dict[Path, pd.DataFrame] = field(default_factory=dict, repr=False)

    def evaluations(self, run: str) -> pd.DataFrame:
        """Both splits of one run, in time order."""
        return self._load(run, name="evaluations", columns=EVALUATIONS)

    def validation(self, run: str) -> pd.DataFrame:
        """The validation curve of one run, from the untrained model on."""
        curve = self.evaluations(run)
        curve = curve[curve["split"] == "validation"].reset_index(drop=True)
        if curve.empty:
            raise ValueError(
                f"run {run} has no validation value, not even of the untrained model; delete its folder and rerun it"
            )
        return curve.assign(seconds=curve["seconds_train"] + curve["seconds_measure"])

    def trace(self, run: str) -> pd.DataFrame:
        """One row a step."""
        return self._load(run, name="trace", columns=TRACE)

    def of(self, workload: str) -> pd.DataFrame:
        """The records of one workload."""
        return self.records[self.records["workload"] == workload]

    def _load(self, run: str, *, name: str, columns: Collection[str]) -> pd.DataFrame:
        path = self.folder / "runs" / run / f"{name}.parquet"
        if path not in self._loaded:
            self._loaded[path] = _parquet(path, columns=columns)
        return self._loaded[path]


def read(results: str | Path) -> Runs:
    """All finished runs under `results`/runs; a run without record.parquet is not finished and is left out."""
    folder = Path(results)
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder; expected a results folder, one that holds runs/<digest>/record.parquet")
    paths = sorted((folder / "runs").glob("*/record.parquet"))
    if not paths:
        raise ValueError(f"{folder} holds no finished run (runs/<digest>/record.parquet); let a run end, or name another folder")
    check_form(folder)
    records = pd.DataFrame([_record(path) for path in paths])
    _refuse_copies(records)
    return Runs(folder=folder, records=_named(records))


def _record(path: Path) -> dict[str, Any]:
    frame = _parquet(path, columns=READ)
    if len(frame) != 1:
        raise ValueError(f"{path} has {len(frame)} rows; a record has one. Delete the folder and let the run start again")
    row = {str(key): value for key, value in frame.to_dict("records")[0].items()}
    if row["status"] not in ("done", "diverged"):
        raise ValueError(
            f"{path} has the status {row['status']!r}; a finished run is done or diverged. Delete the folder to rerun it"
        )
    row |= {
        "run": path.parent.name,
        "arm": row["arm"] if isinstance(row["arm"], str) else "",
        "settings": _settings(row["settings"], path=path),
        "seconds": row["seconds_train"] + row["seconds_measure"],
    }
    row["workload"] = labels.workload(row, settings=row["settings"])
    return row


def _settings(text: object, *, path: Path) -> dict[str, object]:
    try:
        return {**json.loads(str(text))}
    except (json.JSONDecodeError, TypeError) as error:
        raise ValueError(f"{path}: its column settings is no JSON object ({error}). Delete the folder and rerun it") from error


def _parquet(path: Path, *, columns: Collection[str]) -> pd.DataFrame:
    try:
        frame = pd.read_parquet(path)
    except (OSError, ValueError) as error:  # pyarrow's own errors are both
        raise ValueError(f"{path} cannot be read ({error}). Delete its folder and let the run start again") from error
    if missing := [name for name in columns if name not in frame.columns]:
        raise ValueError(f"{path} lacks the columns {', '.join(missing)}; it was not written by this version. Rerun it")
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
    rows = _rows(records.drop_duplicates("workload"), key="workload")
    names = {digest: f"{row['dataset']} / {row['model']}" for digest, row in rows.items()}
    return distinct(names, settings={digest: labels.task_settings(row["settings"]) for digest, row in rows.items()})


def _labels(records: pd.DataFrame) -> dict[str, str]:
    rows = _rows(records.drop_duplicates("cell"), key="cell")
    names = {digest: labels.label(row) for digest, row in rows.items()}
    return distinct(names, settings={digest: _without_seed(row["settings"]) for digest, row in rows.items()})


def _without_seed(settings: dict[str, object]) -> dict[str, object]:
    return {key: value for key, value in settings.items() if key != "seed"}


def _rows(records: pd.DataFrame, *, key: str) -> dict[str, dict[str, Any]]:
    return {row[key]: {str(name): value for name, value in row.items()} for row in records.to_dict("records")}
