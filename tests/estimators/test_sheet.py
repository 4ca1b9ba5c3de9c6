import math

import pytest

from adaptive_bench.estimators import MicroBatch, Sheet
from adaptive_bench.models import cnn_small
from adaptive_bench.stats import Stat

NEEDS = Sheet.provides - {Stat.ENTROPY, Stat.MEMORY_USED}


def test_equal_micro_batches_are_measured_as_micro_batches(model, loss_fn, make_batch) -> None:
    batch = make_batch(8)
    expected = MicroBatch(chunks=4).backward(loss_fn, model, batch, NEEDS)
    seen = Sheet().backward(loss_fn, model, batch, NEEDS)
    assert seen.stats == expected.stats
    assert seen.stats[Stat.MICROBATCHES] == 4
    assert seen.physical_batch == 2


def test_a_cut_batch_has_no_ratio_and_the_right_gradient(small_mlp, loss_fn, make_batch, sample_gradients) -> None:
    batch = make_batch(7)
    gradient = sample_gradients(small_mlp, batch).mean(0)
    stats = Sheet(microbatches=4).backward(loss_fn, small_mlp, batch, NEEDS).stats
    assert math.isnan(stats.pop(Stat.MICROBATCH_RATIO))
    assert all(math.isfinite(value) for value in stats.values())
    assert stats[Stat.MICROBATCHES] == 4
    seen = [parameter.grad.flatten() for parameter in small_mlp.parameters()]
    assert sum(part.square().sum().item() for part in seen) == pytest.approx(gradient.square().sum().item(), rel=1e-9)


@pytest.mark.parametrize(("multiple_of", "advice"), [(1, 4), (2, 4), (6, 12)])
def test_sizes_that_do_not_split_are_refused(small_mlp, multiple_of: int, advice: int) -> None:
    message = (
        f"micro-batches: batch sizes are multiples of {multiple_of}, which do not split into 4 equal ones; "
        f"set batch_size.multiple_of to {advice}"
    )
    with pytest.raises(ValueError, match=f"^{message}$"):
        Sheet(microbatches=4).check(small_mlp, NEEDS, multiple_of=multiple_of)
    Sheet(microbatches=4).check(small_mlp, NEEDS, multiple_of=advice)


def test_any_size_will_do_where_nothing_is_split(small_mlp) -> None:
    needs = frozenset({Stat.GRAD_NORM, Stat.ENTROPY})
    Sheet().check(small_mlp, needs)
    with pytest.raises(ValueError, match=r"set batch_size\.multiple_of to 4"):
        Sheet().check(small_mlp, needs | {Stat.MICROBATCH_RATIO})


def test_batch_norm_is_warned_about() -> None:
    with pytest.warns(UserWarning, match="statistics are those of a chunk"):
        Sheet().check(cnn_small(inputs=(1, 8, 8), outputs=10, norm="batch"), NEEDS, multiple_of=8)


@pytest.mark.parametrize("microbatches", [1, 0, 2.5, True])
def test_one_micro_batch_has_no_spread(microbatches: int) -> None:
    with pytest.raises(ValueError, match=f"microbatches={microbatches}"):
        Sheet(microbatches=microbatches)
