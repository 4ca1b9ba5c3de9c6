"""Which parameters of a model the layer rules can measure."""

from collections import defaultdict
from collections.abc import Iterable, Iterator

from torch import nn

from adaptive_bench.estimators.layers import COVERED

Found = tuple[str, nn.Module, str, nn.Parameter]  # full name, module, name in the module, parameter


def coverage(model: nn.Module) -> float:
    """Share of the trainable parameters, counted in numbers, that sit in modules with a layer rule; 1 if none is trainable."""
    counts = {True: 0, False: 0}
    for _, module, name, parameter in _trainable(model):
        counts[_covers(module, name)] += parameter.numel()
    return counts[True] / max(1, sum(counts.values())) if counts[False] else 1.0


def covered_modules(model: nn.Module) -> list[nn.Module]:
    """The modules to measure. Raises ValueError if that leaves out a parameter, or if two modules share one."""
    found = list(_trainable(model))  # once: for a small model, the walk is what measuring costs most
    if reason := _refusal(model, found):
        raise ValueError(f"per-sample gradient norms cannot be measured on this model: {reason}; choose estimator=microbatch")
    return list(dict.fromkeys(module for _, module, _, _ in found))


def refusal(model: nn.Module) -> str | None:
    """Why the layer rules cannot measure a model; None if they can."""
    return _refusal(model, _trainable(model))


def _refusal(model: nn.Module, found: Iterable[Found]) -> str | None:
    owners, uncovered = defaultdict(list), []
    for path, module, name, parameter in found:
        owners[parameter].append(path)
        if not _covers(module, name):
            uncovered.append(path)
    if shared := [paths for paths in owners.values() if len(paths) > 1]:
        # the norm of a sum is not known from the norms of its terms
        return "modules share a parameter (" + "; ".join(" = ".join(paths) for paths in shared) + ")"
    if uncovered:
        return f"no layer rule for {', '.join(uncovered)} ({coverage(model):.1%} of the trainable parameters are covered)"
    return None


def _trainable(model: nn.Module) -> Iterator[Found]:
    """A shared parameter comes once for each module that has it."""
    for prefix, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad:
                yield f"{prefix}.{name}" if prefix else name, module, name, parameter


def _covers(module: nn.Module, name: str) -> bool:
    """A subclass of a covered layer may compute something else, and a reparametrised weight has another name."""
    if type(module) not in COVERED or name not in ("weight", "bias"):
        return False
    if isinstance(module, nn.Embedding):
        return not module.sparse and module.max_norm is None and not module.scale_grad_by_freq
    return getattr(module, "padding_mode", "zeros") == "zeros"
