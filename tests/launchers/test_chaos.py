"""A small version of `make chaos`, and what its comparison sees."""

import pandas as pd
import pytest

from tests import chaos
from tests.launchers.sweeps import SHORT, train


@pytest.mark.slow
def test_a_sweep_that_is_killed_leaves_what_an_undisturbed_one_leaves(tmp_path, capsys):
    sweep = (*chaos.SWEEP, "epochs=40", "seed=0,1")
    assert chaos.run("joblib", tmp_path, kills=6, sweep=sweep, calm=3) == []
    assert "joblib: 8 runs, 6 kills" in capsys.readouterr().out


@pytest.mark.slow
def test_a_difference_is_found(tmp_path):
    for name in ("a", "b"):
        train(*SHORT, "scheduler=fixed,exponential", "seed=0,1", into=tmp_path / name)
    assert chaos.differences(tmp_path / "a", tmp_path / "b") == []
    path = next((tmp_path / "b" / "results" / "runs").glob("*/trace.parquet"))
    trace = pd.read_parquet(path)
    trace.loc[1, "loss"] += 1e-7
    trace.to_parquet(path)
    assert chaos.differences(tmp_path / "a", tmp_path / "b") == [f"{path.parent.name}: trace"]
