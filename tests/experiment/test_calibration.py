"""What a calibration makes of a run, by hand; and a real one, from the command to the run that uses it."""

import math

import pandas as pd
import pytest
from omegaconf import OmegaConf

from adaptive_bench.__main__ import conf
from adaptive_bench.experiment.calibration import calibrate, learned, signals
from adaptive_bench.experiment.fingerprint import by_content
from adaptive_bench.experiment.recorded import calibration_samples, read_calibration, recorded
from tests.conftest import SMALL

RUN = [*SMALL[:3], *SMALL[4:], "model=mlp"]


def trace_of(epochs) -> pd.DataFrame:
    """Two steps of 5 samples an epoch, with losses L - 1 and L + 1; an epoch's signals stand in the next one's steps."""
    rows, known = [], (math.nan, math.nan, math.nan)
    for epoch, (variance, norm_variation, loss_variation, loss) in enumerate(epochs):
        for half in (1, 2):
            samples = 10 * epoch + 5 * half
            rows.append([samples, samples / 10, 5, loss - 1 if half == 1 else loss + 1, *known])
        known = (variance, norm_variation, loss_variation)
    names = ["samples", "epoch", "batch_size", "loss", "batch_variance", "batch_norm_variation", "batch_loss_variation"]
    return pd.DataFrame(rows, columns=names)


# variance, norm_variation, loss_variation and loss of each epoch
EPOCHS = [
    (2, math.nan, math.nan, 90),
    (4, 0.1, 0.5, 80),
    (6, 0.2, 0.4, 70),
    (2, 0.3, 0.3, 50),
    (8, 0.4, 0.2, 45),
    (1, 0.5, 0.1, 37),
    (9, 9.0, 9.0, 30),  # the last epoch's signals come too late for the trace
]


def test_the_signals_of_a_trace_by_hand():
    found = signals(trace_of(EPOCHS), window=3)
    assert found["variance"].tolist() == [4, 6, 2, 8, 1]
    assert found["norm_variation"].tolist() == [0.1, 0.2, 0.3, 0.4, 0.5]
    # windows 2 4, 2 4 6, 4 6 2, 6 2 8, 2 8 1
    assert found["confidence"].tolist() == pytest.approx([4 / 3, 6 / 4, 2 / 4, 8 / 6, 1 / 2])
    assert found["drop"].tolist() == pytest.approx([10, 20, 5, 8, 7])


def test_an_epoch_that_the_budget_cut_has_no_loss_to_fall_to():
    found = signals(trace_of(EPOCHS).iloc[:-1], window=15)
    assert found["drop"].tolist()[:4] == pytest.approx([10, 20, 5, 8])
    assert math.isnan(found["drop"].iloc[4])


def test_levels_weights_and_thresholds_by_hand():
    known = learned(signals(trace_of(EPOCHS), window=3))
    assert known["levels"] == pytest.approx({"variance": 4, "norm_variation": 0.3, "loss_variation": 0.3})
    # ranks of the drops: 4 5 1 3 2; of the variances: 3 4 2 5 1, of the others: 1 2 3 4 5 and its reverse;
    # rho = 1 - 6 sum d^2 / 120: 1 - 6 * 8 / 120 = 0.6, 1 - 6 * 32 / 120 = -0.6 and 0.6
    assert known["weights"] == pytest.approx({"variance": 1 / 3, "norm_variation": 1 / 3, "loss_variation": 1 / 3})
    assert known["thresholds"] == pytest.approx({"confidence": 4 / 3, "stability": 0.4})


def test_a_signal_that_says_nothing_of_the_loss_weighs_nothing():
    constant = [(3, *others) for _, *others in EPOCHS]
    assert learned(signals(trace_of(constant), window=15))["weights"]["variance"] == 0
    nothing = [(3, 0.2, 0.2, loss) for *_, loss in EPOCHS]
    assert learned(signals(trace_of(nothing), window=15))["weights"] == pytest.approx(
        dict.fromkeys(("variance", "norm_variation", "loss_variation"), 1 / 3)
    )


