"""The same budget of learning rates for every arm, on seeds that no table has."""

from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from adaptive_bench.analysis import read
from adaptive_bench.experiment.tuning import Found, Grid

SMALL = (
    "model=mlp",
    "dataset.train_size=200",
    "epochs=1",
    "arm=fixed_small,adabatch",
    "results=results",
    "hydra.launcher.n_jobs=1",
)


def _tune(cli, *options: str):
    return cli("tune", "demo", *SMALL, "--rates", "3", "--factor", "4", *options)


@pytest.mark.slow
def test_from_the_grid_to_the_table(cli) -> None:
    code, out, err = _tune(cli, "-o", "rates.yaml")
    assert code == 0, err
    file = OmegaConf.load("rates.yaml")
    assert list(file.seeds) == [100, 101]
    tuning = read("results/tuning").records
    assert set(tuning["seed"]) == {100, 101}
    for arm in ("fixed_small", "adabatch"):
        found = file.arms[arm]
        rates = tuning["settings"].map(lambda settings: settings["optimizer.lr"])
        own = tuning[tuning["arm"] == arm].groupby(rates)["best"].median()
        assert list(found.rates) == own.index.tolist()
        assert list(found["values"]) == pytest.approx(own.tolist())
        assert found.chosen == own[own == own.max()].index.min()
        first = [0.025, 0.1, 0.4]
        assert found.extended == (len(found.rates) == 4)
        assert set(first) <= set(found.rates)
        assert found.samples == tuning.loc[tuning["arm"] == arm, "samples"].sum()
        assert f"{arm}: {found.chosen:g} of " in out
    # again, as after a kill: nothing is trained, and the file is the same
    before = OmegaConf.to_yaml(file)
    Path("rates.yaml").unlink()
    code, out, err = _tune(cli, "-o", "rates.yaml")
    assert code == 0, err
    assert "nothing to train" in out + err
    assert OmegaConf.to_yaml(OmegaConf.load("rates.yaml")) == before
    # only the rate enters the identity: the same run as one whose rate is written down
    words = (*SMALL, "sweep=demo", "seed=0,1")
    code, _, err = cli("train", *words, "optimizer.lr=${tuned:rates.yaml}")
    assert code == 0, err
    records = read("results").records
    assert not set(records["seed"]) & {100, 101}
    assert set(records["tuning"]) == {f"{len(file.arms.fixed_small.rates)} rates x 2 seeds"} | {
        f"{len(file.arms.adabatch.rates)} rates x 2 seeds"
    }
    assert dict(zip(records["label"], records["tuning_samples"], strict=True)) == {
        arm: file.arms[arm].samples for arm in ("fixed_small", "adabatch")
    }
    rate = file.arms.adabatch.chosen
    code, out, err = cli("train", "-m", *SMALL, "sweep=demo", "arm=adabatch", "seed=0", f"optimizer.lr={rate}")
    assert code == 0, err
    assert "nothing to train" in out + err
    assert "Learning rates: tuned" in cli("tables", "results")[1]


@pytest.mark.slow
def test_a_seed_that_was_tuned_on_and_another_model_are_refused(cli) -> None:
    assert _tune(cli)[0] == 0
    common = ("train", "-m", *SMALL, "sweep=demo", "optimizer.lr=${tuned:tuned.yaml}")
    code, _, err = cli(*common, "seed=0,100")
    assert code == 1
    assert "seed=100: its validation values chose the learning rate; take a seed that has no part in tuned.yaml (100, 101)" in err
    code, _, err = cli(*common, "seed=0", "model=cnn_small")
    assert code == 1
    assert "it is for digits / mlp, and this run has digits / cnn_small; tune for it" in err
    code, _, err = cli(*common, "seed=0", "arm=gns")
    assert code == 1
    assert "it has no arm 'gns', only fixed_small, adabatch; tune again with it" in err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--rates", "1"), "--rates 1: a grid of two rates or more is expected; one leaves nothing to choose"),
        (("--factor", "1"), "--factor 1: a number above 1 is expected, between one rate and the next"),
        (("--seeds", "5,x"), "--seeds 5,x: whole numbers with commas between them are expected"),
        (("--seeds", "5,5"), "--seeds 5, 5: different seeds are expected"),
        (("--seeds", "3,200"), "seed 3 is one of the sweep's own; tune on seeds that have no part in it (--seeds)"),
    ],
)
def test_a_grid_that_cannot_be_is_refused_in_one_line(cli, options, said) -> None:
    code, _, err = cli("tune", "demo", "model=mlp", *options)
    assert (code, err) == (1, f"adaptive-bench: error: {said}\n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("demo", "model=mlp,cnn_small"),
            "sweep=demo has several workloads (digits / cnn_small, digits / mlp); tune one at a time",
        ),
        (
            ("block_distances",),
            "sweep=block_distances has several runs of block_3 with one seed, and one rate for all of them would be kept",
        ),
        (("serving_cpu",), "has no arm=NAME, under which its rate would be kept; sweep over arms"),
    ],
)
def test_a_sweep_that_cannot_be_tuned_is_refused(cli, words, said) -> None:
    code, _, err = cli("tune", *words)
    assert code == 1
    assert said in err


def test_the_best_rate_is_that_of_the_best_median_and_of_equal_ones_the_smallest() -> None:
    values = {0.1: 90.0, 0.2: 95.0, 0.4: 95.0, 0.8: float("nan")}
    assert Found(values=values, maximise=True, samples=0).best == 0.2
    assert Found(values=values, maximise=False, samples=0).best == 0.1
    with pytest.raises(ValueError, match="every rate diverged"):
        _ = Found(values={0.1: float("nan")}, maximise=True, samples=0).best


def test_a_grid_lies_around_the_arm_s_own_rate() -> None:
    assert Grid().around(0.1) == [0.025, 0.05, 0.1, 0.2, 0.4]
    assert Grid(rates=4, factor=10).around(3e-3) == [3e-4, 3e-3, 3e-2, 3e-1]


def test_a_file_that_is_none_is_refused(cli, tmp_path) -> None:
    (tmp_path / "empty.yaml").write_text("seeds: 3\n")
    for name, said in (("absent", "no readable yaml"), ("empty", "is missing or of another kind")):
        code, _, err = cli("train", "arm=fixed_small", "model=mlp", f"optimizer.lr=${{tuned:{name}.yaml}}")
        assert code == 1
        assert said in err
        assert "a file written by `adaptive-bench tune` is expected" in err
        assert err.count("\n") == 1
