"""Evaluations: asked for by inputs, run in the sandbox, kept in the journal.

An evaluation that fails is run again a bounded number of times and then given up: a crash is an abstention, never a
verdict. Before anything is believed, the inputs are recomputed from the task's own history.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from verifier.artifacts.digests import from_hex
from verifier.chain import commitments
from verifier.service.config import Sandbox
from verifier.service.errors import Retry, Skip
from verifier.service.files import Files
from verifier.service.jobs import Jobs
from verifier.service.journal import Evaluation, Journal
from verifier.service.metrics import Metrics
from verifier.service.sandbox import Case, Judgement, SealedFile, run
from verifier.service.state import Submission, TaskState

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
        limits: Sandbox,
        work: Path,
        metrics: Metrics,
        on_progress: OnProgress,
    ) -> None:
        self._chain_id = chain_id
        self._panel = panel
        self._journal = journal
        self._files = files
        self._jobs = jobs
        self._limits = limits
        self._work = work
        self._metrics = metrics
        self._on_progress = on_progress

    def of(self, state: TaskState) -> Evaluation:
        """The evaluation of the task's inputs. Errors: Retry while it is to come, Skip once it is given up."""
        found = self._journal.evaluation(state.inputs)
        if found is not None:
            return found
        self._require_consistent(state)
        name = f"evaluation:{state.inputs.hex()}"
        if self._jobs.running(name):
            raise Retry("the evaluation is running")
        outcome = self._jobs.outcome(name)
        if outcome is not None:
            self._jobs.forget(name)
            if outcome.error is None:
                judgement, seconds = outcome.value
                return self._keep(state, judgement, seconds)
            self._metrics.evaluation_failures.inc()
            self._journal.record_failure(state.inputs, str(outcome.error))
        failed = self._journal.failed_attempts(state.inputs)
        if failed >= self._limits.attempts:
            raise Skip(f"abstains: the evaluation failed {failed} times: {self._journal.failure(state.inputs)}")
        case = self._case(state)
        folder = self._work / state.inputs.hex()
        self._jobs.start(name, lambda: self._timed(state.id.hex(), case, folder))
        raise Retry(f"the evaluation starts ({len(list(state.scored_submissions()))} submissions)")

    def _timed(self, task: str, case: Case, folder: Path) -> tuple[Judgement, float]:
        started = time.monotonic()
        judgement = run(case, self._limits, folder, lambda done, total: self._on_progress(task, done, total))
        return judgement, time.monotonic() - started

    def _keep(self, state: TaskState, judgement: Judgement, seconds: float) -> Evaluation:
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
        needed = {0, *(item.index + 1 for item in state.scored_submissions())}
        absent = [label for bit, label in missing.items() if bit in needed]
        if absent:
            raise Retry("cannot evaluate without: " + ", ".join(absent))
        holdout = state.history.holdout
        terms = state.terms
        return Case(
            manifest=self._files.path(terms.manifest),
            program=self._files.path(terms.program),
            practice=None if state.sealed else self._files.path(terms.practice),
            holdout=None if holdout is None else self._holdout(state),
            submissions=tuple(self._sealed(item, state) for item in state.history.submissions),
            macs=terms.macs,
        )

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
