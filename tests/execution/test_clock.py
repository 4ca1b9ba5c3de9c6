import time

import pytest
import torch

from adaptive_bench.execution.clock import NAMES, Clock


def test_time_goes_to_the_clock_that_runs():
    clock = Clock(torch.device("cpu"))
    with clock.running("train"):
        time.sleep(0.02)
    with clock.running("store"):
        time.sleep(0.01)
    assert 0.02 <= clock.seconds["train"] < 0.1
    assert 0.01 <= clock.seconds["store"] < 0.1
    assert clock.seconds["measure"] == clock.seconds["evaluate"] == 0


def test_a_block_that_raises_is_clocked_too():
    clock = Clock(torch.device("cpu"))
    with pytest.raises(KeyError), clock.running("evaluate"):
        time.sleep(0.01)
        raise KeyError
    assert clock.seconds["evaluate"] >= 0.01


def test_moving_keeps_the_sum():
    clock = Clock(torch.device("cpu"))
    clock.load_state_dict(dict.fromkeys(NAMES, 2.0))
    clock.move(0.5, source="train", to="measure")
    assert clock.state_dict() == {"train": 1.5, "measure": 2.5, "evaluate": 2.0, "store": 2.0, "warmup": 2.0}
