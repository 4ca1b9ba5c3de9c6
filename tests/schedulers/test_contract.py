"""What every scheduler promises. A new yaml in conf/scheduler/ is picked up unasked."""

import json
import math
import random
import warnings
from functools import cache
from itertools import pairwise

import pytest
from omegaconf import DictConfig

from adaptive_bench.__main__ import conf
from adaptive_bench.experiment import build
from adaptive_bench.experiment.catalogue import source
from adaptive_bench.experiment.recorded import read_trajectory
from adaptive_bench.schedulers import BatchShape, Fixed, Observation, Position, SizeRange, SizeScheduler, Stat
from adaptive_bench.training.size_controller import SizeController
from tests.conftest import composed

NAMES = sorted(path.stem for path in (conf() / "scheduler").glob("*.yaml"))
EPOCH, BUDGET = 1000, 30_000
every = pytest.mark.parametrize("name", NAMES)


@cache
def settings(name: str) -> DictConfig:
    return composed(f"scheduler={name}", "lr_schedule=cosine")


@pytest.fixture
def make(recorded):
    def made(name: str, **changed) -> SizeScheduler:
        cfg = settings(name)
        if "trace" in list(cfg.scheduler):
            changed["trace"] = read_trajectory(recorded, results="results", column="batch_size")
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*cannot exceed k - 1")
            return build.make(cfg, "scheduler", **changed)

    return made


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
        position = Position(samples, BUDGET, EPOCH)
        wish = scheduler.propose(position)
        batch = min(max(1, round(min(wish, 1e6))), 300, BUDGET - samples)
        if batch == 0:
            return
        observe(scheduler, position, batch, rng)
        samples += batch
        yield wish, observe.read


def observe(scheduler: SizeScheduler, position: Position, batch: int, rng: random.Random, size: int | None = None) -> None:
    values = {stat: rng.uniform(0.1, 50) * 10 ** rng.uniform(-2, 2) for stat in sorted(scheduler.needs)}
    values |= {stat: rng.random() for stat in scheduler.needs & {Stat.ENTROPY, Stat.HALVES_COSINE}}
    stats = Strict(values if scheduler.measures(position, batch) else {})
    after = Position(position.samples + batch, position.budget, position.epoch_samples)
    scheduler.observe(
        Observation(
            position=after,
            shape=BatchShape(batch),
            size=size,
            lr=0.1,
            loss=rng.uniform(0.1, 3),
            stats=stats,
            evaluation=rng.random() if rng.random() < 0.2 else None,
            seconds=rng.uniform(0.01, 0.02),
        )
    )
    observe.read = stats.read


def test_there_are_schedulers_to_test():
    sheet = {"linear", "exponential", "cyclical", "loss", "confidence", "gns"}
    papers = {"divebatch", "divebatch_oracle", "deba", "deba_flags", "adabatch", "smith", "seesaw", "norm_test"}
    more = {"inner_product_test", "cabs", "simigrad", "adadamp", "goodput", "plateau", "critical_warmup", "random_bptt"}
    controls = {"fixed", "step", "replay", "shuffled", "reversed", "mean_matched", "jump"}
    assert sheet | papers | more | controls <= set(NAMES)


@every
def test_wishes_are_positive(make, name):
    for wish, _ in drive(make(name), 400):
        assert wish > 0


@every
def test_asking_changes_nothing(make, name):
    scheduler = make(name)
    for _ in drive(scheduler, 150):
        state = json.dumps(scheduler.state_dict())  # as text: nan equals itself there
        here = Position(7777, BUDGET, EPOCH)
        assert scheduler.propose(here) == scheduler.propose(here)
        scheduler.measures(here, 100)
        scheduler.signals()
        assert json.dumps(scheduler.state_dict()) == state


@every
def test_state_through_json_and_back_equals_never_stopping(make, name):
    whole, first, second = make(name), make(name), make(name)
    list(drive(whole, 60))
    list(drive(first, 60))
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    unbroken = [wish for wish, _ in drive(whole, 60, seed=1, start=15_000)]
    resumed = [wish for wish, _ in drive(second, 60, seed=1, start=15_000)]
    assert unbroken == resumed
    assert json.dumps(whole.state_dict()) == json.dumps(second.state_dict())


