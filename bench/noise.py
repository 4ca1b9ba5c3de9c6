"""How noisy the gradient of a batch is by its size, and what a few parts of one batch say of the gradient noise scale.

cnn_small with GroupNorm on the digits, whose weights stay as they are after one and after ten epochs of training. Batches are
drawn with replacement from all samples, so that the true moments are known: G is the gradient over all n samples, tr(Sigma) the
variance of their own gradients around it, and B_simple = tr(Sigma) / |G|^2 (McCandlish et al. 2018, arXiv 1812.06162, eq. 2.9).
A few minutes on one core:

    python -m bench.noise -o results/tables/noise.md
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from adaptive_bench.analysis import cells, t_interval
from adaptive_bench.estimators import MicroBatch, PerSample
from adaptive_bench.files import replacing
from adaptive_bench.models import cnn_small
from adaptive_bench.stats import Stat
from adaptive_bench.streams import Batch
from bench.estimators import loss

SIZES, PARTS, ROWS = (8, 16, 32, 64, 128, 256), (2, 4, 8, 16), 256
EPOCHS, DRAWS = (1, 10), 400
MOMENTS = frozenset({Stat.GRAD_SQ_NORM, Stat.GRAD_VARIANCE})


@dataclass(frozen=True, kw_only=True)
class Place:
    """A model whose weights stay as they are, and all samples."""

    model: nn.Module
    samples: Batch
    random: torch.Generator

    def draw(self, size: int) -> Batch:
        rows = torch.randint(len(self.samples), (size,), generator=self.random)
        return Batch(self.samples.inputs[rows], self.samples.targets[rows])

    def gradient(self, batch: Batch) -> Tensor:
        PerSample().backward(loss, self.model, batch, frozenset())
        return torch.cat([parameter.grad.flatten() for parameter in self.model.parameters() if parameter.grad is not None])

    def true_moments(self) -> tuple[Tensor, float]:
        """G and tr(Sigma) of all samples, each drawn with the same chance."""
        found = PerSample(fraction=1.0).backward(loss, self.model, self.samples, MOMENTS).stats
        count = len(self.samples)
        return self.gradient(self.samples), found[Stat.GRAD_VARIANCE] * (count - 1) / count


def trained(epochs: int) -> Place:
    torch.manual_seed(0)
    stored = load_digits()
    samples = Batch(torch.from_numpy(stored.images / 8 - 1).float().unsqueeze(1), torch.from_numpy(stored.target))
    place = Place(
        model=cnn_small(inputs=(1, 8, 8), outputs=10, norm="group"), samples=samples, random=torch.Generator().manual_seed(0)
    )
    optimizer = torch.optim.SGD(place.model.parameters(), lr=0.04, momentum=0.9)
    for _ in range(epochs * len(samples) // 16):
        place.gradient(place.draw(16))
        optimizer.step()
    return place


def noise_by_size(place: Place, *, draws: int) -> pd.DataFrame:
    """E |g - G|^2 of batches of each size, which is tr(Sigma) / B; with a t interval, as a share of tr(Sigma) / B."""
    whole, variance = place.true_moments()
    rows = []
    for size in SIZES:
        found = np.array([float((place.gradient(place.draw(size)) - whole).square().sum()) for _ in range(draws)])
        share = found * size / variance
        rows.append(
            {
                "batch size": f"{size}",
                "mean of ‖g - G‖² / ‖G‖²": f"{found.mean() / float(whole.square().sum()):.3g}",
                "of ‖g - G‖² B / tr(Sigma)": cells.interval(t_interval(share), decimals=3),
            }
        )
    return pd.DataFrame(rows)


def noise_by_parts(place: Place, *, draws: int) -> pd.DataFrame:
    """What k parts of batches of 256 say of B_simple, one batch by itself and all together."""
    whole, variance = place.true_moments()
    true, rows = variance / float(whole.square().sum()), []
    for parts in PARTS:
        estimator, needs = MicroBatch(chunks=parts), MOMENTS | {Stat.MICROBATCH_RATIO}
        found = [estimator.backward(loss, place.model, place.draw(ROWS), needs).stats for _ in range(draws)]
        ratio, sq_norm, variances = (
            np.array([each[stat] for each in found]) for stat in (Stat.MICROBATCH_RATIO, Stat.GRAD_SQ_NORM, Stat.GRAD_VARIANCE)
        )
        with np.errstate(divide="ignore"):
            single = np.where(sq_norm > 0, variances / sq_norm, np.inf)
        low, middle, high = np.quantile(single, [0.025, 0.5, 0.975], method="lower")
        rows.append(
            {
                "parts k": f"{parts}",
                "B_simple": f"{true:.3g}",
                "the sheet's ratio R, mean": f"{ratio.mean():.3g}",
                "B R / (k - 1 - R), of that mean": f"{ROWS * ratio.mean() / (parts - 1 - ratio.mean()):.3g}",
                f"tr(Sigma) / ‖G‖², means of {draws} batches": f"{variances.mean() / sq_norm.mean():.3g}",
                "of one batch, median [2.5 %, 97.5 %]": f"{middle:.3g} [{low:.3g}, {high:.3g}]",
                "within a factor of 2": f"{100 * np.mean((single > true / 2) & (single < 2 * true)):.0f} %",
            }
        )
    return pd.DataFrame(rows)


def page(*, draws: int) -> str:
    lines = [
        "# The noise of a batch's gradient, and of estimates of the noise scale",
        "cnn_small with GroupNorm on the digits, at fixed weights; batches drawn with replacement, so that the true values are\n"
        f"known. {draws} batches each, seed 0. Made by `python -m bench.noise -o results/tables/noise.md`.",
    ]
    for epochs in EPOCHS:
        place = trained(epochs)
        for title, made in (("by batch size", noise_by_size), (f"by parts of a batch of {ROWS}", noise_by_parts)):
            grid = made(place, draws=draws).to_markdown(index=False, disable_numparse=True)
            lines += [f"## After {epochs} {'epoch' if epochs == 1 else 'epochs'}, {title}", grid]
    return "\n\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True, help="the Markdown file")
    parser.add_argument("--draws", type=int, default=DRAWS, help="batches of each kind")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    with replacing(chosen.output) as part:
        part.write_text(page(draws=chosen.draws))


if __name__ == "__main__":
    main()
