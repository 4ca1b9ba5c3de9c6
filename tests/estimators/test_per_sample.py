import math
import statistics

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from adaptive_bench.estimators import PerSample
from adaptive_bench.stats import Stat
from adaptive_bench.streams.base import Batch

MOMENTS = frozenset({Stat.GRAD_NORM, Stat.GRAD_SQ_NORM, Stat.GRAD_VARIANCE, Stat.MEAN_SAMPLE_SQ_NORM})


def hooks(model: nn.Module) -> int:
    return sum(len(module._forward_hooks) + len(module._backward_hooks) for module in model.modules())


def test_exact_moments(model, loss_fn, make_batch, sample_gradients, sample_moments) -> None:
    batch = make_batch(6)
    expected = sample_moments(sample_gradients(model, batch))
    seen = PerSample(fraction=1).backward(loss_fn, model, batch, MOMENTS)
    assert seen.stats == pytest.approx(expected, rel=1e-9)
    assert seen.physical_batch == 6
    assert seen.loss == pytest.approx(loss_fn(model, batch).item(), rel=1e-12)


def test_channels_last_gives_the_same_moments(model, loss_fn, make_batch) -> None:
    batch = make_batch(5)
    expected = PerSample(fraction=1).backward(loss_fn, model, batch, MOMENTS)
    batch = Batch(batch.inputs.to(memory_format=torch.channels_last), batch.targets)
    seen = PerSample(fraction=1).backward(loss_fn, model.to(memory_format=torch.channels_last), batch, MOMENTS)
    assert seen.stats == pytest.approx(expected.stats, rel=1e-9)


@pytest.mark.parametrize("fraction", [1 / 8, 1])
def test_measuring_leaves_the_gradient_of_a_plain_backward_pass(model, loss_fn, make_batch, fraction: float) -> None:
    batch = make_batch(5)
    PerSample().backward(loss_fn, model, batch, frozenset())
    plain = [parameter.grad for parameter in model.parameters()]
    PerSample(fraction=fraction).backward(loss_fn, model, batch, MOMENTS)
    for parameter, gradient in zip(model.parameters(), plain, strict=True):
        assert torch.equal(parameter.grad, gradient)


def test_one_sample_has_no_variance(small_mlp, loss_fn, make_batch) -> None:
    stats = PerSample().backward(loss_fn, small_mlp, make_batch(1), MOMENTS).stats
    assert math.isnan(stats[Stat.GRAD_VARIANCE])
    assert math.isnan(stats[Stat.GRAD_SQ_NORM])
    assert stats[Stat.MEAN_SAMPLE_SQ_NORM] == pytest.approx(stats[Stat.GRAD_NORM] ** 2)


def test_a_part_of_the_rows_gives_unbiased_moments(small_mlp, loss_fn, make_batch, sample_gradients, sample_moments) -> None:
    batch, estimator = make_batch(16), PerSample(fraction=1 / 5)
    expected = sample_moments(sample_gradients(small_mlp, batch))
    draws = [estimator.backward(loss_fn, small_mlp, batch, MOMENTS).stats for _ in range(500)]
    for stat in (Stat.MEAN_SAMPLE_SQ_NORM, Stat.GRAD_VARIANCE, Stat.GRAD_SQ_NORM):
        values = [draw[stat] for draw in draws]
        spread = statistics.stdev(values)
        assert spread > 0
        assert abs(statistics.fmean(values) - expected[stat]) < 3 * spread / math.sqrt(len(values))
    assert all(draw[Stat.GRAD_NORM] == pytest.approx(expected[Stat.GRAD_NORM], rel=1e-9) for draw in draws)


@pytest.mark.parametrize("fraction", [0, -0.1, 1.5, math.nan])
def test_fraction_is_a_share(fraction: float) -> None:
    with pytest.raises(ValueError, match=f"fraction={fraction}"):
        PerSample(fraction=fraction)


class InPlace(nn.Module):
    """A residual block that overwrites the output of every normalisation layer, or its twin that does not."""

    def __init__(self, *, inplace: bool) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, bias=False), nn.Conv2d(4, 4, 3, padding=1)
        self.norm, self.last_norm = nn.BatchNorm2d(4), nn.GroupNorm(2, 4)
        self.relu, self.inplace, self.head = nn.ReLU(inplace=inplace), inplace, nn.Linear(4, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.norm(self.first(x)))
        y = self.last_norm(self.relu(self.second(x)))
        if self.inplace:
            y += x
        else:
            y = y + x
        return self.head(self.relu(y).mean((2, 3)))


@pytest.mark.parametrize("fraction", [0.5, 1])
def test_operations_in_place_behind_a_layer(loss_fn, make_batch, fraction: float) -> None:
    twins = InPlace(inplace=True).double(), InPlace(inplace=False).double()
    twins[1].load_state_dict(twins[0].state_dict())
    first, second = (PerSample(fraction=fraction).backward(loss_fn, twin, make_batch(6), MOMENTS) for twin in twins)
    assert first.stats == pytest.approx(second.stats, rel=1e-12)


