"""The distribution, the seed and the learning rate of random block lengths."""

import math
from statistics import NormalDist, correlation, fmean, pstdev

import pandas as pd
import pytest

from adaptive_bench.experiment.build import plan
from adaptive_bench.schedulers import Position, RandomBptt
from tests.conftest import composed

MANY = 20_000


def wishes(scheduler: RandomBptt, *, stride: int = 1) -> list[float]:
    """What is wished for at so many positions behind the first."""
    return [scheduler.propose(Position(stride * place, 10**9, 10**6)) for place in range(1, MANY + 1)]


@pytest.mark.parametrize(("stride", "seed"), [(1, 0), (1400, 1)])
def test_the_distribution_is_that_of_the_authors_code(stride, seed):
    sizes = wishes(RandomBptt(seed=seed), stride=stride)
    long, short = [size for size in sizes if size > 52], [size for size in sizes if size <= 52]  # 3.5 sd from both bases
    assert len(long) / MANY == pytest.approx(0.95, abs=4 * math.sqrt(0.95 * 0.05 / MANY))
    for drawn, base in ((long, 70), (short, 35)):
        # cut to whole numbers: half a token less on average, and a variance of 1/12 more
        assert fmean(drawn) == pytest.approx(base - 0.5, abs=4 * 5 / math.sqrt(len(drawn)))
        assert pstdev(drawn) == pytest.approx(math.sqrt(25 + 1 / 12), abs=4 * 5 / math.sqrt(2 * len(drawn)))
    within = sum(65 <= size < 75 for size in long) / len(long)
    assert within == pytest.approx(NormalDist().cdf(1) - NormalDist().cdf(-1), abs=4 * math.sqrt(0.25 / len(long)))
    assert all(size == int(size) for size in sizes)
    assert abs(correlation(sizes[1:], sizes[:-1])) < 4 / math.sqrt(MANY)


def test_no_wish_is_below_the_minimum():
    sizes = wishes(RandomBptt(initial=10))
    assert min(sizes) == 5
    # all draws below 6, with 10 or 5 as the base
    share = 0.95 * NormalDist(10, 5).cdf(6) + 0.05 * NormalDist(5, 5).cdf(6)
    assert sizes.count(5) / MANY == pytest.approx(share, abs=4 * math.sqrt(share / MANY))
    assert min(wishes(RandomBptt(initial=2, minimum=1))) == 1  # the normal alone goes below 0


def test_without_a_deviation_only_the_base_is_drawn():
    assert set(wishes(RandomBptt(initial=70, sd=0))) == {70, 35}
    assert set(wishes(RandomBptt(initial=70, sd=0, probability=1))) == {70}
    assert set(wishes(RandomBptt(initial=71, sd=0, probability=0))) == {35}  # 35.5, cut


def test_a_draw_belongs_to_its_position_whatever_was_asked_before():
    straight = wishes(RandomBptt(seed=5))
    other = RandomBptt(seed=5)
    for place in (17, 3, 17, 9_999, 3):
        assert other.propose(Position(place, 70_000, 350)) == straight[place - 1]
    assert other.state_dict() == {}


def test_a_seed_is_the_same_run_under_every_python():
    scheduler = RandomBptt(seed=0)
    assert [scheduler.propose(Position(place, 100, 100)) for place in range(12)] == [
        70,
        72,
        71,
        69,
        73,
        73,
        70,
        65,
        33,
        70,
        69,
        79,
    ]


def test_seeds_have_nothing_in_common():
    first, second = wishes(RandomBptt(seed=0)), wishes(RandomBptt(seed=1))
    assert abs(correlation(first, second)) < 4 / math.sqrt(MANY)
    shifted = wishes(RandomBptt(seed=10))  # "1 01" and "10 1" are different texts
    assert abs(correlation(second, shifted)) < 4 / math.sqrt(MANY)


def test_the_first_step_is_the_base_itself_under_every_seed():
    assert {RandomBptt(initial=33.5, seed=seed).propose(Position(0, 100, 100)) for seed in range(50)} == {33.5}


def test_seeds_are_one_cell(tmp_path):
    def identity(*overrides):
        cfg = composed(
            "dataset=markov_text", "model=lstm_small", "scheduler@block_scheduler=random_bptt", f"results={tmp_path}", *overrides
        )
        return plan(cfg, cfg.hydra).identity

    first, second = identity("seed=0"), identity("seed=1")
    assert first.settings["block_scheduler.seed"] == 0
    assert second.settings["block_scheduler.seed"] == 1
    assert first.run != second.run
    assert first.cell == second.cell
    assert identity("seed=0", "block_scheduler.seed=7").cell != first.cell


def test_the_linear_rule_gives_the_authors_learning_rate_at_each_step(trained):
    folder = trained(
        *("dataset=markov_text", "model=lstm_small", "dataset.train_size=8000", "epochs=1", "scheduler.initial=4"),
        *("scheduler@block_scheduler=random_bptt", "block_scheduler.initial=40", "lr_rule=linear", "seed=3"),
    )
    steps = pd.read_parquet(folder / "trace.parquet")
    lengths = steps["block_size_granted"]
    assert lengths[0] == 40
    assert lengths.nunique() > 10
    assert min(lengths) < 30 < 45 < max(lengths)
    assert steps["lr"].tolist() == pytest.approx((0.1 * lengths / 40).tolist(), rel=1e-12)
    starts = steps["samples"] - steps["batch_size"] * steps["block_size"]
    drawn = RandomBptt(initial=40, seed=3)
    assert lengths.tolist() == [drawn.propose(Position(start, 8000, 8000)) for start in starts]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"probability": 1.5}, r"probability=1\.5: a finite number from 0 up and at most 1"),
        ({"probability": -0.1}, "probability=-0.1"),
        ({"probability": math.nan}, "probability=nan"),
        ({"sd": -1}, "sd=-1: a finite number from 0 up"),
        ({"sd": math.inf}, "sd=inf"),
        ({"minimum": 0}, "minimum=0"),
        ({"seed": -1}, "seed=-1"),
        ({"seed": 0.5}, "seed=0.5"),
    ],
)
def test_impossible_settings_are_refused(settings, says):
    with pytest.raises(ValueError, match=says):
        RandomBptt(**settings)
