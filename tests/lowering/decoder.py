"""A small decoder whose adapters and head are inputs, lowered in every form in which exporters mask scores."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from torch import nn

from tests.lowering.architectures import Architecture, Feeds, exported, seeded, steps
from verifier.exact import Program, load_program
from verifier.exact.lowering import InputSpec, lower

ROWS, TOKENS, VOCABULARY, WIDTH, HEADS, RANK, CLASSES = 2, 8, 32, 16, 2, 2, 5
LAYERS = 2
GRIDS = {"a_query": -15, "b_query": -12, "a_key": -15, "b_key": -12, "head": -12}
SHAPES = {
    "a_query": (RANK, WIDTH),
    "b_query": (WIDTH, RANK),
    "a_key": (RANK, WIDTH),
    "b_key": (WIDTH, RANK),
    "head": (CLASSES, WIDTH),
}
# How much larger than usual the scores are in calibration. They reach about 1,000, as those of real decoders do.
SCORE_SCALE = 40.0
# Forms of the causal mask and of the mask of padding: added or selected, and the number that means minus infinity.
CAUSAL_FORMS = ("added -1e9", "added -1e4", "selected -inf", "subtracted 1e4")
PADDED_FORMS = ("added lowest", "added -1e4", "selected with the causal mask")


class Decoder(nn.Module):
    """Attention, twice, over earlier tokens and, in a padded form, over unmasked ones; logits for each token."""

    def __init__(self, causal: str, padded: str | None) -> None:
        super().__init__()
        self.causal, self.padded = causal, padded
        self.embedding = nn.Embedding(VOCABULARY, WIDTH)
        self.positions = nn.Parameter(torch.randn(TOKENS, WIDTH))
        self.layers = nn.ModuleList(nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(4)) for _ in range(LAYERS))
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(LAYERS))
        self.register_buffer("earlier", torch.ones(TOKENS, TOKENS, dtype=torch.bool).tril())

    def forward(self, input_ids: torch.Tensor, *more: torch.Tensor) -> torch.Tensor:
        """`more` are the mask of padding, in a padded form, and the five tensors of a submission."""
        *mask, a_query, b_query, a_key, b_key, head = more
        x = self.embedding(input_ids) + self.positions
        for (query, key, value, out), norm in zip(self.layers, self.norms, strict=True):  # type: ignore[misc]
            queries, keys, values = (
                part.view(ROWS, TOKENS, HEADS, -1).transpose(1, 2)
                for part in (query(x) + x @ a_query.T @ b_query.T, key(x) + x @ a_key.T @ b_key.T, value(x))
            )
            scores = queries @ keys.transpose(-1, -2) * SCORE_SCALE
            weights = torch.softmax(self._masked(scores, *mask), dim=-1)
            x = norm(x + out((weights @ values).transpose(1, 2).reshape(ROWS, TOKENS, WIDTH)))
        return x @ head.T

    def _masked(self, scores: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        later = (~self.earlier).float()  # type: ignore[operator]
        if mask is not None and self.padded == "selected with the causal mask":
            seen = self.earlier & mask[:, None, None, :].bool()  # type: ignore[operator]
            return torch.where(seen, scores, torch.finfo(torch.float32).min)
        if self.causal.startswith("added"):
            scores = scores + later * float(self.causal.split()[1])
        elif self.causal == "subtracted 1e4":
            scores = scores * self.earlier.float() - 1e4 * later  # type: ignore[operator]
        else:
            scores = torch.where(self.earlier, scores, -torch.inf)  # type: ignore[call-overload]
        if mask is not None:
            low = -1e4 if self.padded == "added -1e4" else torch.finfo(torch.float32).min
            scores = scores + (1 - mask[:, None, None, :].float()) * low
        return scores


def draw(rng: np.random.Generator, padded: bool) -> Feeds:
    """Draw tokens, lengths where they are padded, and a submission as calibration has it."""
    feeds: dict[str, Any] = {"input_ids": rng.integers(0, VOCABULARY, (ROWS, TOKENS))}
    if padded:
        lengths = rng.integers(1, TOKENS + 1, (ROWS, 1))
        feeds["attention_mask"] = (np.arange(TOKENS) < lengths).astype(np.int64)
    spread = {"a_query": 0.2, "b_query": 0.5, "a_key": 0.2, "b_key": 0.5, "head": 0.3}
    return feeds | {name: steps(rng.normal(0, spread[name], shape), GRIDS[name]) for name, shape in SHAPES.items()}


@cache
def exact_file(causal: str, padded: str | None = None) -> bytes:
    """Export, calibrate and lower the decoder with these masks."""
    made = Architecture(seeded(lambda: Decoder(causal, padded)), lambda rng: draw(rng, padded is not None))
    feeds = [made.draw(np.random.default_rng(seed)) for seed in range(1, 7)]
    specs = {name: InputSpec("int16", grid) for name, grid in GRIDS.items()}
    specs["input_ids"] = InputSpec("int16", lo=0, hi=VOCABULARY - 1)
    if padded:
        specs["attention_mask"] = InputSpec("int8", lo=0, hi=1)
    return bytes(lower(exported(made, dynamo=False, opset=17), feeds, specs).SerializeToString())


@cache
def program(causal: str, padded: str | None = None) -> Program:
    """The program that the file is proven to be."""
    return load_program(exact_file(causal, padded))


def extreme(rng: np.random.Generator) -> Feeds:
    """Draw a submission of the smallest and largest integers, with some in between."""
    kinds = np.array([-(2**15), 2**15 - 1])
    return {
        name: np.where(rng.random(shape) < 0.8, rng.choice(kinds, shape), rng.integers(-(2**15), 2**15, shape)).astype(
            np.int16
        )
        for name, shape in SHAPES.items()
    }
