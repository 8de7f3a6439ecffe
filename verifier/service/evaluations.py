"""From the files of a task to this service's evaluation of it.

`Evaluations.advance` is called at every tick that needs an evaluation, and does the next step towards it: it looks into
the journal, compares the contract's inputs with the task's own events, takes over a run that has ended, or starts one
when all files are here. The evidence of a finished run goes into the store and its verdict into the journal before
anything is signed.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from verifier.execution.executor import EvaluationFailed, Executor
from verifier.protocol import commitments
from verifier.protocol.constants import OWN_FILES, attestation_bit
from verifier.protocol.state import TaskState
from verifier.service.files import Files
from verifier.service.jobs import Jobs
from verifier.service.journal import Evaluation, Journal
from verifier.service.telemetry import Telemetry
from verifier.service.votes import PanelIdentity
from verifier.tasks.case import Case, Judgement
from verifier.tasks.errors import DamagedFile


@dataclass(frozen=True)
class Ready:
    """The evaluation is in the journal."""

    evaluation: Evaluation


@dataclass(frozen=True)
class Pending:
    """The evaluation is still to come; `reason` says what it waits for."""

    reason: str


@dataclass(frozen=True)
class Failed:
    """The service abstains from these inputs; `reason` says why."""

    reason: str


class Evaluations:
    """The evaluations of one service, by the inputs that they are about."""

    def __init__(
        self, panel: PanelIdentity, journal: Journal, files: Files, runs: EvaluationRuns, telemetry: Telemetry
    ) -> None:
        self._panel = panel
        self._journal = journal
        self._files = files
        self._runs = runs
        self._telemetry = telemetry

    def advance(self, state: TaskState, seconds: float) -> Ready | Pending | Failed:
        """Do the next step towards the evaluation of the task's inputs, which may start a run, and say how it stands.

        `seconds` is how long the evaluation will be of use. Errors: Retry and OSError when the store or the journal
        cannot be read or written; the run is then not lost, and the next call records it.
        """
        known = self._journal.evaluation(state.inputs)
        if known is not None:
            verdict = self._verdict(state, known.outcome, known.scores, known.evidence)
            if verdict == known.verdict:
                return Ready(known)
            self._telemetry.logger.warning(
                "damaged journal",
                task=state.id.hex(),
                note="the recorded verdict does not follow from the recorded scores; the evaluation is run again",
            )
            self._journal.forget_evaluation(state.inputs)
        if not _consistent(state):
            return Failed("abstains: the contract's inputs are not those that follow from the task's events")

        outcome = self._runs.outcome(state.inputs)
        if isinstance(outcome, FinishedRun):
            try:
                return Ready(self._record(state, outcome))
            except DamagedFile as error:
                self._runs.reject(state.inputs, EvaluationFailed(f"its evidence was lost: {error}"))
            outcome = self._runs.outcome(state.inputs)
        if isinstance(outcome, DamagedFile):
            self._telemetry.damaged(outcome)
            self._files.discard(outcome.digest)
            outcome = self._runs.outcome(state.inputs)
        if outcome is not None:
            assert isinstance(outcome, (Pending, Failed)), "a run is reported once"
            return outcome

        missing = self._files.fetch_missing(state)
        needed = {OWN_FILES, *(attestation_bit(item.index) for item in state.scored_submissions())}
        absent = [label for bit, label in missing.items() if bit in needed]
        if absent:
            return Pending(f"cannot evaluate without: {', '.join(absent)}")
        case = self._files.case(state)
        self._runs.start(state, case, seconds)
        return Pending(f"the evaluation of {case.scored} submission(s) starts")

    def _record(self, state: TaskState, run: FinishedRun) -> Evaluation:
        """Put the evidence into the store, then the evaluation into the journal.

        Errors: Retry; DamagedFile when the evidence cannot be read or has changed.
        """
        judgement = run.judgement
        if judgement.evidence is not None:
            self._files.adopt(judgement.evidence, judgement.evidence_digest)
        found = Evaluation(
            task=state.id,
            inputs=state.inputs,
            outcome=judgement.outcome,
            scores=judgement.scores,
            evidence=judgement.evidence_digest,
            verdict=self._verdict(state, judgement.outcome, judgement.scores, judgement.evidence_digest),
            seconds=run.seconds,
        )
        self._journal.record_evaluation(found)
        self._runs.forget(state.inputs)
        self._telemetry.evaluated(found, judgement.fault)
        return found

    def _verdict(self, state: TaskState, outcome: int, scores: tuple[int, ...], evidence: bytes) -> bytes:
        """Return the digest of a verdict on the task's inputs."""
        return commitments.verdict(
            self._panel.chain_id, self._panel.address, state.id, state.inputs, outcome, scores, evidence
        )


