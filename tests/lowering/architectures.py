"""Small models of common architectures with random weights, and their export by torch's two exporters."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import torch
from torch import nn
from transformers import (
    BertConfig,
    BertModel,
    ConvNextConfig,
    ConvNextForImageClassification,
    DebertaV2Config,
    DebertaV2Model,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MobileNetV2Config,
    MobileNetV2ForImageClassification,
    ModernBertConfig,
    ModernBertModel,
    Qwen3Config,
    Qwen3ForCausalLM,
    RobertaConfig,
    RobertaModel,
    T5Config,
    T5EncoderModel,
    ViTConfig,
    ViTForImageClassification,
)

from verifier.exact.lowering import InputSpec

Feeds = dict[str, np.ndarray[Any, Any]]
Draw = Callable[[np.random.Generator], Feeds]

ROWS, TOKENS = 2, 12
VOCABULARY = 256
FEATURES, CLASSES = 24, 6
PIXELS = 12
TOKEN_SPECS = {
    "input_ids": InputSpec("int16", lo=0, hi=VOCABULARY - 1),
    "attention_mask": InputSpec("int8", lo=0, hi=1),
}
# The grid of float inputs: the float model gets the number that the exact one gets in steps.
INPUT_GRID = -8


@dataclass(frozen=True)
class Architecture:
    """A float model, and a function that draws its feeds."""

    model: nn.Module
    draw: Draw


class Result(nn.Module):
    """A transformers model that takes positional inputs and returns one tensor."""

    def __init__(self, model: nn.Module, names: tuple[str, ...], result: str) -> None:
        super().__init__()
        self.model, self.names, self.result = model, names, result

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        more = {"use_cache": False} if self.result == "logits" and "input_ids" in self.names else {}
        found: torch.Tensor = getattr(self.model(**dict(zip(self.names, inputs, strict=True)), **more), self.result)
        return found


def seeded(build: Callable[[], nn.Module]) -> nn.Module:
    """Build a model with seeded random weights; norms and biases, which start at 1 and 0, get random values too."""
    torch.manual_seed(3)
    model = build().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter) * 0.2)
    return model


def settled(model: nn.Module, draw: Draw) -> Architecture:
    """Return an architecture whose batch norms have the statistics of the drawn feeds, as after training."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    images = np.concatenate([draw(np.random.default_rng(seed))["x"] for seed in range(32)])
    with torch.no_grad():
        model.train()(torch.from_numpy(images))
    return Architecture(model.eval(), draw)


def tokens(rng: np.random.Generator) -> Feeds:
    """Draw rows of random tokens."""
    return {"input_ids": rng.integers(0, VOCABULARY, (ROWS, TOKENS))}


def padded(rng: np.random.Generator) -> Feeds:
    """Draw rows of random tokens of different lengths."""
    lengths = rng.integers(3, TOKENS + 1, (ROWS, 1))
    return {**tokens(rng), "attention_mask": (np.arange(TOKENS) < lengths).astype(np.int64)}


def steps(array: np.ndarray[Any, Any], grid: int) -> np.ndarray[Any, Any]:
    """Return the nearest multiples of 2**grid, as float32."""
    return np.ldexp(np.rint(np.ldexp(array, -grid)), grid).astype(np.float32)


def reals(*shape: int) -> Draw:
    """Return a function that draws normal numbers on the input grid."""
    return lambda rng: {"x": steps(rng.normal(size=shape), INPUT_GRID)}


MASKED = ("input_ids", "attention_mask")
HIDDEN = "last_hidden_state"


def language(cls: type, config: type, result: str, masked: bool, settings: dict[str, Any], **more: Any) -> Architecture:
    """Return an encoder or decoder of transformers; `settings` are its config's, `more` its constructor's."""
    made = config(**{"attn_implementation": "eager", **settings})
    names = MASKED if masked else MASKED[:1]
    return Architecture(seeded(lambda: Result(cls(made, **more), names, result)), padded if masked else tokens)


def sizes(width: int, vocabulary: int = VOCABULARY) -> dict[str, Any]:
    """Return the sizes under the names of most configs; the weights' spread keeps activations at a constant scale."""
    return {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": 5 * width // 2,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 2 * TOKENS,
        "initializer_range": width**-0.5,
    }


def special(pad: int = 0) -> dict[str, int]:
    """Return special tokens, which configs require to be inside of the vocabulary."""
    return {"pad_token_id": pad, "bos_token_id": 1, "eos_token_id": 2}


