"""An example trainer for solvers: LoRA and a head for a task of kind `lora`, saved as PEFT saves them.

`python -m scripts.train --task task/manifest.json --base MODEL/ --data task/train.tsv --out adapter/`

Model, tokens and length are the task's own (verifier.tasks.kinds.classify), so that what is trained is what is judged.
"""

import time
from pathlib import Path

import click
import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress

from verifier.artifacts.errors import TargetExistsError
from verifier.artifacts.new_files import check_new
from verifier.tasks import load_manifest, read_settings
from verifier.tasks.errors import BuildError
from verifier.tasks.kinds.classify.options import ClassifySettings
from verifier.tasks.models.adapters import with_adapter
from verifier.tasks.models.classifier import load_classifier
from verifier.tasks.text.encoding import Encoding
from verifier.tasks.text.rows import read_rows

BATCH = 16
LEARNING_RATE = 2e-3
HEAD_LEARNING_RATE = 3e-2  # it starts from nothing, and has to move far
WARM_UP = 0.1  # of all steps


@click.command()
@click.option("--task", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=True, help="Manifest.")
@click.option("--base", type=click.Path(path_type=Path), required=True, help="The model folder the task was built of.")
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Rows to train on: label<TAB>text.")
@click.option("--epochs", default=2, show_default=True, type=click.IntRange(min=1))
@click.option("--limit", type=click.IntRange(min=1), help="Train on so many rows only: a way to stop early.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="A new folder for the adapter.")
def main(task: Path, base: Path, data: Path, epochs: int, limit: int | None, seed: int, out: Path) -> None:
    """Train an adapter and write the folder that `touchstone pack` takes."""
    try:
        check_new(out)
    except TargetExistsError as error:
        raise click.ClickException(str(error)) from error
    torch.manual_seed(seed)
    settings = read_settings(ClassifySettings, "classify", load_manifest(task))
    try:
        rows = read_rows(data)
        order = np.random.default_rng(seed).permutation(len(rows))[:limit]
        arrays = Encoding(base, settings.sequence, settings.labels).encode([rows[index] for index in order])
        model = with_adapter(
            load_classifier(base, len(settings.labels)), settings.targets, settings.rank, settings.alpha, dropout=0.05
        )
    except BuildError as error:
        raise click.ClickException(str(error)) from error

    model.train()
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    head = [p for name, p in trained if "lora_" not in name]
    lora = [p for name, p in trained if "lora_" in name]
    optimizer = torch.optim.AdamW(
        [{"params": lora, "lr": LEARNING_RATE}, {"params": head, "lr": HEAD_LEARNING_RATE}], weight_decay=0.01
    )
    steps = epochs * -(-len(order) // BATCH)
    rising = max(1, round(WARM_UP * steps))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / rising, (steps - step) / max(1, steps - rising))
    )
    ids, mask, label = (
        torch.from_numpy(arrays[name].astype(np.int64)) for name in ("input_ids", "attention_mask", "label")
    )
    began, losses = time.monotonic(), []
    with Progress(console=Console(stderr=True)) as progress:
        bar = progress.add_task("training", total=steps)
        for _ in range(epochs):
            for batch in torch.randperm(len(order)).split(BATCH):
                longest = int(mask[batch].sum(dim=1).max())  # the rest is padding, which no token attends to
                logits, _ = model(ids[batch, :longest], mask[batch, :longest])
                loss = torch.nn.functional.cross_entropy(logits, label[batch])
                optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_([*lora, *head], 1.0)
                optimizer.step()
                schedule.step()
                losses.append(loss.item())
                progress.update(bar, advance=1, description=f"training, loss {np.mean(losses[-20:]):.3f}")
    model.save_pretrained(out)
    click.echo(f"{len(order)} rows, {epochs} epochs, {time.monotonic() - began:.0f} s: adapter in {out}")


if __name__ == "__main__":
    main()
