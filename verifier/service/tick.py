"""The service's whole flow, one tick at a time.

Read one confirmed block, derive the duties from it, do them. A duty that cannot be done now says why, once, and the
others are done all the same. A read of the chain that the node cannot serve ends the tick before any duty is done, and
so does a disk from which unused files cannot be deleted; the next tick tries again.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from verifier.chain.client import Block, Client
from verifier.chain.contracts import Contracts
from verifier.chain.errors import Refused, Reverted
from verifier.chain.events import EventIndex
from verifier.chain.snapshot import read_task
from verifier.protocol.errors import IncompleteHistory
from verifier.protocol.history import History
from verifier.protocol.state import TaskState
from verifier.service.actions import ActingOperator, Actions, Progress
from verifier.service.duties import Duty, DutyKind, derive
from verifier.service.errors import Retry, Skip, Stop
from verifier.service.files import Files
from verifier.service.telemetry import Telemetry

# Seconds between two reads of balance and stake, which are for the dashboard: the duties do not depend on them.
ACCOUNTS_EVERY_S = 60.0


@dataclass
class Service:
    """The parts of a running service, and its tick."""

    client: Client
    contracts: Contracts
    index: EventIndex
    files: Files
    actions: Actions
    operator: ActingOperator
    confirmations: int
    telemetry: Telemetry
    _history: History = field(default_factory=History)
    _retractions: int = 0
    _accounts_read: float | None = None

    def tick(self) -> None:
        """Read the chain and do every duty that can be done now.

        Errors: ChainError when the node fails, Retry or OSError when this machine does (the next tick tries again);
        Stop.
        """
        head = self.client.block()
        confirmed = self.client.confirmed(head, self.confirmations)
        history = self._follow(confirmed)
        self._poll_transactions(confirmed)

        states = self._read_tasks(history, confirmed)
        self._keep_files(states)
        duties = self._derive(states, head)
        done: Counter[tuple[str, str]] = Counter()
        for state, duty in duties:
            done[duty.kind, self._perform(state, duty, head)] += 1
        self._forget_all_but(states, [duty for _, duty in duties])

        self.telemetry.read(head, confirmed, len(states), done)
        self._read_accounts(history, confirmed)
        self.telemetry.completed(head, confirmed)

    def _keep_files(self, states: list[TaskState]) -> None:
        """Tidy the store. What goes wrong with it is told to the operator and keeps no duty from being done."""
        try:
            self.files.keep(states)
        except Retry as error:
            self.telemetry.attention("store", True, str(error))
        else:
            self.telemetry.attention("store", False, "")

    def _follow(self, confirmed: Block) -> History:
        """Return the contracts' history up to the confirmed block. Errors: ChainError, Stop.

        Only new events are folded in, or all of them again after a reorganisation that retracted some.
        """
        if self.index.advance(confirmed):
            self.telemetry.logger.warning(
                "reorganisation", block=confirmed.number, note="events from retracted blocks were read again"
            )
        if self.index.retractions != self._retractions:
            self._history, self._retractions = History(), self.index.retractions
        try:
            self._history.follow(self.index.events)
        except IncompleteHistory as error:
            raise Stop(f"{error}: set chain.from_block to the block in which Stakes was deployed") from error
        return self._history

    def _poll_transactions(self, confirmed: Block) -> None:
        """Look for receipts of what was sent at earlier ticks, and replace or rebroadcast what is stuck."""
        if self.operator.sender is not None:
            for change in self.operator.sender.poll(confirmed):
                self.telemetry.transaction(change)

    def _read_tasks(self, history: History, confirmed: Block) -> list[TaskState]:
        """Read, at the confirmed block, every task in which this operator can have a duty."""
        states = []
        for task in history.tasks.values():
            # A task without submissions has no duty: nobody paid for it, so reading it must not cost anything.
            if not task.submissions or task.finished():
                continue
            if task.ended and not history.has_seat(task.id, self.operator.address):
                continue
            try:
                states.append(read_task(self.contracts, history, task.id, confirmed))
            except Reverted as error:
                self.telemetry.decided(_reading(task.id), "skip", str(error), task=task.id.hex())
        return states

    def _derive(self, states: Sequence[TaskState], head: Block) -> list[tuple[TaskState, Duty]]:
        """Derive the duties of all tasks; the duty whose time ends first comes first."""
        duties = [
            (state, duty)
            for state in states
            for duty in derive(state, self.operator.address, head.timestamp, head.number)
        ]
        return sorted(duties, key=lambda item: math.inf if item[1].until is None else item[1].until)

    def _perform(self, state: TaskState, duty: Duty, head: Block) -> Progress:
        """Do one duty; log the reason, once, when it cannot be done."""
        fields: dict[str, object] = {"duty": str(duty.kind), "task": state.id.hex()}
        if duty.round:
            fields["round"] = duty.round
        if duty.member is not None:
            fields["position"] = duty.position
        if duty.kind is DutyKind.CLAIM:
            fields["submission"] = duty.index
        try:
            progress, change = self.actions.perform(state, duty, head)
        except Skip as error:
            self.telemetry.decided(duty.key, "skip", str(error), **fields)
            return Progress.SKIPPED
        except (Retry, Refused, OSError) as error:
            self.telemetry.decided(duty.key, "wait", str(error), **fields)
            return Progress.WAITING
        if change is not None:
            self.telemetry.transaction(change)
            self.telemetry.went_on(duty.key)
        return progress

    def _forget_all_but(self, states: Sequence[TaskState], duties: Sequence[Duty]) -> None:
        """Forget what is remembered about duties and tasks that no longer exist."""
        keys = {duty.key for duty in duties}
        self.actions.retain(keys)
        self.telemetry.retain(keys | {_reading(state.id) for state in states})

    def _read_accounts(self, history: History, confirmed: Block) -> None:
        """Publish the operator's balance, seats and stake from time to time, and log when one is missing."""
        if self._accounts_read is not None and time.monotonic() - self._accounts_read <= ACCOUNTS_EVERY_S:
            return
        address, metrics = self.operator.address, self.telemetry.metrics
        seats = [self.contracts.seat(stake, confirmed.number) for stake in history.stakes_of(address)]
        balance = self.contracts.balance(address, confirmed.number)
        metrics.seats.set(len(seats))
        metrics.stake.set(sum(seat.balance for seat in seats))
        metrics.balance.set(balance)
        metrics.stored.set(self.files.size())
        self.telemetry.attention(
            "seats", not seats, f"no seat names {address} as its operator: only calls that anyone can make remain"
        )
        self.telemetry.attention(
            "balance", self.operator.sender is not None and not balance, f"{address} has no coin to pay gas with"
        )
        self._accounts_read = time.monotonic()


def _reading(task: bytes) -> str:
    """Key of the decision to skip a task that cannot be read."""
    return f"read:{task.hex()}"
