"""Commands about tasks and submissions: kinds, task build, pack, score."""

from __future__ import annotations

import inspect
import json
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from verifier.cli.progress import progress_bar, warn
from verifier.cli.solver import get_command, installed_kind, show_command

if TYPE_CHECKING:
    from verifier.tasks import Kind, Manifest, Registration

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_NEW = click.Path(path_type=Path)
_WHAT_EVERY_BUILDER_WRITES = """\
Writes the program, the practice set, the sealed holdout with its key and the manifest into a new folder. Prints JSON.
Everything that it names under "publish" is meant to be public. Keep holdout.key and holdout.tensors to yourself until
the holdout is revealed."""


@click.command(name="kinds")
def kinds_command() -> None:
    """List the installed kinds of tasks and their packages.

    A kind that cannot be used is listed with the reason, and the exit status is 1.
    """
    from verifier.tasks import registrations
    from verifier.tasks.errors import KindError

    broken = False
    for name, registration in registrations().items():
        try:
            summary = _load(registration).summary
        except KindError as error:
            summary, broken = f"error: {error}", True
        click.echo(f"{name:<16}  {registration.package:<24}  {summary}")
    if broken:
        raise SystemExit(1)


def commands_of_kinds() -> dict[str, click.Command]:
    """Return the command groups of the installed kinds that have one, by the kind's name."""
    return {kind.name: kind.commands for kind in _usable_kinds() if kind.commands is not None}


def _usable_kinds() -> list[Kind[Any, Any]]:
    """The installed kinds that can be used; the others must not break the help of other commands."""
    from verifier.tasks import registrations
    from verifier.tasks.errors import KindError

    found = []
    with suppress(KindError):
        for registration in registrations().values():
            with suppress(KindError):
                found.append(_load(registration))
    return found


def _load(registration: Registration) -> Kind[Any, Any]:
    """Load a kind whose options can be flags. Errors: KindError."""
    from verifier.cli.model_options import options_of
    from verifier.tasks.errors import KindError

    kind = registration.load()
    try:
        options_of(kind.options)
        if kind.trainer is not None:
            options_of(kind.trainer.options)
    except TypeError as error:
        where = f"the kind {kind.name!r} of the package {registration.package!r}"
        raise KindError(f"{where} has an option that cannot be a flag: {error}") from error
    return kind


@click.group(name="task")
def task_group() -> None:
    """Build a task, download one, or describe one."""


class _Builders(click.Group):
    """A group with a command per installed kind, made from the kind's model of options."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the kinds that can be used; `touchstone kinds` says what is wrong with the others."""
        return [kind.name for kind in _usable_kinds()]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the kind's command; None when no such kind is installed. Errors: KindError when it cannot be used."""
        from verifier.tasks import registrations

        installed = registrations()
        return _builder(_load(installed[cmd_name])) if cmd_name in installed else None


@task_group.group(name="build", cls=_Builders)
def build_group() -> None:
    """Build a task of one of the installed kinds."""


def _builder(kind: Kind[Any, Any]) -> click.Command:
    """The command `touchstone task build KIND`."""
    from verifier.cli.model_options import options_of, read_options

    def build(out: Path, **values: Any) -> None:
        options = read_options(kind.options, values)
        with progress_bar() as show:
            summary = kind.build(options, out, show)
        warn(summary.get("warnings", ()))
        click.echo(json.dumps(summary, indent=2))

    out = click.Option(["--out"], type=_NEW, required=True, help="A new folder.")
    help_text = f"{inspect.getdoc(kind.options)}\n\n{_WHAT_EVERY_BUILDER_WRITES}"
    return click.Command(kind.name, callback=build, params=[*options_of(kind.options), out], help=help_text)


task_group.add_command(get_command)
task_group.add_command(show_command)


@click.command(name="pack")
@click.argument("path", metavar="FILE_OR_FOLDER", type=click.Path(exists=True, path_type=Path))
@click.option("--task", "manifest_file", type=_FILE, required=True, help="The task's manifest.")
@click.option("--out", type=_NEW, required=True, help="The submission, a tensor file.")
def pack_command(path: Path, manifest_file: Path, out: Path) -> None:
    """Convert FILE_OR_FOLDER into a submission, a tensor file.

    The task's kind says what it can be: for `classify`, a PEFT folder, or a safetensors file whose tensors have the
    task's names. Prints JSON: digest, size, file, and what the kind reports; for `classify`, the largest error that
    rounding to the task's grids made, and the tensor that has it.
    """
    from verifier.artifacts import digests
    from verifier.artifacts.new_files import write_new
    from verifier.tasks import load_manifest, pack

    packed = pack(path, load_manifest(manifest_file))
    write_new(out, packed.data)
    summary = {
        "digest": digests.to_hex(digests.digest(packed.data)),
        "size": len(packed.data),
        "file": str(out),
        **packed.report,
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
    """Print the exact score of a submission, as a verifier finds it.

    Prints JSON: `score`, `count` (examples of the set), `unit` and, where the task's kind is installed, `reads`: the
    score in words. On stderr it says how the score compares with one on the other set. `ape run submission score` takes
    the holdout's key from the chain and compares with the threshold.
    """
    from verifier.tasks import EvaluationLimits, load_manifest, score
    from verifier.tasks.manifest import PRACTICE_FILE, PROGRAM_FILE
    from verifier.tasks.thresholds import on_the_other_set

    if practice and holdout:
        raise click.UsageError("--practice or --holdout, not both")
    manifest = load_manifest(manifest_file)
    if holdout is not None:
        _check_opened(manifest, holdout)
    with progress_bar() as show:
        found = score(
            manifest,
            submission,
            program or manifest_file.parent / PROGRAM_FILE,
            holdout or practice or manifest_file.parent / PRACTICE_FILE,
            sealed=holdout is not None,
            limits=EvaluationLimits.of_this_machine(),
            on_batch=lambda done, total: show("evaluate", done, total),
        )
    summary = {"score": found.score, "count": found.count, "unit": manifest.metric.unit}
    kind = installed_kind(manifest)
    if kind is not None:
        summary["reads"] = kind.describe(found.score, found.count, manifest)
    click.echo(json.dumps(summary, indent=2))
    click.echo(on_the_other_set(manifest, found.score, sealed=holdout is not None), err=True)


def _check_opened(manifest: Manifest, holdout: Path) -> None:
    """Check that a file given as the opened holdout is neither the sealed one nor unsealed with a wrong key.

    Errors: TaskError, which says what to do.
    """
    from verifier.artifacts import digests, tensors
    from verifier.tasks.errors import TaskError

    part = manifest.holdout
    if part is None or holdout.stat().st_size != part.size:
        return
    if digests.to_hex(digests.digest_file(holdout)) == part.sealed_digest:
        raise TaskError(
            f"{holdout} is the sealed holdout: `ape run submission score` opens it with the key that the sponsor "
            "reveals on chain, or open it with `touchstone unseal` and give the result"
        )
    header = tensors.header(manifest.set_schema(part.count))
    with holdout.open("rb") as file:
        if file.read(len(header)) != header:
            raise TaskError(
                f"{holdout} is not the opened holdout: it looks like a file that was unsealed with a wrong key. Unseal "
                "it with --plain and the plain digest of the chain, which finds a wrong key"
            )
