"""What the contracts owe an account, what it can claim now, and which of its tasks have not ended."""

from collections.abc import Iterator
from dataclasses import dataclass

from scripts import _steps
from scripts._state import Snapshot
from verifier.chain.errors import Reverted
from verifier.protocol.constants import NATIVE
from verifier.protocol.history import Member
from verifier.protocol.obligations import Action, obligations
from verifier.protocol.state import TaskState


@dataclass(frozen=True)
class Claim:
    """A call that credits the account after the end of a task: for a submission or for the vote of a seat."""

    state: TaskState
    submission: int | None = None  # its index
    round: int = 0
    member: Member | None = None  # the seat whose vote is to be closed

    @property
    def text(self) -> str:
        """The claim in words."""
        task = f"task 0x{self.state.id.hex()}"
        if self.member is not None:
            return f"close the vote of seat 0x{self.member.stake.hex()} in round {self.round} of {task}"
        return f"claim for submission {self.submission} of {task}"


@dataclass(frozen=True)
class Owed:
    """What one account can expect at one block."""

    claims: list[Claim]
    pending: list[tuple[TaskState, str]]  # tasks that have not ended, and what the account has in each
    assets: set[str]  # the assets of all tasks, and the native coin

    def describe_pending(self, snapshot: Snapshot) -> Iterator[str]:
        """Yield a line for each task that has not ended: what is in it, and its next step."""
        now, head = snapshot.block.timestamp, snapshot.block.number
        for state, what in self.pending:
            step = _steps.next_step(state, now, head)
            yield f"task 0x{state.id.hex()}: {what}; it is {state.view.phase.text}; next: {step}"


def read(snapshot: Snapshot, account: str) -> Owed:
    """Look through every task that is not finished. Errors: Unreachable."""
    owners: dict[bytes, str] = {}
    claims: list[Claim] = []
    pending: list[tuple[TaskState, str]] = []
    assets = {NATIVE}
    for task, history in snapshot.history.tasks.items():
        assets.add(history.terms.asset)
        if history.finished():
            continue
        state = snapshot.task(task)
        for drawn in state.rounds:
            for member in drawn.members:
                if member.stake not in owners:
                    owners[member.stake] = _owner(snapshot, member.stake)
        if state.ended:
            claims.extend(_claims(state, snapshot, account, owners))
        elif what := ", ".join(_parts(state, account, owners)):
            pending.append((state, what))
    return Owed(claims, pending, assets)


def _claims(state: TaskState, snapshot: Snapshot, account: str, owners: dict[bytes, str]) -> Iterator[Claim]:
    for step in obligations(state, snapshot.block.timestamp, snapshot.block.number):
        if step.action is Action.CLAIM and step.index is not None:
            if state.history.submissions[step.index].solver == account:
                yield Claim(state, submission=step.index)
        elif step.action is Action.CLOSE_VOTE and step.member is not None and owners[step.member.stake] == account:
            yield Claim(state, round=step.round, member=step.member)


def _parts(state: TaskState, account: str, owners: dict[bytes, str]) -> Iterator[str]:
    """What the account has in a task that has not ended."""
    if state.view.sponsor == account:
        yield "you are its sponsor"
    yield from (f"your submission {item.index}" for item in state.history.submissions if item.solver == account)
    seats = {member.stake for drawn in state.rounds for member in drawn.members if owners[member.stake] == account}
    if seats:
        yield f"{len(seats)} of your seats"


def _owner(snapshot: Snapshot, stake: bytes) -> str:
    """The owner of a seat; empty when the seat has left."""
    try:
        return snapshot.contracts.seat(stake, snapshot.block.number).owner
    except Reverted:
        return ""
