"""The oracle: autograd on one sample at a time, in float64."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from adaptive_bench.models import cnn_small, mlp, resnet8
from adaptive_bench.stats import Stat
from adaptive_bench.streams.base import Batch

MODELS = {
    "mlp": lambda: mlp(inputs=(3, 8, 8), outputs=10, hidden=(12, 9)),
    "cnn_small": lambda: cnn_small(inputs=(3, 8, 8), outputs=10, width=4, norm="group"),
    "resnet8": lambda: resnet8(inputs=(3, 8, 8), outputs=10, norm="group"),
}


def mean_cross_entropy(model: nn.Module, batch: Batch) -> Tensor:
    return F.cross_entropy(model(batch.inputs), batch.targets)


def random_batch(samples: int, *, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(samples, 3, 8, 8, generator=generator, dtype=torch.float64)
    return Batch(inputs, torch.randint(10, (samples,), generator=generator))


def gradients_by_sample(model: nn.Module, batch: Batch) -> Tensor:
    """(B, trainable parameters): the gradient of each sample's own loss."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    losses = (mean_cross_entropy(model, batch.rows(i, i + 1)) for i in range(len(batch)))
    return torch.stack([torch.cat([part.flatten() for part in torch.autograd.grad(loss, parameters)]) for loss in losses])


def moments_by_sample(gradients: Tensor) -> dict[Stat, float]:
    """The textbook estimators: the sample variance of the rows, and |mean|^2 without its bias."""
    mean, variance = gradients.mean(0), gradients.var(0).sum()
    return {
        Stat.GRAD_NORM: mean.norm().item(),
        Stat.MEAN_SAMPLE_SQ_NORM: gradients.square().sum(1).mean().item(),
        Stat.GRAD_VARIANCE: variance.item(),
        Stat.GRAD_SQ_NORM: (mean.square().sum() - variance / len(gradients)).item(),
    }


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(0)
    return MODELS[request.param]().double()


@pytest.fixture
def small_mlp() -> nn.Module:
    torch.manual_seed(0)
    return MODELS["mlp"]().double()


@pytest.fixture
def loss_fn() -> Callable[[nn.Module, Batch], Tensor]:
    return mean_cross_entropy


@pytest.fixture
def make_batch() -> Callable[..., Batch]:
    return random_batch


@pytest.fixture
def sample_gradients() -> Callable[[nn.Module, Batch], Tensor]:
    return gradients_by_sample


@pytest.fixture
def sample_moments() -> Callable[[Tensor], dict[Stat, float]]:
    return moments_by_sample
