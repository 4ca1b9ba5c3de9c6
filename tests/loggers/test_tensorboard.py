"""The mirror in TensorBoard holds what the Parquet holds."""

import pandas as pd
import pytest

from adaptive_bench.experiment.run import train
from tests.conftest import broken_after, composed

pytest.importorskip("tensorboard", reason="adaptive_bench[tensorboard] is not installed")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def test_every_step_is_there_once_also_of_a_resumed_run(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    words = (f"results={tmp_path}", "logger=tensorboard", "scheduler.initial=10", "checkpoint_every=0.5")
    with broken_after(25), pytest.raises(RuntimeError, match="broken"):
        train(composed(*words))
    train(composed(*words))
    (run,) = tmp_path.glob("runs/*/record.parquet")
    trace = pd.read_parquet(run.with_name("trace.parquet"))
    evaluations = pd.read_parquet(run.with_name("evaluations.parquet"))
    (folder,) = (path for path in (tmp_path / "tensorboard").iterdir() if path.name.endswith(run.parent.name[:8]))
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    for name in ("loss", "batch_size", "lr"):
        found = [(event.step, event.value) for event in events.Scalars(name)]
        assert [step for step, _ in found] == trace["samples"].tolist()
        assert [value for _, value in found] == pytest.approx(trace[name].tolist(), rel=1e-6)
    of = evaluations[evaluations["split"] == "validation"]
    assert [event.value for event in events.Scalars("validation/value")] == pytest.approx(of["value"].tolist(), rel=1e-6)
