"""The control that asks whether the order of the sizes matters."""

import random
from dataclasses import dataclass

from adaptive_bench.schedulers.base import SizeScheduler, whole_number
from adaptive_bench.schedulers.trajectory import read_trajectory
from adaptive_bench.size import Progress


@dataclass(kw_only=True)
class Shuffled(SizeScheduler):
    """B = the sizes of a recorded run's steps in an order drawn with `seed`.

    Every recorded step is served once, so sizes, updates and samples are the same and only when they come differs. A
    last step that the budget cut stays last. Both slots of a run draw the same order from the same trace and seed.
    `trace` as in `Replay`; a slot that also changes (the other column) blurs where the steps start. `initial` has no
    effect.

    Source: ours, a control.
    """

    trace: str | None = None
    results: str = "results"
    column: str = "batch_size"  # or block_size
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        whole_number("seed", self.seed, least=0)
        recorded = read_trajectory(self.trace, results=self.results, column=self.column)
        # of all that `random` offers, only random() promises the same numbers under every Python
        draws = random.Random(self.seed)
        keys = [draws.random() for _ in range(recorded.whole())]
        self._path = recorded.ordered(sorted(range(recorded.whole()), key=keys.__getitem__))

    def propose(self, progress: Progress) -> float:
        return self._path.at(progress)
