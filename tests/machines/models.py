"""The models that every machine evaluates besides the vectors: a real encoder, and a decoder of the Llama type."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import onnx
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from tests.exact import minilm
from verifier.exact import Program, load_program
from verifier.exact.lowering import InputSpec, lower

Feeds = dict[str, np.ndarray[Any, Any]]
ROWS, TOKENS = 2, 16
VOCABULARY = 128


@dataclass(frozen=True)
class Model:
    """A float model and the exact file lowered from it, each with its feeds."""

    name: str
    float_model: onnx.ModelProto
    float_feeds: Feeds
    exact_file: bytes
    feeds: Feeds

    @cached_property
    def program(self) -> Program:
        """The exact file, proven."""
        return load_program(self.exact_file)


def encoder() -> Model:
    """Export and lower all-MiniLM-L6-v2, with two sentences."""
    lowered = minilm.encoder(ROWS)
    rows = minilm.encoded()
    (floats, *_), (integers, *_) = lowered.batches(rows, "int64", "int64"), lowered.batches(rows, "int16", "int8")
    return Model("minilm", lowered.float_model, floats, lowered.exact_file, integers)


class Logits(torch.nn.Module):
    """A causal language model as a function of token ids alone."""

    def __init__(self, model: LlamaForCausalLM) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        """Logits [rows, tokens, vocabulary]."""
        logits: torch.Tensor = self.model(input_ids=input_ids, use_cache=False).logits
        return logits


def decoder() -> Model:
    """Export and lower a small random Llama: RMSNorm, rotary embedding, grouped-query attention, SwiGLU."""
    torch.manual_seed(11)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=64,
        intermediate_size=160,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        initializer_range=0.2,
        attn_implementation="eager",
    )
    exported = torch.onnx.export(
        Logits(LlamaForCausalLM(config)).eval(),
        (torch.zeros((ROWS, TOKENS), dtype=torch.long),),
        dynamo=True,
        opset_version=18,
        input_names=["input_ids"],
        output_names=["next_logits"],
        verbose=False,
    )
    assert exported is not None
    rng = np.random.default_rng(12)
    tokens = [rng.integers(0, VOCABULARY, (ROWS, TOKENS)) for _ in range(9)]
    float_model = exported.model_proto
    calibration: list[Feeds] = [{"input_ids": ids} for ids in tokens[1:]]
    exact = lower(float_model, calibration, {"input_ids": InputSpec("int16", lo=0, hi=VOCABULARY - 1)})
    return Model(
        "decoder",
        float_model,
        {"input_ids": tokens[0]},
        exact.SerializeToString(),
        {"input_ids": tokens[0].astype(np.int16)},
    )
