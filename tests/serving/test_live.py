import asyncio
import time

import numpy as np
import pytest
import torch
from torch import nn

from adaptive_bench.serving import (
    Aimd,
    Batcher,
    Deadline,
    Profile,
    Refused,
    Single,
    Window,
    measure,
    measured_profile,
    poisson,
    replayed_seconds,
    serve,
    simulate,
    torch_forward,
)

PROFILE = Profile(tau0=0.004, alpha=0.0005)


def slept(requests):
    """A model that takes t(n) and doubles its requests."""
    time.sleep(PROFILE.seconds(len(requests)))
    return [2 * request for request in requests]


@pytest.mark.parametrize("policy", [Single(), Window(wait=0.01), Aimd(deadline=0.02), Deadline(deadline=0.05)])
def test_live_is_near_the_simulation_with_its_times_replayed(policy):
    arrivals = poisson(150.0, 150, np.random.default_rng(0))
    live = asyncio.run(serve(range(9), arrivals, slept, policy, PROFILE, queue=100))
    again = simulate(arrivals, policy, PROFILE, queue=100, seconds=replayed_seconds(live.sizes, live.seconds))
    got, expected = measure(live, deadline=0.05), measure(again, deadline=0.05)
    print(
        f"{type(policy).__name__}: mean {1e3 * got.mean.value:.2f} ms live, {1e3 * expected.mean.value:.2f} simulated; "
        f"p50 {1e3 * got.p50.value:.2f} and {1e3 * expected.p50.value:.2f}"
    )
    assert live.answered.sum() == live.sizes.sum()
    # loose: a busy machine wakes tasks late
    assert got.mean.value == pytest.approx(expected.mean.value, rel=0.5, abs=0.02)
    assert got.p50.value == pytest.approx(expected.p50.value, rel=0.5, abs=0.02)


async def together(batcher, requests):
    worker = asyncio.create_task(batcher.work())
    answers = await asyncio.gather(*(batcher.answer(request) for request in requests), return_exceptions=True)
    worker.cancel()
    await asyncio.gather(worker, return_exceptions=True)
    return answers


def test_everyone_gets_their_own_answer():
    async def run():
        batcher = Batcher(slept, Window(wait=0.01, limit=4), PROFILE, queue=10)
        return await together(batcher, range(10)), batcher.sizes

    answers, sizes = asyncio.run(run())
    assert answers == [2 * request for request in range(10)]
    assert sum(sizes) == 10
    assert max(sizes) == 4


def test_a_full_queue_refuses():
    async def run():
        return await together(Batcher(slept, Single(), PROFILE, queue=2), range(4))

    answers = asyncio.run(run())
    assert answers[:2] == [0, 2]
    assert all(isinstance(answer, Refused) for answer in answers[2:])


def test_too_old_requests_are_refused():
    async def run():
        batcher = Batcher(slept, Deadline(deadline=0.05), PROFILE, queue=9)
        old = asyncio.get_running_loop().time() - 1
        worker = asyncio.create_task(batcher.work())
        with pytest.raises(Refused, match="no longer be answered in time"):
            await batcher.answer(1, arrived=old)
        worker.cancel()

    asyncio.run(run())


def test_an_error_of_the_model_reaches_the_caller():
    def broken(requests):
        raise ArithmeticError("the model is broken")

    arrivals = poisson(1000.0, 50, np.random.default_rng(0))
    with pytest.raises(ArithmeticError, match="the model is broken"):
        asyncio.run(serve([1], arrivals, broken, Single(), PROFILE, queue=10))


def test_a_model_that_loses_an_answer_leaves_nobody_waiting():
    async def run():
        return await together(Batcher(lambda requests: requests[1:], Window(wait=0.01, limit=3), PROFILE, queue=9), range(5))

    answers = asyncio.run(run())
    assert answers[:2] == [1, 2]  # the strict zip finds out at the end
    assert all(isinstance(answer, Refused) for answer in answers[2:])


def test_a_client_that_has_gone_disturbs_nobody():
    async def run():
        batcher = Batcher(slept, Window(wait=0.02, limit=9), PROFILE, queue=9)
        gone = asyncio.create_task(batcher.answer(1))
        await asyncio.sleep(0)
        gone.cancel()
        return await together(batcher, [5])

    assert asyncio.run(run()) == [10]


def test_a_batch_of_a_real_model_answers_as_one_by_one():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3))
    samples = torch.randn(12, 8)
    forward = torch_forward(model)

    async def run():
        return await together(Batcher(forward, Window(wait=0.05, limit=12), PROFILE, queue=12), samples)

    answers = torch.stack(asyncio.run(run()))
    with torch.inference_mode():
        expected = torch.cat([model(sample[None]) for sample in samples])
    torch.testing.assert_close(answers, expected)


def test_a_profile_is_fitted_to_medians():
    profile = measured_profile(slept, range(4), largest=16, repeats=5)
    print(f"tau0 {1e3 * profile.tau0:.2f} ms, alpha {1e3 * profile.alpha:.2f} ms; slept 4 + 0.5 n ms")
    assert profile.seconds(8) == pytest.approx(PROFILE.seconds(8), rel=0.5)
    with pytest.raises(ValueError, match="repeats=0"):
        measured_profile(slept, range(4), repeats=0)


def test_a_model_that_fails_has_no_profile():
    def broken(requests):
        raise ArithmeticError("the model is broken")

    with pytest.raises(ArithmeticError, match="the model is broken"):
        measured_profile(broken, [1])
