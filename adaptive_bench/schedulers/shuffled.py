"""The control that asks whether the order of the sizes matters."""

import random
from dataclasses import dataclass

from adaptive_bench.schedulers.trajectory import Control, Trajectory
from adaptive_bench.validation import whole_number


@dataclass(kw_only=True)
class Shuffled(Control):
    """B = the sizes of a run in an order drawn with `seed`: a recorded run's steps, or a schedule's hundredths of the budget.

    Every one is served once, so sizes, updates and samples are the same and only when they come differs. A
    last step that the budget cut stays last. Both slots of a run draw the same order from the same trace and seed.
    `trace` as in `Replay`; a slot that also changes (the other column) blurs where the steps start. `schedule` as in
    `Reversed`. `initial` has no effect.

    Source: ours, a control.
    """

    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        whole_number("seed", self.seed, least=0)

    def altered(self, path: Trajectory) -> Trajectory:
        # of all that `random` offers, only random() promises the same numbers under every Python
        draws = random.Random(self.seed)
        keys = [draws.random() for _ in range(path.whole())]
        return path.ordered(sorted(range(path.whole()), key=keys.__getitem__))
