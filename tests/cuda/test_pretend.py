"""The pretended device refuses what a GPU refuses, and notices what waits for one."""

import pytest
import torch
from torch import nn

from tests.cuda.pretend import DEVICE


def test_what_is_computed_there_stays_there(device):
    x = torch.arange(6.0, device=DEVICE).reshape(2, 3)
    y = (x @ torch.ones(3, 2, device=DEVICE)).relu()
    assert y.device == DEVICE
    assert y.is_cuda
    assert y.tolist() == [[3, 3], [12, 12]]
    y[0] = torch.zeros(2, device=DEVICE)  # a view that is written to
    assert y.cpu().sum() == 24
    weight = torch.ones(3, device=DEVICE, requires_grad=True)
    (x * weight).sum().backward()
    assert weight.grad.device == DEVICE
    assert weight.grad.tolist() == [3, 5, 7]


@pytest.mark.parametrize("operation", ["add", "matmul", "where", "index_select"])
def test_tensors_of_two_devices_are_refused(device, operation):
    x, other = torch.ones(2, 2, device=DEVICE), torch.ones(2, 2)
    calls = {
        "add": lambda: x + other,
        "matmul": lambda: x @ other,
        "where": lambda: torch.where(other > 0, x, x),
        "index_select": lambda: x.index_select(0, torch.tensor([0])),
    }
    with pytest.raises(RuntimeError, match="same device"):
        calls[operation]()
    assert (x + torch.tensor(1.0)).device == DEVICE  # a single number goes along with the kernel's arguments


def test_a_generator_of_the_cpu_is_refused(device):
    with pytest.raises(RuntimeError, match="'cuda' device type for generator"):
        torch.rand(2, generator=torch.Generator(), device=DEVICE)


def test_its_random_numbers_are_its_own(device):
    torch.manual_seed(1)
    host, state = torch.get_rng_state(), torch.cuda.get_rng_state()
    drawn = torch.rand(3, device=DEVICE).tolist()
    assert torch.equal(torch.get_rng_state(), host)
    torch.rand(3)
    assert torch.rand(3, device=DEVICE).tolist() != drawn
    torch.cuda.set_rng_state(state)
    assert torch.rand(3, device=DEVICE).tolist() == drawn


def test_a_state_of_an_lstm_has_to_be_contiguous(device):
    lstm = nn.LSTM(2, 3, batch_first=True).to(DEVICE)
    x, state = torch.ones(2, 4, 2, device=DEVICE), torch.zeros(1, 4, 3, device=DEVICE)
    lstm(x, (state[:, :2].contiguous(), state[:, 2:].contiguous()))
    with pytest.raises(RuntimeError, match="hx is not contiguous"):
        lstm(x, (torch.zeros(1, 3, 2, device=DEVICE).mT, state[:, :2].contiguous()))


@pytest.mark.parametrize(
    ("what", "count"),
    [
        ("x.sum().item()", 1), ("bool(x.sum() > 0)", 1), ("x.cpu()", 1), ("x.tolist()", 1), ("x[x > 0]", 1), ("x.nonzero()", 1),
        ("torch.unique(x)", 1), ("torch.equal(x, x)", 1), ("torch.zeros(2).to(DEVICE)", 1), ("x.copy_(torch.zeros(2))", 1),
        ("torch.tensor([1.0], device=DEVICE)", 1), ("x[torch.tensor([0])]", 1), ("torch.cuda.synchronize()", 1),
        ("torch.zeros(2).to(DEVICE, non_blocking=True)", 0), ("x * 2", 0), ("x.masked_fill(x > 0, 1)", 0), ("x.clone()", 0),
        ("torch.where(x > 0, x, 0.5)", 0), ("x.double()", 0), ("x.to(DEVICE)", 0), ("x[1:]", 0), ("x.max()", 0),
    ],
)  # fmt: skip
def test_waits_are_counted(device, what, count):
    x = torch.ones(2, device=DEVICE)
    device.waits.clear()
    eval(what, {"x": x, "torch": torch, "DEVICE": DEVICE})
    assert device.waits.total() == count