class Watched:
    """Inputs and output gradients of every layer of a backward pass, kept on the side."""

    def __init__(self, layers: list[nn.Module]) -> None:
        self.inputs: dict[nn.Module, Tensor] = {}
        self.gradients: dict[nn.Module, Tensor] = {}
        for layer in layers:
            layer.register_forward_hook(self.keep)

    def keep(self, layer: nn.Module, args: tuple[Tensor], output: Tensor) -> None:
        self.inputs[layer] = args[0].detach()
        output.register_hook(lambda gradient: self.gradients.update({layer: gradient}))

    def shares(self, layer: nn.Module) -> Tensor:
        """(rows, parameters): what each row of the output gradient adds to the layer's parameter gradient."""
        output, gradient = layer(self.inputs[layer]), self.gradients[layer]
        rows = []
        for i in range(len(gradient)):
            alone = torch.zeros_like(gradient)
            alone[i] = gradient[i]
            parts = torch.autograd.grad(output, list(layer.parameters()), alone, retain_graph=True)
            rows.append(torch.cat([part.flatten() for part in parts]))
        return torch.stack(rows)


@pytest.mark.parametrize("inplace", [False, True])
def test_under_batch_norm_the_shares_add_up_to_the_batch_gradient(loss_fn, make_batch, inplace: bool) -> None:
    model, batch = InPlace(inplace=inplace).double(), make_batch(6)
    watched = Watched([layer for layer in model.children() if list(layer.parameters())])
    seen = PerSample(fraction=1).backward(loss_fn, model, batch, MOMENTS)
    shares, gradient = [], []
    for layer in list(watched.gradients):
        gradient.append(torch.cat([parameter.grad.flatten() for parameter in layer.parameters()]))
        shares.append(watched.shares(layer))
    everything = torch.cat(shares, 1)
    torch.testing.assert_close(everything.sum(0), torch.cat(gradient), rtol=1e-9, atol=1e-12)
    # g_i is B times a share; the mean of |g_i|^2 over B samples is B times the sum of |share|^2
    assert seen.stats[Stat.MEAN_SAMPLE_SQ_NORM] == pytest.approx(6 * everything.square().sum().item(), rel=1e-9)


def test_frozen_parameters_are_left_out(model, loss_fn, make_batch, sample_gradients, sample_moments) -> None:
    for parameter in list(model.parameters())[:3]:
        parameter.requires_grad_(False)
    batch = make_batch(4)
    seen = PerSample(fraction=1).backward(loss_fn, model, batch, MOMENTS)
    assert seen.stats == pytest.approx(sample_moments(sample_gradients(model, batch)), rel=1e-9)


def test_no_hook_stays(model, loss_fn, make_batch) -> None:
    before = hooks(model)  # GroupNorm has one of its own
    PerSample().backward(loss_fn, model, make_batch(3), MOMENTS)
    assert hooks(model) == before


def test_no_hook_stays_when_the_loss_raises(small_mlp, make_batch) -> None:
    def interrupted(model: nn.Module, batch: Batch) -> Tensor:
        model(batch.inputs)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        PerSample().backward(interrupted, small_mlp, make_batch(3), MOMENTS)
    assert hooks(small_mlp) == 0


def test_a_module_used_twice_is_refused(loss_fn, make_batch) -> None:
    layer = nn.Linear(10, 10)
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 10), layer, nn.ReLU(), layer).double()
    with pytest.raises(ValueError, match=r"Linear\(in_features=10.* applied twice.*estimator=microbatch"):
        PerSample().backward(loss_fn, model, make_batch(3), MOMENTS)
    assert hooks(model) == 0


def test_a_parameter_used_outside_of_its_module_is_refused(small_mlp, make_batch) -> None:
    def functional(model: nn.Module, batch: Batch) -> Tensor:
        return F.linear(batch.inputs.flatten(1), model[1].weight).square().mean()

    with pytest.raises(ValueError, match=r"used outside of its forward pass; choose estimator=microbatch"):
        PerSample().backward(functional, small_mlp, make_batch(3), MOMENTS)


def test_rows_that_are_no_samples_are_refused(make_batch) -> None:
    def sequence_first(model: nn.Module, batch: Batch) -> Tensor:
        return model(batch.inputs.flatten(1).mT).square().mean()

    with pytest.raises(ValueError, match=r"shape \(192, 4\) for a batch of 4"):
        PerSample().backward(sequence_first, nn.Linear(4, 1).double(), make_batch(4), MOMENTS)


def test_a_shared_parameter_is_refused_when_the_run_is_assembled() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = model[0].weight
    with pytest.raises(ValueError, match=r"share a parameter \(0.weight = 1.weight\); choose estimator=microbatch"):
        PerSample().check(model, MOMENTS)


def test_uncovered_parameters_are_refused_when_the_run_is_assembled() -> None:
    model = nn.ModuleDict({"rnn": nn.LSTM(3, 4), "head": nn.Linear(4, 7)})
    with pytest.raises(ValueError, match=r"rnn.weight_ih_l0, rnn.weight_hh_l0.*19\.6% .*covered.*estimator=microbatch"):
        PerSample().check(model, MOMENTS)
    PerSample().check(model, frozenset({Stat.GRAD_NORM, Stat.EPOCH_GRAD_SQ_NORM}))  # these need no samples
