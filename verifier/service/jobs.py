"""Work that takes longer than a tick: fetching files, running evaluations.

Jobs run in daemon threads, so that a slow host never delays a reveal and a process that stops does not wait for one.
The loop starts a job, goes on, and finds the outcome at a later tick; a job that ends wakes the loop.
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
        """Queue the job, unless one of that name is queued or running; the outcome of an earlier one is forgotten."""
        with self._lock:
            if name in self._running:
                return
            self._running.add(name)
            self._outcomes.pop(name, None)
        threading.Thread(target=self._run, args=(name, work), name=name, daemon=True).start()

    def running(self, name: str) -> bool:
        """Whether the job is queued or running."""
        with self._lock:
            return name in self._running

    def outcome(self, name: str) -> JobOutcome | None:
        """How the job ended; None while it is queued or running, and when there was no such job."""
        with self._lock:
            return self._outcomes.get(name)

    def forget(self, name: str) -> None:
        """Forget how the job ended."""
        with self._lock:
            self._outcomes.pop(name, None)

    def retain(self, names: Collection[str]) -> None:
        """Forget the outcomes of all jobs but `names`."""
        with self._lock:
            self._outcomes = {name: outcome for name, outcome in self._outcomes.items() if name in names}

    def _run(self, name: str, work: Callable[[], Any]) -> None:
        with self._slots:
            try:
                outcome = JobOutcome(work(), None, time.monotonic())
            except Exception as error:  # the loop gets it and knows what each kind means
                # The traceback is dropped: it would keep the frames alive, and with them all their arrays.
                outcome = JobOutcome(None, error.with_traceback(None), time.monotonic())
        with self._lock:
            self._running.discard(name)
            self._outcomes[name] = outcome
        self._wake()
