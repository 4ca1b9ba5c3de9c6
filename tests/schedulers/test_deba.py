"""Both DEBA controllers on sequences computed by hand from their docstrings."""

import math
from dataclasses import replace

import pytest
from omegaconf import OmegaConf

from adaptive_bench.experiment.recorded import read_calibration
from adaptive_bench.schedulers import BatchShape, Deba, DebaFlags, Observation, Position, SizeRange, Stat
from adaptive_bench.schedulers.epoch_signals import EpochSignals, confidence, third_quartile
from adaptive_bench.training.size_controller import SizeController

N = 100  # samples an epoch
SIGNALS = ("variance", "norm_variation", "loss_variation")

MODEL = {"_target_": "models.mlp", "hidden": [64]}


def step(samples: int, *, at: int, loss: float = 1.0, size: int | None = None, **stats: float) -> Observation:
    """A step of so many samples that ends at sample `at`."""
    measured = {Stat(name): value for name, value in stats.items()}
    after = Position(at, 100 * N, N)
    return Observation(position=after, shape=BatchShape(samples), lr=0.1, loss=loss, stats=measured, size=size)


def epochs(rule: Deba | DebaFlags, values, *, size: int = 100):
    """Epochs of one step each from (variance, norm, loss); yields the rule's signals and its wish behind each."""
    for epoch, (variance, norm, loss) in enumerate(values, start=1):
        rule.observe(step(N, at=epoch * N, loss=loss, size=size, component_variance=variance, grad_norm=norm))
        yield rule.signals(), rule.propose(Position(epoch * N, 100 * N, N))


@pytest.fixture
def calibration(tmp_path):
    content = {
        "architecture": MODEL,
        "grad_source": "last_batch",
        "levels": dict.fromkeys(SIGNALS, 1),
        "weights": {"variance": 0.5, "norm_variation": 0.25, "loss_variation": 0.25},
        "thresholds": {"confidence": 1.5, "stability": 0.3},
    }

    def written(**other) -> str:
        path = tmp_path / "calibration.yaml"
        path.write_text(OmegaConf.to_yaml({key: value for key, value in {**content, **other}.items() if value is not None}))
        return read_calibration(path, architecture=MODEL, grad_source="last_batch")

    return written


# variance, norm, loss; the variations behind them are (1, 0.5), (0.5, 0.25), (2, 3), (1, 0.5)
SEQUENCE = [(4, 1, 2), (4, 2, 1), (1, 3, 0.75), (8, 9, 3), (4, 18, 1.5)]
# epoch 3: levels 4, 1, 0.5, shares 1/5, 1/3, 1/3; epoch 4: levels 4, 0.75, 0.375, shares 2/3, 8/11, 8/9;
# epoch 5: every signal at its level
SCORES = [math.nan, math.nan, 0.711111, 0.239057, 0.5]


def test_the_score_and_the_sizes_of_deba_by_hand():
    seen = list(epochs(Deba(initial=100), SEQUENCE))
    assert [signals["score"] for signals, _ in seen] == pytest.approx(SCORES, abs=1e-6, nan_ok=True)
    assert [signals["decision"] for signals, _ in seen] == [1, 1, 1.5, 0.8, 1]
    assert [wish for _, wish in seen] == [100, 100, 150, 80, 100]
    assert [seen[3][0][name] for name in SIGNALS] == pytest.approx([8, 2, 3])
    assert math.isnan(seen[0][0]["norm_variation"])


def test_the_signals_are_named_alike_from_the_first_step_on():
    assert list(Deba().signals()) == [*SIGNALS, "score", "decision"]
    assert list(DebaFlags().signals()) == [*SIGNALS, "confidence", "theta_conf", "theta_stab", "decision"]


def test_high_variance_grows_turns_the_share_of_the_variance():
    seen = list(epochs(Deba(initial=100, noise="grows"), SEQUENCE[:3]))
    assert seen[2][0]["score"] == pytest.approx(1 - (4 / 5 + 1 / 3 + 1 / 3) / 3)
    assert seen[2][1] == 100


