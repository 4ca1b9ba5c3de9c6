"""Finished runs folded into a few files: RESULTS/compact has a folder for each compaction, with all its runs' rows.

Such a folder appears complete or not at all and never changes; its name begins with the form of its runs' identities. It holds
record.parquet (the records and the text of each `config`.yaml), evaluations.parquet and sizes.parquet. The sizes are run-length
coded: a row is a piece of a run in which all steps have the same sizes and samples, with the totals at its end. The last step is
a piece of its own.
"""

import hashlib
import itertools
import math
import shutil
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import pandas as pd
import pyarrow as pa  # type: ignore[import-untyped,unused-ignore]
import pyarrow.compute as pc  # type: ignore[import-untyped,unused-ignore]
import pyarrow.parquet as pq  # type: ignore[import-untyped,unused-ignore]

from adaptive_bench.files import is_held
from adaptive_bench.schema import EVALUATIONS, IDENTITY_FORM, LOSS_VARIANCE, MEASURED, PIECES, READ, SIZED, WEIGHTS, check_form
from adaptive_bench.stats import Stat

LEAST = 10  # steps of a piece whose loss has a variance


def parts(results: Path) -> list[Path]:
    """The folders of all compactions."""
    return sorted((results / "compact").glob("[0-9]*"))


def runs(results: Path) -> list[str]:
    """The runs that are folded."""
    return [run for part in parts(results) for run in _records(part)]


def holds(results: Path, run: str) -> bool:
    """Whether a run is folded."""
    return any(run in _records(part) for part in parts(results))


def record(results: Path, run: str) -> dict[str, Any]:
    """The record of a folded run, with its `config`."""
    return next(_records(part)[run] for part in parts(results) if run in _records(part))


@cache  # a part never changes
def _records(part: Path) -> dict[str, dict[str, Any]]:
    rows = table(part / "record.parquet").to_pandas().to_dict("records")
    return {row["run"]: row for row in rows}


@cache
def _pieces(part: Path) -> dict[str, pd.DataFrame]:
    return by_run(table(part / "sizes.parquet").to_pandas())


def pieces(results: Path, run: str) -> pd.DataFrame:
    """The pieces of a folded run: PIECES, MEASURED and LOSS_VARIANCE (nan if unknown); none if it diverged at once."""
    found = [_pieces(part)[run] for part in parts(results) if run in _pieces(part)]
    frame = found[0] if found else pd.DataFrame(columns=list(PIECES), dtype=int)
    return frame.assign(**{name: np.nan for name in (MEASURED, LOSS_VARIANCE) if name not in frame})