def test_a_trace_of_too_few_epochs_is_refused():
    with pytest.raises(ValueError, match="signals of 3 epochs, at least 4"):
        learned(signals(trace_of(EPOCHS[:5]), window=15))


@pytest.fixture
def calibrated(tmp_path):
    def call(*overrides: str, **more):
        return calibrate([*RUN, f"results={tmp_path}", *overrides], conf=conf(), **more)

    return call


def test_a_calibration_from_the_command_to_the_run_that_uses_it(calibrated, tmp_path, trained):
    path = calibrated("epochs=8", "scheduler.initial=16")
    assert path == tmp_path / "calibrations" / "mlp-digits-16.yaml"
    known = OmegaConf.load(path)
    assert known.architecture == {"_target_": "adaptive_bench.models.mlp", "hidden": [64, 64]}
    assert (known.dataset, known.batch_size, known.epochs) == ("digits", 16, 8)
    assert sum(known.weights.values()) == pytest.approx(1)
    assert known.cost.samples == 1600
    assert 0 < known.cost.seconds < 100
    trace = pd.read_parquet(tmp_path / "calibrations" / "runs" / known.run / "trace.parquet")
    assert set(trace["batch_size"]) == {16}  # fixed: 100 steps of 16 are 1,600 samples

    # the record of the run stands; the file comes again from it
    stamp = (tmp_path / "calibrations" / "runs" / known.run / "record.parquet").stat().st_mtime_ns
    again = calibrated("epochs=8", "scheduler.initial=16", output=tmp_path / "deep" / "again.yaml")
    assert again.read_text() == path.read_text()
    assert (tmp_path / "calibrations" / "runs" / known.run / "record.parquet").stat().st_mtime_ns == stamp

    for scheduler in ("deba", "deba_flags"):
        run = ("model=mlp", f"scheduler={scheduler}", f"scheduler.calibration={path}", "scheduler.cooldown=1", "epochs=4")
        folder = trained(*run, "scheduler.initial=16")
        assert pd.read_parquet(folder / "record.parquet")["calibration_samples"].item() == 1600
        sizes = pd.read_parquet(folder / "trace.parquet")
        # levels are known from the start, so the signals of the second epoch decide already
        decided = sizes.loc[sizes["epoch"] > 2.2, "batch_decision"]
        assert set(decided) <= {0.8, 1, 1.5}
        if scheduler == "deba":
            assert sizes.loc[sizes["samples"] > 420, "batch_score"].between(0, 1).all()
    with pytest.raises(ValueError, match=r"scheduler\.calibration=.*for the architecture mlp"):
        trained("scheduler=deba", f"scheduler.calibration={path}")
    with pytest.raises(ValueError, match=r"hidden=\[64, 64\].*this run has .*hidden=\[8\]"):  # another size of one family
        trained("scheduler=deba", f"scheduler.calibration={path}", "model=mlp", "model.hidden=[8]")


def test_a_calibration_takes_the_settings_that_a_sweep_shares(calibrated):
    known = OmegaConf.load(calibrated("sweep=demo", "model=mlp", "epochs=6"))
    assert (known.batch_size, known.cost.samples) == (32, 6 * 200)
    assert known.architecture._target_ == "adaptive_bench.models.mlp"