def test_weights_choose_among_the_signals():
    only = {"variance": 1, "norm_variation": 0, "loss_variation": 0}
    seen = list(epochs(Deba(initial=100, weights=only), SEQUENCE))
    assert [signals["score"] for signals, _ in seen[2:]] == pytest.approx([4 / 5, 1 / 3, 1 / 2])


def test_a_calibration_gives_levels_and_weights_and_decides_an_epoch_earlier(calibration):
    rule = Deba(initial=100, calibration=calibration())
    seen = list(epochs(rule, SEQUENCE[:2]))
    # shares 4/5, 1/2, 1/3
    assert seen[1][0]["score"] == pytest.approx(1 - (0.5 * 4 / 5 + 0.25 * 1 / 2 + 0.25 * 1 / 3))
    assert seen[1][1] == 80
    equal = dict.fromkeys(SIGNALS, 1 / 3)
    seen = list(epochs(Deba(initial=100, calibration=calibration(), weights=equal), SEQUENCE[:2]))
    assert seen[1][0]["score"] == pytest.approx(1 - (4 / 5 + 1 / 2 + 1 / 3) / 3)


def test_a_model_that_has_stopped_moving_stands_at_its_levels():
    seen = list(epochs(Deba(initial=100), [(0, 0, 0)] * 4))
    assert [signals["score"] for signals, _ in seen[2:]] == [0.5, 0.5]
    assert seen[3][1] == 100


def test_an_epoch_without_its_signals_is_a_hold():
    rule = Deba(initial=100)
    list(epochs(rule, SEQUENCE[:3]))
    rule.observe(step(N, at=4 * N, size=60))  # not measured
    assert rule.propose(Position(4 * N, 100 * N, N)) == 60
    assert math.isnan(rule.signals()["score"])
    rule.observe(step(N, at=5 * N, size=60, component_variance=math.inf, grad_norm=math.nan))
    assert rule.propose(Position(5 * N, 100 * N, N)) == 60
    assert rule.stability.history["variance"] == [4, 4, 1]


def steady(slot: SizeController, samples: int) -> list[tuple[int, int]]:
    """Signals that halve every epoch, so that every decision from epoch 3 on is to grow; the changes as (sample, size)."""
    at, changes = 0, []
    while at < samples:
        size, _ = slot.advance(Position(at, samples, N))
        if not changes or changes[-1][1] != size:
            changes.append((at, size))
        epoch = at // N + 1  # that the step begins in
        norm = math.prod(1 + 0.5**k for k in range(1, epoch + 1))
        loss = math.prod(1 - 0.5**k for k in range(1, epoch + 1))
        at += size
        slot.observe(step(size, at=at, loss=loss, component_variance=0.5**epoch, grad_norm=norm))
    return changes


def test_the_slot_keeps_the_cooldown_and_a_wish_does_not_compound_in_it():
    # 10 until sample 500; 1.5 x 10 = 15 until 1,000, where the next step starts at 1,010; 22.5 rounds to 23
    slot = SizeController(scheduler=Deba(initial=10), sizes=SizeRange(minimum=1, maximum=1000))
    assert steady(slot, 1400) == [(0, 10), (500, 15), (1010, 23)]


def test_without_a_cooldown_the_size_grows_every_epoch_from_the_third_on():
    slot = SizeController(scheduler=Deba(initial=10, cooldown=0), sizes=SizeRange(minimum=1, maximum=1000))
    assert steady(slot, 500) == [(0, 10), (300, 15), (405, 23)]


def test_flags_by_hand():
    rule = DebaFlags(initial=100, theta_conf=1.2, theta_stab=0.3)
    values = [
        (4, 1.0, 1.0),  # nothing to compare with
        (4, 1.1, 0.9),  # steady, c = 1: grow
        (4, 2.2, 0.9),  # norm unsteady, c = 1: hold
        (8, 4.4, 0.9),  # norm unsteady, c = 8 / 4 = 2: shrink
        (8, 4.4, 0.9),  # steady, c = 8 / 4 = 2: hold
        (4, 8.8, 1.8),  # both unsteady, c = 4 / 4 = 1: shrink
    ]
    seen = list(epochs(rule, values))
    assert [signals["decision"] for signals, _ in seen] == [1, 1.5, 1, 0.8, 1, 0.8]
    assert [wish for _, wish in seen] == [100, 150, 100, 80, 100, 80]
    assert [signals["confidence"] for signals, _ in seen[1:]] == pytest.approx([1, 1, 2, 2, 1])


