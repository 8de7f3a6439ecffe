"""The command line answers for help at once, in one order, and every command and option says what it does."""

import json
import subprocess
import sys
from collections.abc import Iterator

import click
import pytest

from verifier.cli.main import COMMANDS, GROUPS, cli

HEAVY = ("torch", "transformers", "peft", "onnx", "onnxruntime", "web3", "alysis", "eth", "aiohttp", "scipy", "ape")
COLUMNS = 80  # the width at which click lays help out
REPORT = """
import atexit, json, sys
atexit.register(lambda: print(json.dumps(sorted(name for name in sys.modules if "." not in name)), file=sys.stderr))
from verifier.cli.main import main
sys.argv[0] = "touchstone"
main()
"""


def run(*arguments: str) -> tuple[int, str, set[str]]:
    """Exit status and output of `touchstone ARGUMENTS`, and the packages it imported."""
    command = [sys.executable, "-c", REPORT, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout, set(json.loads(done.stderr.splitlines()[-1]))


def commands(group: click.Group, words: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    """Every command of a group and of the groups in it, with the words that call it."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield " ".join((*words, name)), command
        if isinstance(command, click.Group):
            yield from commands(command, (*words, name))


EVERY_COMMAND = dict(commands(cli))


def test_help__of_touchstone__lists_every_command_with_what_it_does() -> None:
    status, said, _ = run("--help")
    assert status == 0
    sections = said.partition("--help ")[2].splitlines()[1:]
    listed: dict[str, dict[str, str]] = {}
    heading = ""
    for line in filter(None, sections):
        if line.startswith(" "):
            name, sentence = line.split(maxsplit=1)
            listed[heading][name] = sentence
        else:
            heading = line.removesuffix(":")
            listed[heading] = {}
    assert {heading: list(rows) for heading, rows in listed.items()} == {
        heading: list(group) for heading, group in GROUPS.items()
    }
    assert all(sentence.endswith(".") for rows in listed.values() for sentence in rows.values())


@pytest.mark.parametrize("name", EVERY_COMMAND)
def test_command__in_a_list__is_explained_by_one_sentence_on_one_line(name: str) -> None:
    sentence = EVERY_COMMAND[name].get_short_help_str(1000)
    longest = max(len(word) for word in COMMANDS)
    assert sentence.endswith(".")
    assert not sentence.endswith("...")
    assert len(sentence) <= COLUMNS - 2 - 2 - longest - 2  # indent, gap, and click's margin of two


@pytest.mark.parametrize("name", EVERY_COMMAND)
def test_command__every_option__has_help(name: str) -> None:
    options = [item for item in EVERY_COMMAND[name].params if isinstance(item, click.Option)]
    assert [item.name for item in options if not item.help] == []


@pytest.mark.parametrize("name", EVERY_COMMAND)
def test_command__every_argument__is_named_in_the_help(name: str) -> None:
    command = EVERY_COMMAND[name]
    context = click.Context(command)
    arguments = [item for item in command.params if isinstance(item, click.Argument)]
    names = [item.make_metavar().strip("[]").removesuffix("...") for item in arguments]
    assert [word for word in names if word not in command.get_help(context).split("\n", 1)[1]] == []


@pytest.mark.parametrize("command", ["", *EVERY_COMMAND])
def test_help__of_every_command__imports_nothing_heavy(command: str) -> None:
    status, said, imported = run(*command.split(), "--help")
    assert status == 0
    assert said.startswith(f"Usage: touchstone {command}".rstrip())
    assert not imported.intersection(HEAVY)
