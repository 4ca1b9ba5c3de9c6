"""Checks of the input shape that a model accepts."""

from collections.abc import Sequence


def image_channels(inputs: Sequence[int]) -> int:
    """The channels of an image shape (channels, height, width). Raises ValueError for anything else."""
    if len(inputs) != 3:
        raise ValueError(
            f"inputs={written(inputs)}: this model expects images, but the data set yields vectors or text; take model=mlp or "
            "model=linear for vectors, model=lstm_small for texts"
        )
    return inputs[0]


def token_ids(inputs: Sequence[int]) -> None:
    """Raises ValueError unless a sample is one token id, of the shape ()."""
    if len(inputs):
        raise ValueError(
            f"inputs={written(inputs)}: this model expects token ids, but the data set yields images or vectors; "
            "take dataset=markov_text or another text"
        )


def written(inputs: Sequence[int]) -> str:
    """The shape as a tuple without its last comma: (3, 32, 32), (400), ()."""
    return f"({', '.join(map(str, inputs))})"