def bert(width: int = 48, vocabulary: int = VOCABULARY) -> Architecture:
    """An encoder: LayerNorm, GELU by erf, a mask of padding."""
    return language(BertModel, BertConfig, HIDDEN, True, sizes(width, vocabulary), add_pooling_layer=False)


def attention() -> Architecture:
    """The same encoder with attention as one function, which newer opsets have as one node."""
    settings = {**sizes(48), "attn_implementation": "sdpa"}
    return language(BertModel, BertConfig, HIDDEN, True, settings, add_pooling_layer=False)


def roberta() -> Architecture:
    """An encoder that counts positions without padding."""
    settings = {**sizes(48), **special(pad=1)}
    return language(RobertaModel, RobertaConfig, HIDDEN, True, settings, add_pooling_layer=False)


def modernbert() -> Architecture:
    """An encoder with rotary embeddings, gates and windows, some of which contain padding only."""
    settings = {**sizes(48), **special(), "cls_token_id": 1, "sep_token_id": 2}
    settings |= {"global_attn_every_n_layers": 2, "local_attention": 8}
    return language(ModernBertModel, ModernBertConfig, HIDDEN, True, settings)


def deberta() -> Architecture:
    """An encoder whose attention looks up relative positions."""
    settings = {**sizes(48), "relative_attention": True, "pos_att_type": ["p2c", "c2p"], "type_vocab_size": 0}
    return language(DebertaV2Model, DebertaV2Config, HIDDEN, True, settings)


def llama(width: int = 48, vocabulary: int = VOCABULARY) -> Architecture:
    """A decoder: grouped-query attention, RMSNorm, rotary embedding, SwiGLU, a mask of padding."""
    settings = {**sizes(width, vocabulary), **special(), "num_key_value_heads": 2}
    return language(LlamaForCausalLM, LlamaConfig, "logits", True, settings)


def gpt2(width: int = 48, vocabulary: int = VOCABULARY) -> Architecture:
    """A decoder: LayerNorm, GELU by tanh, learned positions, embeddings tied to the head, a mask of padding."""
    settings = {
        "vocab_size": vocabulary,
        "n_embd": width,
        "n_layer": 2,
        "n_head": 4,
        "n_positions": TOKENS,
        "initializer_range": width**-0.5,
        **special(),
    }
    return language(GPT2LMHeadModel, GPT2Config, "logits", True, settings)


def qwen3() -> Architecture:
    """A decoder with normalised queries and keys, without a padding mask."""
    settings = {**sizes(48), **special(), "num_key_value_heads": 2, "head_dim": 12}
    return language(Qwen3ForCausalLM, Qwen3Config, "logits", False, settings)


def gemma2() -> Architecture:
    """A decoder without a padding mask: norms around each part, capped logits, a sliding window, a GELU gate."""
    settings = {**sizes(48), **special(), "num_key_value_heads": 2, "head_dim": 12, "sliding_window": 6}
    return language(Gemma2ForCausalLM, Gemma2Config, "logits", False, settings)


def t5() -> Architecture:
    """An encoder with relative positions and norms without a mean."""
    settings = {"vocab_size": VOCABULARY, "d_model": 48, "d_kv": 12, "d_ff": 96, "num_layers": 2, "num_heads": 4}
    return language(T5EncoderModel, T5Config, HIDDEN, True, settings)


def vit() -> Architecture:
    """An encoder of image patches."""
    settings = {**sizes(48), "image_size": PIXELS, "patch_size": 4, "attn_implementation": "eager"}
    settings = {key: value for key, value in settings.items() if key not in ("vocab_size", "max_position_embeddings")}
    model = seeded(lambda: Result(ViTForImageClassification(ViTConfig(**settings)), ("pixel_values",), "logits"))
    return Architecture(model, reals(ROWS, 3, PIXELS, PIXELS))


def convnext() -> Architecture:
    """Depthwise convolutions with norms over channels."""
    config = ConvNextConfig(hidden_sizes=[8, 16], depths=[1, 1], num_stages=2, image_size=PIXELS)
    model = seeded(lambda: Result(ConvNextForImageClassification(config), ("pixel_values",), "logits"))
    return Architecture(model, reals(ROWS, 3, 16, 16))


def mobilenet() -> Architecture:
    """Inverted residuals: depthwise convolutions, BatchNorm, clipped activations, padding that differs by side."""
    config = MobileNetV2Config(depth_multiplier=0.35, image_size=32)
    model = seeded(lambda: Result(MobileNetV2ForImageClassification(config), ("pixel_values",), "logits"))
    return settled(model, reals(ROWS, 3, 32, 32))


