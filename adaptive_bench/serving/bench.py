"""All policies under the same arrivals: a row a policy, a law of arrivals and a load."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from adaptive_bench.serving.arrivals import Times, bursts, poisson, replayed
from adaptive_bench.serving.live import Forward, serve
from adaptive_bench.serving.measures import Measures, measure
from adaptive_bench.serving.policies import Aimd, Deadline, Policy, Profile, Single, Window, check_deadline
from adaptive_bench.serving.simulate import Outcome, replayed_seconds, simulate
from adaptive_bench.validation import Count, NotNegative, Positive, Whole, check_fields

WAITS = (0, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 3 / 4)  # windows that are tried, as shares of the deadline


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """What the policies are compared under. `window` is the wait of the policy of that name; None: half the deadline."""

    deadline: Positive  # seconds
    window: NotNegative | None = None  # seconds
    queue: Count = 1_000  # requests that may wait
    loads: Sequence[Positive] = (0.5, 0.8, 0.95)  # shares of the saturated rate
    requests: Count = 20_000  # a row
    clients: Count = 16  # of the closed loop
    seed: Whole = 0
    recording: Sequence[float] = ()  # arrivals to replay

    def __post_init__(self) -> None:
        check_fields(self)
        if not self.loads:
            raise ValueError("loads=(): at least one is expected")

    @property
    def wait(self) -> float:
        return self.deadline / 2 if self.window is None else self.window


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """`simulated` repeats a live row with the arrivals and the times of its batches replayed."""

    arrivals: str
    load: float
    policy: str
    measures: Measures
    simulated: Measures | None = None


@dataclass(frozen=True, slots=True)
class Served:
    """A model to answer the requests in earnest."""

    forward: Forward
    samples: Sequence[Any]


def bench(profile: Profile, under: Conditions, *, model: Served | None = None) -> list[Row]:
    """Every policy, simulated with t(n) of the profile, or live on a model. The last row is a closed loop, always simulated.

    It has the arrivals of the row before with the highest load and the policy `window`, sent by clients that each wait for their
    answer and measured from when they send: with so few requests under way no queue can grow, and no latency shows what the
    intended arrivals would have met.
    """
    check_deadline(under.deadline, profile)
    rows = []
    for law, load, arrivals in arrival_lists(profile, under):
        for name, policy in policies(profile, under, rate=load * profile.saturated(under.deadline, queue=under.queue)).items():
            outcome, simulated = _outcome(arrivals, policy, profile, under, model=model)
            rows.append(Row(arrivals=law, load=load, policy=name, measures=outcome, simulated=simulated))
    law, load, arrivals = max(arrival_lists(profile, under), key=lambda one: (one[0] == "Poisson", one[1]))
    window = Window(wait=under.wait)
    closed = simulate(arrivals, window, profile, queue=under.queue, clients=under.clients)
    measures = measure(closed, deadline=under.deadline, since="sent")
    return [*rows, Row(arrivals=f"{law}, closed loop of {under.clients}", load=load, policy="window", measures=measures)]


def _outcome(
    arrivals: Times, policy: Policy, profile: Profile, under: Conditions, *, model: Served | None
) -> tuple[Measures, Measures | None]:
    def measured(outcome: Outcome) -> Measures:
        return measure(outcome, deadline=under.deadline)

    if model is None:
        return measured(simulate(arrivals, policy, profile, queue=under.queue)), None
    live = asyncio.run(serve(model.samples, arrivals, model.forward, policy, profile, queue=under.queue))
    if not len(live.sizes):  # all were refused
        return measured(live), None
    times = replayed_seconds(live.sizes, live.seconds)
    return measured(live), measured(simulate(arrivals, policy, profile, queue=under.queue, seconds=times))


def arrival_lists(profile: Profile, under: Conditions) -> Iterator[tuple[str, float, Times]]:
    """(law, load, arrivals). All policies, and all loads of a law but for its stretch, see the same draws."""
    saturated = profile.saturated(under.deadline, queue=under.queue)
    for load in under.loads:
        yield "Poisson", load, poisson(load * saturated, under.requests, np.random.default_rng(under.seed))
    for load in under.loads:
        yield "bursts", load, bursts(load * saturated, under.requests, np.random.default_rng(under.seed))
    for load in under.loads if under.recording else ():
        yield "replayed", load, replayed(under.recording, rate=load * saturated)


def policies(profile: Profile, under: Conditions, *, rate: float) -> dict[str, Policy]:
    """The four policies, the window that is best at this rate, and deadlines that refuse whoever would halve the batch."""
    half = max(1, int(min(profile.largest(under.deadline), under.queue)) // 2)
    return {
        "single": Single(),
        "window": Window(wait=under.wait),
        "window, tuned": best_window(profile, under, rate=rate),
        "aimd": Aimd(deadline=under.deadline),
        "deadline": Deadline(deadline=under.deadline),
        "deadline, N/2": Deadline(deadline=under.deadline, at_least=half),
    }


def best_window(profile: Profile, under: Conditions, *, rate: float) -> Window:
    """The window of highest goodput among WAITS, with the sheet's N and with the largest batch that the deadline allows.

    Simulated under Poisson arrivals of another seed than the comparison's, so that it is not fitted to them.
    """
    arrivals = poisson(rate, under.requests, np.random.default_rng((under.seed, 1)))
    largest = int(min(profile.largest(under.deadline), under.queue))
    waits = [share * under.deadline for share in WAITS]
    tried = [Window(wait=wait, limit=largest) for wait in waits]
    tried += [Window(wait=wait) for wait in waits if profile.largest(wait) >= 1]

    def goodput(window: Window) -> float:
        return measure(simulate(arrivals, window, profile, queue=under.queue), deadline=under.deadline).goodput

    return max(tried, key=goodput)
