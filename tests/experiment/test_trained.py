"""A run that kept its weights can be served."""

import pandas as pd
import pytest
import torch

from adaptive_bench.__main__ import conf
from adaptive_bench.experiment.trained import trained as read
from adaptive_bench.training.checkpoint import weights_digest

TEXT = ("dataset=markov_text", "model=lstm_small", "block_scheduler.initial=7", "scheduler.initial=8")


class Weights:
    def __init__(self, state):
        self.state = state

    def state_dict(self):
        return self.state


@pytest.mark.parametrize("overrides", [(), TEXT], ids=["images", "text"])
def test_the_weights_are_those_of_the_record_and_the_model_answers(trained, overrides):
    folder = trained(*overrides, "keep_weights=true", "epochs=1")
    weights = torch.load(folder / "weights.pt", weights_only=True)
    assert weights_digest(Weights(weights)) == pd.read_parquet(folder / "record.parquet")["weights"].iloc[0]
    forward, samples = read(folder, conf=conf())
    alone = torch.stack([forward([sample])[0] for sample in samples[:5]])
    torch.testing.assert_close(torch.stack(tuple(forward(samples[:5]))), alone, rtol=1e-4, atol=1e-5)
    assert not overrides or alone.shape[1] == 7  # positions of a row


def test_without_the_setting_nothing_is_kept(trained):
    folder = trained("epochs=1")
    assert not (folder / "weights.pt").exists()
    with pytest.raises(ValueError, match=r"no weights\.pt; train the run with keep_weights=true"):
        read(folder, conf=conf())


def test_a_damaged_file_is_named(trained):
    folder = trained("epochs=1", "keep_weights=true")
    (folder / "weights.pt").write_bytes(b"no weights")
    with pytest.raises(ValueError, match=r"weights\.pt cannot be read"):
        read(folder, conf=conf())


def test_a_run_is_served_live(trained, cli):
    folder = trained("epochs=1", "keep_weights=true")
    code, out, err = cli("serve-bench", str(folder), "--requests", "60", "--loads", "0.3")
    assert (code, err) == (0, "")
    assert "mean, live / simulated" in out
    assert "rows are live" in out
