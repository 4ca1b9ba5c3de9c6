import pytest
import torch
from hydra.utils import instantiate

from adaptive_bench.models import lstm
from tests.conftest import composed

VOCABULARY = 8


def parameters(*, vocabulary: int, embedding: int, hidden: int, layers: int, tied: bool = False) -> int:
    """Four gates a layer, each with weights for input and state and with two biases, which torch keeps apart."""
    inputs = [embedding] + [hidden] * (layers - 1)
    recurrent = sum(4 * hidden * (width + hidden + 2) for width in inputs)
    return vocabulary * embedding + recurrent + vocabulary + (0 if tied else vocabulary * hidden)


@pytest.mark.parametrize(
    ("name", "width", "layers", "dropout", "init"),
    [
        ("lstm_small", 64, 1, 0.0, 0.1),
        ("lstm_200", 200, 2, 0.0, 0.1),
        ("lstm_650", 650, 2, 0.5, 0.05),
        ("lstm_1500", 1500, 2, 0.65, 0.04),
    ],
)
def test_sizes_dropout_and_initialisation_are_those_of_the_configuration(name, width, layers, dropout, init):
    model = instantiate(composed(f"model={name}").model, inputs=(), outputs=VOCABULARY)
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count == parameters(vocabulary=VOCABULARY, embedding=width, hidden=width, layers=layers)
    assert model.dropout.p == dropout
    assert len(model.layers) == layers
    for parameter_name, parameter in model.named_parameters():
        if "bias" in parameter_name:
            assert not parameter.any()
        else:
            assert parameter.abs().max() <= init
            assert parameter.std().item() == pytest.approx(init / 3**0.5, rel=0.1)


@pytest.mark.parametrize(("width", "millions"), [(650, 20), (1500, 66)])
def test_the_medium_and_large_model_have_the_published_sizes_on_ten_thousand_words(width, millions):
    """Merity et al. (2016, arXiv 1609.07843), table 2, on the models of Zaremba et al., whose gates have one bias."""
    with torch.device("meta"):
        model = lstm(inputs=(), outputs=10_000, embedding=width, hidden=width, layers=2)
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count == parameters(vocabulary=10_000, embedding=width, hidden=width, layers=2)
    assert round((count - 2 * 4 * width) / 1e6) == millions


def test_tying_saves_the_output_weight_and_trains_it_once():
    sizes = {"embedding": 12, "hidden": 12, "layers": 2}
    model = lstm(inputs=(), outputs=VOCABULARY, tied=True, **sizes)
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count == parameters(vocabulary=VOCABULARY, tied=True, **sizes)
    assert model.output.weight is model.embedding.weight


def test_a_batch_is_rows_that_do_not_see_each_other():
    torch.manual_seed(0)
    model = lstm(inputs=(), outputs=VOCABULARY, embedding=5, hidden=7, layers=2).double()
    tokens = torch.randint(VOCABULARY, (4, 9))
    logits, state = model(tokens)
    assert logits.shape == (4, 9, VOCABULARY)
    assert [part.shape for part in state] == [(2, 4, 7)] * 2
    for row in range(4):
        alone, after = model(tokens[row : row + 1])
        torch.testing.assert_close(alone[0], logits[row])
        torch.testing.assert_close(after[0][:, 0], state[0][:, row])


def test_dropout_leaves_the_way_from_position_to_position_alone():
    """What comes into the layer is dropped; the state it then goes through is the one without dropout on those inputs."""
    torch.manual_seed(0)
    model = lstm(inputs=(), outputs=VOCABULARY, embedding=5, hidden=50, layers=1, dropout=0.9, init=0.5)
    seen = []
    model.layers[0].register_forward_hook(lambda module, inputs, output: seen.append((inputs[0], output[0])))
    tokens = torch.zeros(1, 400, dtype=torch.int64)
    _, state = model(tokens)
    inputs, hidden = seen[0]
    assert (inputs == 0).double().mean().item() == pytest.approx(0.9, abs=0.03)
    assert (hidden != 0).all()
    model.eval()
    _, expected = model.layers[0](inputs)
    torch.testing.assert_close(state, expected)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"inputs": (3, 32, 32)}, r"inputs=\(3, 32, 32\): this model expects token ids"),
        ({"hidden": 0}, "hidden=0"),
        ({"layers": 1.5}, "layers=1.5"),
        ({"embedding": True}, "embedding=True"),
        ({"dropout": 1.0}, "dropout=1.0"),
        ({"init": 0.0}, "init=0.0"),
        ({"tied": True}, "embedding=4 and hidden=6 differ"),
    ],
)
def test_impossible_settings_are_refused(settings, says):
    with pytest.raises(ValueError, match=says):
        lstm(**{"inputs": (), "outputs": 3, "embedding": 4, "hidden": 6, "layers": 1} | settings)
