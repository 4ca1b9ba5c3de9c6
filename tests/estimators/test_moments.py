"""Measured moments against known ones: a linear loss on Gaussian inputs has x_i ~ N(G, Sigma) as the gradient of sample i."""

import math
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from adaptive_bench.estimators import GradientEstimator, MicroBatch, PerSample, Sheet
from adaptive_bench.schedulers.averages import Average
from adaptive_bench.schedulers.gns import noise_scale_of_sheet
from adaptive_bench.sizes import BatchShape, Position
from adaptive_bench.stats import Observation, Stat
from adaptive_bench.streams.base import Batch

DRAWS, DIMENSIONS = 2000, 96
SAMPLES = {1.0: 128, 30.0: 256, 1000.0: 1024}  # a draw, by noise scale tr(Sigma) / |G|^2; |G|^2 = 1
MOMENTS, RATIO = frozenset({Stat.GRAD_VARIANCE, Stat.GRAD_SQ_NORM}), frozenset({Stat.MICROBATCH_RATIO})
ESTIMATORS: dict[str, tuple[GradientEstimator, frozenset[Stat]]] = {
    "exact": (PerSample(fraction=1), MOMENTS),
    "an eighth of the rows": (PerSample(fraction=1 / 8), MOMENTS),
    "4 micro-batches": (Sheet(microbatches=4), MOMENTS | RATIO),  # as MicroBatch(chunks=4): tests/estimators/test_sheet.py
    "2 micro-batches": (MicroBatch(chunks=2), MOMENTS),
    "8 micro-batches": (MicroBatch(chunks=8), MOMENTS),
}
CASES = [(name, scale) for scale in SAMPLES for name in list(ESTIMATORS)[:3]]
CASES += [("2 micro-batches", 30.0), ("8 micro-batches", 30.0)]
every_scale = pytest.mark.parametrize("noise_scale", SAMPLES)
# slow, because every worker draws for itself; test_per_sample.py has a fast test of unbiased moments. A busy machine once took
# forty times as long as a quiet one.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def inner_product(model: nn.Module, batch: Batch) -> Tensor:
    return model(batch.inputs).mean()


@cache
def draws(noise_scale: float) -> dict[str, dict[Stat, np.ndarray]]:
    """(DRAWS,) values of each statistic from each estimator; all of them see the same batches."""
    generator, model = torch.Generator().manual_seed(int(noise_scale)), nn.Linear(DIMENSIONS, 1, bias=False)
    mean, spectrum = torch.full((DIMENSIONS,), DIMENSIONS**-0.5), torch.linspace(0.5, 1.5, DIMENSIONS)
    deviations = (noise_scale * spectrum / spectrum.sum()).sqrt()
    chosen = {name: ESTIMATORS[name] for name, scale in CASES if scale == noise_scale}
    seen: dict[str, dict[Stat, list[float]]] = {name: {stat: [] for stat in needs} for name, (_, needs) in chosen.items()}
    for _ in range(DRAWS):
        inputs = torch.randn(SAMPLES[noise_scale], DIMENSIONS, generator=generator).mul_(deviations).add_(mean)
        for name, (estimator, needs) in chosen.items():
            for stat, value in estimator.backward(inner_product, model, Batch(inputs, inputs), needs).stats.items():
                seen[name][stat].append(value)
    return {name: {stat: np.array(values) for stat, values in stats.items()} for name, stats in seen.items()}


@pytest.mark.parametrize(("name", "noise_scale"), CASES)
def test_moments_are_known_within_two_percent(name: str, noise_scale: float) -> None:
    seen = draws(noise_scale)[name]
    for stat, truth in ((Stat.GRAD_VARIANCE, noise_scale), (Stat.GRAD_SQ_NORM, 1.0)):
        error = seen[stat].std(ddof=1) / math.sqrt(DRAWS) / truth
        assert error < 0.007  # three standard errors are about the two percent: no chance result
        assert seen[stat].mean() == pytest.approx(truth, rel=0.02)
    assert seen[Stat.GRAD_VARIANCE].mean() / seen[Stat.GRAD_SQ_NORM].mean() == pytest.approx(noise_scale, rel=0.02)


