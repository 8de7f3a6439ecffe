"""Runs commands as a person would type them: prints each command and its output, and ends every process at the end."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from rich.console import Console
from rich.status import Status
from rich.text import Text

from verifier.cli.progress import LINE_S

ROOT = Path(__file__).resolve().parents[2]
STOP_S = 20.0  # how long a process may take to end after SIGTERM, before SIGKILL
TAIL_LINES = 30  # of a log, shown when its process has ended unexpectedly


class DemoError(Exception):
    """The demo cannot continue; the message says why."""


@dataclass(frozen=True)
class DemoService:
    """A process that runs in the background until `Shell.stop`."""

    name: str
    process: subprocess.Popen[str]
    log: Path

    def check(self) -> None:
        """Check that the process is running. Errors: DemoError with the end of its log."""
        if self.process.poll() is not None:
            tail = "\n".join(self.log.read_text("utf-8", "replace").splitlines()[-TAIL_LINES:])
            raise DemoError(f"{self.name} ended with status {self.process.returncode}:\n{tail}")


class Reporter:
    """Shows what the demo waits for: a spinner on a terminal, a line every LINE_S seconds elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._status: Status | None = None
        self._printed = time.monotonic()

    def show(self, text: str) -> None:
        """Say what is awaited now."""
        if self._console.is_terminal:
            if self._status is None:
                self._status = self._console.status(text)
                self._status.start()
            self._status.update(text)
        elif time.monotonic() - self._printed >= LINE_S:
            self._printed = time.monotonic()
            self._console.print(f"  {text}", soft_wrap=True)

    def done(self, text: str) -> None:
        """Say what has happened."""
        self.pause()
        self._printed = time.monotonic()
        self._console.print(f"  {text}", style="green", soft_wrap=True)

    def pause(self) -> None:
        """Take the spinner away, so that a command can print."""
        if self._status is not None:
            self._status.stop()
            self._status = None


