"""A progress bar for commands that take a while."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Show = Callable[[str, int, int], None]  # (what is being done, steps done, steps in all)


@contextmanager
def progress_bar() -> Iterator[Show]:
    """A bar on stderr: one line per thing that is done. Where no person watches, rich shows the lines alone."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as progress:
        current: list[tuple[str, Any]] = []

        def show(what: str, done: int, total: int) -> None:
            if not current or current[-1][0] != what:
                if current:
                    progress.update(current[-1][1], completed=progress.tasks[-1].total)
                current.append((what, progress.add_task(what, total=total)))
            progress.update(current[-1][1], completed=done, total=total)

        yield show
        if current:
            progress.update(current[-1][1], completed=progress.tasks[-1].total)