def test_flags_take_their_thresholds_from_the_window_without_the_current_epoch():
    seen = list(epochs(DebaFlags(initial=100), [(4, 1, 4), (4, 2, 2), (4, 3, 1.5), (16, 3, 1.5)]))
    assert [signals["decision"] for signals, _ in seen] == [1, 1, 1.5, 1]  # epoch 4: steady, c = 16 / 4
    # c so far: 1, 1; max(norm_variation, loss_variation) so far: 1, 0.5
    assert seen[3][0]["theta_conf"] == pytest.approx(1)
    assert seen[3][0]["theta_stab"] == pytest.approx(0.75)
    assert math.isnan(seen[1][0]["theta_conf"])


def test_flags_take_thresholds_from_a_calibration_unless_they_are_set(calibration):
    rule = DebaFlags(initial=100, calibration=calibration(), theta_stab=2)
    seen = list(epochs(rule, [(4, 1, 1), (4, 2.5, 1)]))
    assert seen[1][0]["theta_conf"] == 1.5
    assert seen[1][0]["theta_stab"] == 2
    assert seen[1][1] == 150
    assert list(epochs(DebaFlags(initial=100, calibration=calibration()), [(4, 1, 1), (4, 2.5, 2.5)]))[1][1] == 80


def test_the_loss_of_an_epoch_is_weighted_by_samples_and_a_step_counts_where_it_began():
    window = EpochSignals()
    window.observe(step(75, at=75, loss=2))
    window.observe(step(50, at=125, loss=12, component_variance=1, grad_norm=1))  # began in the first epoch
    assert window.last_loss == pytest.approx((75 * 2 + 50 * 12) / 125)
    window.observe(step(80, at=205, loss=3, component_variance=1, grad_norm=4))
    assert window.latest == pytest.approx({"variance": 1, "norm_variation": 3, "loss_variation": 0.5})


def test_the_last_steps_of_an_epoch_are_measured_or_every_one():
    last, mean = EpochSignals(), EpochSignals(grad_source="epoch_mean")
    assert [last.measures(Position(at, 1000, N), 30) for at in (0, 69, 70, 99, 100, 170)] == [
        False,
        True,
        True,
        True,
        False,
        True,
    ]
    assert all(mean.measures(Position(at, 1000, N), 30) for at in (0, 30, 60, 90))


def test_the_mean_gradient_of_an_epoch_is_the_sum_over_its_samples():
    window = EpochSignals(grad_source="epoch_mean")
    window.observe(step(50, at=50, epoch_component_variance=9e9, epoch_grad_sq_norm=9e9))
    window.observe(step(50, at=100, epoch_component_variance=20_000, epoch_grad_sq_norm=90_000))
    assert window.latest == pytest.approx({"variance": 2})  # 20,000 / 100^2
    assert window.last_norm == pytest.approx(3)  # sqrt(90,000) / 100
    assert Deba(grad_source="epoch_mean").needs == {Stat.EPOCH_COMPONENT_VARIANCE, Stat.EPOCH_GRAD_SQ_NORM}


def test_the_window_slides():
    window = EpochSignals(window=3)
    for epoch, variance in enumerate([1, 2, 3, 4, 5], start=1):
        window.observe(step(N, at=epoch * N, component_variance=variance, grad_norm=1))
    assert window.history["variance"] == [3, 4, 5]
    assert window.level("variance") == 3.5


def test_the_window_goes_through_a_checkpoint():
    first, second = Deba(initial=100), Deba(initial=100)
    list(epochs(first, SEQUENCE))
    second.load_state_dict(first.state_dict())
    again = step(N, at=6 * N, loss=1, size=100, component_variance=2, grad_norm=5)
    first.observe(again)
    second.observe(again)
    assert first.signals() == second.signals()


