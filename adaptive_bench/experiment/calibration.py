"""Calibration of DEBA for an architecture, from one run at a fixed batch size."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import pandas as pd
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from scipy.stats import spearmanr

from adaptive_bench.execution import ranks
from adaptive_bench.experiment.build import RunSpec, plan
from adaptive_bench.experiment.run import train
from adaptive_bench.files import check_writable, replacing
from adaptive_bench.schedulers.epoch_signals import SIGNALS, confidence

LEAST = 4  # smallest number of epochs with all three signals
TITLE = "# made by `adaptive-bench calibrate`; for scheduler.calibration of deba and deba_flags\n"


def calibrate(overrides: Sequence[str], *, conf: Path, output: Path | None = None) -> Path:
    """Train the run that the overrides describe at a fixed batch size and write the calibration; returns the file.

    The run is kept in RESULTS/calibrations and trained only once. Its cost, which must be charged to the method, is in the file.
    Raises ValueError.
    """
    ranks.refuse_several("a calibration")
    try:
        cfg = _composed(overrides, conf=conf)
        planned = plan(cfg, cast(DictConfig, HydraConfig.get()))
        if planned.choices["block_scheduler"] != "fixed":
            raise ValueError(f"block_scheduler={planned.choices['block_scheduler']}: a calibration has fixed sizes; leave it out")
        name = f"{planned.choices['model']}-{planned.choices['dataset']}-{cfg.scheduler.initial}.yaml"
        output = planned.results / name if output is None else output
        _check(cfg, output)
        train(cfg)
    except (HydraException, OmegaConfBaseException) as error:
        raise ValueError(" ".join(str(error).split())) from error
    record, trace = _finished(planned)
    content = {
        "architecture": OmegaConf.to_container(cfg.model, resolve=True),
        "grad_source": cfg.scheduler.grad_source,
        **learned(signals(trace, window=cfg.scheduler.window)),
        "dataset": planned.choices["dataset"],
        "batch_size": int(trace["batch_size"].iloc[0]),
        "epochs": cfg.epochs,
        "run": planned.identity.run,
        "cost": {
            "samples": int(record["samples"]),
            "seconds": float(record["seconds_train"] + record["seconds_measure"]),
        },
    }
    with replacing(output) as part:
        part.write_text(TITLE + OmegaConf.to_yaml(OmegaConf.create(content)))
    return output


def _composed(overrides: Sequence[str], *, conf: Path) -> DictConfig:
    """The configuration of the run, and Hydra told about it, as inside `adaptive-bench train`.

    It has a results folder of its own inside the one that is named: it is no arm of a comparison. Of a sweep it takes the
    settings that all runs share.
    """
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        if override.package is None and override.key_or_group in ("scheduler", "arm"):
            raise ValueError(f"{override.input_line}: a calibration is one run of deba at a fixed size; leave it out")
    # a cooldown as long as the run: the signals are taken and the size never changes
    fixed = ["scheduler.calibration=null", "scheduler.cooldown=${epochs}", "batch_size.cooldown=null"]
    with initialize_config_dir(str(conf), version_base="1.3"):
        cfg = compose("config", ["scheduler=deba", *overrides, *fixed], return_hydra_config=True)
    cfg.results = str(Path(cfg.results) / "calibrations")
    HydraConfig.instance().set_config(cfg)
    return cfg


def _check(cfg: DictConfig, output: Path) -> None:
    """Whether the run can give enough signals, and its file be written, before it is trained."""
    # the first epoch has no epoch before it to compare with, and no step after the last one reports its signals
    count = math.ceil(cfg.epochs) - 2
    if count < LEAST:
        raise ValueError(f"epochs={cfg.epochs}: signals of {max(count, 0)} epochs; epochs={LEAST + 2} or more is expected")
    check_writable(output)


def _finished(planned: RunSpec) -> tuple[Mapping[str, Any], pd.DataFrame]:
    run, folder = planned.identity.run, planned.folder
    if not folder.finished:
        raise ValueError(f"run {run} is being trained by another process; calibrate again when it has finished")
    record = folder.record()
    if record["status"] != "done":
        raise ValueError(f"run {run} {record['status']} ({record['reason']}): no calibration; take other settings (optimizer.lr)")
    if not folder.path.exists():
        raise ValueError(
            f"run {run} is compacted, which leaves no signals; delete {planned.results / 'compact'} to train it again"
        )
    return record, pd.read_parquet(folder.path / "trace.parquet")


def signals(trace: pd.DataFrame, *, window: int) -> pd.DataFrame:
    """A row an epoch t with all three signals: SIGNALS, `confidence` c_t, and `drop`, the decrease of the loss in epoch t + 1.

    The trace contains an epoch's signals from the first step of the next epoch on, so those of the last epoch are missing.
    """
    epoch_samples = round(trace["samples"].iloc[-1] / trace["epoch"].iloc[-1])
    start = trace["samples"].shift(fill_value=0)
    sizes = trace["samples"] - start
    ended = start // epoch_samples  # completed epochs at the start of the step
    loss = (trace["loss"] * sizes).groupby(ended).sum() / sizes.groupby(ended).sum()
    if trace["samples"].iloc[-1] % epoch_samples:
        loss = loss.iloc[:-1]  # an incomplete epoch
    first = ~ended.duplicated() & (ended > 0)
    found = trace.loc[first, [f"batch_{name}" for name in SIGNALS]].set_axis(list(SIGNALS), axis=1).set_index(ended[first])
    variances = found["variance"].tolist()
    found["confidence"] = [confidence(variances[max(0, t - window) : t]) for t in range(1, len(variances) + 1)]
    # the loss of epoch t has the index t - 1, the number of completed epochs during it
    found["drop"] = [loss.get(t - 1, math.nan) - loss.get(t, math.nan) for t in found.index]
    complete: pd.DataFrame = found.dropna(subset=list(SIGNALS))
    return complete


def learned(found: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Reference levels, weights and thresholds from the signals of a run. Raises ValueError if there are too few.

    Level: median over the run. Weight: |Spearman's rank correlation of the signal in epoch t with the drop of the loss in
    epoch t + 1|, over their sum; equal weights if all are 0 or undefined. Thresholds: the 75th percentile of c_t,
    and the median of max(norm_variation, loss_variation).
    """
    if len(found) < LEAST:
        raise ValueError(f"the run gave signals of {len(found)} epochs, at least {LEAST} are expected; take more epochs")
    pairs = found.dropna(subset=["drop"])
    ranks = {name: abs(_correlation(pairs[name], pairs["drop"])) for name in SIGNALS}
    total = sum(ranks.values())
    return {
        "levels": {name: float(found[name].median()) for name in SIGNALS},
        "weights": {name: rank / total if total > 1e-9 else 1 / len(ranks) for name, rank in ranks.items()},
        "thresholds": {
            "confidence": float(found["confidence"].quantile(0.75)),
            "stability": float(found[["norm_variation", "loss_variation"]].max(axis=1).median()),
        },
    }


def _correlation(values: pd.Series, others: pd.Series) -> float:
    """Spearman's rank correlation; 0 where one of the two is constant."""
    if values.nunique() < 2 or others.nunique() < 2:
        return 0.0
    return float(spearmanr(values, others).statistic)
