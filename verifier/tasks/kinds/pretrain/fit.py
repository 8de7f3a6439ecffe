"""Trains a language model of bytes: for solvers, as an example, and for builders, as a reference."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from verifier.tasks.models.language_models import ByteModel

# Rows per step.
BATCH = 16
# Learning rate of the matrices of the blocks, for Muon, whose updates have the same size whatever the gradient's is.
MATRIX_RATE = 0.02
# Learning rate of embeddings, head, norms and biases, for AdamW.
OTHER_RATE = 3e-3
# Share of the training during which the learning rates rise from 0.
WARM_UP = 0.02
# Largest norm of a gradient; a larger one is scaled down to it.
MAX_GRADIENT_NORM = 1.0

# Called after every step with the number of steps, and the loss in nat per byte; returns the share of the training
# that is done. The training ends when it is 1.
Progress = Callable[[int, float], float]


def fit(model: ByteModel, documents: Sequence[bytes], context: int, seed: int, progress: Progress) -> None:
    """Minimise the cross-entropy of random rows of `context` bytes; learning rates follow the share that is done.

    Documents must have at least `context` bytes. Source of the optimiser: torch.optim.Muon for the matrices of the
    blocks, AdamW for the rest.
    """
    rng = np.random.default_rng(seed)
    texts = [np.frombuffer(document, np.uint8) for document in documents]
    starts = np.array([len(text) - context + 1 for text in texts], np.float64)
    optimizers = _optimizers(model)
    rates = [[group["lr"] for group in optimizer.param_groups] for optimizer in optimizers]
    model.train()
    steps, done = 0, 0.0
    while done < 1.0:
        factor = min(1.0, (steps + 1) / 20, (done + 1e-3) / WARM_UP) * (1.0 - done)
        for optimizer, own in zip(optimizers, rates, strict=True):
            for group, rate in zip(optimizer.param_groups, own, strict=True):
                group["lr"] = rate * factor
        batch = _draw(texts, starts / starts.sum(), context, rng)
        loss = cross_entropy(model(batch).flatten(0, 1), batch.flatten())
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), MAX_GRADIENT_NORM)
        for optimizer in optimizers:
            optimizer.step()
        steps += 1
        done = progress(steps, loss.item())
    model.eval()


def _optimizers(model: ByteModel) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the blocks, AdamW for all other tensors."""
    ends = {id(p) for module in model.modules() if isinstance(module, nn.Embedding) for p in module.parameters()}
    ends |= {id(p) for p in model.head().parameters()}
    matrices = [p for p in model.parameters() if p.ndim == 2 and id(p) not in ends]
    taken = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in taken]
    return [
        torch.optim.Muon(matrices, lr=MATRIX_RATE, weight_decay=0.01),
        torch.optim.AdamW(others, lr=OTHER_RATE, betas=(0.9, 0.95), weight_decay=0.01),
    ]


def _draw(
    texts: Sequence[NDArray[np.uint8]], weights: NDArray[np.float64], context: int, rng: np.random.Generator
) -> Tensor:
    """A batch of rows [BATCH, context], each from a random place of a random document."""
    rows = []
    for number in rng.choice(len(texts), BATCH, p=weights):
        start = rng.integers(len(texts[number]) - context + 1)
        rows.append(texts[number][start : start + context])
    return torch.from_numpy(np.stack(rows).astype(np.int64))
