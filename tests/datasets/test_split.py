import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptive_bench.datasets.split import Sizes, split


@given(available=st.integers(2, 200), data=st.data(), seed=st.integers(0, 2**32))
def test_training_and_validation_never_share_a_sample(available, data, seed):
    validation = data.draw(st.integers(1, available - 1))
    train = data.draw(st.none() | st.integers(1, available - validation))
    sizes = Sizes(train=train, validation=validation, test=None)
    chosen, held, tested = (part.tolist() for part in split(sizes, available=available, available_test=30, seed=seed))
    assert len(chosen) == (available - validation if train is None else train)
    assert len(held) == validation
    assert len(set(chosen) | set(held)) == len(chosen) + len(held)
    assert set(chosen) | set(held) <= set(range(available))
    assert sorted(tested) == list(range(30))


def test_a_smaller_training_set_is_part_of_a_larger_one_and_the_split_is_the_seeds():
    def parts(train, seed):
        return [
            part.tolist() for part in split(Sizes(train=train, validation=10, test=5), available=100, available_test=9, seed=seed)
        ]

    small, large, other = parts(20, 0), parts(60, 0), parts(20, 1)
    assert small[0] == large[0][:20]
    assert small[1:] == large[1:]
    assert set(small[1]) != set(other[1])


@pytest.mark.parametrize(
    ("sizes", "says"),
    [
        (Sizes(train=95, validation=10, test=None), "exceed the 100 training samples"),
        (Sizes(train=None, validation=100, test=None), "exceed the 100 training samples"),
        (Sizes(train=0, validation=10, test=None), "train_size=0"),
        (Sizes(train=5, validation=5, test=31), "exceeds the 30 test samples"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(sizes, says):
    with pytest.raises(ValueError, match=says):
        split(sizes, available=100, available_test=30, seed=0)
