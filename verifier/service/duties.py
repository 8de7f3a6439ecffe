"""Derives the duties of one operator in one task from the task's state.

`verifier.protocol.obligations` says which steps are due. This module selects the steps that the operator owes and the
calls that anyone may make, and adds what only the service needs: mirroring and evaluating. The same state gives the
same duties after any number of restarts. Missing files and evaluations show when a duty is performed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from verifier.protocol.constants import Ground, Phase
from verifier.protocol.history import Member
from verifier.protocol.obligations import Action, Step, obligations
from verifier.protocol.state import Round, TaskState


class DutyKind(StrEnum):
    """What a duty is about; also its label in the metrics and the beginning of its key."""

    # Of a seat
    MIRROR = "mirror"
    ATTEST = "attest"
    EVALUATE = "evaluate"
    COMMIT = "commit"
    REVEAL = "reveal"

    # Of anyone
    CONVENE = "convene"
    DRAW = "draw"
    CLOSE_ATTESTATION = "close_attestation"
    SETTLE = "settle"
    CANCEL = "cancel"
    CLAIM = "claim"
    CLOSE_VOTE = "close_vote"


_SEAT_KINDS = {
    Action.ATTEST: DutyKind.ATTEST,
    Action.COMMIT_VERDICT: DutyKind.COMMIT,
    Action.REVEAL_VERDICT: DutyKind.REVEAL,
}
# Reconvening costs a fee, so the service leaves it to people.
_OPEN_KINDS = {
    Action.CONVENE: DutyKind.CONVENE,
    Action.DRAW: DutyKind.DRAW,
    Action.CLOSE_ATTESTATION: DutyKind.CLOSE_ATTESTATION,
    Action.SETTLE: DutyKind.SETTLE,
    Action.CANCEL: DutyKind.CANCEL,
    Action.CLAIM: DutyKind.CLAIM,
    Action.CLOSE_VOTE: DutyKind.CLOSE_VOTE,
}
OPEN_CALLS = frozenset(_OPEN_KINDS.values())


@dataclass(frozen=True)
class Duty:
    """One thing to do. `until` is the time, in chain seconds, from which it is too late (None: never)."""

    kind: DutyKind
    task: bytes
    round: int = 0
    position: int = 0
    member: Member | None = None
    index: int = 0  # of a submission, for claims; re-arms used up, for the calls that convene and draw
    until: int | None = None

    @property
    def key(self) -> str:
        """Names the duty across ticks and restarts."""
        return f"{self.kind}:{self.task.hex()}:{self.round}:{self.position}:{self.index}"


def derive(state: TaskState, operator: str, now: int, head: int) -> list[Duty]:
    """The duties of `operator` in this task at chain time `now` (seconds) with `head` the newest block's number."""
    steps = obligations(state, now, head)
    if state.ended:
        return _after_the_end(state, operator, steps)
    duties = list(_own_work(state, operator, now))
    for step in steps:
        if step.action in _SEAT_KINDS and step.member is not None and step.member.operator == operator:
            duties.append(_duty(_SEAT_KINDS[step.action], state, step, until=step.until))
        # A task without submissions concerns its sponsor alone: no operator pays gas to end it.
        elif step.action in _OPEN_KINDS and step.ground is not Ground.EMPTY:
            duties.append(_duty(_OPEN_KINDS[step.action], state, step, until=None))
    return duties


def _duty(kind: DutyKind, state: TaskState, step: Step, until: int | None) -> Duty:
    position = 0 if step.member is None else step.member.position
    index = step.rearms if step.index is None else step.index
    return Duty(kind, state.id, step.round, position, step.member, index, until)


def _own_work(state: TaskState, operator: str, now: int) -> Iterator[Duty]:
    """Mirror for as long as the operator has a seat; evaluate while one of its seats in this round has not revealed."""
    if _seats(state.rounds, operator):
        yield Duty(DutyKind.MIRROR, state.id)
    if state.view.phase != Phase.JUDGING or not state.rounds:
        return
    current = state.rounds[-1]
    pending = [
        (current.number, member.stake)
        for member in _seats([current], operator)
        if (current.number, member.stake) not in state.history.revealed
    ]
    # A seat that has voted may need the evaluation again to reveal, if the journal was lost.
    voted = any(seat in state.history.votes for seat in pending)
    until = current.view.reveal_closes if voted else current.view.commit_closes
    if pending and current.view.opens <= now < until:
        yield Duty(DutyKind.EVALUATE, state.id, until=until)


def _after_the_end(state: TaskState, operator: str, steps: Iterable[Step]) -> list[Duty]:
    """Release the seats, the operator's own first, then credit the solvers; only where the operator had a seat."""
    if not _seats(state.rounds, operator):
        return []
    duties = [_duty(_OPEN_KINDS[step.action], state, step, until=None) for step in steps]

    def order(duty: Duty) -> tuple[bool, int, bool]:
        theirs = duty.member is not None and duty.member.operator != operator
        return duty.kind is DutyKind.CLAIM, duty.round, theirs

    return sorted(duties, key=order)


def _seats(rounds: Iterable[Round], operator: str) -> list[Member]:
    """The seats of those rounds that `operator` acts for."""
    return [member for round_ in rounds for member in round_.members if member.operator == operator]