def _consistent(state: TaskState) -> bool:
    """Whether the contract's inputs are those that follow from the task's own events."""
    root = commitments.root(item.commitment for item in state.history.submissions)
    holdout = state.history.holdout
    evaluation_set = holdout.plain if holdout is not None else state.terms.practice
    return commitments.inputs(state.id, evaluation_set, root, state.scored) == state.inputs


# Runs


@dataclass(frozen=True)
class Retries:
    """How often an evaluation is run again when its run fails."""

    attempts: int  # failed runs after which the service abstains until it is restarted
    pause_s: float  # between a failed run and the next


@dataclass(frozen=True)
class FinishedRun:
    """What a run found, and how many seconds it took."""

    judgement: Judgement
    seconds: float


@dataclass(frozen=True)
class _Failures:
    """How often the runs on some inputs have failed since the service started, and why and when the last one did."""

    times: int
    reason: str
    damage: bool  # a stored file was damaged
    at: float  # monotonic seconds


class EvaluationRuns:
    """Runs cases in the background, one at a time, because the operator sized the machine for one.

    A run that fails is repeated after a pause, a bounded number of times. Then the service abstains, until it is
    restarted: a crash is never a verdict. A run that found a damaged file counts as failed.
    """

    def __init__(self, executor: Executor, jobs: Jobs, work: Path, retries: Retries, telemetry: Telemetry) -> None:
        self._executor = executor
        self._jobs = jobs
        self._work = work
        self._retries = retries
        self._telemetry = telemetry
        self._last: str | None = None  # name of the job that was started last
        self._failures: dict[bytes, _Failures] = {}
        shutil.rmtree(work, ignore_errors=True)  # what a killed service left behind

    def outcome(self, inputs: bytes) -> FinishedRun | DamagedFile | Pending | Failed | None:
        """What became of the run on those inputs; None when nothing keeps the caller from starting one.

        A damaged file is reported once. A finished run is reported until `forget` or `reject`, whatever else runs.
        """
        name = _job(inputs)
        ended = self._jobs.outcome(name)
        if ended is not None and ended.error is None:
            run: FinishedRun = ended.value
            return run
        if ended is not None:
            self._jobs.forget(name)
            self._note_failure(inputs, ended.error, ended.finished_at)
            if isinstance(ended.error, DamagedFile):
                return ended.error
        consequence = self._consequence_of_failures(inputs)
        if consequence is None and self._last is not None and self._jobs.running(self._last):
            return Pending("the evaluation is running" if self._last == name else "another evaluation is running")
        return consequence

    def start(self, state: TaskState, case: Case, seconds: float) -> None:
        """Run the case in the background; of use for `seconds`."""
        task, folder = state.id.hex(), self._folder(state.inputs)

        def run() -> FinishedRun:
            started = time.monotonic()
            judgement = self._executor.execute(
                case, folder, lambda done, total: self._telemetry.evaluating(task, done, total), seconds
            )
            return FinishedRun(judgement, time.monotonic() - started)

        self._last = _job(state.inputs)
        self._jobs.start(self._last, run)

    def forget(self, inputs: bytes) -> None:
        """Delete what the run on those inputs left, once it is recorded."""
        self._jobs.forget(_job(inputs))
        shutil.rmtree(self._folder(inputs), ignore_errors=True)

    def reject(self, inputs: bytes, error: EvaluationFailed) -> None:
        """Count a finished run that cannot be recorded as failed, and delete what it left."""
        self.forget(inputs)
        self._note_failure(inputs, error, time.monotonic())

    def _note_failure(self, inputs: bytes, error: Exception | None, at: float) -> None:
        """Count failed evaluations and damaged files alone: a full disk, for example, is trouble that may pass."""
        times = self._failures[inputs].times if inputs in self._failures else 0
        if isinstance(error, (EvaluationFailed, DamagedFile)):
            times += 1
            self._telemetry.metrics.evaluation_failures.inc()
        self._failures[inputs] = _Failures(times, str(error), isinstance(error, DamagedFile), at)

    def _consequence_of_failures(self, inputs: bytes) -> Pending | Failed | None:
        failures = self._failures.get(inputs)
        if failures is None:
            return None
        if failures.times >= self._retries.attempts:
            why = "the disk or the memory of this machine is damaged: " if failures.damage else ""
            failed = f"the evaluation failed {failures.times} times: {why}{failures.reason}"
            return Failed(f"abstains until the service is restarted: {failed}")
        if time.monotonic() - failures.at < self._retries.pause_s:
            return Pending(f"the evaluation failed and will be tried again: {failures.reason}")
        return None

    def _folder(self, inputs: bytes) -> Path:
        return self._work / inputs.hex()


def _job(inputs: bytes) -> str:
    return f"evaluation:{inputs.hex()}"
