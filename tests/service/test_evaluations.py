"""Files and evaluations of one task on this machine: what is missing, what is repeated, when the service abstains."""

from __future__ import annotations

import errno
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog

from tests.end_to_end.program import GOOD, Program
from tests.protocol.states import panel_view, some_terms, task_view
from verifier.artifacts import digests, sealing
from verifier.artifacts.store import Store
from verifier.execution.executor import EvaluationFailed
from verifier.execution.sandbox import Sandbox
from verifier.protocol import commitments
from verifier.protocol.constants import Outcome, Phase
from verifier.protocol.history import Opening, Submission, TaskHistory
from verifier.protocol.state import TaskState
from verifier.protocol.views import Delays
from verifier.service import checks, fetches
from verifier.service.checks import FileChecks
from verifier.service.config import DutiesConfig, SandboxConfig, StoreConfig
from verifier.service.errors import Retry, Skip
from verifier.service.evaluations import EvaluationRuns, Evaluations, Failed, Pending, Ready, Retries
from verifier.service.fetches import Fetches
from verifier.service.files import Files
from verifier.service.health import Status
from verifier.service.jobs import Jobs
from verifier.service.journal import Evaluation, Journal
from verifier.service.progress import Bars
from verifier.service.telemetry import Telemetry
from verifier.service.votes import PanelIdentity
from verifier.tasks.case import Judgement
from verifier.tasks.errors import DamagedFile
from verifier.tasks.manifest import Manifest

PANEL = "0x" + "11" * 20
TASK = b"\x01" * 32


class Machine:
    """A store that holds all files of one task, a journal, and the evaluations over them."""

    def __init__(self, folder: Path, store_limits: StoreConfig | None = None) -> None:
        self.program = Program()
        self.store = Store(folder / "artifacts")
        self.journal = Journal(folder / "journal.sqlite", 31337, PANEL)
        self.work = folder / "work"
        telemetry = Telemetry(structlog.get_logger(), Status(0, 60), Bars())
        limits, jobs = store_limits or StoreConfig(), Jobs(4, lambda: None)
        fetches = Fetches(self.store, limits, DutiesConfig().fetch_pause_s, jobs, telemetry.metrics)
        self.checks = FileChecks(self.store, Jobs(1, lambda: None), telemetry)
        self.files = Files(self.store, fetches, self.checks, self.journal)
        sandbox = Sandbox(SandboxConfig().limits())
        self.evaluation_jobs = Jobs(1, lambda: None)
        runs = EvaluationRuns(sandbox, self.evaluation_jobs, self.work, Retries(attempts=2, pause_s=0.2), telemetry)
        self.evaluations = Evaluations(PanelIdentity(31337, PANEL), self.journal, self.files, runs, telemetry)
        self.holdout = self.sealed(self.program.examples_file(seed=1))
        self.submission = self.sealed(self.program.submission_file(GOOD))
        practice = self.program.examples_file(seed=2)
        self.manifest = self.program.manifest(lambda _: "https://127.0.0.1/x", practice, self.ciphertext(self.holdout))
        for data in (self.manifest, self.program.data):
            self.store.put(data)
        self.terms = some_terms(
            macs=self.program.cost,
            manifest=digests.digest(self.manifest),
            program=digests.digest(self.program.data),
            practice=digests.digest(practice),
        )

    def sealed(self, plain: bytes) -> Opening:
        """Put a sealed file into the store."""
        key = sealing.new_key()
        return Opening(self.store.put(sealing.seal(key, plain)), digests.digest(plain), key)

    def ciphertext(self, opening: Opening) -> bytes:
        return self.store.get(opening.sealed)

    def state(self, **terms: Any) -> TaskState:
        """The state of the task while it is judged, with `terms` changed."""
        entry = self.submission
        submission = Submission(0, PANEL, b"c" * 32, entry.sealed, "https://127.0.0.1/y", entry.plain, entry.key)
        history = TaskHistory(TASK, replace(self.terms, **terms), "https://127.0.0.1/m", [submission], self.holdout)
        inputs = commitments.inputs(TASK, self.holdout.plain, commitments.root([b"c" * 32]), 1)
        view = task_view(Phase.JUDGING, created_at=1, submissions=1, revealed=1)
        panel = panel_view(round=1, attest_closes=5, closed_at=5, admitted=3)
        return TaskState(history, view, panel, (), inputs, Delays(1, 1, 1))

    def other_state(self) -> TaskState:
        """The state of a second task over the same files."""
        state, task = self.state(), b"\x09" * 32
        inputs = commitments.inputs(task, self.holdout.plain, commitments.root([b"c" * 32]), 1)
        return replace(state, history=replace(state.history, id=task), inputs=inputs)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def advance(machine: Machine, state: TaskState | None = None) -> Ready | Pending | Failed:
    """Do the step towards the evaluation that one tick does."""
    return machine.evaluations.advance(state or machine.state(), seconds=60)


