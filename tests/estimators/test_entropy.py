import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from adaptive_bench.estimators import Auto, MicroBatch, PerSample, tiles
from adaptive_bench.stats import Stat
from adaptive_bench.streams.base import Batch

NEEDS = frozenset({Stat.ENTROPY})


class Plain(nn.Module):
    """Gives its inputs as logits, times a weight of one."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, logits: Tensor) -> Tensor:
        return logits * self.weight


class WithState(Plain):
    """The same with a state beside it, as language models have it."""

    def forward(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        return super().forward(logits), logits.new_zeros(1)


def mean_output(model: nn.Module, batch: Batch) -> Tensor:
    output = model(batch.inputs)
    return (output[0] if isinstance(output, tuple) else output).mean()


def entropy(logits: Tensor, *, model: nn.Module | None = None) -> float:
    batch = Batch(logits, torch.zeros(len(logits)))
    return PerSample().backward(mean_output, model or Plain(), batch, NEEDS).stats[Stat.ENTROPY]


def by_definition(logits: Tensor) -> float:
    distribution = logits.double().softmax(-1)
    return (-(distribution * distribution.log()).sum(-1).mean() / math.log(logits.shape[-1])).item()


@pytest.mark.parametrize("estimator", [PerSample(), MicroBatch(chunks=3), Auto()])
@pytest.mark.parametrize("more", [frozenset(), frozenset({Stat.GRAD_VARIANCE})])
def test_entropy_of_the_batch_that_is_trained_on(estimator, more, model, loss_fn, make_batch) -> None:
    batch = make_batch(7)  # chunks of 3, 2 and 2 rows
    before = [len(module._forward_hooks) for module in model.modules()]
    seen = estimator.backward(loss_fn, model, batch, NEEDS | more)
    assert seen.stats[Stat.ENTROPY] == pytest.approx(by_definition(model(batch.inputs).detach()), rel=1e-9)
    assert [len(module._forward_hooks) for module in model.modules()] == before


def test_nothing_goes_through_the_model_twice(small_mlp, loss_fn, make_batch) -> None:
    calls = []
    small_mlp.register_forward_hook(lambda *_: calls.append(1))
    PerSample().backward(loss_fn, small_mlp, make_batch(4), NEEDS)
    assert len(calls) == 1


@pytest.mark.parametrize("shape", [(4, 10), (4, 6, 5), (4, 2, 3, 7)])
def test_any_leading_dimensions(shape: tuple[int, ...]) -> None:
    logits = 3 * torch.randn(shape, generator=torch.Generator().manual_seed(0))
    assert entropy(logits) == pytest.approx(by_definition(logits), rel=1e-5)


def test_logits_with_a_state_beside_them() -> None:
    logits = torch.randn(4, 6, 5, generator=torch.Generator().manual_seed(0))
    assert entropy(logits, model=WithState()) == entropy(logits)


def test_one_logit_is_logistic_regression() -> None:
    logits = torch.tensor([[-2.0], [0.0], [0.5]])
    assert entropy(logits) == pytest.approx(by_definition(F.pad(logits, (1, 0))), rel=1e-6)


def test_bounds() -> None:
    assert entropy(torch.zeros(3, 10)) == pytest.approx(1)
    assert entropy(torch.zeros(3, 1)) == pytest.approx(1)
    assert entropy(1e4 * torch.eye(10)) == 0  # no 0 log 0


def test_half_precision_is_computed_in_single() -> None:
    logits = torch.randn(5, 1000, generator=torch.Generator().manual_seed(0)).half()
    assert entropy(logits, model=Plain().half()) == pytest.approx(by_definition(logits), rel=1e-5)


def test_many_rows_block_by_block(monkeypatch: pytest.MonkeyPatch) -> None:
    from adaptive_bench.estimators import entropy as module

    logits = torch.randn(11, 5, generator=torch.Generator().manual_seed(0))
    whole = entropy(logits)
    monkeypatch.setattr(module, "tile_size", lambda *_: 4)
    assert entropy(logits) == pytest.approx(whole, rel=1e-6)
    assert tiles.tile_size(logits) > 11


def test_a_model_that_is_never_called_has_no_entropy(small_mlp, make_batch) -> None:
    def functional(model: nn.Module, batch: Batch) -> Tensor:
        return F.linear(batch.inputs.flatten(1), model[1].weight).square().mean()

    assert math.isnan(PerSample().backward(functional, small_mlp, make_batch(3), NEEDS).stats[Stat.ENTROPY])


def test_no_hook_stays_when_the_loss_raises(small_mlp, make_batch) -> None:
    def interrupted(model: nn.Module, batch: Batch) -> Tensor:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        PerSample().backward(interrupted, small_mlp, make_batch(3), NEEDS)
    assert not small_mlp._forward_hooks
