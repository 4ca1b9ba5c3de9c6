"""Penn Treebank and WikiText-2 line by line: sentences of different lengths."""

from typing import Any

import torch

from adaptive_bench.datasets.corpus import END_OF_LINE, encode, read_corpus
from adaptive_bench.datasets.sentences import Sentences
from adaptive_bench.validation import Count, checked


def ptb_lines(**settings: Any) -> Sentences:
    """The lines of Penn Treebank, 42,068 / 3,370 / 3,761 sentences; words and vocabulary of dataset=ptb."""
    return lines("ptb", **settings)


def wikitext2_lines(**settings: Any) -> Sentences:
    """The lines of WikiText-2: paragraphs and headings; words and vocabulary of dataset=wikitext2.

    Lines without a word are left out.
    """
    return lines("wikitext2", **settings)


@checked
def lines(
    name: str,
    *,
    root: str,
    download: bool = False,
    train_size: Count | None,
    validation_size: Count | None,
    test_size: Count | None,
    longest: Count | None = None,
    seed: int,
    device: torch.device,
) -> Sentences:
    """The task of a corpus; sizes are in sentences, None takes all. Sentences of more than `longest` tokens are left out.

    The vocabulary is that of the whole training file. Raises ValueError for files that are missing, empty or not text, and for
    sizes above what they hold.
    """
    sizes = {"train": train_size, "validation": validation_size, "test": test_size}
    words, numbers = read_corpus(name, root=root, download=download)
    end = numbers[END_OF_LINE]
    texts = {split: encode(part, numbers, split=split) for split, part in words.items()}
    kept = {split: _first(split, text, sizes[split], end=end, longest=longest) for split, text in texts.items()}
    return Sentences(train=kept.pop("train"), held_out=kept, vocabulary=len(numbers), end=end, seed=seed, device=device)


def _first(split: str, text: torch.Tensor, size: int | None, *, end: int, longest: int | None) -> torch.Tensor:
    """The first sentences of a text that have a word and are not too long."""
    sentences = [row for row in text.tensor_split((text == end).nonzero().flatten() + 1) if len(row) > 1]
    if longest is not None:
        sentences = [row for row in sentences if len(row) <= longest]
    if not sentences:
        raise ValueError(f"longest={longest}: the {split} split has no sentence so short; take a larger number")
    if size is not None and size > len(sentences):
        raise ValueError(f"{split}_size={size}: at most the {len(sentences)} sentences there are, or null for all, are expected")
    return torch.cat(sentences[:size])
