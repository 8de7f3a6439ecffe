"""The service's tick, without a chain."""

from __future__ import annotations

import errno
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.protocol.states import panel_view, task_view, two_submissions
from verifier.chain.client import Block
from verifier.protocol.constants import Phase
from verifier.protocol.history import Event, History
from verifier.service.actions import Progress
from verifier.service.duties import Duty, DutyKind
from verifier.service.errors import Retry, Stop
from verifier.service.run import Clock, loop
from verifier.service.tick import Service


def test_follow__events_begin_after_the_deployment__stops_and_names_the_setting() -> None:
    drawn = Event("0x" + "11" * 20, "Drawn", {"task": b"\x01" * 32, "round": 1, "slots": [4]}, 1, 0)
    index = SimpleNamespace(advance=lambda block: False, retractions=0, events=[drawn])
    service = cast(Any, SimpleNamespace(index=index, _history=History(), _retractions=0))
    with pytest.raises(Stop, match=r"Drawn in block 1 is about something .* set chain\.from_block to the block"):
        Service._follow(service, Block(1, bytes(32), 1, 0))


def fail(*_: Any) -> Any:
    raise OSError(errno.EIO, "Input/output error")


def test_keep_files__store_cannot_be_tidied__is_told_and_stops_nothing() -> None:
    told: list[tuple[str, bool, str]] = []

    def refuse(_: Any) -> None:
        raise Retry("cannot delete unused files from the store: Read-only file system")

    telemetry = SimpleNamespace(attention=lambda *what: told.append(what))
    service = cast(Any, SimpleNamespace(files=SimpleNamespace(keep=refuse), telemetry=telemetry))
    Service._keep_files(service, [])
    assert told == [("store", True, "cannot delete unused files from the store: Read-only file system")]


def test_perform__disk_fails_in_one_duty__waits_with_the_reason() -> None:
    decided: list[tuple[str, str]] = []
    telemetry = SimpleNamespace(decided=lambda key, decision, reason, **_: decided.append((decision, reason)))
    service = cast(Any, SimpleNamespace(actions=SimpleNamespace(perform=fail), telemetry=telemetry))
    state = two_submissions(task_view(Phase.ATTESTING), panel_view())
    progress = Service._perform(service, state, Duty(DutyKind.ATTEST, state.id), Block(1, bytes(32), 1, 0))
    assert progress is Progress.WAITING
    assert decided == [("wait", "[Errno 5] Input/output error")]


def test_loop__disk_fails_in_a_tick__reports_the_machine_and_ticks_again() -> None:
    clock, reported, ticks = Clock(), [], []

    def tick() -> None:
        ticks.append(1)
        if len(ticks) == 1:
            fail()
        clock.stopping = True

    telemetry = SimpleNamespace(interrupted=lambda outcome, problem: reported.append((outcome, problem)))
    loop(cast(Any, SimpleNamespace(tick=tick, telemetry=telemetry)), clock, poll_s=0.01)
    assert reported == [("machine", "[Errno 5] Input/output error")]
    assert len(ticks) == 2