class Shell:
    """Starts processes, each in a session of its own, and can end all of them.

    Worker threads start the processes under a lock. A signal interrupts only the main thread, so it can never come
    between the start of a process and the recording of it.
    """

    def __init__(self, console: Console, logs: Path, environment: Mapping[str, str]) -> None:
        self.console = console
        self.services: list[DemoService] = []
        self._logs = logs
        self._environment = {**os.environ, **environment}
        self._processes: list[subprocess.Popen[str]] = []
        self._lock = threading.Lock()
        self._stopping = False
        self._began = time.monotonic()
        self._workers = ThreadPoolExecutor(max_workers=8)

    def title(self, text: str) -> None:
        """Print a heading for the next commands, with the minutes and seconds since the start."""
        minutes, seconds = divmod(round(self.seconds()), 60)
        self.console.print()
        self.console.rule(f"[bold]{minutes}:{seconds:02} {text}", align="left")

    def seconds(self) -> float:
        """Return the seconds since the demo began."""
        return time.monotonic() - self._began

    def reporter(self) -> Reporter:
        """Return what shows a long wait."""
        return Reporter(self.console)

    def attempt(self, step: Callable[[], object]) -> None:
        """Do a step that may come too late on a busy machine, and print why it failed if it does: the task goes on."""
        try:
            step()
        except DemoError as error:
            self.console.print(f"  {error}", style="yellow", markup=False, soft_wrap=True)

    def note(self, text: str) -> None:
        """Print a remark, for what was done without a command."""
        self.console.print(Text("# " + text, style="dim"), soft_wrap=True)

    def set(self, variables: Mapping[str, str]) -> None:
        """Set environment variables for the commands that follow."""
        self._environment.update(variables)

    def export(self, name: str, value: str) -> None:
        """Set an environment variable for the commands that follow, and print the command that does so."""
        self.set({name: value})
        self._show(f"export {name}={shlex.quote(value)}")

    def run(self, *words: str | Path, out: Path | None = None) -> str:
        """Run one command to its end and return what it wrote to stdout.

        With `out` its stdout is written to that file instead of the terminal. Its stderr, where progress bars are, is
        the terminal's. Errors: DemoError when the exit status is not 0.
        """
        command = [str(word) for word in words]
        self._show(shlex.join(command) + (f" > {shown(out)}" if out else ""))

        def worker() -> tuple[int, str]:
            process = self._start(command, stdout=subprocess.PIPE)
            assert process.stdout is not None
            lines = []
            for line in process.stdout:
                lines.append(line)
                if out is None:
                    self._say(line)
            return process.wait(), "".join(lines)

        status, said = self._workers.submit(worker).result()
        if status:
            raise DemoError(f"`{shlex.join(command)}` failed with status {status}")
        if out is not None:
            out.write_text(said, encoding="utf-8")
        return said

    def together(self, *commands: Sequence[str | Path]) -> list[str]:
        """Run several commands at the same time, and return what each wrote to stdout.

        The output of each is shown as a whole once all have ended. Errors: DemoError, which names those that failed.
        """
        lines = [[str(word) for word in command] for command in commands]
        for line in lines:
            self._show(shlex.join(line))

        def worker(line: list[str]) -> tuple[int, str, str]:
            process = self._start(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            said, complained = process.communicate()
            return process.returncode, said, complained

        futures = [self._workers.submit(worker, line) for line in lines]
        report, began = self.reporter(), time.monotonic()
        while not all(future.done() for future in futures):
            report.show(f"{len(lines)} commands are running ({time.monotonic() - began:.0f} s)")
            wait(futures, timeout=0.2)
        report.pause()
        answers, failures = [], []
        for line, future in zip(lines, futures, strict=True):
            status, said, complained = future.result()
            for row in said.splitlines(keepends=True):
                self._say(row)
            if status:
                failures.append(f"`{shlex.join(line)}` failed with status {status}:\n{said}{complained}")
            answers.append(said)
        if failures:
            raise DemoError("\n".join(failures))
        return answers

    def serve(self, name: str, *words: str | Path) -> DemoService:
        """Start a command in the background, with its output in a log file. Errors: DemoError."""
        command = [str(word) for word in words]
        log = self._logs / f"{name}.log"
        self._show(f"{shlex.join(command)} > {shown(log)} 2>&1 &")

        def worker() -> subprocess.Popen[str]:
            with log.open("w") as file:
                return self._start(command, stdout=file, stderr=subprocess.STDOUT)

        service = DemoService(name, self._workers.submit(worker).result(), log)
        self.services.append(service)
        return service

    def check(self) -> None:
        """Check that every background process is still running. Errors: DemoError."""
        for service in self.services:
            service.check()

    def stop_services(self, prefix: str) -> None:
        """End the background processes whose names begin with `prefix`, and wait for them."""
        chosen = [service for service in self.services if service.name.startswith(prefix)]
        self.services = [service for service in self.services if service not in chosen]
        _end([service.process for service in chosen])

    def stop(self) -> None:
        """End every process that is still running, and those that they started. Signals are ignored from here on."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        with self._lock:
            self._stopping = True
            running = list(self._processes)
        _end(running)
        self._workers.shutdown(wait=True)

    def _start(self, command: list[str], stdout: int | IO[str], stderr: int | None = None) -> subprocess.Popen[str]:
        with self._lock:
            if self._stopping:
                raise DemoError("interrupted")
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                text=True,
                start_new_session=True,  # Ctrl-C signals only the demo, which then ends the others in order
            )
            self._processes.append(process)
            return process

    def _show(self, line: str) -> None:
        self.console.print(Text("$ " + line, style="bold cyan"), soft_wrap=True)

    def _say(self, line: str) -> None:
        self.console.print(Text("  " + line.rstrip("\n"), style="dim"), soft_wrap=True)


def shown(path: Path) -> str:
    """Return a path as the demo's commands name it: relative to the repository's root."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def command(name: str) -> str:
    """Return the name of a program, checked to be installed in the demo's environment. Errors: DemoError."""
    if not (Path(sys.executable).parent / name).exists():
        raise DemoError(f"{name} is not installed beside {sys.executable}: run `make setup`")
    return name


def _end(processes: Sequence[subprocess.Popen[str]]) -> None:
    """Send SIGTERM to every process's session, and SIGKILL to what is left of it after STOP_S."""
    _signal(processes, signal.SIGTERM)
    deadline = time.monotonic() + STOP_S
    for process in processes:
        try:
            process.wait(timeout=max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            continue
    # Also to the sessions of processes that have ended, which may have left children behind.
    _signal(processes, signal.SIGKILL)
    for process in processes:
        process.wait()


def _signal(processes: Sequence[subprocess.Popen[str]], number: int) -> None:
    for process in processes:
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            continue
