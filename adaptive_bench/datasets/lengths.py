"""Generated sentences whose lengths follow a known law."""

from typing import Literal

import numpy as np
import torch

from adaptive_bench.datasets.sentences import Sentences
from adaptive_bench.validation import Count, Dropped, Several, checked

END = 0  # the token that ends a sentence


@checked
def lengths(
    *,
    law: Literal["uniform", "geometric", "constant"],
    longest: Several,
    vocabulary: Several,
    strength: Dropped,
    train_size: Count,
    validation_size: Count,
    test_size: Count,
    seed: int,
    device: torch.device,
) -> Sentences:
    """Sentences of l tokens, the last of which is END.

    l is uniform on 2..longest, or geometric from 2 on with a mean of longest / 4 and cut at `longest`, or always `longest`.

    Sizes are in sentences. Within a sentence a word is followed by pi(word) with probability `strength`, else by any word alike;
    the first word is any word. pi is a permutation of the words, 1 to vocabulary - 1. The data are the same for all seeds.
    """
    sizes = {"train": train_size, "validation": validation_size, "test": test_size}
    texts = {
        name: torch.from_numpy(generate(size, law=law, longest=longest, vocabulary=vocabulary, strength=strength, split=split))
        for split, (name, size) in enumerate(sizes.items())
    }
    return Sentences(train=texts.pop("train"), held_out=texts, vocabulary=vocabulary, end=END, seed=seed, device=device)


def draw_lengths(
    size: int, *, law: str, longest: int, generator: np.random.Generator
) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """The lengths of so many sentences, END included."""
    if law == "uniform":
        return generator.integers(2, longest + 1, size)
    if law == "geometric":
        return np.minimum(1 + generator.geometric(1 / max(1.0, longest / 4 - 1), size), longest)
    return np.full(size, longest)


def generate(
    size: int, *, law: str, longest: int, vocabulary: int, strength: float, split: int
) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """The sentences of a split one after another."""
    words = vocabulary - 1
    permutation = 1 + np.random.default_rng(0).permutation(words)  # of word w is permutation[w - 1]
    generator = np.random.default_rng([split, 1])
    drawn = draw_lengths(size, law=law, longest=longest, generator=generator)
    columns = generator.integers(1, vocabulary, (size, longest))
    follows = generator.random((size, longest)) < strength
    for place in range(1, longest):
        which = follows[:, place]
        columns[which, place] = permutation[columns[which, place - 1] - 1]
    columns[np.arange(size), drawn - 1] = END
    return columns[np.arange(longest) < drawn[:, None]]