@every
def test_state_is_without_settings(make, name):
    scheduler = make(name, initial=77)
    assert "initial" not in scheduler.state_dict()


def test_foreign_state_is_refused():
    with pytest.raises(ValueError, match="does not belong to Fixed"):
        Fixed().load_state_dict({"velocity": 1.0})


@every
def test_only_declared_needs_are_read(make, name):
    scheduler, read = make(name), set()
    for _, at_step in drive(scheduler, 400):
        read |= at_step
        assert at_step <= scheduler.needs <= set(Stat)
    assert read == scheduler.needs  # nothing is measured in vain


@every
def test_one_that_only_grows_never_falls(make, name):
    slot = SizeController(scheduler=make(name), sizes=SizeRange(maximum=4000))
    sizes = granted(slot, epochs=30)
    assert not slot.scheduler.only_grows() or sizes == sorted(sizes)


def granted(slot: SizeController, *, epochs: int) -> list[int]:
    """The sizes of a run on made-up observations."""
    rng, samples, sizes, budget = random.Random(5), 0, [], epochs * EPOCH
    while samples < budget:
        position = Position(samples, budget, EPOCH)
        size, _ = slot.advance(position)
        batch = min(size, 100, budget - samples)  # smaller steps than the size says, so that every run has many
        observe(slot.scheduler, position, batch, rng, size)
        samples += batch
        sizes.append(size)
    return sizes


@every
def test_a_size_lasts_as_long_as_the_cooldown(make, name):
    cooldown = 2.5
    slot = SizeController(scheduler=make(name), sizes=SizeRange(maximum=4000, cooldown=cooldown))
    rng, samples, changes = random.Random(5), 0, [0]
    while samples < 40_000:
        before = slot.size
        size, _ = slot.advance(Position(samples, 40_000, EPOCH))
        if before is not None and size != before:
            changes.append(samples)
        observe(slot.scheduler, Position(samples, 40_000, EPOCH), 40, rng, size)
        samples += 40
    # a step of 40 that reaches into an epoch has changed the size at its border
    assert all(later - earlier >= cooldown * EPOCH - 40 for earlier, later in pairwise(changes))


@every
def test_growth_is_capped_when_asked_for(make, name):
    sizes = granted(SizeController(scheduler=make(name), sizes=SizeRange(maximum=4000, growth_cap=1.5)), epochs=30)
    assert all(later <= max(1.5 * earlier, earlier + 1) for earlier, later in pairwise(sizes))


IMPOSSIBLE = [("initial", value) for value in (0, -4, math.nan, math.inf, True, "many")]
IMPOSSIBLE += [("minimum", 0), ("cooldown", -1), ("growth_cap", 1), ("measure_every", -5)]


@pytest.mark.parametrize(("setting", "value"), IMPOSSIBLE)
def test_an_impossible_setting_of_every_scheduler_is_refused(setting, value):
    with pytest.raises(ValueError, match=f"{setting}="):
        Fixed(**{setting: value})


@every
def test_the_checks_of_every_scheduler_are_made(make, name):
    with pytest.raises(Exception, match="initial=0"):  # Hydra wraps the ValueError
        make(name, initial=0)


@every
def test_granted_sizes_stay_in_the_range(make, name):
    slot = SizeController(scheduler=make(name), sizes=SizeRange(minimum=24, maximum=200, multiple_of=8))
    for _ in drive(slot.scheduler, 200):
        size, _ = slot.advance(Position(5000, BUDGET, EPOCH))
        assert 24 <= size <= 200
        assert size % 8 == 0


@every
def test_signals_are_always_the_same_numbers(make, name):
    scheduler = make(name)
    names = list(scheduler.signals())
    for _ in drive(scheduler, 100):
        assert list(scheduler.signals()) == names
        assert all(isinstance(value, (int, float)) for value in scheduler.signals().values())


@every
def test_a_source_is_named(make, name):
    assert source(type(make(name)))


def test_a_rule_of_ones_own_names_itself_as_the_source_and_one_without_a_source_is_told_so():
    class Mine(Fixed):
        """B = initial.

        Source: ours.
        """

    class Sourceless(Fixed):
        """B = initial."""

    assert source(Mine) == "ours"
    with pytest.raises(ValueError, match=r"Sourceless: the last line of its docstring must be `Source: \.\.\.`"):
        source(Sourceless)
