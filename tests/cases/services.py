"""A service whose tick runs on doubles: a chain that stands still, contracts in memory, actions that record."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog

from tests.protocol.states import panel_view, some_terms, task_view
from tests.service.test_duties import OTHER
from verifier.chain.client import Block
from verifier.chain.errors import Refused
from verifier.protocol.constants import Phase
from verifier.protocol.history import Event
from verifier.protocol.state import TaskState
from verifier.protocol.views import Delays, PanelView, TaskView
from verifier.service.actions import ActingOperator, Progress
from verifier.service.duties import Duty
from verifier.service.health import Status
from verifier.service.progress import Bars
from verifier.service.telemetry import Telemetry
from verifier.service.tick import Service


@dataclass
class StillChain:
    """A chain whose newest block is always the same."""

    timestamp: int

    def block(self, number: Any = "latest") -> Block:
        return Block(100, b"\x07" * 32, self.timestamp, 7)

    def confirmed(self, head: Block, confirmations: int) -> Block:
        return head


@dataclass
class KnownEvents:
    """An index that has every event already."""

    events: Sequence[Event]
    retractions: int = 0

    def advance(self, to: Block) -> bool:
        return False


@dataclass
class ConveningTasks:
    """Contracts of which every task waits for somebody to convene its panel.

    The first read of a task among `fail_once` is answered as by a replica that does not have the block yet.
    """

    fail_once: set[bytes] = field(default_factory=set)
    delays: Delays = field(default_factory=lambda: Delays(void=10**9, terminal=10**9, challenge=1))

    def task(self, task: bytes, block: int) -> TaskView:
        if task in self.fail_once:
            self.fail_once.remove(task)
            raise Refused("header not found")
        return task_view(Phase.CONVENING, sponsor=OTHER, submissions=1)

    def panel_of(self, task: bytes, block: int) -> PanelView:
        return panel_view()

    def balance(self, account: str, block: int | None = None) -> int:
        return 10**18


@dataclass
class RecordedDuties:
    """Actions that do nothing but remember for which tasks there was a duty."""

    tasks: list[bytes] = field(default_factory=list)

    def perform(self, state: TaskState, duty: Duty, head: Block) -> tuple[Progress, None]:
        self.tasks.append(state.id)
        return Progress.DONE, None

    def retain(self, keys: Collection[str]) -> None:
        """Nothing is kept."""


class NoFiles:
    """A store that stays empty."""

    def keep(self, states: Sequence[TaskState]) -> None:
        """There is nothing to keep."""

    def size(self) -> int:
        return 0


def created(task: bytes) -> list[Event]:
    """The events of a task with one submission."""
    terms = vars(some_terms())
    submission = {"index": 0, "solver": OTHER, "commitment": b"c" * 32, "sealed": b"e" * 32, "uri": "https://x"}
    return [
        Event(OTHER, "TaskCreated", {"task": task, "terms": terms, "manifest_uri": "https://m"}, 1, 0),
        Event(OTHER, "SubmissionCommitted", {"task": task, **submission}, 2, 0),
    ]


def service_on(chain: StillChain, contracts: ConveningTasks, tasks: Sequence[bytes], status: Status) -> Service:
    """A service without a seat, for which there is a duty in each of `tasks`. Its `actions` are RecordedDuties."""
    return Service(
        client=chain,  # type: ignore[arg-type]
        contracts=contracts,  # type: ignore[arg-type]
        index=KnownEvents([event for task in tasks for event in created(task)]),  # type: ignore[arg-type]
        files=NoFiles(),  # type: ignore[arg-type]
        actions=RecordedDuties(),  # type: ignore[arg-type]
        operator=ActingOperator(OTHER, seed=bytes(32), sender=None),
        confirmations=0,
        telemetry=Telemetry(structlog.get_logger(), status, Bars()),
    )