def test_a_rest_at_the_end_of_an_epoch_is_no_gradient_to_go_by():
    window = EpochSignals()
    window.observe(step(90, at=90, component_variance=3, grad_norm=4))
    window.observe(replace(step(10, at=100, component_variance=70, grad_norm=80), uncut=False))
    assert window.latest == {"variance": 3}
    window.observe(step(100, at=200, component_variance=5, grad_norm=6))
    assert window.latest["norm_variation"] == pytest.approx(0.5)


def test_third_quartile_and_confidence():
    assert (third_quartile([4, 1, 3, 2]), third_quartile([7])) == (3.25, 7)
    assert math.isnan(third_quartile([]))
    assert confidence([2, 8, 4, 12]) == 2


@pytest.mark.parametrize("kind", [Deba, DebaFlags])
@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"grow": 0.9}, "grow=0.9: a finite number from 1 up"),
        ({"shrink": 1.1}, "shrink=1.1: a finite number above 0 and at most 1"),
        ({"window": 1}, "window=1"),
        ({"grad_source": "first_batch"}, "last_batch or epoch_mean"),
    ],
)
def test_impossible_settings_are_refused(kind, settings, says):
    with pytest.raises(ValueError, match=says):
        kind(**settings)


@pytest.mark.parametrize(
    ("kind", "settings", "says"),
    [
        (Deba, {"up": 0.4, "down": 0.5}, "up=0.4 and down=0.5: thresholds out of order"),
        (Deba, {"up": 1.2}, "up=1.2"),
        (Deba, {"up": math.nan}, "up=nan"),
        (Deba, {"noise": "up"}, "noise='up'"),
        (Deba, {"weights": {"variance": 0.5, "norm_variation": 0.5, "loss_variation": 0.5}}, "numbers from 0 up that sum to 1"),
        (Deba, {"weights": {"variance": 1.5, "norm_variation": -0.5, "loss_variation": 0}}, "a finite number from 0 up"),
        (Deba, {"weights": {"variance": 0.5, "norm_variation": 0.5}}, "numbers from 0 up that sum to 1"),
        (Deba, {"weights": {"variance": 1, "norm_variation": None, "loss_variation": None}}, "one for each of"),
        (DebaFlags, {"theta_conf": 0}, "theta_conf=0"),
        (DebaFlags, {"theta_stab": math.nan}, "theta_stab=nan"),
    ],
)
def test_impossible_thresholds_and_weights_are_refused(kind, settings, says):
    with pytest.raises(ValueError, match=says):
        kind(**settings)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (
            {"architecture": {**MODEL, "hidden": [32]}},
            r"for the architecture models.mlp \(hidden=\[32\]\), this run has models.mlp \(hidden=\[64\]\)",
        ),
        ({"grad_source": "epoch_mean"}, "made with grad_source=epoch_mean, this run has last_batch"),
        ({"levels": None}, "'levels' is missing"),
        ({"levels": {"variance": 1}}, "'norm_variation' is missing"),
        ({"levels": dict.fromkeys(SIGNALS, "high")}, "variance is 'high'"),
        ({"levels": dict.fromkeys(SIGNALS, -1)}, "variance is -1"),
        ({"levels": 4}, "calibration="),
        ({"weights": dict.fromkeys(SIGNALS, 1)}, "sum to 1"),
        ({"thresholds": {"confidence": 1, "stability": math.inf}}, "stability is inf"),
    ],
)
def test_a_calibration_that_does_not_fit_is_refused(calibration, content, says):
    with pytest.raises(ValueError, match=says):
        calibration(**content)


def test_a_calibration_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match=r"nowhere\.yaml: there is no such file; make one"):
        read_calibration("nowhere.yaml", architecture=MODEL, grad_source="last_batch")


@pytest.mark.parametrize("text", ["levels: [1, 2", "- 1\n- 2\n", "", "just words", "\x00\x01"])
def test_a_calibration_that_is_no_yaml_of_ours_is_refused(tmp_path, text):
    path = tmp_path / "calibration.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"calibration=.*calibration\.yaml: "):
        read_calibration(path, architecture=MODEL, grad_source="last_batch")
