"""Commands about what is to be judged: task build, pack, score."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import Any

import click

from verifier.cli.progress import progress_bar

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_NEW = click.Path(path_type=Path)
_POSITIVE = click.IntRange(min=1)


@click.group(name="task")
def task_group() -> None:
    """Build tasks: the program, its data sets and the manifest."""


@task_group.command(name="build")
@click.option("--base", type=click.Path(path_type=Path), required=True, help="Hugging Face-style encoder folder.")
@click.option(
    "--dataset", type=click.Path(path_type=Path), required=True, help="UTF-8 lines label<TAB>text under that header."
)
@click.option("--targets", default="query,value", show_default=True, help="Linear layers that get an adapter.")
@click.option("--rank", default=8, show_default=True, type=click.IntRange(1, 1024), help="Rank of every adapter.")
@click.option("--alpha", type=_POSITIVE, help="lora_alpha that solvers start from.  [default: twice the rank]")
@click.option("--practice", default=256, show_default=True, type=_POSITIVE, help="Public examples to practise on.")
@click.option(
    "--holdout", default=256, show_default=True, type=click.IntRange(0), help="Sealed examples that decide; 0: none."
)
@click.option("--batch", default=8, show_default=True, type=click.IntRange(1, 4096), help="Examples a run.")
@click.option("--sequence", default=64, show_default=True, type=click.IntRange(2, 1 << 15), help="Tokens an example.")
@click.option("--seed", type=click.IntRange(0), help="Fixes which examples are held out: keep it.  [default: random]")
@click.option("--title", help="What people see.  [default: from the data set's name]")
@click.option("--url", default="http://127.0.0.1:8080", show_default=True, help="Where the files will be served.")
@click.option("--out", type=_NEW, required=True, help="A new folder.")
def task_build(
    base: Path,
    dataset: Path,
    targets: str,
    alpha: int | None,
    rank: int,
    seed: int | None,
    title: str | None,
    out: Path,
    **sizes: Any,
) -> None:
    """Build a text classification task for LoRA adapters and heads.

    Writes the exact program, the practice set, the sealed holdout with its key, the manifest and train.tsv, the rows
    that are left for solvers. Prints JSON; of what it names under "publish", everything is meant to be public. Keep
    holdout.key and holdout.tensors to yourself until the holdout is revealed.
    """
    from verifier.tasks.kinds.classify.build import Choices, build

    choices = Choices(
        base=base,
        dataset=dataset,
        targets=tuple(name.strip() for name in targets.split(",") if name.strip()),
        rank=rank,
        alpha=alpha or 2 * rank,
        seed=secrets.randbits(32) if seed is None else seed,
        title=title or f"Classify {dataset.stem}",
        **sizes,
    )
    with progress_bar() as show:
        summary = build(choices, out, show)
    click.echo(json.dumps(summary, indent=2))


@click.command(name="pack")
@click.argument("adapter", type=click.Path(exists=True, path_type=Path))
@click.option("--task", "manifest_file", type=_FILE, required=True, help="The task's manifest.")
@click.option("--out", type=_NEW, required=True, help="The submission, a tensor file.")
def pack_command(adapter: Path, manifest_file: Path, out: Path) -> None:
    """Convert ADAPTER into a submission: a tensor file of integers.

    ADAPTER is a PEFT folder, or a safetensors file whose tensors have the task's names.

    Prints JSON: digest, size, file, and the largest error that rounding to the task's grids made.
    """
    from verifier.artifacts import digests
    from verifier.artifacts.new_files import write_new
    from verifier.tasks.kinds.classify.pack import pack
    from verifier.tasks.manifest import load_manifest

    packed = pack(adapter, load_manifest(manifest_file))
    write_new(out, packed.data)
    summary = {
        "digest": digests.to_hex(digests.digest(packed.data)),
        "size": len(packed.data),
        "file": str(out),
        "worst_error": packed.worst_error,
        "worst_tensor": packed.worst_tensor,
    }
    click.echo(json.dumps(summary, indent=2))


@click.command(name="score")
@click.option("--task", "manifest_file", type=_FILE, required=True, help="The task's manifest.")
@click.option("--submission", type=_FILE, required=True, help="What `touchstone pack` wrote.")
@click.option("--program", type=_FILE, help="The program.  [default: program.onnx beside the manifest]")
@click.option("--practice", type=_FILE, help="The practice set.  [default: practice.tensors beside the manifest]")
@click.option(
    "--holdout", type=_FILE, help="The opened holdout (see `touchstone unseal`), instead of the practice set."
)
def score_command(
    manifest_file: Path, submission: Path, program: Path | None, practice: Path | None, holdout: Path | None
) -> None:
    """Print the exact score of a submission, as a verifier finds it. Prints JSON: `score`, `count`, `unit`."""
    from verifier.tasks.judge import EvaluationLimits, score
    from verifier.tasks.manifest import load_manifest

    if practice and holdout:
        raise click.UsageError("--practice or --holdout, not both")
    manifest = load_manifest(manifest_file)
    with progress_bar() as show:
        found = score(
            manifest,
            submission,
            program or manifest_file.parent / "program.onnx",
            holdout or practice or manifest_file.parent / "practice.tensors",
            sealed=holdout is not None,
            limits=EvaluationLimits(
                threads=os.cpu_count() or 1,
                memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            ),
            on_batch=lambda done, total: show("evaluate", done, total),
        )
    click.echo(json.dumps({"score": found.score, "count": found.count, "unit": manifest.metric.unit}, indent=2))
