"""Which findings are facts about a task, and which are trouble of this machine and must never become a verdict."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.node import ROOT
from tests.end_to_end.program import BAD, COUNT, GOOD, Program, float_program
from tests.execution.test_sandbox import case_of, ignore, sealed, stored
from verifier.artifacts import digests
from verifier.artifacts.errors import Misfit
from verifier.protocol.constants import MISFIT_SCORE, Outcome
from verifier.tasks import judge as judging
from verifier.tasks.case import Judgement, SealedFile
from verifier.tasks.errors import DamagedFile, ManifestError, NotEnoughMemory
from verifier.tasks.judge import EvaluationLimits, judge

LIMITS = EvaluationLimits(threads=1, memory_bytes=1 << 40)


def judged(folder: Path, program: Program, **changes: Any) -> Judgement:
    """Judge a good case with `changes` made to it."""
    return judge(replace(case_of(folder, program), **changes), folder / "evidence", LIMITS, ignore)


def test_judge__good_case__is_scored(tmp_path: Path) -> None:
    program = Program()
    found = judged(tmp_path, program)
    assert (found.outcome, found.scores, found.fault) == (Outcome.SCORED, (program.score(GOOD, seed=1),), "")


def test_judge__submission_not_scored__has_zero(tmp_path: Path) -> None:
    assert judged(tmp_path, Program(), submissions=(None,)).scores == (0,)


SPOILED = {
    "trailing byte": lambda data: data + b"\0",
    "too short": lambda data: data[:-1],
    "floats": lambda data: data.replace(b"I16", b"F16"),
    "another shape": lambda data: data.replace(b"[4]", b"[2]"),
    "another header": lambda data: data.replace(b'"w"', b'"v"'),
}


@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED.keys())
def test_judge__submission_with_other_bytes__gets_the_misfit_score(tmp_path: Path, spoil: Any) -> None:
    program = Program()
    bad = sealed(tmp_path, "bad", spoil(program.submission_file(GOOD)))
    assert judged(tmp_path, program, submissions=(bad,)).scores == (MISFIT_SCORE,)


def test_judge__submission_with_another_digest_than_revealed__gets_the_misfit_score(tmp_path: Path) -> None:
    program = Program()
    bad = replace(sealed(tmp_path, "bad", program.submission_file(BAD)), plain=b"\x01" * 32)
    assert judged(tmp_path, program, submissions=(bad,)).scores == (MISFIT_SCORE,)


def test_judge__program_not_exact__is_a_fact_with_its_reason(tmp_path: Path) -> None:
    found = judged(tmp_path, Program(float_program()))
    assert (found.outcome, found.scores, found.evidence) == (Outcome.PROGRAM_INVALID, (), None)
    assert found.fault.startswith("not exact at input 'w'")


def test_judge__macs_understated__is_a_fact(tmp_path: Path) -> None:
    found = judged(tmp_path, Program(cost=1))
    assert (found.outcome, found.fault) == (Outcome.PROGRAM_INVALID, "macs: 81 for 3 batches, the manifest says 1")


def test_judge__other_holdout_than_announced__is_a_fact(tmp_path: Path) -> None:
    program = Program()
    other = sealed(tmp_path, "other", program.examples_file(seed=9))
    assert judged(tmp_path, program, evaluation_set=other).outcome == Outcome.HOLDOUT_INVALID


def test_judge__holdout_that_does_not_open__is_a_fact(tmp_path: Path) -> None:
    case = case_of(tmp_path, Program())
    assert isinstance(case.evaluation_set, SealedFile)
    wrong_key = replace(case.evaluation_set, key=b"\x01" * 32)
    found = judge(replace(case, evaluation_set=wrong_key), tmp_path / "evidence", LIMITS, ignore)
    assert (found.outcome, found.fault) == (
        Outcome.HOLDOUT_INVALID,
        "the unsealed bytes do not have the revealed digest",
    )


@pytest.mark.parametrize("trouble", [MemoryError, RecursionError, OSError, RuntimeError])
@pytest.mark.parametrize("where", ["load_program", "Engine", "evaluate"])
def test_judge__trouble_of_this_machine__is_raised_and_never_a_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, trouble: type[Exception]
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise trouble

    monkeypatch.setattr(judging, where, fail)
    with pytest.raises(trouble):
        judged(tmp_path, Program())


def test_judge__invalid_manifest__is_raised(tmp_path: Path) -> None:
    with pytest.raises(ManifestError):
        judged(tmp_path, Program(), manifest=stored(tmp_path, "none", b"{}"))


def test_read__file_grows_while_it_is_read__is_read_whole(tmp_path: Path) -> None:
    """A pipe says that it has no bytes: what is judged must still be everything that was hashed."""
    pipe, data = tmp_path / "pipe", bytes(range(256)) * 1_000
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(data,))
    writer.start()
    assert judging._read(pipe, len(data), digests.digest(data)) == data
    writer.join(30)


def test_read__file_longer_than_allowed__is_cut_behind_the_limit(tmp_path: Path) -> None:
    file = stored(tmp_path, "long", bytes(5_000))
    assert len(judging._read(file.path, 1_000, file.digest)) == 1_001


def _flip_a_bit(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


@pytest.mark.parametrize("name", ["manifest", "program", "evaluation_set", "submission"])
def test_judge__one_bit_flipped_on_disk__is_never_judged(tmp_path: Path, name: str) -> None:
    case = case_of(tmp_path, Program())
    file = case.submissions[0] if name == "submission" else getattr(case, name)
    _flip_a_bit(file.path)
    with pytest.raises(DamagedFile) as caught:
        judge(case, tmp_path / "evidence", LIMITS, ignore)
    assert caught.value.digest == (file.sealed if isinstance(file, SealedFile) else file.digest)


@pytest.mark.parametrize("name", ["manifest", "program", "evaluation_set", "submission"])
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOENT])
def test_judge__stored_file_unreadable__is_reported_as_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, number: int
) -> None:
    case = case_of(tmp_path, Program())
    file = case.submissions[0] if name == "submission" else getattr(case, name)
    _break_reading(monkeypatch, file.path, number)
    with pytest.raises(DamagedFile) as caught:
        judge(case, tmp_path / "evidence", LIMITS, ignore)
    assert caught.value.digest == (file.sealed if isinstance(file, SealedFile) else file.digest)
    assert str(caught.value) == f"{file.path} cannot be read: {os.strerror(number)}"


def test_judge__no_descriptor_left__is_not_reported_as_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = case_of(tmp_path, Program())
    _break_reading(monkeypatch, case.program.path, errno.EMFILE)
    with pytest.raises(OSError, match="Too many open files"):
        judge(case, tmp_path / "evidence", LIMITS, ignore)


def _break_reading(monkeypatch: pytest.MonkeyPatch, broken: Path, number: int) -> None:
    """Let every attempt to open that file fail with the error of that number."""
    honest = Path.open

    def fail(path: Path, *arguments: Any, **named: Any) -> Any:
        if path == broken:
            raise OSError(number, os.strerror(number))
        return honest(path, *arguments, **named)

    monkeypatch.setattr(Path, "open", fail)


def test_judge__misfit_while_the_engine_runs__is_raised_and_not_scored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only bytes of a submission that do not fit make the misfit score, not an error of the evaluation."""

    def fail(*_: Any, **__: Any) -> Any:
        raise Misfit("raised by the engine")

    monkeypatch.setattr(judging, "evaluate", fail)
    with pytest.raises(Misfit, match=r"^raised by the engine$"):
        judged(tmp_path, Program())


