"""The recipes of the Makefile are shell commands that a shell can read."""

from __future__ import annotations

import subprocess

from tests.layout.source import ROOT


def test_setup__on_a_fresh_machine__runs_commands_that_the_shell_can_read() -> None:
    """With -B every recipe counts as due, as on a machine without .venv; with -n it is printed, not run."""
    said = subprocess.run(["make", "-nB", "setup"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    assert "-e '.[contracts,devnet,tasks,test]' &" in said.stdout
    read = subprocess.run(["sh", "-n"], input=said.stdout, capture_output=True, text=True, timeout=60)
    assert read.returncode == 0, read.stderr
