"""The command line answers for help at once: what is heavy is imported when a command runs."""

import json
import subprocess
import sys

import pytest

from verifier.cli.main import COMMANDS

HEAVY = ("torch", "transformers", "peft", "onnx", "onnxruntime", "web3", "alysis", "eth", "aiohttp", "scipy", "ape")
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


def test_help__of_touchstone__lists_every_command_with_what_it_does() -> None:
    status, said, _ = run("--help")
    assert status == 0
    lines = [line.split(maxsplit=1) for line in said.partition("Commands:")[2].splitlines() if line.strip()]
    assert {line[0]: len(line) for line in lines} == dict.fromkeys(COMMANDS, 2)


@pytest.mark.parametrize("command", ["", *COMMANDS, "task build"])
def test_help__of_every_command__imports_nothing_heavy(command: str) -> None:
    status, said, imported = run(*command.split(), "--help")
    assert status == 0
    assert said.startswith(f"Usage: touchstone {command}".rstrip())
    assert not imported.intersection(HEAVY)
