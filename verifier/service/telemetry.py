"""What the operator sees of the service: logs, metrics, /health and progress bars, written in one place."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping

from verifier.artifacts.digests import to_hex
from verifier.chain.client import Block
from verifier.chain.transactions import Change, TransactionState
from verifier.protocol.constants import Outcome
from verifier.service.health import Status
from verifier.service.journal import Evaluation
from verifier.service.logs import Decisions, Logger
from verifier.service.metrics import Metrics
from verifier.service.progress import Bars
from verifier.tasks.errors import DamagedFile

# Decisions about the service, not about a duty or a task.
_SERVICE_KEYS = frozenset({"tick", "seats", "balance", "store"})


class Telemetry:
    """Reports what happens. Only `evaluating` is called from other threads than the loop's."""

    def __init__(self, logger: Logger, status: Status, bars: Bars) -> None:
        self.logger = logger
        self.metrics = Metrics()
        self.status = status
        self._bars = bars
        self._decisions = Decisions(logger)

    # Decisions

    def decided(self, key: str, decision: str, reason: str, **fields: object) -> None:
        """Log a decision about the duty or task `key` with its reason, once until it changes."""
        self._decisions.say(key, decision, reason, **fields)

    def went_on(self, key: str) -> None:
        """Forget the decision about a duty that went on: its next reason is news again."""
        self._decisions.forget(key)

    def attention(self, key: str, wrong: bool, problem: str) -> None:
        """Log what the operator should look at, once, and again when it comes back after it was right."""
        if wrong:
            self._decisions.say(key, "attention", problem)
        else:
            self._decisions.forget(key)

    def retain(self, keys: Collection[str]) -> None:
        """Forget the decisions about all duties and tasks but `keys`."""
        self._decisions.retain(_SERVICE_KEYS.union(keys))

    # Files, transactions and evaluations

    def damaged(self, error: DamagedFile) -> None:
        """Log a damaged file that is deleted."""
        self.logger.warning(
            "damaged file",
            file=to_hex(error.digest),
            reason=str(error),
            note="it is deleted and fetched again; if this happens often, check the disk and the memory",
        )

    def transaction(self, change: Change) -> None:
        """Log and count something that happened to a transaction."""
        kind = change.key.partition(":")[0]
        self.metrics.transactions.labels(kind, change.state).inc()
        self.metrics.gas.labels(kind).inc(change.gas_used)
        bad = change.state in (TransactionState.REVERTED, TransactionState.LOST)
        log = self.logger.warning if bad else self.logger.info
        log("transaction", state=str(change.state), duty=change.key, hash=change.hash.hex(), gas=change.gas_used)

    def evaluating(self, task: str, done: int, total: int) -> None:
        """Show that `done` of `total` batches of a task's evaluation are complete."""
        self._bars.evaluation(task, done, total)

    def evaluated(self, found: Evaluation, fault: str) -> None:
        """Log and measure a complete evaluation; `fault` says what makes the program or the holdout invalid."""
        self.metrics.evaluation.observe(found.seconds)
        self.logger.info(
            "evaluated",
            task=found.task.hex(),
            outcome=Outcome(found.outcome).name,
            reason=fault or None,
            scores=found.scores,
            verdict=found.verdict.hex(),
            seconds=round(found.seconds, 1),
        )

    # Ticks

    def read(self, head: Block, confirmed: Block, tasks: int, duties: Mapping[tuple[str, str], int]) -> None:
        """Publish what a tick read and did: `duties` counts by kind and by what became of them."""
        self.metrics.head.set(head.number)
        self.metrics.confirmed.set(confirmed.number)
        self.metrics.tasks.set(tasks)
        self.metrics.duties.clear()
        for (kind, state), count in duties.items():
            self.metrics.duties.labels(kind, state).set(count)

    def completed(self, head: Block, confirmed: Block) -> None:
        """Publish that a tick is complete, and log it when the one before was not."""
        self.metrics.ticks.labels("complete").inc()
        if self.status.problem is not None:
            self.logger.info("goes on", after=self.status.problem)
            self._decisions.forget("tick")
        self.metrics.last_tick.set(time.time())
        self.status.last_tick = time.time()
        self.status.head, self.status.confirmed, self.status.problem = head.number, confirmed.number, None

    def interrupted(self, outcome: str, problem: str) -> None:
        """Publish that a tick ended early: `outcome` is its label in the metrics; the log says `problem` once."""
        self.metrics.ticks.labels(outcome).inc()
        self.status.problem = problem
        self._decisions.say("tick", "wait", problem)
