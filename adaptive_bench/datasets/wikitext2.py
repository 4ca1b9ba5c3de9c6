"""WikiText-2 (Merity et al. 2016, arXiv 1609.07843): 33,278 words, 2,088,628 / 217,646 / 245,569 tokens with <eos>."""

from typing import Any

from adaptive_bench.datasets.corpus import corpus
from adaptive_bench.datasets.layouts import LAYOUTS, text_layouts
from adaptive_bench.datasets.text import LanguageModelling

FILES = ("wiki.train.tokens", "wiki.valid.tokens", "wiki.test.tokens")
LAYOUTS["wikitext2"] = LAYOUTS["wikitext2_lines"] = text_layouts(FILES, "wikitext2", "", "wikitext-2")


def wikitext2(**settings: Any) -> LanguageModelling:
    """WikiText-2 from <root>/wikitext2/wiki.{train,valid,test}.tokens: whole articles, words as they are."""
    return corpus("wikitext2", **settings)
