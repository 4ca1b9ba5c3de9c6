"""The real Penn Treebank and WikiText-2, in the numbers that everybody has for them."""

import hashlib
import warnings
from collections import Counter
from functools import cache

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from adaptive_bench.analysis import read_claims
from adaptive_bench.datasets.corpus import by_frequency, encode, read_words
from adaptive_bench.datasets.fetch import SOURCES
from adaptive_bench.experiment.fingerprint import by_content
from tests.conftest import composed

FILES = {"ptb": "ptb.{}.txt", "wikitext2": "wiki.{}.tokens"}
NAMES = {"train": "train", "validation": "valid", "test": "test"}
TOKENS = {"ptb": (929_589, 73_760, 82_430), "wikitext2": (2_088_628, 217_646, 245_569)}
WORDS = {"ptb": 10_000, "wikitext2": 33_278}
# the first and the last 20 ids of each split
PTB_ENDS = {
    "train": (
        [9970, 9971, 9972, 9974, 9975, 9976, 9980, 9981, 9982, 9983, 9984, 9986, 9987, 9988, 9989, 9991, 9992, 9993, 9994, 9995],
        [876, 30, 50, 6, 404, 47, 532, 120, 9536, 9, 2229, 30, 58, 245, 4168, 214, 5, 23, 1, 2],
    ),
    "validation": (
        [1132, 93, 358, 5, 329, 51, 9836, 6, 326, 2476, 5, 0, 662, 388, 2, 1, 1, 2974, 2158, 9],
        [0, 415, 40, 152, 327, 52, 20, 12, 3, 21, 7, 415, 3, 8, 12, 3, 21, 7, 3, 2],
    ),
    "test": (
        [102, 14, 24, 32, 752, 381, 2, 29, 120, 0, 35, 92, 60, 111, 143, 32, 616, 3148, 282, 19],
        [228, 1, 84, 4, 2625, 8, 66, 64, 26, 32, 8010, 64, 93, 63, 378, 127, 347, 22, 505, 2],
    ),
}


@pytest.fixture(scope="module")
def splits(real_data):
    """The token ids of each split as the task has them, and the size of its vocabulary."""

    @cache
    def read(name):
        sizes = [f"dataset.{split}_size=null" for split in NAMES]
        cfg = composed(f"dataset={name}", f"dataset.root={real_data(name)}", *sizes)
        task = instantiate(cfg.dataset, seed=0, device=torch.device("cpu"))
        return {"train": task.train.tokens, **task.held_out}, task.outputs

    return read


@pytest.mark.parametrize("name", FILES)
def test_all_ids_are_those_of_a_recount(splits, real_data, name):
    got, words = splits(name)
    assert words == WORDS[name]
    assert tuple(len(tokens) for tokens in got.values()) == TOKENS[name]
    texts = {
        split: (real_data(name) / name / FILES[name].format(part)).read_bytes().decode().replace("\n", " <eos> ").split()
        for split, part in NAMES.items()
    }
    counts = Counter(texts["train"])
    by_count = sorted(sorted(counts), key=counts.__getitem__, reverse=True)  # stable: words of one count stay by alphabet
    numbers = {word: number for number, word in enumerate(by_count)}
    for split, text in texts.items():
        assert got[split].tolist() == [numbers[word] for word in text]


def test_the_ids_of_penn_treebank(splits):
    got, _ = splits("ptb")
    for split, (first, last) in PTB_ENDS.items():
        assert got[split][:20].tolist() == first
        assert got[split][-20:].tolist() == last


def test_the_most_frequent_words(real_data):
    words = read_words(real_data("ptb") / "ptb" / "ptb.train.txt", command="")
    assert by_frequency(words)[:3] == ["the", "<unk>", "<eos>"]


@pytest.mark.parametrize("name", FILES)
def test_the_checksums_are_those_of_the_files(real_data, name):
    found = {
        file: hashlib.sha256((real_data(name) / name / file).read_bytes()).hexdigest()
        for file in [FILES[name].format(part) for part in NAMES.values()]
    }
    assert SOURCES[name].sha256 == found


def test_the_ids_are_those_of_torchtext(real_data):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its notice that it is archived
        try:
            from torchtext.vocab import build_vocab_from_iterator
        except (ImportError, OSError) as error:  # OSError: its library was built for another torch
            pytest.skip(f"torchtext does not load: {error}")
    words = {split: read_words(real_data("ptb") / "ptb" / FILES["ptb"].format(part), command="") for split, part in NAMES.items()}
    theirs = build_vocab_from_iterator([words["train"]])
    ours = by_frequency(words["train"])
    assert theirs.get_itos() == ours
    numbers = {word: number for number, word in enumerate(ours)}
    for split, part in words.items():
        assert encode(part, numbers, split=split).tolist() == theirs(part)


def test_published_values_are_about_these_files(real_data):
    settings = OmegaConf.to_container(composed("dataset=ptb", f"dataset.root={real_data('ptb')}"), resolve=False)
    content = by_content(settings)["dataset"]["content"]
    claims = [claim for claim in read_claims() if claim.settings["dataset._target_"] == "ptb"]
    assert len(claims) >= 6
    assert {claim.settings["dataset.content"] for claim in claims} == {content}
