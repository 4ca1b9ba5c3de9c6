"""A file that holds all of an unfinished run, with a digest of its content; the one before is kept beside it."""

import hashlib
import io
import os
import pickle
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from adaptive_bench.files import replacing

DIGEST = hashlib.sha256().digest_size  # bytes, before the rest


def save(state: dict[str, Any], path: Path, *, keep_previous: bool = False) -> None:
    """Write `state` to `path`, or to none if that fails. With `keep_previous`, what was there goes on as `previous(path)`."""
    content = io.BytesIO()
    torch.save(state, content)
    with replacing(path) as part:
        with part.open("wb") as file:
            file.write(hashlib.sha256(content.getbuffer()).digest())
            file.write(content.getbuffer())
            file.flush()
            os.fsync(file.fileno())  # else a power cut can leave an empty file under the final name
        if keep_previous and path.exists():
            path.replace(previous(path))


def previous(path: Path) -> Path:
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def load(path: Path, *, device: torch.device) -> dict[str, Any] | None:
    """The state in `path`, or None if there is none. Raises ValueError if it cannot be read."""
    try:
        content = path.read_bytes()
        if hashlib.sha256(content[DIGEST:]).digest() != content[:DIGEST]:
            raise ValueError("its content and its digest differ")
        state: dict[str, Any] = torch.load(io.BytesIO(content[DIGEST:]), map_location=device, weights_only=True)
    except FileNotFoundError:
        return None
    except (RuntimeError, EOFError, OSError, LookupError, ValueError, pickle.UnpicklingError) as error:
        raise ValueError(f"{path} cannot be read ({error}); delete it and the run starts again") from error
    return state


def newest(path: Path, *, device: torch.device) -> dict[str, Any] | None:
    """The state in `path`, else in the one before; None if there is none. A damaged file is set aside, with a warning."""
    for each in (path, previous(path)):
        try:
            if (state := load(each, device=device)) is not None:
                return state
        except ValueError as error:
            aside = each.with_suffix(".damaged")
            with suppress(OSError):  # another rank was faster
                each.replace(aside)
            warnings.warn(f"{error.__cause__}: {each} is now {aside.name}; the run goes on from before it", stacklevel=2)
    return None


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
