"""A generated text whose lowest possible perplexity is known for every context length."""

import math

import numpy as np
import torch
from torch import Tensor

from adaptive_bench.datasets.text import LanguageModelling, LossReduction
from adaptive_bench.validation import Count, Dropped, Several, Whole, checked


@checked
def markov_text(
    *,
    vocabulary: Several,
    distance: Count,
    strength: Dropped,
    train_size: Count,
    validation_size: Count,
    test_size: Count,
    loss_reduction: LossReduction,
    evaluation_batch: Count,
    evaluation_block: Count,
    seed: int,
    device: torch.device,
) -> LanguageModelling:
    """x_t = pi(x_{t-distance}) with probability `strength`, else uniform over the vocabulary; pi is a permutation of it.

    Sizes are in tokens. One text for all seeds, as with any corpus; a shorter split is the beginning of a longer one. A model has
    to keep `distance` tokens apart in its state, and in a block shorter than that no gradient reaches the token that matters.
    """
    sizes = {"train": train_size, "validation": validation_size, "test": test_size}
    for name, size in sizes.items():
        if size <= distance:
            raise ValueError(f"{name}_size={size}: above distance={distance} tokens are expected, or no token depends on another")
    texts = {
        name: generate(size, split=split, vocabulary=vocabulary, distance=distance, strength=strength).to(device)
        for split, (name, size) in enumerate(sizes.items())
    }
    return LanguageModelling(
        train=texts.pop("train"),
        held_out=texts,
        vocabulary=vocabulary,
        loss_reduction=loss_reduction,
        evaluation_batch=evaluation_batch,
        evaluation_block=evaluation_block,
    )


@checked
def best_perplexity(context: Whole, *, vocabulary: Several, distance: Count, strength: Dropped) -> float:
    """The lowest perplexity that a model of the last `context` tokens can reach.

    Tokens whose positions differ by no multiple of `distance` D are independent: the text is D chains in turn, each of its own.
    A chain is Markov, its next token being pi of its last with probability p and else uniform over the V tokens; as pi is a
    permutation, the uniform distribution is stationary, and the chain starts in it. So below D tokens of context
    the next one is uniform, perplexity V. From D on only x_{t-D} matters: it gives one token the probability q = p + (1 - p) / V
    and each of the others r = (1 - p) / V, perplexity exp(-q log q - (V - 1) r log r).
    """
    if context < distance:
        return float(vocabulary)
    other = (1 - strength) / vocabulary
    likely = strength + other
    return math.exp(-likely * math.log(likely) - (vocabulary - 1) * other * math.log(other))


def generate(size: int, *, split: int, vocabulary: int, distance: int, strength: float) -> Tensor:
    """The first `size` tokens of a split's text."""
    permutation = np.random.default_rng(0).permutation(vocabulary)
    fresh, copied = (np.random.default_rng([split, purpose]) for purpose in (1, 2))
    count = math.ceil(size / distance)
    text = (vocabulary * fresh.random((count, distance))).astype(np.int64)  # row i holds positions i * distance onwards
    follows = copied.random((count, distance)) < strength
    for before, now, which in zip(text[:-1], text[1:], follows[1:], strict=True):
        now[which] = permutation[before[which]]
    return torch.from_numpy(text.reshape(-1)[:size].copy())
