"""A generated text whose lowest possible perplexity is known for every context length."""

import math

import numpy as np
import torch
from torch import Tensor

from adaptive_bench.datasets.text import LanguageModelling
from adaptive_bench.validation import whole_number


def markov_text(
    *,
    vocabulary: int,
    distance: int,
    strength: float,
    train_size: int,
    validation_size: int,
    test_size: int,
    loss_reduction: str,
    evaluation_batch: int,
    evaluation_block: int,
    seed: int,
    device: torch.device,
) -> LanguageModelling:
    """x_t = pi(x_{t-distance}) with probability `strength`, else uniform over the vocabulary; pi is a permutation of it.

    Sizes are in tokens. One text for all seeds, as with any corpus; a shorter split is the beginning of a longer one. A model has
    to keep `distance` tokens apart in its state, and in a block shorter than that no gradient reaches the token that matters.
    """
    _check_process(vocabulary=vocabulary, distance=distance, strength=strength)
    sizes = {"train": train_size, "validation": validation_size, "test": test_size}
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, int) or size <= distance:
            raise ValueError(
                f"{name}_size={size!r}: a whole number of tokens is expected, above distance={distance}, without which no token "
                "depends on another"
            )
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


def best_perplexity(context: int, *, vocabulary: int, distance: int, strength: float) -> float:
    """The lowest perplexity that a model of the last `context` tokens can reach.

    Tokens whose positions differ by no multiple of `distance` D are independent: the text is D chains in turn, each of its own.
    A chain is Markov, its next token being pi of its last with probability p and else uniform over the V tokens; as pi is a
    permutation, the uniform distribution is stationary, and the chain starts in it. So below D tokens of context
    the next one is uniform, perplexity V. From D on only x_{t-D} matters: it gives one token the probability q = p + (1 - p) / V
    and each of the others r = (1 - p) / V, perplexity exp(-q log q - (V - 1) r log r).
    """
    _check_process(vocabulary=vocabulary, distance=distance, strength=strength)
    if context < 0:
        raise ValueError(f"context={context}: a number of tokens from 0 up is expected")
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


def _check_process(*, vocabulary: int, distance: int, strength: float) -> None:
    whole_number("vocabulary", vocabulary, least=2)
    whole_number("distance", distance)
    if not 0 <= strength < 1:
        raise ValueError(f"strength={strength}: a probability from 0 up and below 1 is expected")
