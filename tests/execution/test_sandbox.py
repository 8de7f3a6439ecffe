"""The sandbox with real child processes that exceed each limit: each fails with its reason and leaves nothing."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.end_to_end.program import GOOD, Program, cost_of, model, slow_program
from verifier.artifacts import digests, sealing
from verifier.execution import sandbox
from verifier.execution.executor import EvaluationFailed
from verifier.execution.sandbox import Sandbox, SandboxLimits
from verifier.protocol.constants import Outcome
from verifier.tasks.case import Case, SealedFile, StoredFile
from verifier.tasks.errors import DamagedFile

LIMITS = SandboxLimits(memory_bytes=8 << 30, macs_per_second=50_000_000, cpu_floor_s=120, threads=1)
A_MINUTE = 60.0


def write(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def stored(folder: Path, name: str, data: bytes) -> StoredFile:
    return StoredFile(write(folder, name, data), digests.digest(data))


def sealed(folder: Path, name: str, plain: bytes) -> SealedFile:
    key = sealing.new_key()
    ciphertext = sealing.seal(key, plain)
    return SealedFile(write(folder, name, ciphertext), digests.digest(ciphertext), digests.digest(plain), key)


def case_of(folder: Path, program: Program) -> Case:
    """A case with one good submission, with its files in `folder`."""
    practice = program.examples_file(seed=2)
    holdout = sealed(folder, "holdout", program.examples_file(seed=1))
    return Case(
        manifest=stored(
            folder, "manifest", program.manifest(lambda _: "https://x", practice, holdout.path.read_bytes())
        ),
        program=stored(folder, "program", program.data),
        evaluation_set=holdout,
        submissions=(sealed(folder, "submission", program.submission_file(GOOD)),),
        macs=program.cost,
    )


def misbehave(monkeypatch: pytest.MonkeyPatch, folder: Path, script: str) -> None:
    """Run this script as the child, confined as the real one is."""
    confined = """
import json, os, subprocess, sys, time
from pathlib import Path
from verifier.execution.child import confine
folder = Path(sys.argv[1])
confine(json.loads((folder / "limits.json").read_text()))
"""
    file = write(folder, "child.py", (confined + script).encode())
    monkeypatch.setattr(sandbox, "CHILD", (sys.executable, "-I", str(file)))


def ignore(done: int, total: int) -> None:
    pass


def failure(case: Case, folder: Path, limits: SandboxLimits = LIMITS, seconds: float = A_MINUTE) -> str:
    """Execute the case and return the reason for which it failed."""
    with pytest.raises(EvaluationFailed) as caught:
        Sandbox(limits).execute(case, folder / "work", ignore, seconds)
    return str(caught.value)


def test_execute__honest_case__is_judged_and_reports_progress(tmp_path: Path) -> None:
    program = Program()
    progress: list[tuple[int, int]] = []
    found = Sandbox(LIMITS).execute(
        case_of(tmp_path, program), tmp_path / "work", lambda *at: progress.append(at), A_MINUTE
    )
    assert (found.outcome, found.scores) == (Outcome.SCORED, (program.score(GOOD, seed=1),))
    assert found.evidence is not None
    assert digests.digest_file(found.evidence) == found.evidence_digest
    assert progress[-1] == (3, 3)


def test_execute__too_much_cpu_time__fails_with_that_reason(tmp_path: Path) -> None:
    slow = slow_program()
    case = case_of(tmp_path, Program(slow, cost=cost_of(slow)))
    limits = replace(LIMITS, cpu_floor_s=4, macs_per_second=1 << 60)
    assert failure(case, tmp_path, limits) == (
        "the evaluation used up its 4 s of CPU time: on a slow machine, lower sandbox.macs_per_second"
    )


def test_cpu_s__two_submissions__follows_from_the_declared_cost(tmp_path: Path) -> None:
    case = replace(case_of(tmp_path, Program()), macs=10**9)
    two = replace(case, submissions=(*case.submissions, None, *case.submissions))
    assert replace(LIMITS, cpu_floor_s=7, macs_per_second=10**6).cpu_s(two) == 7 + 2 * 10**9 // 10**6


def test_execute__sleeping_child__ends_after_the_timeout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    misbehave(monkeypatch, tmp_path, "time.sleep(600)")
    assert failure(case_of(tmp_path, Program()), tmp_path, seconds=2.0) == "the evaluation was not done after 2 s"


def test_execute__too_much_memory__fails_with_that_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    misbehave(monkeypatch, tmp_path, "x = bytearray(2 << 30)")
    reason = failure(case_of(tmp_path, Program()), tmp_path, replace(LIMITS, memory_bytes=1 << 30))
    assert reason.endswith("MemoryError")


def test_execute__program_that_cannot_fit__says_how_much_it_needs(tmp_path: Path) -> None:
    """The program expands a file of a few hundred bytes to a tensor of two gigabytes."""
    nodes = [
        helper.make_node("Cast", ["w"], ["w_float"], to=TensorProto.DOUBLE),
        helper.make_node("Cast", ["x"], ["x_float"], to=TensorProto.DOUBLE),
        helper.make_node("Expand", ["w_float", "huge"], ["wide"]),
        helper.make_node("Neg", ["wide"], ["negative"]),
        helper.make_node("ReduceMax", ["negative", "axes"], ["most"], keepdims=1),
        helper.make_node("ReduceMax", ["x_float", "axes"], ["best"], keepdims=1),
        helper.make_node("Add", ["most", "best"], ["score"]),
    ]
    constants = {"huge": np.array([1 << 26, 4]), "axes": np.array([0, 1])}
    data = model(nodes, [TensorProto.INT16, TensorProto.INT16], {"score": [1, 1]}, constants)
    reason = failure(
        case_of(tmp_path, Program(data, cost=cost_of(data))), tmp_path, replace(LIMITS, memory_bytes=3 << 30)
    )
    assert "the program needs 4294" in reason
    assert "bytes of memory, 3221225472 are allowed (sandbox.memory_bytes)" in reason


def test_execute__too_large_a_file__fails_with_that_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "MAX_EVIDENCE_BYTES", 512)
    reason = failure(case_of(tmp_path, Program()), tmp_path)
    assert reason == "the evaluation ended with status 1: [Errno 27] File too large"


def test_execute__child__has_its_limits_and_an_environment_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOUCHSTONE_PASSWORD_FILE", "/secret")
    monkeypatch.setenv("LD_PRELOAD_OF_SOMEBODY", "x")
    misbehave(
        monkeypatch,
        tmp_path,
        """
