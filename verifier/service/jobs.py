"""Work that takes longer than a tick: fetching files, running evaluations.

Jobs run in daemon threads, so that a slow host never delays a reveal and a stopping process does not wait for one.
The loop starts a job, goes on, and finds the outcome at a later tick; a finished job wakes the loop.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class JobOutcome:
    """How a job ended: with a value or with an exception, and when (monotonic seconds)."""

    value: Any
    error: Exception | None
    finished_at: float


class Jobs:
    """Named jobs, at most `workers` of them running at once."""

    def __init__(self, workers: int, wake: Callable[[], None]) -> None:
        self._slots = threading.Semaphore(workers)
        self._wake = wake
        self._lock = threading.Lock()
        self._running: set[str] = set()
        self._outcomes: dict[str, JobOutcome] = {}

    def start(self, name: str, work: Callable[[], Any]) -> None:
        """Queue the job unless one of that name is queued or running; a former outcome is forgotten."""
        with self._lock:
            if name in self._running:
                return
            self._running.add(name)
            self._outcomes.pop(name, None)
        threading.Thread(target=self._run, args=(name, work), name=name, daemon=True).start()

    def running(self, name: str) -> bool:
        with self._lock:
            return name in self._running

    def outcome(self, name: str) -> JobOutcome | None:
        """How the job ended; None while it has not, or when there was none."""
        with self._lock:
            return self._outcomes.get(name)

    def forget(self, name: str) -> None:
        with self._lock:
            self._outcomes.pop(name, None)

    def retain(self, names: Collection[str]) -> None:
        """Forget the outcomes of all other jobs."""
        with self._lock:
            self._outcomes = {name: outcome for name, outcome in self._outcomes.items() if name in names}

    def _run(self, name: str, work: Callable[[], Any]) -> None:
        with self._slots:
            try:
                outcome = JobOutcome(work(), None, time.monotonic())
            except Exception as error:  # handed to the loop, which knows what each kind means
                # Without the traceback, which would keep the frames and all that they hold.
                outcome = JobOutcome(None, error.with_traceback(None), time.monotonic())
        with self._lock:
            self._running.discard(name)
            self._outcomes[name] = outcome
        self._wake()
