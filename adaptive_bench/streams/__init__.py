"""Where batches come from."""

from adaptive_bench.streams.base import Batch, Place, Stream
from adaptive_bench.streams.images import Augmentation, ImageStream
from adaptive_bench.streams.lengths import LengthBatching
from adaptive_bench.streams.permuted import PermutedStream
from adaptive_bench.streams.sentences import SentenceStream
from adaptive_bench.streams.text import ColumnStream
from adaptive_bench.streams.vectors import VectorStream

__all__ = [
    "Augmentation",
    "Batch",
    "ColumnStream",
    "ImageStream",
    "LengthBatching",
    "PermutedStream",
    "Place",
    "SentenceStream",
    "Stream",
    "VectorStream",
]