import resource
kinds = ("AS", "CPU", "FSIZE", "CORE")
print({kind: resource.getrlimit(getattr(resource, "RLIMIT_" + kind)) for kind in kinds}, file=sys.stderr)
print(sorted(os.environ), os.getpgid(0) == os.getpid(), sys.stdin.read(), file=sys.stderr)
sys.exit(3)
""",
    )
    failure(case_of(tmp_path, Program()), tmp_path, replace(LIMITS, memory_bytes=1 << 30, cpu_floor_s=50))
    said = (tmp_path / "work" / "stderr").read_text().splitlines()
    gigabyte, file = 1 << 30, sandbox.MAX_EVIDENCE_BYTES
    assert said[0] == str({"AS": (gigabyte, gigabyte), "CPU": (50, 51), "FSIZE": (file, file), "CORE": (0, 0)})
    assert said[1].strip() == "['LC_ALL', 'OMP_NUM_THREADS', 'PATH'] True"


def test_execute__child_that_started_processes__ends_with_all_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    misbehave(
        monkeypatch,
        tmp_path,
        """
left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], stdout=subprocess.DEVNULL)
(folder / "left").write_text(str(left.pid))
os._exit(1)
""",
    )
    failure(case_of(tmp_path, Program()), tmp_path)
    left = Path("/proc") / (tmp_path / "work" / "left").read_text()
    deadline = time.monotonic() + 20
    while left.exists() and "Z" not in (left / "stat").read_text().split()[2]:  # its new parent reaps it
        assert time.monotonic() < deadline, "a process of the child is still alive"
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("", "the evaluation left no readable result"),
        ("(folder / 'result.json').write_text('{')", "the evaluation left no readable result"),
        ("(folder / 'result.json').write_text(' ' * 100_000)", "the evaluation left no readable result"),
        ("print('x' * 10_000_000)", "the evaluation left no readable result"),
        ("sys.exit('\\x1b[2Jno\\nverdict')", "the evaluation ended with status 1: ?[2Jno verdict"),
    ],
)
def test_execute__unreadable_result__fails_with_that_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str, reason: str
) -> None:
    misbehave(monkeypatch, tmp_path, written)
    assert failure(case_of(tmp_path, Program()), tmp_path).startswith(reason)


def test_execute__stored_file_damaged__names_the_file_and_both_digests(tmp_path: Path) -> None:
    case = case_of(tmp_path, Program())
    case.program.path.write_bytes(b"rot")
    with pytest.raises(DamagedFile) as caught:
        Sandbox(LIMITS).execute(case, tmp_path / "work", ignore, A_MINUTE)
    assert (caught.value.path, caught.value.digest) == (case.program.path, case.program.digest)
    assert caught.value.found == digests.digest(b"rot")


def test_execute__stored_file_missing__names_it_as_damaged(tmp_path: Path) -> None:
    case = case_of(tmp_path, Program())
    case.program.path.unlink()
    with pytest.raises(DamagedFile, match=f"^{case.program.path} cannot be read: No such file or directory$") as caught:
        Sandbox(LIMITS).execute(case, tmp_path / "work", ignore, A_MINUTE)
    assert (caught.value.path, caught.value.digest) == (case.program.path, case.program.digest)


def test_execute__child_reports_a_file_that_is_not_of_the_case__is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = json.dumps({"damaged": "ab" * 32, "found": "cd" * 32})
    misbehave(monkeypatch, tmp_path, f"(folder / 'result.json').write_text({report!r})")
    assert failure(case_of(tmp_path, Program()), tmp_path).startswith("the evaluation left no readable result")


@pytest.mark.parametrize("public", [False, True], ids=["holdout", "practice set"])
def test_case__written_and_read__is_the_same(tmp_path: Path, public: bool) -> None:
    case = replace(case_of(tmp_path, Program()), submissions=(None, sealed(tmp_path, "second", b"2")))
    if public:
        case = replace(case, evaluation_set=stored(tmp_path, "practice", b"p"))
    assert Case.from_json(case.to_json()) == case
