"""Answering requests in batches: when to run, how many at once, and what that costs; simulated and live.

One server, one forward pass at a time. Other problems are batches whose members leave and join between the steps of a generation
(Orca, vLLM), cells of a recurrent network batched across requests (BatchMaker), and placement on many devices (Nexus).
"""

from adaptive_bench.serving.arrivals import bursts, poisson, replayed
from adaptive_bench.serving.live import Batcher, Refused, measured_profile, serve, torch_forward
from adaptive_bench.serving.measures import Measures, batch_means, measure
from adaptive_bench.serving.policies import Aimd, Deadline, Drop, Policy, Profile, Run, Single, WaitUntil, Window
from adaptive_bench.serving.simulate import Outcome, replayed_seconds, simulate

__all__ = [
    "Aimd",
    "Batcher",
    "Deadline",
    "Drop",
    "Measures",
    "Outcome",
    "Policy",
    "Profile",
    "Refused",
    "Run",
    "Single",
    "WaitUntil",
    "Window",
    "batch_means",
    "bursts",
    "measure",
    "measured_profile",
    "poisson",
    "replayed",
    "replayed_seconds",
    "serve",
    "simulate",
    "torch_forward",
]