def test_settings_and_cost_do_not_depend_on_the_scheduler_slots_cooldown(calibrated):
    known = OmegaConf.load(calibrated("epochs=6", "scheduler.initial=50", "batch_size.cooldown=1", "scheduler.cooldown=1"))
    assert known.batch_size == 50
    assert known.cost.samples == 1200


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["epochs=5"], "epochs=5: signals of 3 epochs; epochs=6 or more"),
        (["epochs=1"], "signals of 0 epochs"),
        (["epochs=-1"], "epochs=-1"),
        (["epochs=many"], "epochs='many'"),
        (["scheduler=gns"], "scheduler=gns: a calibration is one run of deba at a fixed size; leave it out"),
        (["scheduler@block_scheduler=fixed", "epochs=2"], "signals of 0 epochs"),
        (["scheduler@block_scheduler=linear"], "block_scheduler=linear: a calibration has fixed sizes"),
        (["arm=fixed_small"], "arm=fixed_small: a calibration is one run"),
        (["seed=0,1"], "multirun"),
        (["model=nothing"], "model/nothing"),
        (["scheduler.initail=3"], "initail"),
        (["nonsense"], "nonsense"),
        (["epochs=6", "optimizer.lr=1e30"], "diverged"),
        (["results=/dev/null/x", "epochs=6"], "cannot be written"),
    ],
)
def test_what_cannot_be_calibrated_is_refused_in_one_line(calibrated, tmp_path, overrides, says):
    with pytest.raises(ValueError, match=says) as refused:
        calibrated(*overrides)
    assert "\n" not in str(refused.value)
    assert not list(tmp_path.rglob("*.yaml")) or overrides[-1] == "optimizer.lr=1e30"


def test_a_folder_is_no_file_to_write_to(calibrated, tmp_path):
    with pytest.raises(ValueError, match="cannot be written"):
        calibrated("epochs=6", output=tmp_path)


def test_a_run_is_what_its_files_hold_wherever_they_lie(tmp_path):
    sizes = pd.DataFrame({"batch_size": [8, 16], "block_size": 1, "samples": [8, 24]})
    sizes = sizes.assign(batch_size_granted=[8, 16], block_size_granted=1)
    for name, seconds in (("one", 1.0), ("two", 2.0)):
        (tmp_path / name).mkdir()
        sizes.assign(seconds_train=seconds).to_parquet(tmp_path / name / "trace.parquet")
        content = {
            "architecture": {"_target_": "models.mlp"},
            "grad_source": "last_batch",
            "levels": {"variance": 1, "norm_variation": 1, "loss_variation": 1},
            "weights": {"variance": 1, "norm_variation": 0, "loss_variation": 0},
            "thresholds": {"confidence": 1, "stability": 1},
            "cost": {"seconds": seconds} if name == "one" else {"seconds": seconds, "samples": 1600},
        }
        OmegaConf.save(OmegaConf.create(content), tmp_path / name / "calibration.yaml")

    def told(name, **changes):
        scheduler = {"trace": str(tmp_path / name), "results": name, "column": "batch_size"}
        block = {
            "calibration": str(tmp_path / name / "calibration.yaml"),
            "architecture": {"_target_": "models.mlp"},
            "grad_source": "last_batch",
        }
        slots = {"scheduler": scheduler | changes, "block_scheduler": block}
        return by_content(
            {"seed": 0, "dataset": {}, **slots}, {slot: recorded(settings, seed=0) for slot, settings in slots.items()}
        )

    assert told("one") == told("two")
    one, two = (read_calibration(tmp_path / name / "calibration.yaml") for name in ("one", "two"))
    assert one.digest() == two.digest() == "283e361862ac2258"  # of files that are in use
    assert math.isnan(calibration_samples({"scheduler": {"calibration": one}}))
    assert calibration_samples({"scheduler": {"calibration": two}, "block_scheduler": {"calibration": two}}) == 1600
    assert calibration_samples({"scheduler": {}}) == 0
    assert told("one") != told("one", column="block_size")
    assert "results" not in told("one")["scheduler"]
    plain = {"seed": 1, "dataset": {}, "scheduler": {"initial": 4}, "block_scheduler": {"calibration": None}}
    assert by_content(plain, {slot: recorded(plain[slot], seed=0) for slot in ("scheduler", "block_scheduler")}) == plain
    with pytest.raises(ValueError, match=r"^trace=\?\?\?: the digest of a finished run"):
        told("one", trace="???")
