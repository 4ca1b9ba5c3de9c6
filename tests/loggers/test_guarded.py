"""A mirror that fails does not end the run."""

import pytest

from adaptive_bench.loggers import Guarded, Logger


class Failing(Logger):
    """Raises at one call, and counts them."""

    def __init__(self, at):
        self.at, self.calls = at, []

    def _call(self, name):
        self.calls.append(name)
        if name == self.at:
            raise OSError(28, "No space left on device")

    def start(self, steps, evaluations):
        self._call("start")

    def step(self, row):
        self._call("step")

    def evaluation(self, row):
        self._call("evaluation")

    def finish(self, summary):
        self._call("finish")


CALLS = ("start", "step", "evaluation", "finish")


@pytest.mark.parametrize("at", CALLS)
def test_after_its_first_error_it_is_told_nothing_more(at):
    mirror = Failing(at)
    guarded = Guarded(mirror)
    with pytest.warns(UserWarning, match=r"Failing failed \(.*No space left on device\); the run goes on without it") as warned:
        guarded.start([], [])
        guarded.step({})
        guarded.evaluation({})
        guarded.finish({})
    assert len(warned) == 1
    assert mirror.calls == list(CALLS[: CALLS.index(at) + 1])
