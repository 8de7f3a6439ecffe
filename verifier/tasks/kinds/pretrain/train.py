"""An example trainer for solvers: the task's model, trained for some minutes, saved as safetensors."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress
from safetensors.numpy import save_file

from verifier.artifacts.new_files import check_new, new_folder
from verifier.tasks.errors import BuildError
from verifier.tasks.kinds.pretrain.fit import BATCH, fit
from verifier.tasks.kinds.pretrain.options import PretrainSettings, PretrainTraining
from verifier.tasks.kinds.pretrain.program import weights_of
from verifier.tasks.manifest import Manifest
from verifier.tasks.models.language_models import ByteModel
from verifier.tasks.models.weight_files import WEIGHTS
from verifier.tasks.registry import read_settings
from verifier.tasks.text.documents import read_documents


def train(manifest: Manifest, options: PretrainTraining, out: Path) -> str:
    """Train the task's model and write the folder that `touchstone pack` takes; returns what was done, in one line.

    Errors: BuildError for a text that is too short; KindError; ManifestError; ArtifactError when `out` exists.
    """
    check_new(out)
    settings = read_settings(PretrainSettings, "pretrain", manifest)
    texts = [item.data for item in read_documents(options.data) if len(item.data) >= settings.context]
    if not texts:
        raise BuildError(f"{options.data} has no document of {settings.context} bytes, which is one row of the task")
    torch.manual_seed(options.seed)
    model = ByteModel(
        settings.architecture,
        layers=settings.layers,
        width=settings.width,
        heads=settings.heads,
        context=settings.context,
    )
    began = time.monotonic()
    seconds, steps = 60.0 * options.minutes, 0
    with Progress(console=Console(stderr=True)) as shown:
        bar = shown.add_task("training", total=1.0)

        def progress(number: int, loss: float) -> float:
            nonlocal steps
            steps = number
            done = (time.monotonic() - began) / seconds if options.steps is None else number / options.steps
            shown.update(bar, completed=min(done, 1.0), description=f"training, {loss / np.log(2):.3f} bits per byte")
            return done

        fit(model, texts, settings.context, options.seed, progress)
    with new_folder(out) as folder:
        save_file(weights_of(model), folder / WEIGHTS)
    seen = steps * BATCH * settings.context
    return f"{steps} steps, {seen:,} bytes seen, {time.monotonic() - began:.0f} s: weights in {out}"
