"""One file that holds all of an unfinished run, written whole or not at all."""

import hashlib
import os
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from adaptive_bench.files import replacing


def save(state: dict[str, Any], path: Path) -> None:
    """Write `state` to `path`; whatever happens meanwhile, `path` holds the old state or the new one."""
    with replacing(path) as part, part.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())  # else a power cut can leave an empty file under the final name


def load(path: Path, *, device: torch.device) -> dict[str, Any] | None:
    """The state in `path`, or None if there is none. Raises ValueError if it cannot be read."""
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except (RuntimeError, EOFError, OSError, LookupError, ValueError, pickle.UnpicklingError) as error:
        raise ValueError(f"{path} cannot be read ({type(error).__name__}); delete it and the run starts again") from error
    return state


def pack(rows: Sequence[Mapping[str, float]]) -> dict[str, Tensor]:
    """Rows of numbers as one tensor a column: a long run's trace is saved often."""
    if not rows:
        return {}
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    return {name: torch.tensor(values, dtype=_kind(values[0])) for name, values in columns.items()}


def _kind(value: float) -> torch.dtype:
    if isinstance(value, bool):
        return torch.bool
    return torch.int64 if isinstance(value, int) else torch.float64


def unpack(columns: Mapping[str, Tensor]) -> list[dict[str, float]]:
    """The rows that `pack` was given."""
    if not columns:
        return []
    return [dict(zip(columns, values, strict=True)) for values in zip(*(c.tolist() for c in columns.values()), strict=True)]


def weights_digest(model: nn.Module) -> str:
    """A digest of all parameters and buffers: two runs with the same one ended on the same weights, bit for bit."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]
