"""Dataclasses whose fields say what is a setting and what is state."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from adaptive_bench.validation import check_fields


@dataclass(kw_only=True)
class Stateful:
    """Constructor fields are settings; fields with `init=False` are state: plain values or other `Stateful` objects.

    A setting that does not fit its annotation is a ValueError.
    """

    def __post_init__(self) -> None:
        check_fields(self)

    def state_dict(self) -> dict[str, Any]:
        """The state fields without the settings, as plain values that JSON can store."""
        return {
            name: value.state_dict() if isinstance(value, Stateful) else copy.deepcopy(value)
            for name, value in self._state().items()
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore `state_dict()`. Raises ValueError if the state has other fields than this one."""
        if set(state) != set(self._state()):
            raise ValueError(
                f"this state does not belong to {type(self).__name__}: it holds {sorted(state)}, expected {sorted(self._state())}"
            )
        for name, value in self._state().items():
            if isinstance(value, Stateful):
                value.load_state_dict(state[name])
            else:
                setattr(self, name, copy.deepcopy(state[name]))

    def _state(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self) if not field.init}
