"""An example trainer for solvers: LoRA on the tokens of the answers, saved as PEFT saves it."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress

from verifier.artifacts.new_files import check_new
from verifier.tasks.errors import BuildError
from verifier.tasks.kinds.language.fit import BATCH, fit
from verifier.tasks.kinds.language.options import LanguageSettings, LanguageTraining
from verifier.tasks.manifest import Manifest
from verifier.tasks.models.adapters import with_adapter
from verifier.tasks.models.base_files import check_base
from verifier.tasks.models.decoder import load_language_model
from verifier.tasks.registry import read_settings
from verifier.tasks.text.answers import AnswerEncoding, read_answers

# Probability that training drops an input of an adapter.
DROPOUT = 0.05


def train(manifest: Manifest, options: LanguageTraining, out: Path) -> str:
    """Train an adapter and write the folder that `touchstone pack` takes; returns what was done, in one line.

    Rows longer than the task's are left out. Errors: WrongBase; BuildError for a wrong model folder or data set;
    KindError; ManifestError; ArtifactError when `out` exists.
    """
    check_new(out)
    check_base(options.base, manifest)
    settings = read_settings(LanguageSettings, "language", manifest)
    torch.manual_seed(options.seed)
    base = load_language_model(options.base)
    encoded = AnswerEncoding(options.base, base.vocabulary).encode(list(read_answers(options.data)))
    fitting = [row for row in encoded if len(row.tokens) <= settings.sequence]
    if not fitting:
        raise BuildError(f"{options.data} has no row of at most {settings.sequence} tokens")
    order = np.random.default_rng(options.seed).permutation(len(fitting))[: options.limit]
    rows = [fitting[number] for number in order]
    model = with_adapter(
        base, settings.targets, settings.rank, settings.alpha, dropout=DROPOUT, part="decoder", head=None
    )
    steps = options.epochs * -(-len(rows) // BATCH)
    began = time.monotonic()
    with Progress(console=Console(stderr=True)) as shown:
        bar = shown.add_task("training", total=steps)

        def on_step(done: int, loss: float) -> None:
            shown.update(bar, completed=done, description=f"training, {loss:.3f} nat per token")

        fit(model, rows, steps, options.seed, on_step)
    model.save_pretrained(str(out))
    return f"{len(rows)} rows, {options.epochs} epochs, {time.monotonic() - began:.0f} s: adapter in {out}"
