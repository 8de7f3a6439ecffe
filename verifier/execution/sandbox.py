"""Executes a case in a child process on this machine, which may fail in any way without harm.

The child gets the case in a file, limits on memory, CPU time and file size, an environment without anything of the
service's, and a session of its own; it writes a result file. Everything else that it may do counts as a failure.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from verifier.artifacts.policy import printable
from verifier.execution.executor import EvaluationFailed
from verifier.protocol.constants import Outcome
from verifier.tasks.case import Case, Judgement, OnBatch, StoredFile
from verifier.tasks.errors import DamagedFile, UnreadableFile

CHILD = (sys.executable, "-I", "-m", "verifier.execution.child")
# Maximum size of a file that the child writes, so that it cannot fill the disk: the evidence of 64 submissions to any
# real task is far smaller.
MAX_EVIDENCE_BYTES = 256 << 20
# Maximum size of the result file that is read: 64 scores and a reason need far less.
MAX_RESULT_BYTES = 1 << 16
# Maximum length of one line of progress, two integers, that is read at once.
MAX_PROGRESS_CHARACTERS = 64
# How many of the last characters that the child wrote to stderr become part of the reason for a failure.
MAX_STDERR_CHARACTERS = 400
# Wall-clock seconds that the child gets on top of twice its CPU time: a child that sleeps uses no CPU time.
EXTRA_WALL_S = 60


@dataclass(frozen=True)
class SandboxLimits:
    """Limits of one evaluation in the sandbox."""

    memory_bytes: int  # address space of the child process
    macs_per_second: int  # slowest speed allowed for: CPU seconds = cpu_floor_s + declared MACs / macs_per_second
    cpu_floor_s: int  # CPU seconds for imports, parsing, the proof and loading the engine
    threads: int

    def cpu_s(self, case: Case) -> int:
        """CPU seconds that an evaluation of `case` may take."""
        return self.cpu_floor_s + case.macs * case.scored // self.macs_per_second


class Sandbox:
    """The Executor that runs every case in a child process of its own."""

    def __init__(self, limits: SandboxLimits) -> None:
        self._limits = limits

    def execute(self, case: Case, folder: Path, on_batch: OnBatch, timeout_s: float) -> Judgement:
        """Judge `case` in a child process; see `Executor.execute`."""
        cpu_s = self._limits.cpu_s(case)
        wall_s = min(timeout_s, 2 * cpu_s + EXTRA_WALL_S)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / "case.json").write_text(case.to_json())
        (folder / "limits.json").write_text(json.dumps(self._child_limits(cpu_s)))
        with (folder / "stderr").open("wb") as errors:
            child = subprocess.Popen(
                [*CHILD, str(folder)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=folder,
                env={"PATH": os.defpath, "LC_ALL": "C.UTF-8", "OMP_NUM_THREADS": str(self._limits.threads)},
                start_new_session=True,
                text=True,
            )
            late = _follow(child, on_batch, wall_s)
        if late:
            raise EvaluationFailed(f"the evaluation was not done after {wall_s:.0f} s")
        _require_success(child.returncode, folder, cpu_s)
        return _read_result(case, folder)

    def _child_limits(self, cpu_s: int) -> dict[str, int]:
        return {
            "parent": os.getpid(),
            "memory_bytes": self._limits.memory_bytes,
            "cpu_s": cpu_s,
            "file_bytes": MAX_EVIDENCE_BYTES,
            "threads": self._limits.threads,
        }


def _follow(child: subprocess.Popen[str], on_batch: OnBatch, wall_s: float) -> bool:
    """Pass on the child's progress until it ends or its time is up; returns whether its time was up."""
    late = threading.Event()

    def end() -> None:
        late.set()
        _kill(child)

    timer = threading.Timer(wall_s, end)
    timer.start()
    try:
        _watch(child, on_batch)
    finally:
        timer.cancel()
        _kill(child)
        child.wait()
    return late.is_set()


def _watch(child: subprocess.Popen[str], on_batch: OnBatch) -> None:
    """Read the child's progress lines until it closes its output, then wait for it."""
    assert child.stdout is not None
    while line := child.stdout.readline(MAX_PROGRESS_CHARACTERS):
        done, _, total = line.strip().partition(" ")
        if done.isdecimal() and total.isdecimal():
            on_batch(int(done), int(total))
    child.stdout.close()
    child.wait()


def _kill(child: subprocess.Popen[str]) -> None:
    """End the child and all processes that it started."""
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _require_success(status: int, folder: Path, cpu_s: int) -> None:
    """Errors: EvaluationFailed when the child ended with another exit status than 0."""
    if status == -signal.SIGXCPU:
        raise EvaluationFailed(
            f"the evaluation used up its {cpu_s} s of CPU time: on a slow machine, lower sandbox.macs_per_second"
        )
    if status != 0:
        how = f"signal {-status}" if status < 0 else f"status {status}"
        raise EvaluationFailed(f"the evaluation ended with {how}: {_last_words(folder) or 'no message'}")


def _last_words(folder: Path) -> str:
    """The end of what the child wrote to stderr, in one line."""
    with (folder / "stderr").open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - MAX_STDERR_CHARACTERS))
        return printable(file.read().decode("utf-8", "replace"), MAX_STDERR_CHARACTERS)


def _read_result(case: Case, folder: Path) -> Judgement:
    """Read what the child wrote, which is untrusted. Errors: DamagedFile, EvaluationFailed."""
    try:
        with (folder / "result.json").open("rb") as file:
            result: dict[str, Any] = json.loads(file.read(MAX_RESULT_BYTES))
        if "damaged" in result:
            raise _damaged_file(case, **result)
        if "unreadable" in result:
            raise _unreadable_file(case, **result)
        outcome = Outcome(int(result["outcome"]))
        scores = tuple(int(score) for score in result["scores"])
        digest = bytes.fromhex(result["evidence"])
        fault = printable(str(result["fault"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise EvaluationFailed(f"the evaluation left no readable result: {error}") from error
    return Judgement(outcome, scores, digest, folder / "evidence" if outcome == Outcome.SCORED else None, fault)


def _damaged_file(case: Case, damaged: str, found: str) -> DamagedFile:
    """The damaged file that the child reported. Errors: KeyError when the case has no such file, ValueError."""
    file = _file_of_case(case, damaged)
    return DamagedFile(file.path, file.digest, bytes.fromhex(found))


def _unreadable_file(case: Case, unreadable: str, reason: str) -> UnreadableFile:
    """The unreadable file that the child reported. Errors: KeyError when the case has no such file, ValueError."""
    file = _file_of_case(case, unreadable)
    return UnreadableFile(file.path, file.digest, printable(str(reason)))


def _file_of_case(case: Case, digest: str) -> StoredFile:
    return {file.digest: file for file in case.files()}[bytes.fromhex(digest)]
