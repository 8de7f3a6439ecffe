"""Runs one evaluation in a child process that may fail in any way without harm.

The child gets a case in a file, limits on memory, CPU time and file size, an environment without anything of the
service's, and its own session; it writes a result. Whatever else it does is an abstention.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from verifier.artifacts.digests import to_hex
from verifier.artifacts.policy import printable
from verifier.protocol.constants import Outcome
from verifier.service.config import Sandbox
from verifier.service.errors import Retry

CHILD = (sys.executable, "-I", "-m", "verifier.execution.child")
EVIDENCE_BYTES = 256 << 20  # far above 64 submissions of any real task; the child cannot fill the disk
RESULT_BYTES = 1 << 16  # 64 scores need far less
PROGRESS_CHARACTERS = 64  # of one line of progress
STDERR_TAIL = 400  # characters of the child's last words that go into the reason


class EvaluationFailed(Retry):
    """The child ended without a result: it may be run again, and in the end the service abstains."""


class StoredFileDamaged(Retry):
    """A stored file that does not have its digest: it is fetched again, and nothing is judged from it."""

    def __init__(self, digest: bytes) -> None:
        super().__init__(f"the stored file {to_hex(digest)} is damaged and will be fetched again")
        self.digest = digest


@dataclass(frozen=True)
class StoredFile:
    """A public file on disk, and the digest that its bytes must have."""

    path: Path
    digest: bytes


@dataclass(frozen=True)
class SealedFile:
    """A sealed artifact on disk, with what its owner revealed: sealed and plain digest, and the key."""

    path: Path
    sealed: bytes
    plain: bytes
    key: bytes


@dataclass(frozen=True)
class Case:
    """Everything an evaluation depends on. A submission that is not scored is None; exactly one of practice and
    holdout is the evaluation set; `macs` is what the sponsor declared for one submission."""

    manifest: StoredFile
    program: StoredFile
    practice: StoredFile | None
    holdout: SealedFile | None
    submissions: tuple[SealedFile | None, ...]
    macs: int

    def to_json(self) -> str:
        """As the child reads it."""
        return json.dumps(asdict(self), default=lambda value: value.hex() if isinstance(value, bytes) else str(value))

    @classmethod
    def from_json(cls, text: str) -> Case:
        """What `to_json` wrote."""
        raw: dict[str, Any] = json.loads(text)

        def stored(entry: dict[str, str]) -> StoredFile:
            return StoredFile(Path(entry["path"]), bytes.fromhex(entry["digest"]))

        def sealed(entry: dict[str, str] | None) -> SealedFile | None:
            if entry is None:
                return None
            digests = (bytes.fromhex(entry[name]) for name in ("sealed", "plain", "key"))
            return SealedFile(Path(entry["path"]), *digests)

        return cls(
            manifest=stored(raw["manifest"]),
            program=stored(raw["program"]),
            practice=stored(raw["practice"]) if raw["practice"] else None,
            holdout=sealed(raw["holdout"]),
            submissions=tuple(sealed(entry) for entry in raw["submissions"]),
            macs=int(raw["macs"]),
        )


@dataclass(frozen=True)
class Judgement:
    """What an evaluation found: outcome, one score per submission, and the evidence file.

    Invalid inputs have no scores and no evidence; `fault` says what is wrong with them.
    """

    outcome: int
    scores: tuple[int, ...]
    evidence_digest: bytes
    evidence: Path | None
    fault: str = ""


def cpu_limit_s(case: Case, limits: Sandbox) -> int:
    """CPU seconds an evaluation may take: what was declared for every submission, on the slowest machine believed."""
    scored = sum(entry is not None for entry in case.submissions)
    return limits.cpu_floor_s + case.macs * scored // limits.macs_per_second


def run(
    case: Case, limits: Sandbox, folder: Path, on_progress: Callable[[int, int], None], seconds: float
) -> Judgement:
    """Evaluate `case` in a child, of use for `seconds` from now; `on_progress` gets (batches done, batches in all).

    Errors: StoredFileDamaged when a file does not have its digest; EvaluationFailed with the reason; OSError when the
    child cannot even be started.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    cpu_s = cpu_limit_s(case, limits)
    wall_s = min(seconds, 2 * cpu_s + 60)  # a child that sleeps uses no CPU time
    (folder / "case.json").write_text(case.to_json())
    (folder / "limits.json").write_text(
        json.dumps(
            {
                "parent": os.getpid(),
                "memory_bytes": limits.memory_bytes,
                "cpu_s": cpu_s,
                "file_bytes": EVIDENCE_BYTES,
                "threads": limits.threads,
            }
        )
    )
    with (folder / "stderr").open("wb") as errors:
        child = subprocess.Popen(
            [*CHILD, str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            cwd=folder,
            env={"PATH": os.defpath, "LC_ALL": "C.UTF-8", "OMP_NUM_THREADS": str(limits.threads)},
            start_new_session=True,
            text=True,
        )
        late = threading.Event()

        def end() -> None:
            late.set()
            _kill(child)

        timer = threading.Timer(wall_s, end)
        timer.start()
        try:
            _watch(child, on_progress)
        finally:
            timer.cancel()
            _kill(child)
            child.wait()
    if late.is_set():
        raise EvaluationFailed(f"the evaluation was not done after {wall_s:.0f} s")
    return _result(folder, child.returncode, cpu_s)


def _kill(child: subprocess.Popen[str]) -> None:
    """End the child and whatever it started."""
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _watch(child: subprocess.Popen[str], on_progress: Callable[[int, int], None]) -> None:
    """Follow the child's progress lines until it closes its output, then wait for it."""
    assert child.stdout is not None
    while line := child.stdout.readline(PROGRESS_CHARACTERS):
        done, _, total = line.strip().partition(" ")
        if done.isdecimal() and total.isdecimal():
            on_progress(int(done), int(total))
    child.stdout.close()
    child.wait()


def _result(folder: Path, status: int, cpu_s: int) -> Judgement:
    if status == -signal.SIGXCPU:
        raise EvaluationFailed(f"the evaluation used up its {cpu_s} s of CPU time (sandbox.macs_per_second)")
    if status != 0:
        how = f"signal {-status}" if status < 0 else f"status {status}"
        raise EvaluationFailed(f"the evaluation ended with {how}: {_last_words(folder) or 'no message'}")
    try:
        with (folder / "result.json").open("rb") as file:
            result = json.loads(file.read(RESULT_BYTES))
        damaged = bytes.fromhex(result.get("damaged", ""))
        if damaged:
            raise StoredFileDamaged(damaged)
        outcome = int(result["outcome"])
        scores = tuple(int(score) for score in result["scores"])
        digest = bytes.fromhex(result["evidence"])
        fault = printable(str(result["fault"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise EvaluationFailed(f"the evaluation left no readable result: {error}") from error
    return Judgement(outcome, scores, digest, folder / "evidence" if outcome == Outcome.SCORED else None, fault)


def _last_words(folder: Path) -> str:
    """The end of what the child wrote to stderr, in one line."""
    with (folder / "stderr").open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - STDERR_TAIL))
        return printable(file.read().decode("utf-8", "replace"), STDERR_TAIL)