@every_scale
def test_the_ratio_of_equal_micro_batches_follows_from_the_noise_scale(noise_scale: float) -> None:
    """B_simple = B R / (k - 1 - R) of the averaged R, up to three standard errors and the bias of averaging ratios.

    To first order, R = N / D with D = |g|^2 is (1 + Var D / (E D)^2) times too large on average. Solving for B_simple multiplies
    relative errors by (k - 1) / (k - 1 - R).
    """
    samples, ratios = SAMPLES[noise_scale], draws(noise_scale)["4 micro-batches"][Stat.MICROBATCH_RATIO]
    x = noise_scale / samples
    expected = 3 * x / (1 + x)
    bias = (4 * x + 2 * x**2) / DIMENSIONS / (1 + x) ** 2
    error = (3 * ratios.std(ddof=1) / math.sqrt(DRAWS) / expected + 1.5 * bias) * 3 / (3 - expected)
    assert error < 0.15
    found = noise_scale_of_sheet(ratios.mean(), batch=samples, microbatches=4)
    assert found == pytest.approx(noise_scale, rel=error)


def observed_moments(
    noise_scale: float, *, shape: tuple[int, int], samples: int, pieces: int, seed: int
) -> dict[Stat, np.ndarray]:
    """What `moments` gives for k pieces of B samples of N(G, s^2 I), |G| = 1, drawn by their distribution.

    (k - 1) V is s^2 times chi^2 with d (k - 1) degrees of freedom, and B |g|^2 is s^2 times noncentral chi^2 with d and
    noncentrality B / s^2; the two are independent.
    """
    rng, variance = np.random.default_rng(seed), noise_scale / DIMENSIONS
    trace = variance * rng.chisquare(DIMENSIONS * (pieces - 1), shape) / (pieces - 1)
    sq_norm = variance * rng.noncentral_chisquare(DIMENSIONS, samples / variance, shape) / samples
    return {Stat.GRAD_VARIANCE: trace, Stat.GRAD_SQ_NORM: sq_norm - trace / samples}


@every_scale
def test_95_percent_intervals_of_averages_hold_the_truth(noise_scale: float) -> None:
    repetitions, steps, samples = 1000, 200, SAMPLES[noise_scale]
    half_life = 100 * samples
    seen = [
        Observation(position=Position(step * samples, 10**9, 10**6), shape=BatchShape(samples), lr=0.1, loss=1.0, stats={})
        for step in range(1, steps + 1)
    ]
    drawn = observed_moments(noise_scale, shape=(repetitions, steps), samples=samples, pieces=4, seed=int(noise_scale))
    for stat, truth in ((Stat.GRAD_VARIANCE, noise_scale), (Stat.GRAD_SQ_NORM, 1.0)):
        held = 0
        for values in drawn[stat].tolist():
            average = Average(half_life=half_life)
            for value, step in zip(values, seen, strict=True):
                average.add(value, step)
            held += abs(average.value - truth) <= 1.96 * average.error
        assert 0.93 <= held / repetitions <= 0.97


@pytest.mark.slow
def test_drawn_moments_are_distributed_as_measured_ones() -> None:
    """So that the intervals above are those of the estimators: mean and spread agree within 3 and 10 %."""
    noise_scale, samples = 30.0, 256
    drawn = observed_moments(noise_scale, shape=(1, 20_000), samples=samples, pieces=4, seed=0)
    for stat, values in drawn.items():
        measured = draws(noise_scale)["4 micro-batches"][stat]
        assert values.mean() == pytest.approx(measured.mean(), rel=0.03)
        assert values.std() == pytest.approx(measured.std(), rel=0.1)  # Sigma is not quite spherical there
