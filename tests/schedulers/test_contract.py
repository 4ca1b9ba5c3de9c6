"""What every scheduler promises. A new yaml in conf/scheduler/ is picked up unasked."""

import json
import math
import random

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from adaptive_bench.__main__ import conf
from adaptive_bench.schedulers import BatchShape, Observation, Progress, SizeRange, SizeScheduler, Stat
from adaptive_bench.slot import Slot

YAMLS = sorted((conf() / "scheduler").glob("*.yaml"))
EPOCH, BUDGET = 1000, 30_000
every = pytest.mark.parametrize("yaml", YAMLS, ids=lambda path: path.stem)


def make(yaml, **settings) -> SizeScheduler:
    return instantiate(OmegaConf.load(yaml), **settings)


class Strict(dict):
    """Statistics that say which of them were read."""

    def __init__(self, values):
        super().__init__(values)
        self.read = set()

    def __getitem__(self, key):
        self.read.add(key)
        return super().__getitem__(key)


def drive(scheduler: SizeScheduler, steps: int, *, seed: int = 0, start: int = 0):
    """Feed made-up observations; yields the wish before each and the statistics that were read."""
    rng, samples = random.Random(seed), start
    for _ in range(steps):
        wish = scheduler.propose(Progress(samples, BUDGET, EPOCH))
        batch = min(max(1, round(min(wish, 1e6))), 300, BUDGET - samples)
        if batch == 0:
            return
        stats = Strict({stat: rng.uniform(0.1, 50) * 10 ** rng.uniform(-2, 2) for stat in scheduler.needs})
        samples += batch
        seen = Observation(
            progress=Progress(samples, BUDGET, EPOCH), shape=BatchShape(batch), lr=0.1, loss=rng.uniform(0.1, 3), stats=stats
        )
        scheduler.observe(seen)
        yield wish, stats.read


def test_there_are_schedulers_to_test():
    assert {"fixed", "linear", "exponential", "cyclical", "step", "adabatch", "divebatch"} <= {path.stem for path in YAMLS}


@every
def test_wishes_are_positive(yaml):
    for wish, _ in drive(make(yaml), 400):
        assert wish > 0


@every
def test_asking_changes_nothing(yaml):
    scheduler = make(yaml)
    for _ in drive(scheduler, 150):
        state = scheduler.state_dict()
        here = Progress(7777, BUDGET, EPOCH)
        assert scheduler.propose(here) == scheduler.propose(here)
        scheduler.measures(here)
        assert scheduler.state_dict() == state


@every
def test_state_through_json_and_back_equals_never_stopping(yaml):
    whole, first = make(yaml), make(yaml)
    list(drive(whole, 60))
    list(drive(first, 60))
    second = make(yaml)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    unbroken = [wish for wish, _ in drive(whole, 60, seed=1, start=15_000)]
    resumed = [wish for wish, _ in drive(second, 60, seed=1, start=15_000)]
    assert unbroken == resumed


@every
def test_state_is_without_settings(yaml):
    scheduler = make(yaml, initial=77)
    assert "initial" not in scheduler.state_dict()


@every
def test_foreign_state_is_refused(yaml):
    with pytest.raises(ValueError, match="does not belong to"):
        make(yaml).load_state_dict({**make(yaml).state_dict(), "velocity": 1.0})


@every
def test_only_declared_needs_are_read(yaml):
    scheduler = make(yaml)
    for _, read in drive(scheduler, 200):
        assert read <= scheduler.needs <= set(Stat)


@every
def test_one_that_only_grows_never_falls(yaml):
    scheduler = make(yaml)
    wishes = [wish for wish, _ in drive(scheduler, 400)]
    if scheduler.only_grows():
        assert wishes == sorted(wishes)


@every
@pytest.mark.parametrize("value", [0, -4, math.nan, math.inf, True, "many"])
def test_an_impossible_first_size_is_refused(yaml, value):
    with pytest.raises(Exception, match="initial="):  # Hydra wraps the ValueError
        make(yaml, initial=value)


@every
def test_granted_sizes_stay_in_the_range(yaml):
    slot = Slot(scheduler=make(yaml), sizes=SizeRange(minimum=24, maximum=200, multiple_of=8))
    for _ in drive(slot.scheduler, 200):
        size, _ = slot.advance(Progress(5000, BUDGET, EPOCH))
        assert 24 <= size <= 200
        assert size % 8 == 0