def test_judge__practice_set_flipped_on_disk__is_never_judged(tmp_path: Path) -> None:
    program = Program()
    practice = program.examples_file(seed=2)
    case = case_of(tmp_path, program)
    manifest = stored(tmp_path, "public", program.manifest(lambda _: "https://x", practice, b"x", holdout=None))
    case = replace(case, manifest=manifest, evaluation_set=stored(tmp_path, "practice", practice))
    assert judge(case, tmp_path / "evidence", LIMITS, ignore).outcome == Outcome.SCORED
    _flip_a_bit(case.evaluation_set.path)
    with pytest.raises(DamagedFile):
        judge(case, tmp_path / "evidence", LIMITS, ignore)


def test_judge__stored_file_longer_than_its_schema__is_misfit_or_damage_by_its_digest(tmp_path: Path) -> None:
    """Only the start of a file that is too long is kept, yet all of it is verified against the digest."""
    case = case_of(tmp_path, Program())
    submission = case.submissions[0]
    assert submission is not None
    longer = submission.path.read_bytes() + bytes(3 << 20)
    submission.path.write_bytes(longer)
    announced = replace(submission, sealed=digests.digest(longer))
    found = judge(replace(case, submissions=(announced,)), tmp_path / "evidence", LIMITS, ignore)
    assert found.scores == (MISFIT_SCORE,)
    with pytest.raises(DamagedFile):
        judge(case, tmp_path / "evidence", LIMITS, ignore)


def test_judge__opened_holdout_longer_than_its_schema__is_a_fact_with_its_reason(tmp_path: Path) -> None:
    program = Program()
    plain = program.examples_file(seed=1) + b"\0"
    longer = sealed(tmp_path, "longer", plain)
    case = case_of(tmp_path, program)
    announced = {"sealed_digest": digests.to_hex(longer.sealed), "size": len(plain) - 1, "count": COUNT, "uris": []}
    manifest = program.manifest(lambda _: "https://x", program.examples_file(seed=2), b"", holdout=announced)
    changed = replace(case, manifest=stored(tmp_path, "other", manifest), evaluation_set=longer)
    found = judge(changed, tmp_path / "evidence", LIMITS, ignore)
    assert found.outcome == Outcome.HOLDOUT_INVALID
    assert found.fault == f"the file is longer than the {len(plain) - 1} bytes that its schema says"


def test_judge__program_needs_more_memory_than_allowed__says_how_much(tmp_path: Path) -> None:
    limits = replace(LIMITS, memory_bytes=10)
    with pytest.raises(NotEnoughMemory, match=r"^the program needs \d+ bytes of memory, 10 are allowed$"):
        judge(case_of(tmp_path, Program()), tmp_path / "evidence", limits, ignore)


def test_load_program__no_memory_left_to_parse__is_not_called_invalid(tmp_path: Path) -> None:
    """protobuf reports exhausted memory as a malformed file: if that counted, an honest verifier would vote wrongly."""
    script = """
import resource
from verifier.exact import ExactError, NotExactError, load_program
nodes = b"\\x0a\\x00" * 500_000
length, size = b"", len(nodes)
while size:
    length, size = length + bytes([size & 127 | (128 if size > 127 else 0)]), size >> 7
data = b"\\x3a" + length + nodes
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 30_000_000,) * 2)
try:
    load_program(data)
except NotExactError as error:
    print("a fact:", error)
except (ExactError, MemoryError) as error:
    print("no fact:", error)
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout.startswith("no fact:"), done.stdout + done.stderr
