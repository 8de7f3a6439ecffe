"""A progress bar for each evaluation, when stderr is a terminal."""

from __future__ import annotations

import sys
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.progress import TaskID as BarID


class Bars:
    """The bars; they do nothing unless stderr is a terminal. Called from the threads of the jobs."""

    def __init__(self) -> None:
        self._progress: Progress | None = None
        self._bars: dict[str, BarID] = {}
        if sys.stderr.isatty():
            columns = (TextColumn("evaluating {task.description}"), BarColumn(), MofNCompleteColumn())
            self._progress = Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True)

    def __enter__(self) -> Bars:
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()

    def evaluation(self, task: str, done: int, total: int) -> None:
        """Show that `done` of `total` batches of that task are complete."""
        if self._progress is None:
            return
        if task not in self._bars:
            self._bars[task] = self._progress.add_task(task[:8], total=total)
        self._progress.update(self._bars[task], completed=done, total=total)
        if done >= total:
            self._progress.remove_task(self._bars.pop(task))
