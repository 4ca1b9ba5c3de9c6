"""Language models whose context is the block: no state is carried, and the cost of attention grows with the block."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from adaptive_bench.models.inputs import token_ids
from adaptive_bench.validation import Count, Dropped, Positive, checked

State = tuple[()]


class CausalAttention(nn.Module):
    """softmax(Q K^T / sqrt(width / heads)) V in each head, over positions up to its own (Vaswani et al. 2017, 3.2)."""

    def __init__(self, *, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.inward = nn.Linear(width, 3 * width)  # queries, keys and values
        self.outward = nn.Linear(width, width)

    def forward(self, activations: Tensor, mask: Tensor | None = None) -> Tensor:
        """Map (rows, block, width) to (rows, block, width); `mask` (rows, 1, block, block) says who may look at whom."""
        parts = self.inward(activations).unflatten(2, (3, self.heads, -1))
        queries, keys, values = parts.permute(2, 0, 3, 1, 4)  # each (rows, heads, block, width / heads)
        dropout = self.dropout if self.training else 0.0
        attended = F.scaled_dot_product_attention(queries, keys, values, mask, dropout_p=dropout, is_causal=mask is None)
        mixed: Tensor = self.outward(attended.transpose(1, 2).flatten(2))
        return mixed


class Block(nn.Module):
    """x + attention(norm(x)), then x + contract(gelu(expand(norm(x)))), four times as wide inside."""

    def __init__(self, *, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = CausalAttention(width=width, heads=heads, dropout=dropout)
        self.feedforward_norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, 4 * width)
        self.contract = nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, activations: Tensor, mask: Tensor | None = None) -> Tensor:
        activations = activations + self.dropout(self.attention(self.attention_norm(activations), mask))
        inside = F.gelu(self.expand(self.feedforward_norm(activations)))
        update: Tensor = self.dropout(self.contract(inside))
        return activations + update


class LanguageTransformer(nn.Module):
    """Embedding times sqrt(width) plus sinusoidal positions, pre-norm blocks, a last LayerNorm and a linear layer without bias.

    A decoder only, as in GPT-2 (Radford et al. 2019), with the fixed positions of Vaswani et al. (2017, arXiv 1706.03762), which
    exist for blocks of any length. `tied`: the embedding is the output's weight, too (Press and Wolf 2017, arXiv 1608.05859).
    """

    def __init__(self, *, vocabulary: int, width: int, heads: int, layers: int, dropout: float, tied: bool) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(Block(width=width, heads=heads, dropout=dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.output = nn.Linear(width, vocabulary, bias=False)
        if tied:
            self.output.weight = self.embedding.weight

    def forward(self, tokens: Tensor, state: State | None = None, segments: Tensor | None = None) -> tuple[Tensor, State]:
        """Tokens (rows, block) to logits (rows, block, vocabulary) and an empty state: every block starts afresh.

        `segments` (rows, block) numbers the sentences of packed rows: each sees only itself, and its positions start from 0.
        """
        embedded = self.embedding(tokens)  # (rows, block, width)
        block, width = embedded.shape[1:]
        positions, mask = sinusoids(block, width, device=tokens.device).to(embedded.dtype), None
        if segments is not None:
            places = torch.arange(block, device=tokens.device).expand_as(segments)
            starts = F.pad(segments[:, 1:] != segments[:, :-1], (1, 0), value=True)
            positions = positions[places - torch.where(starts, places, 0).cummax(1).values]
            mask = (segments[:, None, :, None] == segments[:, None, None, :]).tril()
        activations = self.dropout(embedded * width**0.5 + positions)
        for layer in self.blocks:
            activations = layer(activations, mask)
        return self.output(self.norm(activations)), ()


def sinusoids(block: int, width: int, *, device: torch.device) -> Tensor:
    """PE(t, 2i) = sin(t / 10000^(2i / width)) and PE(t, 2i + 1) = cos of the same, (block, width).

    Vaswani et al. (2017), section 3.5. In float64, because float32 resolves angles near 10^5 to two decimals only.
    """
    rates = 10_000 ** (-torch.arange(0, width, 2, dtype=torch.float64, device=device) / width)
    angles = torch.arange(block, dtype=torch.float64, device=device)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)[:, :width]


@checked
def transformer(
    *,
    inputs: Sequence[int],
    outputs: int,
    width: Count,
    heads: Count,
    layers: Count,
    dropout: Dropped = 0.0,
    tied: bool = True,
    init: Positive = 0.02,
) -> nn.Module:
    """A decoder-only transformer language model whose context is the block.

    Initialised as GPT-2 is (Radford et al. 2019, section 2.3): weights normal with standard deviation `init`, those of the
    2 * layers projections that end in the residual stream divided by sqrt(2 * layers), biases 0.
    """
    token_ids(inputs)
    if width % heads:
        raise ValueError(f"heads={heads}: width={width} is not divisible by the number of heads; choose a divisor")
    model = LanguageTransformer(vocabulary=outputs, width=width, heads=heads, layers=layers, dropout=dropout, tied=tied)
    for name, parameter in model.named_parameters():  # a tied weight comes once
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
        elif parameter.dim() == 2:  # a LayerNorm's is a vector of ones and stays one
            into_residual = name.endswith(("outward.weight", "contract.weight"))
            nn.init.normal_(parameter, std=init / (2 * layers) ** 0.5 if into_residual else init)
    return model
