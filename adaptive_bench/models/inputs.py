"""What a model can be fed."""

from collections.abc import Sequence


def image_channels(inputs: Sequence[int]) -> int:
    """The channels of an image shape (channels, height, width). Raises ValueError for anything else."""
    if len(inputs) != 3:
        raise ValueError(
            f"inputs={written(inputs)}: this model takes images, this data set has vectors or texts; take model=mlp or "
            "model=linear for vectors, model=lstm_small for texts"
        )
    return inputs[0]


def token_ids(inputs: Sequence[int]) -> None:
    """Raises ValueError unless a sample is one token id, of the shape ()."""
    if len(inputs):
        raise ValueError(
            f"inputs={written(inputs)}: this model reads token ids, and a sample of this data set is no token; "
            "take dataset=markov_text or another text"
        )


def written(inputs: Sequence[int]) -> str:
    """The shape as a tuple without its last comma: (3, 32, 32), (400), ()."""
    return f"({', '.join(map(str, inputs))})"
