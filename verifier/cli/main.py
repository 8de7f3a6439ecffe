"""The `touchstone` command: one thin command for each capability.

A command's module, and the large libraries that it needs, are imported only when the command is used, so that
`touchstone --help` answers at once.
"""

import importlib
import sys

import click

from verifier import __version__
from verifier.errors import TouchstoneError

# Heading in `touchstone --help` -> command -> "module:attribute" that defines it, in the order of a user's work.
GROUPS: dict[str, dict[str, str]] = {
    "Make a model exact": {
        "lower": "verifier.cli.exact:lower",
        "check": "verifier.cli.exact:check",
        "dependence": "verifier.cli.dependence:dependence",
        "eval": "verifier.cli.exact:evaluate",
        "compare": "verifier.cli.exact:compare",
    },
    "Build a task and answer one": {
        "kinds": "verifier.cli.tasks:kinds_command",
        "task": "verifier.cli.tasks:task_group",
        "pack": "verifier.cli.tasks:pack_command",
        "score": "verifier.cli.tasks:score_command",
    },
    "Seal and publish files": {
        "seal": "verifier.cli.artifacts:seal_command",
        "unseal": "verifier.cli.artifacts:unseal_command",
        "digest": "verifier.cli.artifacts:digest_command",
        "publish": "verifier.cli.artifacts:publish_command",
        "serve": "verifier.cli.artifacts:serve_command",
    },
    "Run a verifier": {
        "selftest": "verifier.cli.exact:selftest",
        "preflight": "verifier.cli.service:preflight",
        "run": "verifier.cli.service:run",
        "devnet": "verifier.cli.devnet:devnet",
    },
}
COMMANDS: dict[str, str] = {name: place for group in GROUPS.values() for name, place in group.items()}


class LazyGroup(click.Group):
    """A group that imports a command's module when the command is used, and lists commands under headings."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands, in the order of GROUPS, and those that installed kinds add."""
        return [*COMMANDS, *kind_commands()]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command; None when there is no command of that name.

        A kind's command never replaces one of COMMANDS.
        """
        if cmd_name not in COMMANDS:
            return kind_commands().get(cmd_name)
        module, _, attribute = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write each heading of GROUPS with its commands and the first sentence of each command's help."""
        name_width = max(len(name) for name in COMMANDS)
        names = {heading: list(group) for heading, group in GROUPS.items()}
        for heading, group in (names | {"Of the installed kinds": list(kind_commands())}).items():
            rows = []
            for name in group:
                command = self.get_command(ctx, name)
                assert command is not None
                rows.append((name.ljust(name_width), command.get_short_help_str(formatter.width)))
            if rows:
                with formatter.section(heading):
                    formatter.write_dl(rows)


def kind_commands() -> dict[str, click.Command]:
    """Return the command groups that installed kinds of tasks add, by the name of the kind."""
    from verifier.cli.tasks import commands_of_kinds

    return {name: command for name, command in commands_of_kinds().items() if name not in COMMANDS}


@click.group(cls=LazyGroup)
@click.version_option(__version__, prog_name="touchstone")
def cli() -> None:
    """Bounties for model adapters, settled by an evaluation that gives the same bits on every machine.

    Commands that need a wallet (deploy, stake, create a task, submit) are run with `ape run`; see the README.
    """


def main() -> None:
    """Run the command line; an expected error becomes one line on stderr and exit status 1."""
    try:
        cli()
    except TouchstoneError as error:
        click.echo(f"error: {' '.join(str(error).splitlines())}", err=True)
        sys.exit(1)
