"""Every rank has the gradient and the statistics of the whole batch."""

import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import distributed, nn

from adaptive_bench.estimators import Auto, GradientEstimator, MicroBatch, PerSample, Sheet
from adaptive_bench.execution import ranks as ranks_module
from adaptive_bench.execution.physical_batch import PhysicalBatch
from adaptive_bench.execution.ranks import Ranks, _buckets
from adaptive_bench.stats import Stat
from adaptive_bench.streams.base import Batch
from tests.estimators.conftest import MODELS, mean_cross_entropy, random_batch
from tests.execution.ranks.conftest import together

pytestmark = pytest.mark.slow  # every worker would measure everything; whole runs of two ranks are among the fast tests

ESTIMATORS: dict[str, Callable[[], GradientEstimator]] = {
    "per_sample": lambda: PerSample(fraction=1 / 6),
    "exact": lambda: PerSample(fraction=1),
    "microbatch": lambda: MicroBatch(chunks=6),
    "auto": lambda: Auto(fraction=1 / 3),
    "sheet": lambda: Sheet(microbatches=6),
}


SIZES = (12, 7, 1, 2, 18)  # of batches; some have fewer rows than there are ranks, or than micro-batches


def group() -> Ranks:
    distributed.init_process_group("gloo")
    return Ranks(rank=distributed.get_rank(), count=distributed.get_world_size())


def outcome(model: nn.Module, seen: Any) -> dict[str, Any]:
    gradients = [None if parameter.grad is None else parameter.grad.clone() for parameter in model.parameters()]
    return {"loss": seen.loss, "stats": dict(seen.stats), "gradients": gradients, "physical_batch": seen.physical_batch}


def measured(ranks: Ranks, *, most: int | None = None) -> dict[str, dict[str, Any]]:
    """What each estimator makes of each batch."""
    found = {}
    for name, make in ESTIMATORS.items():
        for kind in MODELS:
            torch.manual_seed(0)
            model, estimator = MODELS[kind]().double(), make()
            for size in SIZES:
                batch, needs = random_batch(size, seed=size), estimator.provides - {Stat.MEMORY_USED}
                seen = estimator.backward(
                    mean_cross_entropy, model, batch, needs, loss_scale=8.0, chunks=PhysicalBatch(maximum=most), ranks=ranks
                )
                found[f"{name} {kind} {size}"] = outcome(model, seen)
    return found


def measure_as_rank(folder: Path) -> None:
    ranks = group()
    ranks_module.BUCKET = 2000  # bytes: each model's gradients take several messages
    found = measured(ranks, most=2)
    found |= {"not finite": not_finite(ranks), "no memory": no_memory(ranks), "unused": unused(ranks)}
    torch.save(found, folder / f"{ranks.rank}.pt")


def not_finite(ranks: Ranks) -> dict[str, Any]:
    """The last rows, which are not the first rank's, give an infinite loss."""
    batch = random_batch(8)
    batch.inputs[-1] = math.inf
    torch.manual_seed(0)
    model = MODELS["mlp"]().double()
    return outcome(model, MicroBatch().backward(mean_cross_entropy, model, batch, frozenset({Stat.GRAD_NORM}), ranks=ranks))


def no_memory(ranks: Ranks) -> dict[str, Any]:
    """Only the second of two ranks has too little."""
    errors = 0

    def loss(model: nn.Module, part: Batch) -> torch.Tensor:
        nonlocal errors
        if ranks.rank == 1 and len(part) > 2:
            errors += 1
            raise torch.OutOfMemoryError(f"{len(part)} rows are too many")
        return mean_cross_entropy(model, part)

    torch.manual_seed(0)
    model, estimator = MODELS["mlp"]().double(), PerSample(fraction=1)
    seen = estimator.backward(loss, model, random_batch(12, seed=12), estimator.provides - {Stat.MEMORY_USED}, ranks=ranks)
    return outcome(model, seen) | {"errors": errors}


