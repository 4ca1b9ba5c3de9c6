"""The same policies in front of a real model: an asyncio batcher, and the profile measured on it."""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from scipy.optimize import nnls

from adaptive_bench.serving.arrivals import Times
from adaptive_bench.serving.policies import Drop, Policy, Profile, WaitUntil, Window
from adaptive_bench.serving.simulate import Outcome
from adaptive_bench.validation import Count, check

if TYPE_CHECKING:
    from torch import Tensor, nn

Forward: TypeAlias = Callable[[Sequence[Any]], Sequence[Any]]  # requests to their answers, in one pass


class Refused(RuntimeError):
    """The queue was full, or the request could no longer be answered in time."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    request: Any
    answer: asyncio.Future[Any]

    def refuse(self, why: str) -> None:
        if not self.answer.done():  # else its client may have gone
            self.answer.set_exception(Refused(why))


class Batcher:
    """Answers requests in batches that a policy chooses. `work` runs beside the tasks that call `answer`.

    The forward pass runs in a thread, one at a time, so that requests are taken in meanwhile.
    """

    def __init__(self, forward: Forward, policy: Policy, profile: Profile, *, queue: int) -> None:
        check("queue", queue, Count)
        self.forward, self.policy, self.profile, self.queue = forward, policy, profile, queue
        self.limit = policy.start(profile)
        self.sizes, self.seconds = list[int](), list[float]()  # of the batches so far
        self._ages, self._waiting, self._served = deque[float](), deque[_Waiting](), list[_Waiting]()
        self._came = asyncio.Event()
        self._stopped = False

    async def answer(self, request: Any, *, arrived: float | None = None) -> Any:
        """The model's answer. `arrived` is when it was meant to come, on the loop's clock. Raises Refused."""
        loop = asyncio.get_running_loop()
        if self._stopped:
            raise Refused("the server has stopped")
        if len(self._ages) >= self.queue:
            raise Refused(f"{self.queue} requests wait already")
        waiting = _Waiting(request, loop.create_future())
        self._ages.append(loop.time() if arrived is None else arrived)
        self._waiting.append(waiting)
        self._came.set()
        return await waiting.answer

    async def work(self) -> None:
        """Serve until cancelled. An error of the model ends it, too; those that wait are refused."""
        try:
            while True:
                await self._step()
        finally:
            self._stopped = True
            for waiting in (*self._served, *self._waiting):
                waiting.refuse("the server has stopped")

    async def _step(self) -> None:
        clock = asyncio.get_running_loop().time
        self._came.clear()
        if not self._ages:
            await self._came.wait()
        decision = self.policy.decide(clock(), self._ages, limit=self.limit, profile=self.profile)
        if isinstance(decision, WaitUntil):
            with suppress(TimeoutError):
                async with asyncio.timeout_at(decision.time):
                    await self._came.wait()
            return
        if isinstance(decision, Drop):
            for waiting in self._take(decision.count):
                waiting.refuse("it can no longer be answered in time")
            return
        self._served = self._take(decision.size)
        started = clock()
        answers = await asyncio.to_thread(self.forward, [waiting.request for waiting in self._served])
        took = clock() - started
        self.limit = self.policy.next_limit(self.limit, size=decision.size, seconds=took)
        self.sizes.append(decision.size)
        self.seconds.append(took)
        for waiting, answer in zip(self._served, answers, strict=True):
            if not waiting.answer.done():
                waiting.answer.set_result(answer)

    def _take(self, count: int) -> list[_Waiting]:
        for _ in range(count):
            self._ages.popleft()
        return [self._waiting.popleft() for _ in range(count)]


async def serve(
    requests: Sequence[Any], arrivals: Times, forward: Forward, policy: Policy, profile: Profile, *, queue: int
) -> Outcome:
    """Send request i at arrivals[i] seconds from now, whatever the server does (an open loop). What becomes of them all."""
    batcher = Batcher(forward, policy, profile, queue=queue)
    loop = asyncio.get_running_loop()
    start, total = loop.time(), len(arrivals)
    sent, left, answered = np.zeros(total), np.full(total, math.nan), np.zeros(total, dtype=bool)

    async def ask(number: int) -> None:
        sent[number] = loop.time() - start
        with suppress(Refused):
            await batcher.answer(requests[number % len(requests)], arrived=start + float(arrivals[number]))
            answered[number] = True
        left[number] = loop.time() - start

    worker = asyncio.create_task(batcher.work())
    try:
        clients = []
        for number, arrival in enumerate(arrivals):
            await asyncio.sleep(max(0.0, start + float(arrival) - loop.time()))
            if worker.done():
                break
            clients.append(asyncio.create_task(ask(number)))
        await asyncio.gather(*clients)
    finally:
        worker.cancel()
        with suppress(asyncio.CancelledError):
            await worker  # an error of the model comes out here
    return Outcome(
        intended=np.asarray(arrivals, dtype=float),
        sent=sent,
        left=left,
        answered=answered,
        sizes=np.array(batcher.sizes, dtype=np.int64),
        seconds=np.array(batcher.seconds),
    )


def measured_profile(forward: Forward, requests: Sequence[Any], *, largest: int = 64, repeats: int = 15) -> Profile:
    """t(n) = tau0 + alpha n by least squares, neither of them negative, over the medians at n = 1, 2, 4, ... `largest`.

    A time is from sending n requests at once to having all answers: a saturated server spends the batcher's share of it, too.
    The sizes take turns, so that a slow minute of the machine slows them all; of two passes in a row the second counts.
    """
    check("largest", largest, Count)
    check("repeats", repeats, Count)
    sizes = [2**power for power in range(largest.bit_length())]
    batches = [[requests[at % len(requests)] for at in range(size)] for size in sizes]
    times = [[asyncio.run(_second_pass(forward, batch)) for batch in batches] for _ in range(repeats)]
    (tau0, alpha), _ = nnls(np.array([[1.0, size] for size in sizes]), np.median(times, axis=0))
    return Profile(tau0=float(tau0), alpha=float(alpha))


async def _second_pass(forward: Forward, batch: Sequence[Any]) -> float:
    # the profile is not known yet, and a window of a given limit does not ask for it
    together = Window(wait=3600, limit=len(batch))
    batcher = Batcher(forward, together, Profile(tau0=1.0, alpha=0.0), queue=len(batch))
    worker, started = asyncio.create_task(batcher.work()), math.nan
    with suppress(Refused):  # the worker has ended
        for _ in range(2):
            started = time.perf_counter()
            await asyncio.gather(*(batcher.answer(request) for request in batch))
    took = time.perf_counter() - started
    worker.cancel()
    with suppress(asyncio.CancelledError):
        await worker  # an error of the model comes out here
    return took


def torch_forward(model: "nn.Module", *, device: str = "cpu") -> Forward:
    """The forward pass of a model in evaluation mode: tensors of one sample each to one output each, on the CPU.

    A model of text returns its logits and a state; the state is left, since requests are strangers to each other.
    """
    import torch

    model = model.to(device).eval()

    def forward(samples: "Sequence[Tensor]") -> "Sequence[Tensor]":
        with torch.inference_mode():
            outputs = model(torch.stack(tuple(samples)).to(device))
        return (outputs[0] if isinstance(outputs, tuple) else outputs).cpu().unbind()  # type: ignore[no-any-return]

    return forward
