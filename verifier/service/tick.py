"""The service's whole flow, one tick at a time.

Read one confirmed block, derive the duties from it, do them. A duty that cannot be done now says why, once; nothing
that goes wrong with one duty or one task keeps the others from being done.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from dataclasses import dataclass, field

from verifier.chain.client import Block, Client
from verifier.chain.contracts import Contracts
from verifier.chain.errors import Refused, Reverted
from verifier.chain.events import EventIndex
from verifier.chain.snapshot import read_task
from verifier.chain.transactions import Change, Sender, TransactionState
from verifier.protocol.errors import IncompleteHistory
from verifier.protocol.history import History
from verifier.protocol.state import TaskState
from verifier.service.actions import Actions, Progress
from verifier.service.duties import Duty, Kind, derive
from verifier.service.errors import Retry, Skip, Stop
from verifier.service.files import Files
from verifier.service.health import Status
from verifier.service.logs import Decisions, Logger
from verifier.service.metrics import Metrics

STANDING = frozenset({"tick", "seats", "balance"})  # what is said of the service, not of a duty
ACCOUNTS_EVERY_S = 60.0  # balance and stake are for the dashboard: no need to ask at every tick


@dataclass
class Service:
    """What a running service is made of. `operator` is whose duties it does; without a sender it is a dry run."""

    client: Client
    contracts: Contracts
    index: EventIndex
    files: Files
    actions: Actions
    sender: Sender | None
    operator: str
    confirmations: int
    status: Status
    metrics: Metrics
    decisions: Decisions
    logger: Logger
    _history: History = field(default_factory=History)
    _retractions: int = 0
    _accounts_read: float | None = None

    def tick(self) -> None:
        """One round of everything. Errors: ChainError when the node fails, Retry when this machine does (both: try
        again), Stop."""
        head = self.client.block()
        confirmed = self.client.confirmed(head, self.confirmations)
        history = self._follow(confirmed)
        self._look_after_transactions(confirmed)

        done: Counter[tuple[str, str]] = Counter()
        states = self._read_tasks(history, confirmed)
        self.files.keep(states)
        duties = [
            (state, duty) for state in states for duty in derive(state, self.operator, head.timestamp, head.number)
        ]
        # What ends first is done first, whatever task it belongs to.
        for state, duty in sorted(duties, key=lambda item: math.inf if item[1].until is None else item[1].until):
            done[duty.kind, self._perform(state, duty, head)] += 1
        keys = {duty.key for _, duty in duties}
        self.actions.retain(keys)
        self.decisions.retain(keys | {f"read:{state.id.hex()}" for state in states} | STANDING)

        self._report(head, confirmed, history, states, done)

    def trouble(self, outcome: str, problem: str) -> None:
        """A tick ended early: `outcome` is its label in the metrics, `problem` what /health and, once, the log say."""
        self.metrics.ticks.labels(outcome).inc()
        self.status.problem = problem
        self.decisions.say("tick", "wait", problem)

    def _follow(self, confirmed: Block) -> History:
        """The contracts' history up to the confirmed block; only what is new is folded in, or, once retracted, all."""
        if self.index.advance(confirmed):
            self.logger.warning("reorganisation", block=confirmed.number, note="events below it were read again")
        if self.index.retractions != self._retractions:
            self._history, self._retractions = History(), self.index.retractions
        try:
            self._history.follow(self.index.events)
        except IncompleteHistory as error:
            raise Stop(f"{error}: set chain.from_block to the block in which Stakes was deployed") from error
        return self._history

    def _look_after_transactions(self, confirmed: Block) -> None:
        """Receipts, replacements, rebroadcasts of what was sent at earlier ticks."""
        for change in self.sender.poll(confirmed) if self.sender else ():
            self._note(change)

    def _note(self, change: Change) -> None:
        kind = change.key.partition(":")[0]
        self.metrics.transactions.labels(kind, change.state).inc()
        self.metrics.gas.labels(kind).inc(change.gas_used)
        level = "warning" if change.state in (TransactionState.REVERTED, TransactionState.LOST) else "info"
        getattr(self.logger, level)(
            "transaction", state=str(change.state), duty=change.key, hash=change.hash.hex(), gas=change.gas_used
        )

    def _read_tasks(self, history: History, confirmed: Block) -> list[TaskState]:
        """Every task that anything can be done about, at the confirmed block."""
        states = []
        for task in history.tasks.values():
            # Without a submission there is no duty: tasks that nobody paid for must not cost anybody a look.
            if not task.submissions or task.finished():
                continue
            if task.ended and not history.has_seat(task.id, self.operator):
                continue
            try:
                states.append(read_task(self.contracts, history, task.id, confirmed))
            except Reverted as error:
                self.decisions.say(f"read:{task.id.hex()}", "skip", str(error), task=task.id.hex())
        return states

    def _perform(self, state: TaskState, duty: Duty, head: Block) -> Progress:
        """Do one duty; what stands in its way is logged with its reason, once."""
        fields: dict[str, object] = {"duty": str(duty.kind), "task": state.id.hex()}
        if duty.round:
            fields["round"] = duty.round
        if duty.member is not None:
            fields["position"] = duty.position
        if duty.kind is Kind.CLAIM:
            fields["submission"] = duty.index
        try:
            progress, change = self.actions.perform(state, duty, head)
        except Skip as error:
            self.decisions.say(duty.key, "skip", str(error), **fields)
            return Progress.SKIPPED
        except (Retry, Refused) as error:
            self.decisions.say(duty.key, "wait", str(error), **fields)
            return Progress.WAITING
        if change is not None:
            self._note(change)
            self.decisions.forget(duty.key)
        return progress

    def _warn(self, key: str, wrong: bool, problem: str) -> None:
        """Say once what the operator should look at, and again if it comes back after it was right."""
        if wrong:
            self.decisions.say(key, "attention", problem)
        else:
            self.decisions.forget(key)

    def _report(
        self,
        head: Block,
        confirmed: Block,
        history: History,
        states: list[TaskState],
        done: Counter[tuple[str, str]],
    ) -> None:
        """Leave what /health and /metrics show."""
        metrics = self.metrics
        metrics.head.set(head.number)
        metrics.confirmed.set(confirmed.number)
        metrics.tasks.set(len(states))
        metrics.duties.clear()
        for (kind, state), count in done.items():
            metrics.duties.labels(kind, state).set(count)
        if self._accounts_read is None or time.monotonic() - self._accounts_read > ACCOUNTS_EVERY_S:
            stakes = history.stakes_of(self.operator)
            seats = [self.contracts.seat(stake, confirmed.number) for stake in stakes]
            metrics.seats.set(len(seats))
            metrics.stake.set(sum(seat.balance for seat in seats))
            balance = self.contracts.balance(self.operator, confirmed.number)
            metrics.balance.set(balance)
            self._warn(
                "seats", not seats, f"no seat names {self.operator} as its operator: it has only open calls to make"
            )
            self._warn(
                "balance", self.sender is not None and not balance, f"{self.operator} has no coin to pay gas with"
            )
            metrics.stored.set(self.files.size())
            self._accounts_read = time.monotonic()
        metrics.ticks.labels("complete").inc()
        if self.status.problem is not None:
            self.logger.info("goes on", after=self.status.problem)
            self.decisions.forget("tick")
        metrics.last_tick.set(time.time())
        self.status.last_tick = time.time()
        self.status.head, self.status.confirmed, self.status.problem = head.number, confirmed.number, None
