"""Trains a LoRA adapter on answers: for solvers, as an example, and for builders, to see what an adapter changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from peft import PeftModel
from torch.nn.functional import cross_entropy

from verifier.tasks.text.answers import TokenRow

# Rows per step.
BATCH = 8
# Learning rate of A and B.
LEARNING_RATE = 1e-3
# Share of all steps during which the learning rate rises from 0.
WARM_UP = 0.1
# Largest norm of a gradient; a larger one is scaled down to it.
MAX_GRADIENT_NORM = 1.0


def fit(
    model: PeftModel,
    rows: Sequence[TokenRow],
    steps: int,
    seed: int,
    on_step: Callable[[int, float], None] = lambda done, loss: None,
) -> None:
    """Minimise the mean negative log-likelihood of a counted token, for `steps` steps of BATCH rows each.

    The model is a `Decoder` with an adapter. The rows are shuffled anew for every pass. `on_step` gets the number of
    steps and the loss in nat per token.
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=LEARNING_RATE, weight_decay=0.01)
    rising = max(1, round(WARM_UP * steps))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / rising, (steps - step) / max(1, steps - rising))
    )
    rng = np.random.default_rng(seed)
    order: list[int] = []
    model.train()
    for done in range(1, steps + 1):
        if not order:
            order = rng.permutation(len(rows)).tolist()
        batch, order = [rows[number] for number in order[:BATCH]], order[BATCH:]
        tokens, places = _tensors(batch)
        loss = cross_entropy(
            model(tokens, places).flatten(0, 1),
            tokens.gather(1, places).masked_fill(places == 0, -100).flatten(),
        )
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(trained, MAX_GRADIENT_NORM)
        optimizer.step()
        schedule.step()
        on_step(done, loss.item())
    model.eval()


def _tensors(rows: Sequence[TokenRow]) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens [rows, longest] and places [rows, most counted tokens]; both are 0 behind a row's own."""
    tokens = torch.zeros((len(rows), max(len(row.tokens) for row in rows)), dtype=torch.long)
    places = torch.zeros((len(rows), max(len(row.places) for row in rows)), dtype=torch.long)
    for number, row in enumerate(rows):
        tokens[number, : len(row.tokens)] = torch.from_numpy(row.tokens)
        places[number, : len(row.places)] = torch.from_numpy(row.places)
    return tokens, places
