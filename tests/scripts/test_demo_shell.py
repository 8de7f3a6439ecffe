"""The demo prints its commands, and Ctrl-C leaves no process behind."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from scripts.demo.shell import DemoError, Shell
from tests.end_to_end.node import ROOT, wait_for

# A demo with two services, of which one starts a child that ignores SIGTERM, and a command that takes long.
DEMO = """
import sys
from pathlib import Path
from rich.console import Console
from scripts.demo.shell import Shell

note = "import os, pathlib, sys, time; pathlib.Path(sys.argv[1], str(os.getpid())).touch(); time.sleep(600)"
deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + note
parent = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {deaf!r}, sys.argv[1]]); {note}"
folder = sys.argv[1]
shell = Shell(Console(), Path(folder), {})
try:
    shell.serve("first", sys.executable, "-c", note, folder + "/pids")
    shell.serve("second", sys.executable, "-c", parent, folder + "/pids")
    shell.run(sys.executable, "-c", note, folder + "/pids")
except KeyboardInterrupt:
    sys.exit(130)
finally:
    shell.stop()
"""


def alive(pid: int) -> bool:
    """Return whether that process is running; a zombie is not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
def test_demo__interrupted__leaves_no_process_behind(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    pids.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    demo = subprocess.Popen(
        [sys.executable, "-c", DEMO, str(tmp_path)], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL
    )
    wait_for(lambda: len(list(pids.iterdir())) == 4, "four processes have started", timeout_s=120)
    started = [int(entry.name) for entry in pids.iterdir()]
    assert all(alive(pid) for pid in started)
    demo.send_signal(signal.SIGINT)
    assert demo.wait(timeout=120) == 130
    assert not [pid for pid in started if alive(pid)]


@pytest.fixture
def console() -> Console:
    return Console(file=StringIO(), width=200)


@pytest.fixture
def shell(console: Console, tmp_path: Path) -> Iterator[Shell]:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    handlers = [signal.getsignal(number) for number in numbers]
    opened = Shell(console, tmp_path, {"GREETING": "hello"})
    yield opened
    opened.stop()  # it ignores these signals from here on
    for number, handler in zip(numbers, handlers, strict=True):
        signal.signal(number, handler)


def said(console: Console) -> list[str]:
    assert isinstance(console.file, StringIO)
    return console.file.getvalue().splitlines()


def test_command__run__is_shown_as_typed_and_what_it_says_is_passed_on(console: Console, shell: Shell) -> None:
    assert shell.run("sh", "-c", "echo $GREETING") == "hello\n"
    assert said(console) == ["$ sh -c 'echo $GREETING'", "  hello"]


def test_command__with_its_output_in_a_file__says_nothing_else(console: Console, shell: Shell, tmp_path: Path) -> None:
    shell.run("echo", "hello", out=tmp_path / "out")
    assert (tmp_path / "out").read_text() == "hello\n"
    assert said(console) == [f"$ echo hello > {tmp_path / 'out'}"]


def test_commands__together__are_all_shown_before_the_first_answers(console: Console, shell: Shell) -> None:
    assert shell.together(["echo", "one"], ["echo", "two"]) == ["one\n", "two\n"]
    assert said(console) == ["$ echo one", "$ echo two", "  one", "  two"]


def test_command__that_fails__ends_the_demo_with_what_it_said(shell: Shell) -> None:
    with pytest.raises(DemoError, match="`false` failed with status 1"):
        shell.run("false")
    with pytest.raises(DemoError, match="failed with status 3:\nno money"):
        shell.together(["sh", "-c", "echo no money >&2; exit 3"])


def test_service__that_ended__is_noticed_with_the_end_of_its_log(shell: Shell) -> None:
    service = shell.serve("short", "sh", "-c", "echo cannot start; exit 2")
    service.process.wait(60)
    with pytest.raises(DemoError, match="short ended with status 2:\ncannot start"):
        shell.check()
