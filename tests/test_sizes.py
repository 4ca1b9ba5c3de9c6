import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptive_bench.sizes import BatchShape, Position, SizeRange


@given(
    minimum=st.integers(1, 50),
    span=st.integers(0, 500),
    multiple=st.integers(1, 16),
    wish=st.floats(0.01, 1e9) | st.just(math.inf),
    current=st.integers(1, 500),
    cap=st.none() | st.floats(1.01, 4),
)
def test_a_grant_lies_on_the_grid_inside_the_range(minimum, span, multiple, wish, current, cap):
    sizes = SizeRange(minimum=minimum * multiple, maximum=(minimum + span) * multiple, multiple_of=multiple, growth_cap=cap)
    current = max(sizes.minimum, min(sizes.maximum, current * multiple))
    granted = sizes.grant(wish, current)
    assert sizes.minimum <= granted <= sizes.maximum
    assert granted % multiple == 0
    if cap is not None:
        assert granted <= max(current * cap, current + multiple)


@pytest.mark.parametrize(("wish", "granted"), [(1, 16), (19.9, 16), (20, 24), (27, 24), (28, 32), (1e12, 64), (math.inf, 64)])
def test_wishes_are_rounded_to_the_nearest_multiple_halves_up(wish, granted):
    assert SizeRange(minimum=16, maximum=64, multiple_of=8).grant(wish) == granted


def test_bounds_off_the_grid_are_drawn_in():
    sizes = SizeRange(minimum=1, maximum=100, multiple_of=8)
    assert (sizes.smallest, sizes.largest) == (8, 96)
    assert sizes.grant(1) == 8
    assert sizes.grant(math.inf) == 96


def test_a_capped_growth_goes_down_to_the_grid_but_never_stands_still():
    sizes = SizeRange(minimum=8, maximum=512, multiple_of=8, growth_cap=1.5)
    assert sizes.grant(512, 40) == 56  # 60 would be off the grid
    assert sizes.grant(512, 8) == 16  # 1.5 x 8 = 12 would leave it at 8 for ever
    assert sizes.grant(8, 512) == 8  # shrinking is not capped


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"minimum": 64, "maximum": 32}, "minimum=64 is above maximum=32"),
        ({"minimum": 0, "maximum": 32}, "minimum=0"),
        ({"minimum": -1, "maximum": 32}, "minimum=-1"),
        ({"maximum": math.nan}, "maximum=nan"),
        ({"maximum": 32, "multiple_of": 0}, "multiple_of=0"),
        ({"minimum": 9, "maximum": 15, "multiple_of": 8}, "multiple_of=8 has no multiple from minimum=9 to maximum=15"),
        ({"maximum": 32, "growth_cap": 1.0}, "growth_cap=1.0"),
        ({"maximum": True}, "maximum=True"),
    ],
)
def test_an_impossible_range_is_refused(settings, says):
    with pytest.raises(ValueError, match=says):
        SizeRange(**settings)


@pytest.mark.parametrize("wish", [0, -3, math.nan])
def test_an_impossible_wish_is_refused(wish):
    with pytest.raises(ValueError, match="a scheduler proposed the size"):
        SizeRange(maximum=32).grant(wish)


@pytest.mark.parametrize(
    ("samples", "interval", "completed"), [(299, 0.1, 2), (300, 0.1, 3), (999, 1, 0), (1000, 1, 1), (2500, 0.5, 5)]
)
def test_intervals_complete_at_their_sample(samples, interval, completed):
    assert Position(samples, 10_000, 1000).completed(interval) == completed


@given(batch=st.integers(1, 40), block=st.integers(1, 40), budget=st.integers(1, 3000))
def test_cutting_to_the_budget_spends_it_exactly(batch, block, budget):
    left = budget
    while left:
        shape = BatchShape(batch, block).within(left)
        assert 1 <= shape.samples <= left
        left -= shape.samples
    assert left == 0
