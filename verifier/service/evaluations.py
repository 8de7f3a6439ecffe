"""Evaluations: asked for by inputs, run in the sandbox, kept in the journal.

One runs at a time, the most urgent first. One that fails is run again after a pause, a bounded number of times, and
then given up until the service is restarted: a crash is an abstention, never a verdict. Before anything is believed,
the inputs are recomputed from the task's own history.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from verifier.artifacts.digests import from_hex
from verifier.execution.executor import EvaluationFailed, Executor
from verifier.protocol import commitments
from verifier.protocol.constants import OWN_FILES, Outcome
from verifier.protocol.history import Submission
from verifier.protocol.state import TaskState
from verifier.service.config import SandboxConfig
from verifier.service.errors import Retry, Skip
from verifier.service.files import Files
from verifier.service.jobs import JobOutcome, Jobs
from verifier.service.journal import Evaluation, Journal
from verifier.service.logs import Logger
from verifier.service.metrics import Metrics
from verifier.tasks.case import Case, Judgement, SealedFile, StoredFile
from verifier.tasks.errors import DamagedFile


@dataclass(frozen=True)
class Failure:
    """How often an evaluation has failed since the service was started, why, and when (monotonic seconds)."""

    times: int
    reason: str
    at: float


OnProgress = Callable[[str, int, int], None]  # (task in hex, batches done, batches in all)


class Evaluations:
    """Runs at most one evaluation at a time: the operator sized the machine for one."""

    def __init__(
        self,
        chain_id: int,
        panel: str,
        journal: Journal,
        files: Files,
        jobs: Jobs,
        executor: Executor,
        limits: SandboxConfig,
        work: Path,
        metrics: Metrics,
        on_progress: OnProgress,
        logger: Logger,
    ) -> None:
        self._chain_id = chain_id
        self._panel = panel
        self._journal = journal
        self._files = files
        self._jobs = jobs
        self._executor = executor
        self._limits = limits
        self._work = work
        self._metrics = metrics
        self._on_progress = on_progress
        self._logger = logger
        self._running: str | None = None
        self._failures: dict[bytes, Failure] = {}
        shutil.rmtree(work, ignore_errors=True)  # what a killed service left

    def of(self, state: TaskState, seconds: float) -> Evaluation:
        """The evaluation of the task's inputs, of use for another `seconds`.

        Errors: Retry while it is to come, Skip once it is given up.
        """
        found = self._journal.evaluation(state.inputs)
        if found is not None:
            return found
        self._require_consistent(state)
        name = f"evaluation:{state.inputs.hex()}"
        if self._running is not None and self._jobs.running(self._running):
            raise Retry("the evaluation is running" if self._running == name else "another evaluation is running")
        outcome = self._jobs.outcome(name)
        if outcome is not None and outcome.error is None:
            found = self._keep(state, *outcome.value)
            self._jobs.forget(name)
            return found
        if outcome is not None:
            self._jobs.forget(name)
            if isinstance(outcome.error, DamagedFile):
                self._files.discard(outcome.error.digest)
                self._logger.warning("damaged file", digest=outcome.error.digest.hex(), note="it is fetched again")
            else:
                self._note_failure(state.inputs, outcome)
        self._require_worth_trying(state.inputs)
        case = self._case(state)
        folder = self._work / state.inputs.hex()
        self._running = name
        self._jobs.start(name, lambda: self._timed(state.id.hex(), case, folder, seconds))
        raise Retry(f"the evaluation starts ({len(list(state.scored_submissions()))} submissions)")

    def _note_failure(self, inputs: bytes, outcome: JobOutcome) -> None:
        """Only a child that failed counts: a full disk, say, is this machine's trouble and may pass."""
        failed = self._failures[inputs].times if inputs in self._failures else 0
        if isinstance(outcome.error, EvaluationFailed):
            failed += 1
            self._metrics.evaluation_failures.inc()
        self._failures[inputs] = Failure(failed, str(outcome.error), outcome.finished_at)

    def _require_worth_trying(self, inputs: bytes) -> None:
        """Errors: Skip when it failed too often, Retry when it failed just now."""
        failure = self._failures.get(inputs)
        if failure is None:
            return
        if failure.times >= self._limits.attempts:
            raise Skip(f"abstains: the evaluation failed {failure.times} times: {failure.reason}")
        if time.monotonic() - failure.at < self._limits.retry_pause_s:
            raise Retry(f"the evaluation failed and will be tried again: {failure.reason}")

    def _timed(self, task: str, case: Case, folder: Path, seconds: float) -> tuple[Judgement, float]:
        started = time.monotonic()
        judgement = self._executor.execute(
            case, folder, lambda done, total: self._on_progress(task, done, total), seconds
        )
        return judgement, time.monotonic() - started

    def _keep(self, state: TaskState, judgement: Judgement, seconds: float) -> Evaluation:
        """Evidence into the store, evaluation into the journal. Errors: Retry when the disk does not take them."""
        self._metrics.evaluation.observe(seconds)
        if judgement.evidence is not None:
            self._files.adopt(judgement.evidence, judgement.evidence_digest)
        verdict = commitments.verdict(
            self._chain_id,
            self._panel,
            state.id,
            state.inputs,
            judgement.outcome,
            judgement.scores,
            judgement.evidence_digest,
        )
        found = Evaluation(
            task=state.id,
            inputs=state.inputs,
            outcome=judgement.outcome,
            scores=judgement.scores,
            evidence=judgement.evidence_digest,
            verdict=verdict,
            seconds=seconds,
        )
        self._journal.record_evaluation(found)
        shutil.rmtree(self._work / state.inputs.hex(), ignore_errors=True)
        self._logger.info(
            "evaluated",
            task=state.id.hex(),
            outcome=Outcome(found.outcome).name,
            reason=judgement.fault or None,
            scores=found.scores,
            verdict=found.verdict.hex(),
            seconds=round(seconds, 1),
        )
        return found

    def _require_consistent(self, state: TaskState) -> None:
        """The contract's inputs must be what the task's own history says. Errors: Skip."""
        root = commitments.root(item.commitment for item in state.history.submissions)
        holdout = state.history.holdout
        evaluation_set = holdout.plain if holdout is not None else state.terms.practice
        if commitments.inputs(state.id, evaluation_set, root, state.scored) != state.inputs:
            raise Skip("abstains: the contract's inputs are not what the task's events say")

    def _case(self, state: TaskState) -> Case:
        """What the sandbox is given. Errors: Retry while a file is missing."""
        missing = self._files.fetch_missing(state)
        needed = {OWN_FILES, *(item.index + 1 for item in state.scored_submissions())}
        absent = [label for bit, label in missing.items() if bit in needed]
        if absent:
            raise Retry("cannot evaluate without: " + ", ".join(absent))
        holdout = state.history.holdout
        terms = state.terms
        return Case(
            manifest=self._stored(terms.manifest),
            program=self._stored(terms.program),
            evaluation_set=self._stored(terms.practice) if holdout is None else self._holdout(state),
            submissions=tuple(self._sealed(item, state) for item in state.history.submissions),
            macs=terms.macs,
        )

    def _stored(self, digest: bytes) -> StoredFile:
        return StoredFile(self._files.path(digest), digest)

    def _holdout(self, state: TaskState) -> SealedFile:
        opening = state.history.holdout
        assert opening is not None
        announced = self._files.manifest(state).holdout
        assert announced is not None
        path = self._files.path(from_hex(announced.sealed_digest))
        return SealedFile(path, opening.sealed, opening.plain, opening.key)

    def _sealed(self, item: Submission, state: TaskState) -> SealedFile | None:
        if not state.scored >> item.index & 1:
            return None
        assert item.plain is not None
        assert item.key is not None
        return SealedFile(self._files.path(item.sealed), item.sealed, item.plain, item.key)