def steps(results: Path, run: str) -> pd.DataFrame:
    """The sizes of a folded run and its `samples` after each step, as its trace had them."""
    ends = pieces(results, run)
    before = ends[["step", "samples"]].shift(fill_value=0)
    count = ends["step"] - before["step"]
    each = ((ends["samples"] - before["samples"]) // count).repeat(count.tolist())
    return ends[list(SIZED)].loc[each.index].assign(samples=each.cumsum()).reset_index(drop=True)


def by_run(frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The rows of each run, which follow each other, by the run's digest."""
    names, frame = frame["run"], frame.drop(columns="run")
    starts = np.flatnonzero(names.ne(names.shift()))
    found = {}
    for start, stop in itertools.pairwise([*starts, len(frame)]):
        rows = found[names.iloc[start]] = frame.iloc[start:stop]
        rows.index = pd.RangeIndex(stop - start)  # in half the time of `reset_index`
    return found


def table(path: Path, *, columns: Collection[str] = (), only: bool = False, rows: int | None = None) -> pa.Table:
    """A Parquet file that has these columns and so many rows, if a number is given; all its columns, or `only` these.

    Raises ValueError for another file.
    """
    try:
        file = pq.ParquetFile(pa.BufferReader(path.read_bytes()))  # in a third of the time of `pd.read_parquet`
        found = file.read(list(columns) if only else None, use_threads=False)  # without the columns that are missing
    except (OSError, ValueError) as error:  # pyarrow's own errors are both
        raise ValueError(f"{path} cannot be read ({error}). Delete its folder and let the run start again") from error
    names = set(found.column_names)  # made anew at every look
    if missing := [name for name in columns if name not in names]:
        raise ValueError(f"{path} lacks the columns {', '.join(missing)}; it was not written by this version. Rerun it")
    if rows not in (None, len(found)):
        raise ValueError(f"{path} has {len(found)} rows; a record has one. Delete the folder and let the run start again")
    return found.replace_schema_metadata()


def check(run: Path) -> pa.Table:
    """The record of a finished run. Raises ValueError if one of the files of its folder is damaged."""
    record = table(run / "record.parquet", columns=READ, rows=1)
    table(run / "evaluations.parquet", columns=EVALUATIONS)
    table(run / "trace.parquet", columns=PIECES)
    return record


def folded(results: Path, name: str, *, columns: Collection[str]) -> list[pa.Table]:
    """The rows of all folded runs in the file of this name: a table a part. One that was copied to a second is left out."""
    tables, seen = [], pa.array([], pa.string())
    for part in parts(results):
        rows = table(part / f"{name}.parquet", columns=columns)
        tables.append(rows.filter(pc.invert(pc.is_in(rows["run"], value_set=seen))))
        seen = pa.concat_arrays([seen, rows["run"].unique()])
    return tables


def gathered(tables: Mapping[str, pa.Table]) -> pa.Table:
    """The rows of all runs; the column `run` says whose they are."""
    names = np.repeat(list(tables), [len(rows) for rows in tables.values()])
    found = joined(list(tables.values()))
    return found.drop_columns([*{"run"}.intersection(found.column_names)]).append_column("run", pa.array(names, pa.string()))


def joined(tables: Sequence[pa.Table]) -> pa.Table:
    """All rows. Tables of different versions have different columns, and a column without a value has no type."""
    return pa.concat_tables(tables, promote_options="permissive")


def trajectory(trace: pd.DataFrame) -> str:
    """A digest of the sizes and learning rates of a run, step by step."""
    return hashlib.sha256(trace[["batch_size", "block_size", "lr"]].to_numpy(float).tobytes()).hexdigest()[:16]


def loss_variance(trace: pd.DataFrame) -> pd.Series:
    """The variance of the loss within the piece of each step: var(l_{t+1} - l_t) / 2 over steps of the same granted sizes.

    n - 1 is in the denominator, after von Neumann, Kent, Bellinson and Hart (1941), "The mean square successive difference": a
    slow trend does not inflate it. Here the variance of the differences stands for their mean square, so a straight trend adds
    nothing. Only steps that start in the second half of the run's samples count, without cut ones; nan in pieces with fewer than
    ten of them.
    """
    samples, granted = trace["samples"], trace[["batch_size_granted", "block_size_granted"]]
    piece = granted.ne(granted.shift()).any(axis=1).cumsum()
    late = (samples.shift(fill_value=0) >= samples.max() / 2) & ~trace["cut"].astype(bool)
    found = {at: each.diff().var() / 2 for at, each in trace["loss"][late].groupby(piece[late]) if len(each) >= LEAST}
    return piece.map(found).astype(float)


def fold(results: Path) -> tuple[int, dict[str, int]]:
    """Fold the finished runs of a results folder and remove their folders, also while others train in it.

    Returns how many runs were folded, and how many were left by the reason. It may be killed at any point and done again: a run's
    folder is removed when the run is folded, and a folder that a kill has left is removed the next time.
    Raises ValueError for a results folder of another version or that cannot be written, and while another process folds it.
    """
    check_form(results)
    if not (results / "runs").is_dir():
        raise ValueError(f"{results} holds no runs; a results folder, with runs/<digest>, is expected")
    (results / "compact").mkdir(exist_ok=True)
    try:
        with filelock.FileLock(results / "compact" / ".lock", timeout=0):
            return _fold(results)
    except filelock.Timeout as error:
        raise ValueError(f"{results} is being compacted by another process; let it end") from error
    except OSError as error:
        raise ValueError(f"{results} cannot be compacted ({error}); see that it can be written, and compact it again") from error


def _fold(results: Path) -> tuple[int, dict[str, int]]:
    for unfinished in (results / "compact").glob(".part*"):  # left by a compaction that was killed
        shutil.rmtree(unfinished)
    known = set(runs(results))
    folders = {
        path: _kept(path, folded=path.name in known)
        for path in sorted((results / "runs").iterdir())
        if path.name in known or _is_run(path)
    }
    taken = [path for path, reason in folders.items() if not reason]
    if new := [path for path in taken if path.name not in known]:
        _write(results, new)
    for path in taken:
        with suppress(filelock.Timeout), filelock.FileLock(path / ".lock", timeout=0):  # else it is removed the next time
            shutil.rmtree(path)
    return len(new), dict(Counter(filter(None, folders.values())))


def _is_run(path: Path) -> bool:
    return any((path / name).exists() for name in ("config.yaml", "about.json", "record.parquet"))


def _kept(run: Path, *, folded: bool) -> str:
    """Why a run's folder is left as it is; "" if it is not."""
    if (run / WEIGHTS).exists():
        return "with weights"
    if not folded and not (run / "record.parquet").exists():
        return "unfinished"  # its lock is left alone: a process may be about to take it
    return "being written" if is_held(run / ".lock") else ""


def _write(results: Path, folders: Sequence[Path]) -> None:
    readers = {"sizes": _sizes, "evaluations": _evaluations, "record": _record}
    add(results, {name: {folder.name: read(folder) for folder in folders} for name, read in readers.items()})


def packed(frame: pd.DataFrame) -> pa.Table:
    """Rows as `add` takes them."""
    return pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata()


def add(results: Path, tables: Mapping[str, Mapping[str, pa.Table]]) -> None:
    """Write a part: of each of its files the rows of each run."""
    digest = hashlib.sha256(" ".join(tables["record"]).encode()).hexdigest()[:16]
    part = results / "compact" / f".part-{digest}"
    part.mkdir(parents=True)
    for name, rows in tables.items():
        pq.write_table(gathered(rows), part / f"{name}.parquet", compression="zstd")
    part.rename(part.with_name(f"{IDENTITY_FORM}-{digest}"))


def _sizes(run: Path) -> pa.Table:
    trace = table(run / "trace.parquet", columns=PIECES).to_pandas()
    trace[MEASURED] = trace[[*{*Stat}.intersection(trace)]].notna().any(axis=1).cumsum()
    alike = trace[list(SIZED)].assign(samples=trace["samples"].diff().fillna(trace["samples"]))
    ends = alike.ne(alike.shift(-1)).any(axis=1)
    ends.iloc[-2:] = True  # a last step that the budget cut says nothing of the scheduler
    trace[LOSS_VARIANCE] = loss_variance(trace) if "loss" in trace else math.nan
    kept = trace.loc[ends, [*PIECES, MEASURED, LOSS_VARIANCE]]
    return packed(kept)


def _evaluations(run: Path) -> pa.Table:
    return table(run / "evaluations.parquet", columns=EVALUATIONS)


def _record(run: Path) -> pa.Table:
    found = table(run / "record.parquet", columns=READ, rows=1)
    if "trajectory" not in found.column_names:  # of an older version
        trace = table(run / "trace.parquet", columns=("batch_size", "block_size", "lr"), only=True)
        found = found.append_column("trajectory", [[trajectory(trace.to_pandas())]])
    config = run / "config.yaml"
    return found.append_column("config", [[config.read_text() if config.exists() else ""]])
