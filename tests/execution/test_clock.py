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


def test_an_inner_block_pauses_the_outer_one():
    clock = Clock(torch.device("cpu"))
    start = time.perf_counter()
    with clock.running("train"):
        time.sleep(0.01)
        with clock.running("measure"):
            time.sleep(0.03)
        time.sleep(0.01)
    wall = time.perf_counter() - start
    assert 0.02 <= clock.seconds["train"] <= wall - 0.03
    assert clock.seconds["measure"] >= 0.03
    assert sum(clock.seconds.values()) == pytest.approx(wall, rel=0.01)


def test_what_is_measured_in_a_warm_up_is_warm_up():
    clock = Clock(torch.device("cpu"))
    with clock.running("warmup"), clock.running("measure"):
        time.sleep(0.01)
    assert clock.seconds["warmup"] >= 0.01
    assert clock.seconds["measure"] == 0


def test_a_resumed_clock_goes_on_from_its_seconds():
    clock = Clock(torch.device("cpu"))
    clock.load_state_dict(dict.fromkeys(NAMES, 2.0))
    with clock.running("train"):
        pass
    assert clock.state_dict()["train"] > 2
    assert clock.state_dict()["measure"] == 2
