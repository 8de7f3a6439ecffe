"""Background jobs, and the log that repeats no decision."""

from __future__ import annotations

import threading
import time
from typing import Any

from verifier.service.jobs import Jobs
from verifier.service.logs import Decisions


def wait_until_done(jobs: Jobs, name: str) -> None:
    deadline = time.monotonic() + 5
    while jobs.running(name):
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_jobs__value_and_error__are_found_later() -> None:
    woken = threading.Event()
    jobs = Jobs(2, woken.set)
    jobs.start("good", lambda: 7)
    jobs.start("bad", lambda: 1 // 0)
    wait_until_done(jobs, "good")
    wait_until_done(jobs, "bad")
    good, bad = jobs.outcome("good"), jobs.outcome("bad")
    assert good is not None
    assert good.value == 7
    assert bad is not None
    assert isinstance(bad.error, ZeroDivisionError)
    assert woken.wait(1)


def test_jobs__started_while_running__runs_once() -> None:
    go, runs = threading.Event(), []
    jobs = Jobs(2, lambda: None)

    def work() -> None:
        runs.append(1)
        go.wait(5)

    jobs.start("one", work)
    jobs.start("one", work)
    go.set()
    wait_until_done(jobs, "one")
    assert runs == [1]


def test_jobs__more_than_workers__queue() -> None:
    go, running = threading.Event(), []
    jobs = Jobs(1, lambda: None)

    def work() -> int:
        running.append(1)
        go.wait(5)
        return running.pop()

    for name in "abc":
        jobs.start(name, work)
    time.sleep(0.05)
    assert len(running) == 1
    go.set()
    for name in "abc":
        wait_until_done(jobs, name)


class Recorder:
    """A logger that keeps every line."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    def info(self, decision: str, reason: str, **_: Any) -> None:
        self.lines.append((decision, reason))


def test_decisions__same_reason_every_tick__is_logged_once() -> None:
    recorder = Recorder()
    decisions = Decisions(recorder)  # type: ignore[arg-type]
    for reason in ("no file", "no file", "no file", "no time", "no time", "no file"):
        decisions.say("attest:1", "wait", reason)
    decisions.say("attest:2", "wait", "no file")
    assert [reason for _, reason in recorder.lines] == ["no file", "no time", "no file", "no file"]
