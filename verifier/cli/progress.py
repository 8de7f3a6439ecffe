"""The progress bar of commands that take longer than a few seconds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import TaskID

Show = Callable[[str, int, int], None]  # called with the current stage, its steps done, and its steps in total


@contextmanager
def progress_bar() -> Iterator[Show]:
    """Show a progress bar on stderr, one line for each stage; yields the function that advances it.

    Without a terminal rich prints all lines once, at the end.
    """
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