def mlp() -> Architecture:
    """Linear layers with LayerNorm, GELU, SiLU and tanh."""
    return Architecture(
        seeded(
            lambda: nn.Sequential(
                nn.Linear(FEATURES, 64),
                nn.LayerNorm(64),
                nn.GELU(),
                nn.Linear(64, 48, bias=False),
                nn.SiLU(),
                nn.Linear(48, 32),
                nn.Tanh(),
                nn.Linear(32, CLASSES),
            )
        ),
        reals(2 * ROWS, FEATURES),
    )


def cnn() -> Architecture:
    """Convolutions with strides and groups, BatchNorm, MaxPool, AvgPool and global average pooling."""
    return settled(
        seeded(
            lambda: nn.Sequential(
                nn.Conv2d(3, 16, 3, padding=1),
                nn.BatchNorm2d(16),
                nn.ReLU(),
                nn.MaxPool2d(2),
                nn.Conv2d(16, 32, 3, stride=2, padding=1, groups=4, bias=False),
                nn.BatchNorm2d(32),
                nn.ReLU6(),
                nn.AvgPool2d(3, stride=1, padding=1),
                nn.Conv2d(32, 32, 1),
                nn.Hardswish(),
                nn.AdaptiveAvgPool2d(1),
                nn.Flatten(),
                nn.Linear(32, CLASSES),
            )
        ),
        reals(ROWS, 3, PIXELS, PIXELS),
    )


class Adapted(nn.Module):
    """Attention with LoRA on its queries and values, and a head. A, B and the head's weight are inputs."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.norm = nn.LayerNorm(width)

    def forward(self, x: torch.Tensor, *adapter: torch.Tensor) -> torch.Tensor:
        a_query, b_query, a_value, b_value, head = adapter
        rows, length, width = x.shape
        query, key, value = (
            part.view(rows, length, self.heads, -1).transpose(1, 2)
            for part in (
                self.query(x) + x @ a_query.T @ b_query.T,
                self.key(x),
                self.value(x) + x @ a_value.T @ b_value.T,
            )
        )
        weights = torch.softmax(query @ key.transpose(-1, -2) / (width / self.heads) ** 0.5, dim=-1)
        mixed = (weights @ value).transpose(1, 2).reshape(rows, length, width)
        return self.norm(x + self.out(mixed)).mean(dim=1) @ head.T


WIDTH, RANK = 32, 4
ADAPTER_GRIDS = {"a_query": -15, "b_query": -15, "a_value": -15, "b_value": -15, "head": -12}


def adapted() -> Architecture:
    """The model above; half of the drawn feeds have a strong adapter."""

    def draw(rng: np.random.Generator) -> Feeds:
        strength = rng.choice((0.02, 0.2))
        adapter = {
            "a_query": rng.uniform(-0.2, 0.2, (RANK, WIDTH)),
            "b_query": rng.normal(0, strength, (WIDTH, RANK)),
            "a_value": rng.uniform(-0.2, 0.2, (RANK, WIDTH)),
            "b_value": rng.normal(0, strength, (WIDTH, RANK)),
            "head": rng.normal(0, 0.3, (CLASSES, WIDTH)),
        }
        on_grid = {name: steps(array, ADAPTER_GRIDS[name]) for name, array in adapter.items()}
        return {**reals(ROWS, 6, WIDTH)(rng), **on_grid}

    return Architecture(seeded(lambda: Adapted(WIDTH, 4)), draw)


def input_specs(example: Feeds) -> dict[str, InputSpec]:
    """Return the encoding of these models' inputs in their exact programs."""
    specs = {name: InputSpec("int16", ADAPTER_GRIDS.get(name, INPUT_GRID)) for name in example}
    return {**specs, **{name: spec for name, spec in TOKEN_SPECS.items() if name in example}}


def exported(architecture: Architecture, dynamo: bool, opset: int = 18) -> onnx.ModelProto:
    """Export by torch.export or by torch's legacy exporter; the output is called `result`."""
    example = architecture.draw(np.random.default_rng(0))
    arguments = tuple(torch.from_numpy(array) for array in example.values())
    file = io.BytesIO()
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        written = torch.onnx.export(
            architecture.model,
            arguments,
            None if dynamo else file,
            dynamo=dynamo,
            opset_version=opset,
            input_names=list(example),
            output_names=["result"],
            verbose=False,
        )
    if written is None:
        return onnx.load_from_string(file.getvalue())
    return written.model_proto
