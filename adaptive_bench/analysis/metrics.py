"""What a table may be about: the columns of a record, their names and their scale."""

import pandas as pd

VALUES = {"final": "test", "best": "best validation"}


def check(records: pd.DataFrame, *, metric: str) -> None:
    """Refuse a metric that is no numeric column of the records."""
    known = [str(name) for name in records.select_dtypes("number").columns if name != "seed"]
    if metric not in known:
        raise ValueError(f"no numeric column {metric!r} in the records; metric must be one of: {', '.join(sorted(known))}")


def header(records: pd.DataFrame, *, metric: str) -> str:
    """The metric with its unit, such as "test accuracy (%)"."""
    name = records["metric"].iloc[0]
    if metric in VALUES:
        return f"{VALUES[metric]} {unit(name)}"
    names = {"samples": counted_in(records), "steps": "updates", "seconds": "seconds (train + measure)"}
    return names.get(metric, metric)


def counted_in(records: pd.DataFrame) -> str:
    """What the samples of a workload are: the tokens of a text, or samples."""
    return "tokens" if records["metric"].iloc[0] == "perplexity" else "samples"


def unit(name: str) -> str:
    return f"{name} (%)" if name == "accuracy" else name


def is_percent(records: pd.DataFrame, *, metric: str) -> bool:
    return metric in VALUES and records["metric"].iloc[0] == "accuracy"


def more_is_better(records: pd.DataFrame, *, metric: str) -> bool:
    """Whether a larger value of the metric is the better one; every cost is better if it is smaller."""
    return bool(metric in VALUES and records["maximise"].iloc[0])


def resolution(records: pd.DataFrame, *, metric: str) -> float:
    """The step between two values of an accuracy, in points: 100 / samples of the split; 0 if that is unknown or no accuracy."""
    split = {"final": "test_size", "best": "validation_size"}.get(metric)
    if not is_percent(records, metric=metric) or split not in records:
        return 0.0
    size = records[split].max()
    return 100 / float(size) if size > 0 else 0.0


def on_logs(records: pd.DataFrame, *, metric: str) -> bool:
    """Seconds and perplexities vary by factors: means and comparisons are made on logarithms, if no value is 0."""
    multiplies = metric.startswith("seconds") or (metric in VALUES and records["metric"].iloc[0] == "perplexity")
    done = records.loc[records["status"] == "done", metric]
    return multiplies and bool((done > 0).all())
