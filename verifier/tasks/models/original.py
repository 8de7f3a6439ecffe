"""The base model as its authors ship it, with an adapter added to its weights: what an exact program is held against.

It shares nothing with the program's own path: no export, no PEFT, no padding, and the attention that transformers
chooses.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers.pytorch_utils import Conv1D

from verifier.tasks.models.loading import load_decoder, load_encoder
from verifier.tasks.text.encoding import load_tokenizer

# Texts of one length that run at once.
_MAX_BATCH = 32


class OriginalModel:
    """An encoder and its tokenizer, from a model folder, whose linear layers have B·A of an adapter added to them."""

    def __init__(self, folder: Path, adapter: Mapping[str, NDArray[Any]]) -> None:
        """Load both. `adapter` maps the names of a submission's tensors to floats. Errors: BuildError."""
        self._tokenizer = load_tokenizer(folder)
        self._encoder = load_encoder(folder, attention=None)
        _add(self._encoder, adapter)

    def embed(self, texts: Sequence[str], max_tokens: int) -> NDArray[np.float64]:
        """Return the mean of each text's token embeddings [texts, width], of its first `max_tokens` tokens."""
        by_length: dict[int, list[int]] = defaultdict(list)
        encoded = [self._tokenizer(text, truncation=True, max_length=max_tokens) for text in texts]
        for place, item in enumerate(encoded):
            by_length[len(item["input_ids"])].append(place)
        found: dict[int, NDArray[np.float64]] = {}
        with torch.no_grad():
            for places in by_length.values():
                for start in range(0, len(places), _MAX_BATCH):
                    chosen = places[start : start + _MAX_BATCH]
                    inputs = {name: torch.tensor([encoded[place][name] for place in chosen]) for name in encoded[0]}
                    hidden = self._encoder(**inputs).last_hidden_state.to(torch.float64)
                    found.update(zip(chosen, hidden.mean(dim=1).numpy(), strict=True))
        return np.stack([found[place] for place in range(len(texts))])


class OriginalLanguageModel:
    """A decoder from a model folder, whose linear layers have B·A of an adapter added to them."""

    def __init__(self, folder: Path, adapter: Mapping[str, NDArray[Any]]) -> None:
        """Load it. `adapter` maps the names of a submission's tensors to floats. Errors: BuildError."""
        self._decoder = load_decoder(folder, attention=None)
        _add(self._decoder, adapter)

    def log_likelihood(self, tokens: NDArray[np.int32], first: int) -> float:
        """Return the log-likelihood, in nat, of `tokens` [length] from the position `first` on, given those before."""
        row = torch.from_numpy(tokens.astype(np.int64))
        with torch.no_grad():
            logits = self._decoder(input_ids=row.unsqueeze(0), use_cache=False).logits[0].to(torch.float64)
        nats = torch.log_softmax(logits[:-1], dim=1).gather(1, row[1:].unsqueeze(1))[:, 0]
        return float(nats[first - 1 :].sum())


def _add(model: nn.Module, adapter: Mapping[str, NDArray[Any]]) -> None:
    """Add B·A of an adapter to the weights of a model's linear layers."""
    for name, a in adapter.items():
        if name.endswith(".lora_A"):
            path = name.removesuffix(".lora_A")
            layer = model.get_submodule(path)
            assert isinstance(layer, nn.Linear | Conv1D)
            product = torch.from_numpy(adapter[f"{path}.lora_B"] @ a).to(torch.float32)
            with torch.no_grad():
                layer.weight += product.T if isinstance(layer, Conv1D) else product
