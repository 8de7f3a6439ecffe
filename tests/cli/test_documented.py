"""Commands and options that README and docs show exist."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

import click
import pytest

from tests.layout.source import ROOT
from verifier.cli.main import cli

DOCUMENTS = [ROOT / "README.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").rglob("*.md"))]


def shown() -> Iterator[tuple[str, list[str]]]:
    """Each `touchstone` command line in a code block or in backticks, with the document it is in."""
    for document in DOCUMENTS:
        text = document.read_text("utf-8").replace("\\\n", " ")
        for line in re.findall(r"^touchstone .*$|`touchstone [^`]*`", text, re.MULTILINE):
            yield document.name, shlex.split(line.strip("`"), comments=True)[1:]


@pytest.mark.parametrize(("document", "words"), [pytest.param(*item, id=" ".join(item[1])) for item in shown()])
def test_documented_command__and_its_options__exist(document: str, words: list[str]) -> None:
    command: click.Command | None = cli
    rest = list(words)
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        command = command.get_command(click.Context(command), rest.pop(0))
    assert command is not None, f"{document}: no such command"
    known = {option for item in command.params for option in (*item.opts, *item.secondary_opts)} | {
        "--help",
        "--version",
    }
    assert {word.split("=")[0] for word in rest if word.startswith("-")} <= known, document


def test_documented_targets__of_make__exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    for document in DOCUMENTS:
        named = re.findall(r"^make ([a-z-]+)|`make ([a-z-]+)`", document.read_text("utf-8"), re.MULTILINE)
        assert {first or second for first, second in named} <= targets, document
