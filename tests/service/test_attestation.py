"""What a seat attests: files that are here and were compared with their digests, and never later than its window."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.service.test_evaluations import Machine
from verifier.artifacts import digests
from verifier.chain.client import Block
from verifier.protocol.state import TaskState
from verifier.service import checks
from verifier.service.actions import ActingOperator, Actions
from verifier.service.config import DutiesConfig
from verifier.service.duties import Duty, DutyKind
from verifier.service.errors import Retry, Skip

END = 1_000_000  # of the attestation window, in chain seconds
MARGIN_S = 30  # of the final part of the window, in which an incomplete list is attested


def attest_call(task: bytes, position: int, bitmap: int) -> Any:
    return SimpleNamespace(bitmap=bitmap, description="attest")


class Attesting:
    """A machine, and an operator with two seats that attest on a chain of which only the time is known."""

    def __init__(self, folder: Path, *, dry_run: bool = False) -> None:
        self.machine = Machine(folder)
        self.sent: list[int] = []  # the bitmaps
        sender = SimpleNamespace(busy=lambda key: False, submit=lambda key, call: self.sent.append(call.bitmap))
        self.actions = Actions(
            contracts=cast(Any, SimpleNamespace(attest=attest_call)),
            panel=cast(Any, None),
            operator=ActingOperator("0x" + "11" * 20, bytes(32), cast(Any, None if dry_run else sender)),
            journal=self.machine.journal,
            files=self.machine.files,
            evaluations=self.machine.evaluations,
            timing=DutiesConfig(attest_margin_s=MARGIN_S),
        )

    def attest(self, left_s: int, state: TaskState | None = None, position: int = 0) -> None:
        """Do the duty of one seat `left_s` seconds before the window ends."""
        state = state or self.machine.state()
        duty = Duty(DutyKind.ATTEST, state.id, round=1, position=position, until=END)
        self.actions.perform(state, duty, Block(1, bytes(32), END - left_s, 0))

    def until_sent(self, left_s: int) -> int:
        """Attest at every tick until it is sent; returns the bitmap."""
        deadline = time.monotonic() + 30
        while not self.sent:
            assert time.monotonic() < deadline
            try:
                self.attest(left_s)
            except Retry:
                time.sleep(0.01)
        return self.sent[0]


def hang(path: Path) -> bytes:
    time.sleep(0.5)
    return digests.digest_file(path)


def test_attest__everything_here__is_hashed_in_the_background(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    attesting = Attesting(tmp_path)
    monkeypatch.setattr(checks, "digest_file", hang)
    began = time.monotonic()
    with pytest.raises(Retry, match=r"^files are being compared with their digests: sealed holdout, submission 0$"):
        attesting.attest(MARGIN_S + 1)
    assert time.monotonic() - began < 0.4
    monkeypatch.undo()
    assert attesting.until_sent(MARGIN_S + 1) == 0b11


def test_attest__dry_run__hashes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    attesting, hashed = Attesting(tmp_path, dry_run=True), []
    monkeypatch.setattr(checks, "digest_file", hashed.append)
    with pytest.raises(Skip, match=r"^dry run: would send attest$"):
        attesting.attest(MARGIN_S + 1)
    time.sleep(0.05)
    assert hashed == []


def _damage_the_submission(machine: Machine) -> None:
    path = machine.store.path(machine.submission.sealed)
    good = path.read_bytes()
    path.write_bytes(bytes([good[0] ^ 1]) + good[1:])


def test_attest__damaged_file_before_the_margin__waits_for_another_copy(tmp_path: Path) -> None:
    attesting = Attesting(tmp_path)
    _damage_the_submission(attesting.machine)
    deadline = time.monotonic() + 30
    while attesting.machine.store.has(attesting.machine.submission.sealed):
        assert time.monotonic() < deadline
        with pytest.raises(Retry):
            attesting.attest(MARGIN_S + 1)
        time.sleep(0.01)
    with pytest.raises(Retry, match=r"^files are missing: submission 0 \("):
        attesting.attest(MARGIN_S + 1)
    assert attesting.sent == []


def test_attest__damaged_file_inside_the_margin__attests_without_it(tmp_path: Path) -> None:
    attesting = Attesting(tmp_path)
    _damage_the_submission(attesting.machine)
    assert attesting.until_sent(MARGIN_S - 1) == 0b01


def test_attest__check_takes_too_long__attests_without_unchecked_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attesting = Attesting(tmp_path)
    state = attesting.machine.state()
    while attesting.machine.files.check(state):
        time.sleep(0.01)
    _damage_the_submission(attesting.machine)  # its new stamp makes a new check necessary
    monkeypatch.setattr(checks, "digest_file", hang)
    with pytest.raises(Retry, match=r"^files are being compared with their digests: submission 0$"):
        attesting.attest(MARGIN_S - 1, state)
    attesting.attest(MARGIN_S // 3, state)
    assert attesting.sent == [0b01]