def unused(ranks: Ranks) -> dict[str, Any]:
    """A batch of one row, of which the second rank has none, and a layer that no row goes through."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 10), nn.Linear(3, 3)).double()

    def loss(model: nn.Sequential, part: Batch) -> torch.Tensor:
        return nn.functional.cross_entropy(model[1](model[0](part.inputs)), part.targets)

    return outcome(model, PerSample().backward(loss, model, random_batch(1), frozenset(), ranks=ranks))


@pytest.fixture(scope="module")
def ranks_measured(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("ranks")
    assert together(measure_as_rank, folder) == [0, 0]
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(2)]


@pytest.fixture(scope="module")
def alone_measured() -> dict[str, dict[str, Any]]:
    return measured(Ranks())


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_rank_has_the_gradient_and_the_statistics_of_the_whole_batch(
    name, kind, size, ranks_measured, alone_measured
) -> None:
    case = f"{name} {kind} {size}"
    alone = alone_measured[case]
    for found in (each[case] for each in ranks_measured):
        assert found["loss"] == pytest.approx(alone["loss"], rel=1e-9)
        assert found["stats"] == pytest.approx(alone["stats"], rel=1e-9, abs=1e-9, nan_ok=True)
        for ours, expected in zip(found["gradients"], alone["gradients"], strict=True):
            torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-12)
            assert ours.stride() == expected.stride()
    assert ranks_measured[0][case]["physical_batch"] <= 2, "as `most` says, on top of the ranks"


def test_a_loss_that_is_not_finite_on_one_rank_comes_back_to_all(ranks_measured) -> None:
    for found in (each["not finite"] for each in ranks_measured):
        assert not math.isfinite(found["loss"])
        assert found["stats"] == {}
        assert not any(isinstance(gradient, torch.Tensor) for gradient in found["gradients"])


def test_memory_that_runs_out_on_one_rank_is_its_own_affair(ranks_measured, alone_measured) -> None:
    first, second = (each["no memory"] for each in ranks_measured)
    assert (first["errors"], second["errors"]) == (0, 2)  # 6 and 3 rows were too many
    assert first["physical_batch"] == second["physical_batch"] == 6  # the largest of any rank
    for found in (first, second):
        for ours, expected in zip(found["gradients"], alone_measured["exact mlp 12"]["gradients"], strict=True):
            torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-12)


def test_a_rank_without_rows_has_the_others_gradients_and_no_more(ranks_measured) -> None:
    alone = unused(Ranks())
    assert [gradient is None for gradient in alone["gradients"]] == [False, False, True, True]
    for found in (each["unused"] for each in ranks_measured):
        assert [gradient is None for gradient in found["gradients"]] == [False, False, True, True]
        torch.testing.assert_close(found["gradients"][0], alone["gradients"][0])


@given(total=st.integers(0, 10_000), count=st.integers(1, 70), least=st.integers(1, 3))
def test_shares_follow_one_another_and_differ_by_a_row(total: int, count: int, least: int) -> None:
    shares = [Ranks(rank=rank, count=count).share(total, least=least) for rank in range(count)]
    assert [start for start, _ in shares] == [0, *(stop for _, stop in shares[:-1])]
    assert shares[-1][1] == total
    sizes = [stop - start for start, stop in shares]
    assert sizes == sorted(sizes, reverse=True)
    taken = [size for size in sizes if size]
    assert sum(taken) == total
    assert max(taken, default=0) - min(taken, default=0) <= 1
    assert len(taken) in (0, 1) or min(taken) >= least
    assert len(taken) == min(count, max(1, total // least)) or total == 0


@given(sizes=st.lists(st.integers(0, 40), max_size=20))
def test_buckets_hold_all_gradients_in_their_order(sizes: list[int]) -> None:
    tensors = [torch.zeros(size) for size in sizes]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranks_module, "BUCKET", 100)
        buckets = list(_buckets(tensors))
    assert [id(each) for bucket in buckets for each in bucket] == [id(each) for each in tensors]
    assert all(len(bucket) == 1 or sum(each.nbytes for each in bucket) <= 100 for bucket in buckets)
    for bucket, after in pairwise(buckets):
        assert sum(each.nbytes for each in [*bucket, after[0]]) > 100
