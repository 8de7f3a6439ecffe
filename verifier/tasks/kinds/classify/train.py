"""An example trainer for solvers: LoRA and a head, saved as PEFT saves them.

Model, token ids and length are those of the task, so the model that is trained is the model that is scored.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress
from torch.nn import Parameter
from torch.nn.functional import cross_entropy

from verifier.artifacts.new_files import check_new
from verifier.tasks.kinds.classify.options import ClassifySettings, ClassifyTraining
from verifier.tasks.manifest import Manifest
from verifier.tasks.models.adapters import with_adapter
from verifier.tasks.models.base_files import check_base
from verifier.tasks.models.classifier import load_classifier
from verifier.tasks.registry import read_settings
from verifier.tasks.text.encoding import Encoding
from verifier.tasks.text.rows import read_rows

# Rows per step.
BATCH = 16
# Learning rate of A and B.
LEARNING_RATE = 2e-3
# Learning rate of the head, which starts from random weights and moves further than the adapter.
HEAD_LEARNING_RATE = 3e-2
# Share of all steps during which the learning rate rises from 0.
WARM_UP = 0.1
# Probability that training drops an input of an adapter.
DROPOUT = 0.05
# Largest norm of a gradient; a larger one is scaled down to it.
MAX_GRADIENT_NORM = 1.0
# Number of steps whose mean loss is shown.
SHOWN_STEPS = 20


def train(manifest: Manifest, options: ClassifyTraining, out: Path) -> str:
    """Train an adapter and write the folder that `touchstone pack` takes; returns what was done, in one line.

    Errors: WrongBase; BuildError for a wrong model folder or data set; KindError; ManifestError; ArtifactError when
    `out` exists.
    """
    check_new(out)
    check_base(options.base, manifest)
    settings = read_settings(ClassifySettings, "classify", manifest)
    torch.manual_seed(options.seed)
    rows = read_rows(options.data)
    order = np.random.default_rng(options.seed).permutation(len(rows))[: options.limit]
    encoding = Encoding(options.base, settings.sequence, settings.labels)
    arrays = encoding.encode([rows[index] for index in order])
    model = with_adapter(
        load_classifier(options.base, len(settings.labels)),
        settings.targets,
        settings.rank,
        settings.alpha,
        dropout=DROPOUT,
    )
    tensors = {name: torch.from_numpy(array.astype(np.int64)) for name, array in arrays.items()}
    began = time.monotonic()
    _fit(model, tensors, options.epochs)
    model.save_pretrained(str(out))
    return f"{len(order)} rows, {options.epochs} epochs, {time.monotonic() - began:.0f} s: adapter in {out}"


def _fit(model: Any, tensors: dict[str, torch.Tensor], epochs: int) -> None:
    """Minimise the cross-entropy of the labels."""
    model.train()
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    head = [p for name, p in trained if "lora_" not in name]
    lora = [p for name, p in trained if "lora_" in name]
    count = len(tensors["label"])
    optimizer, schedule = _optimizer(lora, head, steps=epochs * -(-count // BATCH))
    ids, mask, label = (tensors[name] for name in ("input_ids", "attention_mask", "label"))
    losses: list[float] = []
    with Progress(console=Console(stderr=True)) as progress:
        bar = progress.add_task("training", total=epochs * -(-count // BATCH))
        for _ in range(epochs):
            for batch in torch.split(torch.randperm(count), BATCH):
                longest = int(mask[batch].sum(dim=1).max())  # the rest is padding, which no token attends to
                logits, _ = model(ids[batch, :longest], mask[batch, :longest])
                loss = cross_entropy(logits, label[batch])
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                torch.nn.utils.clip_grad_norm_([*lora, *head], MAX_GRADIENT_NORM)
                optimizer.step()
                schedule.step()
                losses.append(loss.item())
                shown = np.mean(losses[-SHOWN_STEPS:])
                progress.update(bar, advance=1, description=f"training, loss {shown:.3f}")


def _optimizer(
    lora: list[Parameter], head: list[Parameter], steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """AdamW whose learning rates rise during the warm-up and then fall linearly to 0."""
    optimizer = torch.optim.AdamW(
        [{"params": lora, "lr": LEARNING_RATE}, {"params": head, "lr": HEAD_LEARNING_RATE}], weight_decay=0.01
    )
    rising = max(1, round(WARM_UP * steps))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / rising, (steps - step) / max(1, steps - rising))
    )
    return optimizer, schedule
