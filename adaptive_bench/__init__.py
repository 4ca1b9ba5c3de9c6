"""A referee for adaptive batch-size and block-size (sequence-length) schedulers."""

__version__ = "0.1.0"
