"""The commands with which a solver starts: task get, task show."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from verifier.cli.fetching import advice, fetching_options, policy
from verifier.cli.progress import progress_bar

if TYPE_CHECKING:
    from verifier.tasks import Kind, Manifest, Trainer
    from verifier.tasks.download import TaskFile


@click.command(name="show")
@click.argument("manifest", metavar="MANIFEST")
@fetching_options
def show_command(manifest: str, **fetching: Any) -> None:
    """Describe the task of MANIFEST, a file or a URI.

    Prints the base model, what is to be trained, the sets and their sizes, the metric, the cost of an evaluation, and
    the commands that come next.
    """
    with tempfile.TemporaryDirectory() as folder:
        task = _open(manifest, Path(folder), fetching)
    file = Path(manifest)
    steps = steps_of(task, file.parent) if file.is_file() else [_get(manifest, fetching)]
    _print({**_description(task), "next": steps})


@click.command(name="get")
@click.argument("manifest", metavar="MANIFEST")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder for the files.")
@fetching_options
def get_command(manifest: str, out: Path, **fetching: Any) -> None:
    """Download the files of the task of MANIFEST, a URI or a file.

    Writes the manifest, the program, the practice set and, where the sponsor publishes them, rows to train on. Each
    file is checked by size and digest. Run the command again to continue: files that are there are not fetched again,
    and a file with other content is never replaced. `ape run task get` does the same for a task id.
    """
    from verifier.tasks.download import TaskFolder, public_files

    task = _open(manifest, out, fetching)
    folder = TaskFolder(out, policy(**fetching))
    folder.add_manifest(task)
    files = public_files(task)
    with advice(), progress_bar() as show:
        fetched = folder.require(files, show)
    report(task, out, files, fetched)


def report(task: Manifest, out: Path, files: list[TaskFile], fetched: list[TaskFile]) -> None:
    """Print what `task get` did: each file, the manifest's digest, and the commands that come next."""
    lines = {
        file.name: f"{'fetched' if file in fetched else 'already here'}, {file.size:,} bytes, 0x{file.digest.hex()}"
        for file in files
    }
    training = {} if task.training is not None else {"training": _NO_TRAINING}
    _print(
        {
            "task": task.title,
            "manifest": f"0x{task.digest().hex()}",
            **lines,
            **training,
            "base": task.base.source or task.base.model,
            "next": steps_of(task, out),
        }
    )


def steps_of(task: Manifest, folder: Path) -> list[str]:
    """Return the commands that come next for a task whose manifest is in `folder`."""
    from verifier.tasks.manifest import MANIFEST_FILE, PROGRAM_FILE

    manifest = shlex.quote(str(folder / MANIFEST_FILE))
    if not (folder / PROGRAM_FILE).is_file():
        return [f"touchstone task get {manifest} --out {shlex.quote(str(folder))}"]
    kind = installed_kind(task)
    return [
        *([_training(task, kind.trainer, folder)] if kind is not None and kind.trainer is not None else []),
        f"touchstone pack adapter/ --task {manifest} --out mine.tensors",
        f"touchstone score --task {manifest} --submission mine.tensors",
    ]


def _training(task: Manifest, trainer: Trainer[Any], folder: Path) -> str:
    """The command of the example trainer, with each option that it requires."""
    from verifier.cli.model_options import flag
    from verifier.tasks.manifest import MANIFEST_FILE

    rows = "ROWS" if task.training is None else shlex.quote(str(folder / task.training.file))
    values = {"base": "MODEL/", "data": rows}
    required = [name for name, field in trainer.options.model_fields.items() if field.is_required()]
    words = [f"{flag(name)} {values.get(name, name.upper())}" for name in required]
    manifest = shlex.quote(str(folder / MANIFEST_FILE))
    return " ".join([f"python -m scripts.train --task {manifest}", *words, "--out adapter/"])


