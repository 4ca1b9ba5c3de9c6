"""The hidden state of a recurrent network, carried from one batch of text to the next."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from adaptive_bench.execution.ranks import Ranks
from adaptive_bench.streams.base import Batch, Place

State = tuple[Tensor, ...]  # each (layers, rows, width): h and c of an LSTM


class CarriedState:
    """Truncated back-propagation through time: the state passes to the next block, its gradient does not.

    The state before a batch is kept until a batch at another position arrives. So a batch may be computed in parts, each with its
    own rows, and it may be computed again with the same result.
    """

    def __init__(self) -> None:
        self._place: Place | None = None  # of the current whole batch
        self._before: State | None = None
        self._after: State | None = None
        self._next: tuple[int, int] | None = None  # epoch and position after `_after`

    def before(self, batch: Batch) -> State | None:
        """The state that these rows continue from; None if they start afresh. Raises ValueError for a batch out of order."""
        if batch.place is None:
            return None
        self._move_to(replace(batch.place, first=0))
        if batch.place.resets_state:
            return None
        assert self._before is not None, "a batch that follows another"
        first = batch.place.first
        return tuple(part[:, first : first + len(batch)].contiguous() for part in self._before)

    def keep(self, batch: Batch, state: State) -> None:
        """Store the state after these rows."""
        place = batch.place
        if place is None:
            return
        detached = tuple(part.detach() for part in state)
        if self._after is None:
            self._after = tuple(part.new_zeros(part.shape[0], place.rows, *part.shape[2:]) for part in detached)
        for whole, part in zip(self._after, detached, strict=True):
            whole[:, place.first : place.first + len(batch)] = part

    def share(self, batch: Batch, ranks: Ranks) -> None:
        """Add up the states that the ranks have of this batch: each has those of its own rows, and zeros or nothing elsewhere."""
        if ranks.count == 1 or batch.place is None:
            return
        self._move_to(replace(batch.place, first=0))  # also where no row was this rank's
        kinds = ranks.from_first(self._after and [(part.shape, part.dtype) for part in self._after])  # it always has a row
        if self._after is None:
            self._after = tuple(torch.zeros(*shape, dtype=dtype, device=batch.inputs.device) for shape, dtype in kinds or ())
        for part in self._after:
            ranks.add_up(part)

    def _move_to(self, place: Place) -> None:
        if place == self._place:
            return
        here = place.epoch, place.position
        if self._place is None or here != (self._place.epoch, self._place.position):
            if not place.resets_state and (here != self._next or self._after is None):
                raise ValueError(
                    f"a batch at epoch {place.epoch}, position {place.position} continues from a state that is not available "
                    f"(the last one ends at {self._next}); take batches in order, and load the task's state with the stream's"
                )
            self._before = self._after
        # else: the same tokens in another shape, so the state before them is unchanged
        self._place, self._after, self._next = place, None, (place.epoch, place.position + place.samples)

    def state_dict(self) -> dict[str, Any]:
        """{"state", "next"}: the state and the epoch and position that follow it; both None before the first batch."""
        state = None if self._after is None else [part.clone() for part in self._after]
        return {"state": state, "next": None if self._next is None else list(self._next)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Raises ValueError for anything but a `state_dict()`."""
        if set(state) != {"state", "next"} or (state["state"] is None) != (state["next"] is None):
            raise ValueError(
                f"a carried state has 'state' and 'next', got {sorted(state)}; resume with the data set it was saved from"
            )
        self._place, self._before = None, None
        self._after = None if state["state"] is None else tuple(part.clone() for part in state["state"])
        self._next = None if state["next"] is None else (state["next"][0], state["next"][1])
