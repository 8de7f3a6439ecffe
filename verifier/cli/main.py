"""The `touchstone` command: one thin command per capability; each imports its heavy parts only when it runs."""

import importlib
import sys

import click

from verifier import __version__
from verifier.errors import TouchstoneError

# command name -> "module:attribute"; resolved on use, so that `touchstone --help` stays fast.
COMMANDS: dict[str, tuple[str, str]] = {
    "task": ("verifier.cli.tasks", "task_group"),
    "pack": ("verifier.cli.tasks", "pack_command"),
    "score": ("verifier.cli.tasks", "score_command"),
    "digest": ("verifier.cli.artifacts", "digest_command"),
    "seal": ("verifier.cli.artifacts", "seal_command"),
    "unseal": ("verifier.cli.artifacts", "unseal_command"),
    "publish": ("verifier.cli.artifacts", "publish_command"),
    "serve": ("verifier.cli.artifacts", "serve_command"),
    "devnet": ("verifier.cli.devnet", "devnet"),
    "preflight": ("verifier.cli.service", "preflight"),
    "run": ("verifier.cli.service", "run"),
    "lower": ("verifier.cli.exact", "lower"),
    "check": ("verifier.cli.exact", "check"),
    "eval": ("verifier.cli.exact", "evaluate"),
    "compare": ("verifier.cli.exact", "compare"),
    "selftest": ("verifier.cli.exact", "selftest"),
}


class LazyGroup(click.Group):
    """A click group that imports a command's module when the command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, attribute = COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command


@click.group(cls=LazyGroup)
@click.version_option(__version__, prog_name="touchstone")
def cli() -> None:
    """Bounties for model adapters, judged by an evaluation that gives the same bits on every machine."""


def main() -> None:
    """Entry point of the console script: expected errors become one line on stderr and exit status 1."""
    try:
        cli()
    except TouchstoneError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)
