"""Data sets: each is a function that returns a task, i.e. streams, a loss and a metric."""

from adaptive_bench.datasets.base import Evaluation, Task
from adaptive_bench.datasets.cifar10 import cifar10
from adaptive_bench.datasets.cifar100 import cifar100
from adaptive_bench.datasets.digits import digits
from adaptive_bench.datasets.lengths import lengths
from adaptive_bench.datasets.lines import ptb_lines, wikitext2_lines
from adaptive_bench.datasets.markov_text import markov_text
from adaptive_bench.datasets.mnist1d import mnist1d
from adaptive_bench.datasets.ptb import ptb
from adaptive_bench.datasets.synthetic_convex import synthetic_convex
from adaptive_bench.datasets.synthetic_nonconvex import synthetic_nonconvex
from adaptive_bench.datasets.tiny_imagenet import tiny_imagenet
from adaptive_bench.datasets.wikitext2 import wikitext2

__all__ = [
    "Evaluation",
    "Task",
    "cifar10",
    "cifar100",
    "digits",
    "lengths",
    "markov_text",
    "mnist1d",
    "ptb",
    "ptb_lines",
    "synthetic_convex",
    "synthetic_nonconvex",
    "tiny_imagenet",
    "wikitext2",
    "wikitext2_lines",
]
