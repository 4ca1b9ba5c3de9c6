"""Mistakes of the kind that only a GPU shows: each of them, planted, is caught by the tests of the pretended device."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from adaptive_bench.datasets.carried import CarriedState
from adaptive_bench.estimators.per_sample import _Recorder
from adaptive_bench.execution.clock import Clock
from adaptive_bench.streams import images
from adaptive_bench.training.update import Update
from tests.cuda.runs import TEXT, resumes_the_same, trainer, waits_a_step
from tests.cuda.test_waits import IMAGES, MEASURED

RECURRENT = ("model=lstm_small", "model.dropout=0.5", *TEXT)


def draws_on_the_cpu(patch: pytest.MonkeyPatch) -> None:
    augment = images.augment
    patch.setattr(images, "augment", lambda pictures, draws, crop: augment(pictures, draws.cpu(), crop=crop))


def rows_on_the_cpu(patch: pytest.MonkeyPatch) -> None:
    add = _Recorder._add

    def planted(self: Any, *arguments: Any) -> None:
        self._chosen = self._chosen.cpu()
        add(self, *arguments)

    patch.setattr(_Recorder, "_add", planted)


def state_on_the_cpu(patch: pytest.MonkeyPatch) -> None:
    _changed_state(patch, lambda part: part.cpu())


def state_that_is_not_contiguous(patch: pytest.MonkeyPatch) -> None:
    _changed_state(patch, lambda part: part.mT.contiguous().mT)


def _changed_state(patch: pytest.MonkeyPatch, change: Callable[[Any], Any]) -> None:
    before = CarriedState.before

    def planted(self: CarriedState, batch: Any) -> Any:
        state = before(self, batch)
        return None if state is None else tuple(map(change, state))

    patch.setattr(CarriedState, "before", planted)


def generator_that_is_not_restored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        "adaptive_bench.training.trainer.restore_random_state", lambda state, _: torch.set_rng_state(state["cpu"].cpu())
    )


def number_that_is_fetched(patch: pytest.MonkeyPatch) -> None:
    step = Update.step

    def planted(self: Update, model: Any, *arguments: Any, **options: Any) -> float:
        assert next(model.parameters()).sum().item() != 0
        return step(self, model, *arguments, **options)

    patch.setattr(Update, "step", planted)


def clock_that_waits(patch: pytest.MonkeyPatch) -> None:
    charge = Clock._charge

    def planted(self: Clock) -> None:
        torch.cuda.synchronize()
        charge(self)

    patch.setattr(Clock, "_charge", planted)


@pytest.mark.parametrize(
    ("planted", "words", "error"),
    [
        (draws_on_the_cpu, IMAGES, "same device"),
        (rows_on_the_cpu, MEASURED["gns, per_sample"], "same device"),
        (state_on_the_cpu, RECURRENT, "not at the same device"),
        (state_that_is_not_contiguous, RECURRENT, "hx is not contiguous"),
    ],
)
def test_a_run_stops(tmp_path, device, monkeypatch, planted, words, error):
    planted(monkeypatch)
    running = trainer("cuda", tmp_path, *words)
    with pytest.raises(RuntimeError, match=error):
        [running.step() for _ in range(3)]


@pytest.mark.slow
def test_a_generator_that_is_not_restored_changes_the_weights(tmp_path, device, monkeypatch):
    generator_that_is_not_restored(monkeypatch)
    with pytest.raises(AssertionError):
        resumes_the_same(tmp_path, *RECURRENT)


@pytest.mark.parametrize(("planted", "place"), [(number_that_is_fetched, "trainer.py"), (clock_that_waits, "clock.py")])
def test_a_step_waits_more_often_and_the_line_is_named(tmp_path, device, monkeypatch, planted, place):
    planted(monkeypatch)
    found = waits_a_step(device, tmp_path, *IMAGES)
    assert sum(found.values()) > 1
    assert any(each.startswith(place) for each in found)
