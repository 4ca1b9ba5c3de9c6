"""Penn Treebank as Mikolov et al. (2010) prepared it: 10,000 words, 929,589 / 73,760 / 82,430 tokens with <eos>."""

from typing import Any

from adaptive_bench.datasets.corpus import corpus
from adaptive_bench.datasets.layouts import LAYOUTS, text_layouts
from adaptive_bench.datasets.text import LanguageModelling

FILES = ("ptb.train.txt", "ptb.valid.txt", "ptb.test.txt")
LAYOUTS["ptb"] = LAYOUTS["ptb_lines"] = text_layouts(FILES, "ptb", "", "simple-examples/data")


def ptb(**settings: Any) -> LanguageModelling:
    """Penn Treebank from <root>/ptb/ptb.{train,valid,test}.txt: the files, vocabulary and ids of torchtext's PennTreebank."""
    return corpus("ptb", **settings)
