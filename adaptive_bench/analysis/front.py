"""The Pareto front of a workload: the arms that no other arm beats both in its metric and in what its whole runs cost."""

from dataclasses import dataclass

import pandas as pd

from . import metrics
from .compare import Comparison, difference, ratio
from .tables import Table
from .verdict import SIGNIFICANT


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
    Of several such arms the one with the best metric is named. Where the metric is the cost itself, the front is the cheapest arm.
    """
    done = table.records[table.records["status"] == "done"]
    arms = {str(label): arm.set_index("seed") for label, arm in done.groupby("label", sort=False)}
    better = 1 if metrics.more_is_better(table.records, metric=table.metric) else -1
    means = {row.label: (better * row.value.mean, row.totals[cost].mean) for row in table.rows if row.label in arms}
    return [_place(table, label, means=means, arms=arms, cost=cost) for label in means]


def _place(table: Table, label: str, *, means: dict[str, tuple[float, float]], arms: dict[str, pd.DataFrame], cost: str) -> Place:
    value, spent = means[label]
    above = [other for other, (its, paid) in means.items() if its >= value and paid <= spent and (its > value or paid < spent)]
    if not above:
        return Place(label=label, dominated_by="", beyond_noise=False)
    best = max(above, key=lambda other: means[other])
    own, its = arms[label], arms[best]
    tests: list[Comparison] = []
    if means[best][0] > value:
        tests.append(
            difference(own[table.metric], its[table.metric], resolution=metrics.resolution(table.records, metric=table.metric))
        )
    if means[best][1] < spent:
        tests.append(ratio(own[cost], its[cost]))
    return Place(label=label, dominated_by=best, beyond_noise=any(test.p < SIGNIFICANT for test in tests))
