"""Loggers: they are told about a run while it runs. The results themselves are Parquet files, which record.py writes."""

from adaptive_bench.loggers.base import Logger, Row
from adaptive_bench.loggers.heartbeat import Heartbeat
from adaptive_bench.loggers.progress import ProgressBar

__all__ = ["Heartbeat", "Logger", "ProgressBar", "Row"]  # wandb.WandbMirror is imported by those who ask for it
