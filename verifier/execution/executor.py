"""The interface of what runs one case and gives a judgement: a sandboxed child process here, a cluster elsewhere.

Every implementation calls the one judge (verifier.tasks.judge), so that the same case has the same judgement and the
same evidence wherever it runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from verifier.errors import TouchstoneError
from verifier.tasks.case import Case, Judgement, OnBatch


class EvaluationFailed(TouchstoneError):
    """The evaluation ended without a judgement. It may be run again; if it keeps failing, the verifier abstains."""


class Executor(Protocol):
    """Runs cases, one call for each."""

    def execute(self, case: Case, folder: Path, on_batch: OnBatch, timeout_s: float) -> Judgement:
        """Judge `case` and return the judgement. Blocks the calling thread until then.

        Inputs: the paths in `case` are files of this machine, which the executor reads and does not change. `folder`
        belongs to this call: the executor empties it first and may write in it; the caller deletes it. `on_batch` gets
        (batches done, batches in all) and is called from any thread.

        Result: `Judgement.evidence`, when there is any, is a file in `folder` with the digest that the judgement names.

        Errors, none of which is a verdict: DamagedFile when a file of the case is missing, unreadable or does not have
        its digest (the caller fetches it again); EvaluationFailed with the reason when the evaluation crashed, exceeded
        a limit, was out of time or left an unreadable result; OSError when it could not be started.

        Cancellation: the evaluation is useless after `timeout_s` seconds, and the executor ends it then at the latest.
        It also ends when the calling process dies: no evaluation outlives the service that asked for it.
        """
        ...
