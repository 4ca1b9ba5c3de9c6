"""Loggers: they are told about a run while it runs. The results themselves are Parquet files, which record.py writes."""

from adaptive_bench.loggers.base import Logger, Row
from adaptive_bench.loggers.guarded import Guarded
from adaptive_bench.loggers.heartbeat import Heartbeat
from adaptive_bench.loggers.progress import ProgressBar

# the mirrors are imported by those who ask for them
__all__ = ["Guarded", "Heartbeat", "Logger", "ProgressBar", "Row"]
