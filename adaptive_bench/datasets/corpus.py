"""Texts in files: their words, their vocabulary, and the task made from them."""

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path

import torch
from torch import Tensor

from adaptive_bench.datasets.layouts import locate
from adaptive_bench.datasets.text import LanguageModelling, LossReduction
from adaptive_bench.validation import Count, Several, checked

END_OF_LINE, UNKNOWN = "<eos>", "<unk>"


@checked
def corpus(
    name: str,
    *,
    root: str,
    download: bool = False,
    train_size: Several | None,
    validation_size: Several | None,
    test_size: Several | None,
    vocabulary: Several | None = None,
    loss_reduction: LossReduction,
    evaluation_batch: Count,
    evaluation_block: Count,
    seed: int,
    device: torch.device,
) -> LanguageModelling:
    """The task of a corpus. Its files are where `LAYOUTS` has them; sizes are in tokens, None takes all.

    The vocabulary always comes from the whole training file, so that perplexities of different training sizes are comparable; of
    different vocabularies they are not. `vocabulary` keeps the most frequent words, and all others become <unk>. The splits are
    those of the corpus, so `seed` has no effect. Raises ValueError for files that are missing, empty or not text, and for sizes
    above what they hold.
    """
    sizes = {"train": train_size, "validation": validation_size, "test": test_size}
    words, numbers = read_corpus(name, root=root, download=download)
    if vocabulary is not None:
        numbers = _most_frequent(numbers, vocabulary)
    texts = {
        split: encode(part[: _size(split, sizes[split], available=len(part))], numbers, split=split).to(device)
        for split, part in words.items()
    }
    return LanguageModelling(
        train=texts.pop("train"),
        held_out=texts,
        vocabulary=len(numbers),
        loss_reduction=loss_reduction,
        evaluation_batch=evaluation_batch,
        evaluation_block=evaluation_block,
    )


def read_corpus(name: str, *, root: str, download: bool) -> tuple[dict[str, list[str]], dict[str, int]]:
    """The words of each split, <eos> after each line, and the ids of the words of the whole training file.

    Raises ValueError for files that are missing, empty or not text.
    """
    command = f"adaptive-bench fetch {name} --root {root}"
    paths = locate(name, root=root, download=download).paths
    words = {split: read_words(path, command=command) for split, path in zip(("train", "validation", "test"), paths, strict=True)}
    numbers = {word: number for number, word in enumerate(by_frequency(words["train"]))}
    return words, numbers


def read_words(path: Path, *, command: str) -> list[str]:
    """The words of a file in UTF-8, one <eos> after each line. `command`, which makes the file, is named in errors."""
    try:
        text = path.read_text(encoding="utf-8")  # whole: line by line, the error below would count bytes from the current buffer
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is not UTF-8 text ({error.reason} at byte {error.start}); convert it, or delete it and run: {command}"
        ) from error
    except OSError as error:
        raise ValueError(
            f"{path} cannot be read ({error.strerror}); make it a readable file, or delete it and run: {command}"
        ) from error
    words = [word for line in StringIO(text) for word in (*line.split(), END_OF_LINE)]
    if not words:
        raise ValueError(f"{path} is empty; delete it and run: {command}")
    return words


def by_frequency(words: Sequence[str]) -> list[str]:
    """The distinct words from the most to the least frequent, words of equal frequency in alphabetical order: torchtext's order.

    <unk> and <eos> have no reserved place: they too are sorted by frequency.
    """
    return [word for word, _ in sorted(Counter(words).items(), key=lambda item: (-item[1], item[0]))]


def encode(words: Sequence[str], numbers: Mapping[str, int], *, split: str) -> Tensor:
    """Token ids (n,) int64. A word outside the vocabulary becomes <unk>; raises ValueError if the vocabulary has no <unk>."""
    unknown = numbers.get(UNKNOWN)
    if unknown is None and (strangers := [word for word in words if word not in numbers]):
        raise ValueError(
            f"the {split} split has words that the training file lacks, such as {strangers[0]!r}, and the training file has no "
            f"{UNKNOWN} to stand for them; put {UNKNOWN} for the rare words of all splits"
        )
    return torch.tensor([numbers.get(word, unknown) for word in words])


def _most_frequent(numbers: Mapping[str, int], size: int) -> dict[str, int]:
    if size > len(numbers):
        raise ValueError(f"vocabulary={size}: at most the {len(numbers)} words there are, or null for all of them, are expected")
    kept = dict(itertools.islice(numbers.items(), size))
    if UNKNOWN not in kept:
        raise ValueError(f"vocabulary={size}: {UNKNOWN}, which stands for all other words, is not among them; take more, or null")
    return kept


def _size(split: str, size: int | None, *, available: int) -> int:
    if size is not None and size > available:
        raise ValueError(f"{split}_size={size}: at most the {available} tokens there are, or null for all of them, are expected")
    return available if size is None else size
