"""Where a run is evaluated: the setting `evaluate_every` as points in whole samples, the same for every scheduler."""

from collections.abc import Mapping, Sequence
from typing import Any

from adaptive_bench.validation import Factor, Positive, check

GEOMETRIC: dict[str, Any] = {"first": Positive, "factor": Factor, "largest": Positive | None}


def check_grid(every: object) -> None:
    """Raises ValueError unless `every` is a number of epochs, ascending epochs, or first, factor and perhaps largest."""
    if isinstance(every, Mapping):
        if not {"first", "factor"} <= every.keys() <= GEOMETRIC.keys():
            raise ValueError(f"evaluate_every={every}: first, factor and, if wanted, largest are expected in it")
        for name, value in every.items():
            check(f"evaluate_every.{name}", value, GEOMETRIC[name])
        if (largest := every.get("largest", 1)) is not None and largest < every["first"]:
            raise ValueError(
                f"evaluate_every.largest={largest}: first={every['first']} is a larger distance; raise largest, or take null"
            )
        return
    check("evaluate_every", every, Positive | Sequence[Positive] | Mapping[str, float])
    if isinstance(every, Sequence) and (not every or sorted(set(every)) != list(every)):
        raise ValueError(f"evaluate_every={every}: ascending epochs are expected, at least one")


def points(every: Any, *, epoch_samples: int, budget: int) -> Sequence[int]:
    """The samples after which to evaluate, ascending, none beyond `budget` samples. `every` has passed `check_grid`.

    A number is the distance between two points in epochs; a list has the points themselves. {first, factor, largest} puts them at
    first * factor^k epochs (k = 0, 1, ...) until their distance exceeds `largest` epochs (by default 1; None: no limit), and from
    there on one every `largest`. Points are rounded to whole samples and lie at least one sample apart. Raises ValueError for a
    list or a first point beyond the budget.
    """
    end = budget + 0.5  # what is rounded to the budget is not beyond it
    if isinstance(every, Mapping):
        largest = every.get("largest", 1)
        found, at = [], every["first"] * epoch_samples
        while at < end:
            found.append(at)
            farthest = budget if largest is None else largest * epoch_samples
            at = max(at + 1, min(at * every["factor"], at + farthest))
    elif isinstance(every, Sequence):
        found = [at * epoch_samples for at in every if at * epoch_samples < end]
    else:
        interval = max(1, round(every * epoch_samples))
        return range(interval, budget + 1, interval)
    if not found:
        raise ValueError(
            f"evaluate_every={every}: its first point lies beyond the budget of {budget / epoch_samples:g} epochs; lower it"
        )
    return sorted({max(1, round(at)) for at in found})
