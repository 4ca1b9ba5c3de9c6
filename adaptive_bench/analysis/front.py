"""The Pareto front of a workload: the arms that no other arm beats both in its metric and in what its whole runs cost."""

from dataclasses import dataclass

from . import metrics
from .compare import Comparison, difference, ratio
from .tables import Table
from .verdict import SIGNIFICANT

EQUAL = 1.01  # costs whose ratio is less are equal: the last batch of a run may go beyond its budget


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """An arm against the front: `dominated_by` is "" on the front.

    `beyond_noise`: the dominating arm is better in the metric or in the cost with an uncorrected p below 5 %.
    """

    label: str
    dominated_by: str
    beyond_noise: bool

    def __str__(self) -> str:
        if not self.dominated_by:
            return "on the front"
        return f"dominated by {self.dominated_by}" + ("" if self.beyond_noise else ", within noise")


def front(table: Table, *, cost: str) -> list[Place]:
    """The place of every arm with a run that is done, for one cost of whole runs.

    Arm b dominates a if its mean metric is at least as good, its mean cost at most as large, and one of them is strictly better.
    Of several such arms the one with the best metric is named.
    """
    better = 1 if metrics.more_is_better(table.records, metric=table.metric) else -1
    means = {row.label: (better * row.value.mean, row.totals[cost].mean) for row in table.rows if row.n}
    return [_place(table, label, means=means, cost=cost) for label in means]


def _place(table: Table, label: str, *, means: dict[str, tuple[float, float]], cost: str) -> Place:
    value, spent = means[label]
    above = [
        other
        for other, (its, paid) in means.items()
        if its >= value and paid < spent * EQUAL and (its > value or paid * EQUAL < spent)
    ]
    if not above:
        return Place(label=label, dominated_by="", beyond_noise=False)
    best = max(above, key=lambda other: means[other])
    done = table.records[table.records["status"] == "done"]
    own, its = (done[done["label"] == name].set_index("seed") for name in (label, best))
    tests: list[Comparison] = []
    if means[best][0] > value:
        columns = own[table.metric], its[table.metric]
        resolution = metrics.resolution(table.records, metric=table.metric)
        tests.append(ratio(*columns) if table.logs else difference(*columns, resolution=resolution))
    if means[best][1] * EQUAL < spent:
        tests.append(ratio(own[cost], its[cost]))
    # equal effects in every pair have no error, and no test is needed to see them
    beyond = any(test.p < SIGNIFICANT or (test.error == 0 and test.estimate != 0) for test in tests)
    return Place(label=label, dominated_by=best, beyond_noise=beyond)
