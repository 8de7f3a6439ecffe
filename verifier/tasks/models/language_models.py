"""Small language models of bytes in torch, of which a submission gives all weights.

The builder exports them and the example trainer trains them, so both use the same model.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig

from verifier.artifacts.tensors import TensorSpec

# A model predicts the next of 256 bytes.
BYTES = 256
# The byte that stands before the first byte of every row, so that this one is predicted too. Text does not contain it.
START = 0
# A submission's weights are int16. Matrices span [-4, 4): trained entries stay below 1, and rounding them to 2^-13
# changes a trained model by less than 0.001 bits per byte. Norms and biases start at 0 or 1 and span [-16, 16).
MATRIX_GRID = -13
VECTOR_GRID = -11
# Bytes that a layer of the convolutional model sees before its own.
_KERNEL = 4


class ByteModel(nn.Module):
    """A causal model: the logits of a row's byte t follow from the bytes before t alone."""

    def __init__(self, architecture: str, *, layers: int, width: int, heads: int, context: int) -> None:
        """Make `llama`, `gpt2` or `convolution` with random weights, drawn from torch's default generator."""
        super().__init__()
        self.model: nn.Module
        if architecture == "convolution":
            self.model = _Convolutional(layers, width)
        else:
            self.model = _transformer(architecture, layers, width, heads, context)

    def forward(self, text: Tensor) -> Tensor:
        """Return logits [rows, context, 256] for `text` [rows, context]: bytes, and -1 where a row is padding."""
        before = functional.pad(text.clamp(0, BYTES - 1)[:, :-1], (1, 0), value=START)
        if isinstance(self.model, _Convolutional):
            logits: Tensor = self.model(before)
            return logits
        output: Tensor = self.model(input_ids=before, use_cache=False).logits
        return output

    def head(self) -> nn.Module:
        """Return the layer that computes the logits."""
        found = self.model.head if isinstance(self.model, _Convolutional) else self.model.lm_head
        assert isinstance(found, nn.Module)
        return found


def weight_specs(model: ByteModel) -> dict[str, TensorSpec]:
    """Return the tensors of a submission, by the name of the model's parameter.

    They have the names that the model has in a file of its own: those of transformers for `llama` and `gpt2`.
    """
    return {
        name: TensorSpec(
            name.removeprefix("model."),
            "int16",
            tuple(parameter.shape),
            MATRIX_GRID if parameter.ndim > 1 else VECTOR_GRID,
        )
        for name, parameter in model.named_parameters()
    }


def _transformer(architecture: str, layers: int, width: int, heads: int, context: int) -> nn.Module:
    """The model of transformers, with attention that the lowering can convert, and a head of its own."""
    common: dict[str, Any] = {
        "vocab_size": BYTES,
        "tie_word_embeddings": False,
        "bos_token_id": START,
        "eos_token_id": START,
    }
    config: GPT2Config | LlamaConfig
    if architecture == "gpt2":
        dropout: dict[str, Any] = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
        config = GPT2Config(n_layer=layers, n_embd=width, n_head=heads, n_positions=context, **dropout, **common)
    else:
        config = LlamaConfig(
            num_hidden_layers=layers,
            hidden_size=width,
            intermediate_size=3 * width,
            num_attention_heads=heads,
            num_key_value_heads=heads,
            max_position_embeddings=context,
            **common,
        )
    model: nn.Module = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
        config, attn_implementation="eager"
    )
    return model


class _Convolutional(nn.Module):
    """Residual blocks of causal dilated convolutions over the bytes' embeddings; layer n reaches 3 · 2^n bytes back."""

    def __init__(self, layers: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(BYTES, width)
        nn.init.normal_(self.embedding.weight, std=0.02)  # as transformers' models; torch's own 1.0 exceeds the grid
        self.layers = nn.ModuleList(_Block(width, 2**number) for number in range(layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, BYTES)

    def forward(self, before: Tensor) -> Tensor:
        hidden = self.embedding(before)
        for layer in self.layers:
            hidden = layer(hidden)
        logits: Tensor = self.head(self.norm(hidden))
        return logits


class _Block(nn.Module):
    """x + W · relu(causal convolution of norm(x)).

    The convolution is a linear layer of _KERNEL shifted copies: a product like all others, whose weight is an input.
    """

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.convolution = nn.Linear(_KERNEL * width, 2 * width)
        self.out = nn.Linear(2 * width, width)
        self._dilation = dilation

    def forward(self, hidden: Tensor) -> Tensor:
        tokens = hidden.shape[1]
        padded = functional.pad(self.norm(hidden), (0, 0, (_KERNEL - 1) * self._dilation, 0))
        shifted = [padded[:, tap * self._dilation :][:, :tokens] for tap in range(_KERNEL)]
        update: Tensor = self.out(torch.relu(self.convolution(torch.cat(shifted, dim=2))))
        return hidden + update
