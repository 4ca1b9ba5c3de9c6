"""Every layer rule against autograd, row by row."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from adaptive_bench.estimators.layers import COVERED, convolution, mean_sample_sq_norm


def shares(module: nn.Module, inputs: Tensor, gradients: Tensor) -> Tensor:
    """(rows, parameters): what each row alone adds to the gradient of the module's trainable parameters."""
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    output, each = module(inputs), []
    for row in range(len(inputs)):
        alone = torch.zeros_like(gradients)
        alone[row] = gradients[row]
        parts = torch.autograd.grad(output, parameters, alone, retain_graph=True)
        each.append(torch.cat([part.flatten() for part in parts]))
    return torch.stack(each)


def assert_rule_holds(module: nn.Module, inputs: Tensor) -> None:
    module = module.double()
    gradients = torch.randn_like(module(inputs))
    expected = shares(module, inputs, gradients).square().sum(1)
    torch.testing.assert_close(mean_sample_sq_norm(module, inputs, gradients), expected, rtol=1e-9, atol=1e-12)
    rows = torch.tensor([0, 2])
    torch.testing.assert_close(mean_sample_sq_norm(module, inputs, gradients, rows=rows), expected[rows], rtol=1e-9, atol=1e-12)


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


CASES = {
    "linear": (lambda: nn.Linear(5, 3), (4, 5)),
    "linear without bias": (lambda: nn.Linear(5, 3, bias=False), (4, 5)),
    "linear, few positions": (lambda: nn.Linear(9, 8), (4, 3, 9)),
    "linear, many positions": (lambda: nn.Linear(3, 2), (4, 7, 5, 3)),
    "batch norm": (lambda: nn.BatchNorm2d(3), (4, 3, 5, 2)),
    "batch norm of vectors": (lambda: nn.BatchNorm1d(3), (4, 3)),
    "batch norm of sequences": (lambda: nn.BatchNorm1d(3), (4, 3, 6)),
    "batch norm in eval mode": (lambda: nn.BatchNorm2d(3).eval(), (4, 3, 5, 2)),
    "batch norm without running statistics": (lambda: nn.BatchNorm2d(3, track_running_stats=False).eval(), (4, 3, 5, 2)),
    "group norm": (lambda: nn.GroupNorm(2, 6), (4, 6, 3, 5)),
    "group norm of vectors": (lambda: nn.GroupNorm(2, 6), (4, 6)),
    "layer norm": (lambda: nn.LayerNorm(6), (4, 5, 6)),
    "layer norm of vectors": (lambda: nn.LayerNorm(6, bias=False), (4, 6)),
    "layer norm over two dimensions": (lambda: nn.LayerNorm((3, 6)), (4, 2, 3, 6)),
}


@pytest.mark.parametrize("case", CASES)
def test_squared_norms_are_those_of_the_rows_shares(case: str) -> None:
    make, shape = CASES[case]
    torch.manual_seed(0)
    module = make()
    for parameter in module.parameters():
        nn.init.normal_(parameter)  # a scale of one would hide a factor
    if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None:
        nn.init.normal_(module.running_mean)
        nn.init.uniform_(module.running_var, 0.5, 2)
    assert_rule_holds(module, normal(*shape) * 2 + 1)


@given(
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    padding=st.one_of(st.just("valid"), st.tuples(st.integers(0, 2), st.integers(0, 1))),
    groups=st.sampled_from([1, 2, 4]),
    size=st.tuples(st.integers(5, 8), st.integers(5, 8)),
    bias=st.booleans(),
    channels_last=st.booleans(),
    form=st.sampled_from([*convolution.FORMS]),
)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_any_convolution(kernel, stride, dilation, padding, groups, size, bias, channels_last, form) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(4, 8, kernel, stride=stride, dilation=dilation, padding=padding, groups=groups, bias=bias)
    inputs = normal(3, 4, *size)
    if channels_last:
        conv, inputs = conv.to(memory_format=torch.channels_last), inputs.to(memory_format=torch.channels_last)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(convolution, "_form", lambda *_: form)
        assert_rule_holds(conv, inputs)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.parametrize("form", convolution.FORMS)
@pytest.mark.parametrize("kernel", [3, (2, 3), (4, 1)])
def test_convolution_that_keeps_the_size(kernel, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convolution, "_form", lambda *_: form)
    assert_rule_holds(nn.Conv2d(2, 3, kernel, padding="same", dilation=(1, 2)), normal(3, 2, 6, 7))


@pytest.mark.parametrize("form", convolution.FORMS)
@pytest.mark.parametrize(
    "options", [{"padding": "same"}, {"stride": 2, "padding": 1}, {"dilation": 2, "groups": 2, "bias": False}]
)
def test_convolution_over_sequences(options: dict, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convolution, "_form", lambda *_: form)
    assert_rule_holds(nn.Conv1d(4, 6, 3, **options), normal(3, 4, 9))


@pytest.mark.parametrize("channels", [2, 32])  # a large image of few channels, and a small one of many: both ways are taken
def test_convolution_takes_the_cheaper_way(channels: int) -> None:
    size = 4 if channels == 32 else 12
    assert_rule_holds(nn.Conv2d(channels, channels, 3, padding=1), normal(3, channels, size, size))


@pytest.mark.parametrize("shape", [(4,), (4, 7), (4, 3, 5)])
@pytest.mark.parametrize("padding_idx", [None, 1])
def test_embedding_adds_up_repeated_words(shape: tuple[int, ...], padding_idx: int | None) -> None:
    torch.manual_seed(0)
    assert_rule_holds(nn.Embedding(3, 5, padding_idx=padding_idx), torch.randint(3, shape))


@pytest.mark.parametrize("frozen", ["weight", "bias"])
@pytest.mark.parametrize("make", [lambda: nn.Linear(5, 5), lambda: nn.Conv2d(5, 3, 1), lambda: nn.BatchNorm2d(5)])
def test_a_frozen_parameter_has_no_share(make, frozen: str) -> None:
    module = make()
    getattr(module, frozen).requires_grad_(False)
    assert_rule_holds(module, normal(4, 5, 5, 5))


def test_many_rows_are_measured_block_by_block() -> None:
    """Rows of 2^17 numbers: two in a block on a CPU."""
    assert_rule_holds(nn.BatchNorm2d(2), normal(5, 2, 256, 256))


def test_half_precision_does_not_overflow() -> None:
    linear = nn.Linear(4, 4, bias=False).half()
    inputs = torch.full((2, 4), 1000.0, dtype=torch.float16)
    norms = mean_sample_sq_norm(linear, inputs, torch.ones(2, 4, dtype=torch.float16))
    torch.testing.assert_close(norms, torch.full((2,), 16e6))


def test_every_covered_layer_is_tested_here() -> None:
    tested = {type(make()) for make, _ in CASES.values()} | {nn.Conv1d, nn.Conv2d, nn.Embedding}
    assert tested == set(COVERED)
