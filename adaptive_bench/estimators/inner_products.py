"""The inner product of every row's gradient with the batch gradient, from one forward-mode pass."""

import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from adaptive_bench.estimators.request import BackwardRequest
from adaptive_bench.estimators.tiles import wide
from adaptive_bench.estimators.vector import Scalar, total_sq_norm

UNLIKE = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)  # another forward pass is not the same function


def why_not(model: nn.Module) -> str | None:
    """Why a second forward pass of this model would not belong to the gradients of the first one; None if it would."""
    for name, module in model.named_modules():
        if isinstance(module, UNLIKE) and module.training and getattr(module, "p", 1) > 0:
            return f"{name} ({type(module).__name__}) gives a row other values in every pass"
    return None


def inner_product_variance(work: BackwardRequest) -> Scalar:
    """(1 / (B - 1)) sum_i (<g_i, g> - |g|^2)^2 over all rows i of the batch, g in the `.grad`s; nan for a single row.

    <g_i, g> is the derivative of row i's loss along g: that of the mean loss by the model's output of row i, times B, times the
    derivative of this output along g. The first one is a backward pass of the loss alone, the second one comes out of a forward
    pass that carries g beside the weights. It costs about a forward pass and a half, and no memory for activations.
    """
    samples = len(work.batch)
    gradient = {name: parameter.grad for name, parameter in work.model.named_parameters() if parameter.grad is not None}
    along, sq_norm = _Along(work.model, gradient), total_sq_norm(gradient.values())
    sq_deviations: Scalar = 0.0
    first, end = work.ranks.share(samples, least=2)
    for start, stop in work.chunks.spans(first, end, width=work.batch.width):
        loss = work.loss_fn(along, work.batch.rows(start, stop))
        (by_output,) = torch.autograd.grad(loss, along.output)
        by_row = (wide(by_output) * wide(along.tangent)).flatten(1).sum(1) * (stop - start)
        sq_deviations = sq_deviations + (by_row - sq_norm).square().sum().double()
    (total,) = work.ranks.all_reduce(sq_deviations)
    return total / (samples - 1) if samples > 1 else float("nan")


class _Along(nn.Module):
    """A model as a function of weights that move along a direction: `tangent` is the derivative of its last `output`."""

    output: Tensor
    tangent: Tensor

    def __init__(self, model: nn.Module, direction: dict[str, Tensor]) -> None:
        super().__init__()
        self.model, self.direction = model, direction

    def forward(self, *args: Any) -> Any:
        weights = dict(self.model.named_parameters())
        # the fused kernels of attention have no forward derivative
        with torch.no_grad(), forward_ad.dual_level(), sdpa_kernel(SDPBackend.MATH), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch's own, about what it imports for the first dual number
            moving = {
                name: forward_ad.make_dual(weights[name].detach(), part)  # type: ignore[no-untyped-call]
                for name, part in self.direction.items()
            }
            made = functional_call(self.model, moving, args)
            output, *rest = made if isinstance(made, tuple) else (made,)
            value, tangent = forward_ad.unpack_dual(output)  # type: ignore[no-untyped-call]
            self.output, self.tangent = value.detach().requires_grad_(), tangent.detach()
        return (self.output, *rest) if isinstance(made, tuple) else self.output
