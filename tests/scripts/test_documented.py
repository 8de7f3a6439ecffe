"""The commands of the wallet scripts that README and docs show exist, with these options."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

import click
import pytest

from scripts import deploy, stake, status, submission, task, verify, withdraw
from tests.cli.test_documented import DOCUMENTS

SCRIPTS: dict[str, click.Command] = {
    module.__name__.rpartition(".")[2]: module.cli
    for module in (deploy, stake, status, submission, task, verify, withdraw)
}


def shown() -> Iterator[tuple[str, list[str]]]:
    """Each `ape run` command line in a code block or in backticks, with the document it is in."""
    for document in DOCUMENTS:
        text = document.read_text("utf-8").replace("\\\n", " ")
        for line in re.findall(r"^ape run .*$|`ape run [^`]*`", text, re.MULTILINE):
            yield document.name, shlex.split(line.strip("`"), comments=True)[2:]


@pytest.mark.parametrize(("document", "words"), [pytest.param(*item, id=" ".join(item[1])) for item in shown()])
def test_documented_script__and_its_options__exist(document: str, words: list[str]) -> None:
    name, *rest = words
    command: click.Command | None = SCRIPTS[name]
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        command = command.get_command(click.Context(command), rest.pop(0))
    assert command is not None, f"{document}: no such command"
    known = {option for item in command.params for option in (*item.opts, *item.secondary_opts)}
    known.add("--network")  # ape adds it to every command that connects, when it runs
    assert {word.split("=")[0] for word in rest if word.startswith("-")} <= known, document
