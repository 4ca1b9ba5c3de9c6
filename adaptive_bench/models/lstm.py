"""Recurrent language models."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from adaptive_bench.models.inputs import token_ids
from adaptive_bench.validation import Count, Dropped, Positive, checked

State = tuple[Tensor, Tensor]  # h and c, each (layers, rows, hidden)


class LanguageLSTM(nn.Module):
    """Embedding, a stack of LSTM layers and a linear layer, with dropout between layers and none between time steps.

    That is: at the input, between the layers and before the output, never from one position to the next (Zaremba et al. 2014,
    arXiv 1409.2329, figure 2). `tied`: the embedding is the output's weight, too (Press and Wolf 2017, arXiv 1608.05859).
    """

    def __init__(self, *, vocabulary: int, embedding: int, hidden: int, layers: int, dropout: float, tied: bool) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.embedding = nn.Embedding(vocabulary, embedding)
        # one by one: between the layers of a stack, cuDNN draws dropout from a state that no checkpoint has
        self.layers = nn.ModuleList(nn.LSTM(width, hidden, batch_first=True) for width in (embedding, *[hidden] * (layers - 1)))
        self.output = nn.Linear(hidden, vocabulary)
        if tied:
            self.output.weight = self.embedding.weight

    def forward(self, tokens: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Tokens (rows, block) to logits (rows, block, vocabulary) and the state after them; None starts from zeros."""
        activations, after = self.embedding(tokens), []
        for number, layer in enumerate(self.layers):
            before = None if state is None else (state[0][number : number + 1], state[1][number : number + 1])
            activations, of_layer = _in_float32(layer, self.dropout(activations), before)  # (rows, block, hidden)
            after.append(of_layer)
        h, c = (torch.cat(parts) for parts in zip(*after, strict=True))
        return self.output(self.dropout(activations)), (h, c)


def _in_float32(layer: nn.Module, inputs: Tensor, state: State | None) -> tuple[Tensor, State]:
    """The layer; on CUDA outside of autocast, which computes an LSTM in fp16 whatever it was asked for."""
    if not (inputs.is_cuda and torch.is_autocast_enabled("cuda")):
        return cast(tuple[Tensor, State], layer(inputs, state))
    with torch.autocast("cuda", enabled=False):
        return cast(tuple[Tensor, State], layer(inputs.float(), state))


@checked
def lstm(
    *,
    inputs: Sequence[int],
    outputs: int,
    embedding: Count,
    hidden: Count,
    layers: Count,
    dropout: Dropped = 0.0,
    tied: bool = False,
    init: Positive = 0.1,
) -> nn.Module:
    """An LSTM language model with every weight uniform on [-init, init] and every bias 0, the forget gates' among them."""
    token_ids(inputs)
    if tied and embedding != hidden:
        raise ValueError(
            f"tied=true: embedding={embedding} and hidden={hidden} differ, but a tied weight is both embedding and output; "
            "make them equal or take tied=false"
        )
    model = LanguageLSTM(vocabulary=outputs, embedding=embedding, hidden=hidden, layers=layers, dropout=dropout, tied=tied)
    for name, parameter in model.named_parameters():
        if "bias" in name:
            nn.init.zeros_(parameter)
        else:
            nn.init.uniform_(parameter, -init, init)
    return model