def installed_kind(manifest: Manifest) -> Kind[Any, Any] | None:
    """Return the kind of the task, or None when it cannot be used here: reading and scoring do not need it."""
    from verifier.tasks import find_kind
    from verifier.tasks.errors import KindError

    try:
        return find_kind(manifest.kind)
    except KindError:
        return None


_NO_TRAINING = "the sponsor publishes no rows to train on: bring rows of your own"


def _open(manifest: str, folder: Path, fetching: dict[str, Any]) -> Manifest:
    """Read the manifest from a file, or fetch it into `folder` from a URI."""
    from verifier.tasks import load_manifest
    from verifier.tasks.download import TaskFolder, digest_in

    if "://" not in manifest:
        return load_manifest(Path(manifest))
    with advice():
        return TaskFolder(folder, policy(**fetching)).manifest(manifest, digest_in(manifest))


def _get(uri: str, fetching: dict[str, Any]) -> str:
    """The command that downloads the task, with the options that were needed to read its manifest."""
    words = ["touchstone", "task", "get", uri, "--out", "task/"]
    for host in fetching["allow_hosts"]:
        words += ["--allow-host", host]
    if fetching["ipfs_gateway"]:
        words += ["--ipfs-gateway", fetching["ipfs_gateway"]]
    return shlex.join(words)


def _description(task: Manifest) -> dict[str, str]:
    from verifier.artifacts import digests

    tensors = task.submission_schema
    holdout = "none: the practice set decides"
    if task.holdout is not None:
        holdout = f"{task.holdout.count:,} examples, {task.holdout.size:,} bytes, sealed {task.holdout.sealed_digest}"
    training = _NO_TRAINING
    if task.training is not None:
        training = f"{task.training.count:,} rows, {task.training.size:,} bytes, {task.training.digest}"
    known = task.base.source or "the sponsor does not say where to find it"
    named = {f"base.{file.name}": f"{file.size:,} bytes, {file.digest}" for file in task.base.files}
    if not named:
        known = f"{task.base.model}; {task.base.tokenizer}"
    return {
        "title": task.title,
        "kind": _kind_line(task),
        "manifest": digests.to_hex(task.digest()),
        "base": known,
        **named,
        **{f"settings.{name}": _shown(value) for name, value in sorted(_settings(task).items())},
        "submission": f"{len(tensors):,} tensors, {sum(tensor.nbytes for tensor in tensors):,} bytes of values",
        "training": training,
        "practice": f"{task.practice.count:,} examples, {task.practice.size:,} bytes, {task.practice.digest}",
        "holdout": holdout,
        "program": f"{task.program.size:,} bytes, {task.program.digest}",
        "metric": f"{task.metric.name}, in {task.metric.unit}, at most {task.metric.bound:,}; the threshold is in "
        f"{task.metric.unit} of {task.evaluation_count:,} examples (`ape run status` shows it)",
        "cost": f"{task.macs:,} multiply-accumulates per submission",
    }


def _print(lines: Mapping[str, str | Sequence[str]]) -> None:
    """Print names and texts in two columns; further lines of a text are indented."""
    width = max(map(len, lines))
    for name, text in lines.items():
        first, *rest = [text] if isinstance(text, str) else text
        click.echo(f"{name:<{width}}  {first}")
        for line in rest:
            click.echo(f"{'':<{width}}  {line}")


def _kind_line(manifest: Manifest) -> str:
    kind = installed_kind(manifest)
    return f"{manifest.kind}, which is not installed" if kind is None else f"{kind.name}: {kind.summary}"


def _settings(manifest: Manifest) -> dict[str, Any]:
    """The kind's settings, checked by the kind's model where the kind is installed. Errors: ManifestError."""
    from verifier.tasks import read_settings

    kind = installed_kind(manifest)
    return manifest.settings if kind is None else read_settings(kind.settings, kind.name, manifest).model_dump()


def _shown(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
