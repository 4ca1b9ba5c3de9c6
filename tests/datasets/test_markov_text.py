"""The generated text against its closed form."""

import math
from collections import Counter

import pytest
import torch
from hydra.utils import instantiate

from adaptive_bench.datasets.markov_text import best_perplexity, generate
from tests.conftest import composed

PROCESS = {"vocabulary": 3, "distance": 4, "strength": 0.7}
CPU = torch.device("cpu")


def counted_perplexity(text: torch.Tensor, context: int) -> float:
    """exp of the cross-entropy of a table of counts, made from the first half of a text, on its second half."""
    windows = [tuple(window) for window in text.unfold(0, context + 1, 1).tolist()]
    half = len(windows) // 2
    counts, contexts = Counter(windows[:half]), Counter(window[:-1] for window in windows[:half])
    vocabulary = int(text.max()) + 1
    nll = [-math.log((counts[window] + 1) / (contexts[window[:-1]] + vocabulary)) for window in windows[half:]]
    return math.exp(sum(nll) / len(nll))


@pytest.mark.parametrize("context", range(6))
def test_no_context_counts_for_more_or_less_than_the_closed_form_says(context):
    text = generate(120_000, split=0, **PROCESS)
    assert counted_perplexity(text, context) == pytest.approx(best_perplexity(context, **PROCESS), rel=0.01)


def test_the_closed_form_by_hand():
    process = {"vocabulary": 2, "distance": 5, "strength": 0.5}  # 3/4 and 1/4
    entropy = 0.75 * math.log(4 / 3) + 0.25 * math.log(4)
    assert best_perplexity(4, **process) == 2
    assert best_perplexity(5, **process) == best_perplexity(100, **process) == pytest.approx(math.exp(entropy))
    assert best_perplexity(9, vocabulary=7, distance=3, strength=0.0) == pytest.approx(7)


def test_a_shorter_text_is_the_beginning_of_a_longer_one_and_splits_differ():
    long = generate(1000, split=0, **PROCESS)
    assert torch.equal(generate(333, split=0, **PROCESS), long[:333])
    assert (generate(1000, split=1, **PROCESS) == long).double().mean() < 0.5


def task_of(*overrides: str, seed: int = 0):
    return instantiate(composed("dataset=markov_text", *overrides).dataset, seed=seed, device=CPU)


def test_one_text_for_all_seeds_and_sizes_in_tokens():
    first, second = (task_of(seed=seed) for seed in (0, 1))
    assert torch.equal(first.train.tokens, second.train.tokens)
    assert first.train.epoch_samples == 199
    assert {name: len(tokens) for name, tokens in first.held_out.items()} == {"validation": 50, "test": 50}
    assert not torch.equal(first.held_out["validation"], first.held_out["test"])
    assert (first.inputs, first.outputs) == ((), 8)


@pytest.mark.parametrize(
    "setting",
    [
        "vocabulary=1", "vocabulary=2.5", "distance=0", "strength=-0.1", "strength=1.0", "strength=nan", "train_size=10",
        "train_size=null", "validation_size=1", "test_size=0", "evaluation_batch=50", "evaluation_batch=0", "evaluation_block=0",
        "loss_reduction=sum",
    ],
)  # fmt: skip
def test_an_impossible_text_is_refused_by_the_settings_name(setting):
    with pytest.raises(Exception, match=setting.split("=")[0]):
        task_of(f"dataset.{setting}")


def test_a_negative_context_is_refused():
    with pytest.raises(ValueError, match="context=-1"):
        best_perplexity(-1, **PROCESS)