def until_pending(machine: Machine, reason: str, state: TaskState | None = None) -> None:
    """Advance at every tick until the evaluation waits for that reason."""
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        try:
            found = advance(machine, state)
        except Retry as error:  # the evidence cannot be written
            found = Pending(str(error))
        if isinstance(found, Pending) and reason in found.reason:
            return
        time.sleep(0.02)
    raise AssertionError("still waiting")


def until_decided(machine: Machine, state: TaskState | None = None) -> Ready | Failed:
    """Advance at every tick until there is an evaluation, or the service abstains."""
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        found = advance(machine, state)
        if not isinstance(found, Pending):
            return found
        time.sleep(0.02)
    raise AssertionError("still waiting")


def until_ready(machine: Machine, state: TaskState | None = None) -> Evaluation:
    """Advance at every tick until there is an evaluation."""
    found = until_decided(machine, state)
    assert isinstance(found, Ready), found
    return found.evaluation


def test_advance__real_files__is_evaluated_once_and_kept(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    state = machine.state()
    found = until_ready(machine, state)
    assert found.scores == (machine.program.score(GOOD, seed=1),)
    assert machine.store.has(found.evidence)
    assert machine.journal.opening(found.verdict) == found
    assert list(machine.work.iterdir()) == []
    monkeypatch.setattr(Sandbox, "execute", None)  # a second run would fail
    assert advance(machine, state) == Ready(found)


def test_advance__child_fails_every_time__abstains_after_the_configured_attempts(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = []

    def fail(*_: Any) -> Any:
        runs.append(time.monotonic())
        raise EvaluationFailed("it crashed")

    monkeypatch.setattr(Sandbox, "execute", fail)
    assert until_decided(machine) == Failed(
        "abstains until the service is restarted: the evaluation failed 2 times: it crashed"
    )
    assert len(runs) == 2
    assert runs[1] - runs[0] >= 0.2


def test_advance__disk_full__does_not_count_as_a_failure(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    honest, troubles = Sandbox.execute, [OSError(28, "No space left on device")] * 4

    def run(*arguments: Any) -> Any:
        if troubles:
            raise troubles.pop()
        return honest(*arguments)

    monkeypatch.setattr(Sandbox, "execute", run)
    until_pending(machine, "No space left on device")
    found = until_ready(machine)
    assert found.scores == (machine.program.score(GOOD, seed=1),)


def test_advance__evidence_cannot_be_kept_at_first__is_not_evaluated_again(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs, honest = [], Sandbox.execute
    monkeypatch.setattr(Sandbox, "execute", lambda *arguments: runs.append(1) or honest(*arguments))
    adopt, machine.files.adopt = machine.files.adopt, _refuse  # type: ignore[method-assign]
    until_pending(machine, "cannot keep")
    machine.files.adopt = adopt  # type: ignore[method-assign]
    until_ready(machine)
    assert runs == [1]


@pytest.mark.parametrize("file", ["manifest", "program", "holdout", "submission"])
def test_advance__stored_file_damaged__is_fetched_again_and_judged_as_before(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    """A flipped bit on this disk is not a fact about the task: the file is deleted, and the next copy is judged."""
    state = machine.state()
    digest = {
        "manifest": machine.terms.manifest,
        "program": machine.terms.program,
        "holdout": machine.holdout.sealed,
        "submission": machine.submission.sealed,
    }[file]
    good = machine.store.get(digest)
    machine.store.path(digest).write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    if file == "manifest":
        monkeypatch.setattr(Store, "get", lambda *_: good)  # read while it was intact
        machine.files.manifest(state)
        monkeypatch.undo()
    until_pending(machine, "cannot evaluate without", state)
    assert not machine.store.has(digest)
    assert machine.store.put(good) == digest
    found = until_ready(machine, state)
    assert (found.outcome, found.scores) == (Outcome.SCORED, (machine.program.score(GOOD, seed=1),))


def until_checked(machine: Machine, state: TaskState) -> None:
    """Check the task's files at every tick until none is left to check."""
    deadline = time.monotonic() + 30
    while machine.files.check(state):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_check__one_bit_flipped__removes_that_file_alone_and_logs_it(machine: Machine) -> None:
    state = machine.state()
    until_checked(machine, state)
    assert machine.files.fetch_missing(state) == {}
    good = machine.store.get(machine.submission.sealed)
    machine.store.path(machine.submission.sealed).write_bytes(bytes([good[0] ^ 1]) + good[1:])
    with structlog.testing.capture_logs() as lines:
        until_checked(machine, state)
    assert [line["file"] for line in lines] == [digests.to_hex(machine.submission.sealed)]
    assert machine.files.fetch_missing(state) == {1: "submission 0 (is being fetched)"}


def test_check__unreadable_file__is_removed_and_fetched_again(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = machine.store.path(machine.submission.sealed)

    def fail(path: Path) -> bytes:
        if path == broken:
            raise OSError(errno.EIO, "Input/output error")
        return digests.digest_file(path)

    monkeypatch.setattr(checks, "digest_file", fail)
    state = machine.state()
    until_checked(machine, state)
    assert machine.files.fetch_missing(state) == {1: "submission 0 (is being fetched)"}


def test_check__no_descriptor_left__keeps_the_file(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path) -> bytes:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(checks, "digest_file", fail)
    state = machine.state()
    for _ in range(20):
        assert machine.files.check(state) == {0: "sealed holdout", 1: "submission 0"}
        time.sleep(0.01)
    assert machine.files.fetch_missing(state) == {}


def test_check__unchanged_files__are_hashed_once(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed = []

    def hash_file(path: Path) -> bytes:
        hashed.append(path)
        return digests.digest_file(path)

    monkeypatch.setattr(checks, "digest_file", hash_file)
    state = machine.state()
    for _ in range(3):  # once for each seat
        until_checked(machine, state)
    assert len(hashed) == len(set(hashed)) == 4


def test_manifest__unreadable__is_removed_and_fetched_again(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Store, "get", fail)
    with pytest.raises(Retry, match=r"^the manifest cannot be read: Input/output error$"):
        machine.files.manifest(machine.state())
    assert not machine.store.has(machine.terms.manifest)


def test_case__file_vanished__is_retried(machine: Machine) -> None:
    state = machine.state()
    assert machine.files.fetch_missing(state) == {}
    machine.store.remove(machine.submission.sealed)
    with pytest.raises(Retry, match=r"does not have 0x"):
        machine.files.case(state)


def test_advance__file_damaged_every_time__abstains_after_the_configured_attempts(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs, digest = [], machine.submission.sealed
    good, path = machine.store.get(digest), machine.store.path(digest)

    def find_damage(*_: Any) -> Any:
        runs.append(time.monotonic())
        raise DamagedFile(path, digest, bytes(32))

    monkeypatch.setattr(Sandbox, "execute", find_damage)
    monkeypatch.setattr(Files, "discard", lambda *_: machine.store.put(good))  # it is fetched again at once
    found = until_decided(machine)
    assert isinstance(found, Failed)
    assert found.reason == (
        "abstains until the service is restarted: the evaluation failed 2 times: the disk or the memory of this "
        f"machine is damaged: {DamagedFile(path, digest, bytes(32))}"
    )
    assert len(runs) == 2
    assert runs[1] - runs[0] >= 0.2


@pytest.mark.parametrize("loss", ["missing", "changed"])
def test_advance__evidence_lost__evaluates_again(machine: Machine, monkeypatch: pytest.MonkeyPatch, loss: str) -> None:
    runs, honest = [], Sandbox.execute

    def lose(*arguments: Any) -> Judgement:
        judgement = honest(*arguments)
        assert judgement.evidence is not None
        runs.append(1)
        if len(runs) == 1 and loss == "missing":
            judgement.evidence.unlink()
        elif len(runs) == 1:
            judgement.evidence.write_bytes(b"other bytes")
        return judgement

    monkeypatch.setattr(Sandbox, "execute", lose)
    until_pending(machine, "the evaluation failed and will be tried again: its evidence was lost: ")
    assert until_ready(machine).scores == (machine.program.score(GOOD, seed=1),)
    assert len(runs) == 2


def test_advance__run_ended_while_another_runs__is_recorded_at_once(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest, go, calls = Sandbox.execute, threading.Event(), []

    def run(*arguments: Any) -> Judgement:
        calls.append(1)
        if len(calls) > 1:
            go.wait(60)
        return honest(*arguments)

    monkeypatch.setattr(Sandbox, "execute", run)
    advance(machine)
    name = f"evaluation:{machine.state().inputs.hex()}"
    deadline = time.monotonic() + 90
    while machine.evaluation_jobs.running(name):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert advance(machine, machine.other_state()) == Pending("the evaluation of 1 submission(s) starts")
    assert isinstance(advance(machine), Ready)
    go.set()


def _refuse(*_: Any) -> None:
    raise Retry("cannot keep evidence: No space left on device")


def test_advance__another_one_runs__waits_for_its_turn(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Sandbox, "execute", lambda *_: time.sleep(1.0))
    assert advance(machine) == Pending("the evaluation of 1 submission(s) starts")
    assert advance(machine, machine.other_state()) == Pending("another evaluation is running")


def test_advance__inputs_do_not_follow_from_the_events__abstains(machine: Machine) -> None:
    assert advance(machine, replace(machine.state(), inputs=b"\x00" * 32)) == Failed(
        "abstains: the contract's inputs are not those that follow from the task's events"
    )


def test_fetch_missing__everything_there__is_empty(machine: Machine) -> None:
    assert machine.files.fetch_missing(machine.state()) == {}


def test_fetch_missing__manifest_contradicts_the_chain__nothing_is_attested(machine: Machine) -> None:
    missing = machine.files.fetch_missing(machine.state(macs=1))
    assert missing == {0: "the manifest contradicts the task on chain: cost", 1: "submission 0"}


def test_fetch_missing__file_gone__says_why_it_cannot_be_fetched(machine: Machine) -> None:
    machine.store.remove(machine.submission.sealed)
    state = machine.state()
    assert machine.files.fetch_missing(state) == {1: "submission 0 (is being fetched)"}
    deadline = time.monotonic() + 30
    while "127.0.0.1" not in (said := machine.files.fetch_missing(state)[1]) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert "not on the public internet" in said


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (StoreConfig(max_file_bytes=1_000), "submission 0 (it has up to 1032 bytes, store.max_file_bytes is 1000)"),
        (StoreConfig(max_bytes=1_000), "submission 0 (the store is full: store.max_bytes is 1000)"),
    ],
)
def test_fetch_missing__limits_of_the_store__are_the_reason(tmp_path: Path, limits: StoreConfig, reason: str) -> None:
    machine = Machine(tmp_path, limits)
    machine.store.remove(machine.submission.sealed)
    assert machine.files.fetch_missing(machine.state()) == {1: reason}


def test_keep__live_task__serves_its_files_and_deletes_others_only_when_old(machine: Machine) -> None:
    other = machine.store.put(b"of a task that is over")
    machine.files.keep([machine.state()])
    assert machine.files.served(machine.submission.sealed) == machine.store.path(machine.submission.sealed)
    assert machine.files.served(other) is None
    assert machine.store.has(other)
    machine.store.remove_unused([machine.submission.sealed], older_than_s=-1.0)
    assert list(machine.store) == [machine.submission.sealed]


def test_fetch_missing__one_digest_announced_twice__both_uris_are_tried(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise whoever names a rival's file first, with a URI where nothing is, keeps it from being fetched."""
    asked: set[tuple[str, ...]] = set()
    monkeypatch.setattr(fetches, "fetch", lambda uris, *_: asked.add(tuple(uris)))
    state = machine.state()
    copy = replace(state.history.submissions[0], index=1, uri="https://127.0.0.1/honest")
    history = replace(state.history, submissions=[*state.history.submissions, copy])
    machine.store.remove(machine.submission.sealed)
    machine.files.fetch_missing(replace(state, history=history))
    deadline = time.monotonic() + 30
    while len(asked) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert asked == {("https://127.0.0.1/y",), ("https://127.0.0.1/honest",)}


def test_fetch_missing__store_cannot_say_of_one_file__names_that_file_alone(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    has = machine.store.has

    def fail_for_submission(digest: bytes) -> bool:
        if digest == machine.submission.sealed:
            raise OSError(errno.EIO, "Input/output error")
        return has(digest)

    monkeypatch.setattr(machine.store, "has", fail_for_submission)
    assert machine.files.fetch_missing(machine.state()) == {
        1: "submission 0 (the store cannot be read: Input/output error)"
    }
    assert machine.files.check(machine.state())[1] == "submission 0"


def test_manifest__invalid__is_parsed_once(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed = []
    manifest = machine.store.put(b"{}")
    honest = Manifest.from_bytes
    monkeypatch.setattr(Manifest, "from_bytes", lambda data: parsed.append(data) or honest(data))
    for _ in range(2):
        with pytest.raises(Skip, match="the manifest is not valid"):
            machine.files.manifest(machine.state(manifest=manifest))
    assert parsed == [b"{}"]


@pytest.mark.parametrize(
    "damage",
    ["verdict = zeroblob(32)", "scores = '[\"7\"]'", "scores = '[\"7'", "evidence = zeroblob(32)", "outcome = 2"],
)
def test_advance__journal_damaged__is_evaluated_again_and_never_believed(machine: Machine, damage: str) -> None:
    state = machine.state()
    honest = until_decided(machine, state)
    machine.journal._execute(f"UPDATE evaluations SET {damage}", ())
    again = until_decided(machine, state)
    assert isinstance(honest, Ready)
    assert isinstance(again, Ready)
    assert replace(again.evaluation, seconds=0) == replace(honest.evaluation, seconds=0)
