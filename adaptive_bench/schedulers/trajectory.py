"""The sizes that a recorded run was granted, as the controls use them: what was done, without what was seen."""

import hashlib
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path

from adaptive_bench.schedulers.base import one_of
from adaptive_bench.size import Progress


@dataclass(frozen=True, slots=True)
class Trajectory:
    """The granted size and the samples of each step. `cut` is the part of the last one that the budget's end left, 0 to 1."""

    sizes: tuple[int, ...]
    samples: tuple[int, ...]
    starts: tuple[int, ...]
    cut: float

    @classmethod
    def of(cls, sizes: Sequence[int], samples: Sequence[int], *, cut: float = 1.0) -> "Trajectory":
        return cls(tuple(sizes), tuple(samples), (0, *accumulate(samples[:-1])), cut)

    @property
    def total(self) -> int:
        """Samples of the whole run."""
        return self.starts[-1] + self.samples[-1]

    def position(self, progress: Progress) -> int:
        """The recorded sample at the same share of the budget. In integers: at equal budgets it is the run's own."""
        return progress.samples * self.total // progress.budget

    def at(self, progress: Progress) -> int:
        """The size of the recorded step that covers the same share of the budget."""
        return self.sizes[bisect_right(self.starts, self.position(progress)) - 1]

    def whole(self) -> int:
        """How many steps there are that the budget did not cut."""
        return len(self.sizes) - (self.cut < 1)

    def ordered(self, order: Sequence[int]) -> "Trajectory":
        """The whole steps in another order; one that the budget cut stays last, where a budget cuts."""
        order = [*order, *range(self.whole(), len(self.sizes))]
        return self.of([self.sizes[i] for i in order], [self.samples[i] for i in order], cut=self.cut)

    def digest(self) -> str:
        """Of sizes and samples: a rerun of the recorded run writes other seconds and the same digest."""
        return hashlib.sha256(repr((self.sizes, self.samples)).encode()).hexdigest()[:16]


def read_trajectory(trace: str | Path | None, *, results: str | Path, column: str) -> Trajectory:
    """The trajectory of a finished run: its digest in `results`, its folder or its trace.parquet. Raises ValueError."""
    one_of("column", column, ("batch_size", "block_size"))
    path = _path(trace, results=Path(results))
    served, sizes, ends = _columns(path, (column, f"{column}_granted", "samples"))
    samples = [after - before for before, after in pairwise([0, *ends])]
    if not sizes:
        raise ValueError(f"trace={trace}: {path} holds no step (a run that diverged at once has none); name another run")
    if min(sizes) < 1 or min(samples) < 1 or served[-1] > sizes[-1]:
        raise ValueError(
            f"trace={trace}: {path} is no trace, its samples must ascend and its sizes be 1 or more; name another run"
        )
    return Trajectory.of(sizes, samples, cut=served[-1] / sizes[-1])


def _path(trace: str | Path | None, *, results: Path) -> Path:
    if not isinstance(trace, (str, Path)) or str(trace) in ("", "???"):
        given = "" if trace in (None, "", "???") else " (a digest that reads as a number needs quotes: \"'0123'\")"
        raise ValueError(f"trace={trace}: the digest of a finished run, its folder or its trace.parquet is expected{given}")
    named = Path(trace)
    if named.is_file():
        return named
    folder = named if named.is_dir() else results / "runs" / named
    if not folder.is_dir():
        raise ValueError(
            f"trace={trace}: there is no such file or folder, and no run of that digest in {results / 'runs'}; "
            f"`adaptive-bench status {results}` lists the runs"
        )
    if not (folder / "trace.parquet").is_file():
        raise ValueError(f"trace={trace}: {folder} has no trace.parquet; a run writes it at its end, so let it finish first")
    return folder / "trace.parquet"


def _columns(path: Path, names: Sequence[str]) -> list[list[int]]:
    import pandas as pd  # schedulers are imported without it

    try:
        frame = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"trace={path}: no readable Parquet file ({error}); name another run, or let this one start again"
        ) from error
    if missing := [name for name in names if name not in frame]:
        raise ValueError(f"trace={path}: it has no column {', '.join(missing)}; the trace.parquet of a run is expected")
    columns = [frame[name].tolist() for name in names]
    if not all(type(value) is int for column in columns for value in column):
        raise ValueError(f"trace={path}: {' and '.join(names)} are not all whole numbers in it; name another run")
    return columns
