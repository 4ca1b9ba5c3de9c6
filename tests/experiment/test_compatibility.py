"""What is refused or warned of when sentences and statistics meet."""

import warnings

import pytest

from adaptive_bench.experiment.compatibility import check_statistics
from adaptive_bench.stats import Stat
from adaptive_bench.streams import LengthBatching

MOMENTS = frozenset({Stat.GRAD_VARIANCE, Stat.GRAD_SQ_NORM})


@pytest.mark.parametrize("group", ["sorted", "buckets"])
def test_a_noise_scale_of_sentences_of_one_length_is_warned_of(group) -> None:
    with pytest.warns(UserWarning, match="grad_sq_norm, grad_variance leave out how gradients differ between lengths"):
        check_statistics(LengthBatching(group=group), MOMENTS)


def test_other_statistics_and_other_batches_go_without_a_word() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_statistics(LengthBatching(group="none"), MOMENTS)
        check_statistics(LengthBatching(group="buckets"), frozenset({Stat.GRAD_NORM, Stat.ENTROPY}))
        check_statistics(LengthBatching(group="packed"), frozenset({Stat.GRAD_NORM}))


def test_statistics_of_packed_rows_and_equal_micro_batches_of_a_budget_are_refused() -> None:
    with pytest.raises(ValueError, match="group=packed: a packed row holds several sentences, so grad_sq_norm, grad_variance"):
        check_statistics(LengthBatching(group="packed"), MOMENTS)
    with pytest.raises(ValueError, match="count=tokens: a budget of tokens holds any number of rows"):
        check_statistics(LengthBatching(group="buckets", count="tokens"), frozenset({Stat.MICROBATCH_RATIO}))
