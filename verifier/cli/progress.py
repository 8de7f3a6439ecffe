"""What commands print on stderr: warnings, and the progress of what takes longer than a few seconds.

Progress is a bar on a terminal, and lines elsewhere.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.progress import TaskID

Show = Callable[[str, int, int], None]  # called with the current stage, its steps done, and its steps in total

# Seconds between two lines without a terminal: often enough to see that a command runs, rarely enough for a log.
LINE_S = 10.0


def warn(sentences: Iterable[str]) -> None:
    """Print each sentence as a warning, one a line."""
    for sentence in sentences:
        click.echo(f"warning: {sentence}", err=True)


@contextmanager
def progress_bar() -> Iterator[Show]:
    """Show progress on stderr; yields the function that advances it.

    On a terminal it is a bar for each stage. Elsewhere it is a line every LINE_S seconds, also within a step.
    """
    with _bars() if sys.stderr.isatty() else _lines() as show:
        yield show


@contextmanager
def working(what: str) -> Iterator[None]:
    """Show on stderr that a step without parts is under way; `what` says which, such as "compiling the contracts".

    On a terminal it is a spinner, elsewhere a line every LINE_S seconds.
    """
    if sys.stderr.isatty():
        from rich.console import Console

        with Console(stderr=True, highlight=False).status(what):
            yield
    else:
        with _lines() as show:
            show(what, 0, 1)
            yield


@contextmanager
def _bars() -> Iterator[Show]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as progress:
        stage, steps = "", 0
        bar: TaskID | None = None

        def complete() -> None:
            if bar is not None:
                progress.update(bar, completed=steps)

        def show(name: str, done: int, total: int) -> None:
            nonlocal stage, steps, bar
            if bar is None or name != stage:
                complete()
                stage, bar = name, progress.add_task(name, total=total)
            steps = total
            progress.update(bar, completed=done, total=total)

        yield show
        complete()


@contextmanager
def _lines() -> Iterator[Show]:
    began = time.monotonic()
    ended = threading.Event()
    now = "started"

    def show(name: str, done: int, total: int) -> None:
        nonlocal now
        now = f"{name}: {done:,} of {total:,}" if total > 1 else name

    def report() -> None:
        while not ended.wait(LINE_S):
            print(f"{now} (after {time.monotonic() - began:.0f} s)", file=sys.stderr, flush=True)

    thread = threading.Thread(target=report, daemon=True)
    thread.start()
    try:
        yield show
    finally:
        ended.set()
        thread.join()
