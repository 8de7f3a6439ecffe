"""Run the example trainer of a task's kind, which writes the folder that `touchstone pack` takes.

`python -m scripts.train --task task/manifest.json --base MODEL/ --data task/train.tsv --out adapter/`

Which options there are besides --task and --out depends on the kind: `python -m scripts.train --task FILE --help`.
"""

from pathlib import Path
from typing import Any

import click

from verifier.cli.model_options import options_of, read_options
from verifier.errors import TouchstoneError
from verifier.tasks import Manifest, Trainer, find_kind, load_manifest


@click.command(add_help_option=False, context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
@click.option(
    "--task", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="The task's manifest; required."
)
@click.pass_context
def main(ctx: click.Context, task: Path | None) -> None:
    """Run the example trainer of the task's kind.

    The other options depend on the kind: add --help to --task FILE to see them.
    """
    if task is None:
        if "--help" not in ctx.args:
            raise click.UsageError("Missing option '--task': the manifest of the task to train for.")
        click.echo(ctx.get_help())
        return
    try:
        manifest = load_manifest(task)
        trainer = find_kind(manifest.kind).trainer
        if trainer is None:
            raise click.ClickException(f"the kind {manifest.kind!r} has no example trainer")
        command = trainer_command(trainer, manifest)
        command.main(ctx.args, prog_name=f"python -m scripts.train --task {task}", standalone_mode=False)
    except TouchstoneError as error:
        raise click.ClickException(str(error)) from error


def trainer_command(trainer: Trainer[Any], manifest: Manifest) -> click.Command:
    """Return a command whose options are those of the trainer, and --out."""

    def train(out: Path, **values: Any) -> None:
        click.echo(trainer.train(manifest, read_options(trainer.options, values), out))

    out = click.Option(
        ["--out"], type=click.Path(path_type=Path), required=True, help="A new folder for the trained files."
    )
    params: list[click.Parameter] = [*options_of(trainer.options), out]
    return click.Command("train", callback=train, params=params, help=f"Train for {manifest.title!r}.")


if __name__ == "__main__":
    main()
