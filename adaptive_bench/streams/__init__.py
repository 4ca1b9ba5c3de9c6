"""Where batches come from."""

from adaptive_bench.streams.base import Batch, Stream
from adaptive_bench.streams.images import Augmentation, ImageStream
from adaptive_bench.streams.vectors import VectorStream

__all__ = ["Augmentation", "Batch", "ImageStream", "Stream", "VectorStream"]
