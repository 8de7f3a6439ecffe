"""What has to be done now, derived from one task's state alone.

A pure function: the same state gives the same duties, whoever restarts how often. What a duty still waits for on this
machine (a file, an evaluation) is found out when it is performed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from verifier.protocol.constants import BLOCKHASH_REACH, FREE_ROUNDS, MAX_REARMS, Phase, VerdictStatus
from verifier.protocol.history import Member
from verifier.protocol.state import Round, TaskState


class Kind(StrEnum):
    """Duties of a seat first, then the calls that anybody may make."""

    MIRROR = "mirror"
    ATTEST = "attest"
    EVALUATE = "evaluate"
    COMMIT = "commit"
    REVEAL = "reveal"
    CONVENE = "convene"
    DRAW = "draw"
    CLOSE_ATTESTATION = "close_attestation"
    SETTLE = "settle"
    CANCEL = "cancel"
    CLAIM = "claim"
    CLOSE_VOTE = "close_vote"


OPEN_CALLS = frozenset(list(Kind)[5:])


@dataclass(frozen=True)
class Duty:
    """One thing to do. `until` is the time, in chain seconds, from which it is too late (None: never)."""

    kind: Kind
    task: bytes
    round: int = 0
    position: int = 0
    member: Member | None = None
    index: int = 0  # of a submission, for claims; re-arms used up, for the calls that draw
    until: int | None = None

    @property
    def key(self) -> str:
        """Names the duty across ticks and restarts."""
        return f"{self.kind}:{self.task.hex()}:{self.round}:{self.position}:{self.index}"


def derive(state: TaskState, operator: str, now: int, head: int) -> list[Duty]:
    """The duties of `operator` in this task at chain time `now` (seconds) with `head` the newest block's number."""
    if state.ended:
        return list(_after_the_end(state, operator, now))
    duties = list(_panel_calls(state, now, head))
    duties.extend(_attestation(state, operator, now))
    duties.extend(_voting(state, operator, now))
    duties.extend(_endings(state, now))
    return duties


def _mine(round_: Round, operator: str) -> list[Member]:
    return [member for member in round_.members if member.operator == operator]


def _panel_calls(state: TaskState, now: int, head: int) -> Iterator[Duty]:
    """Convene a round, or draw the one that is convened."""
    panel = state.panel
    drawn = len(state.rounds)
    if panel.target_block:
        missed = head - panel.target_block - BLOCKHASH_REACH
        if missed > 0 and panel.rearms < MAX_REARMS:
            yield Duty(Kind.CONVENE, state.id, round=drawn + 1, index=panel.rearms + 1)
        elif panel.target_block < head < panel.target_block + BLOCKHASH_REACH:
            yield Duty(Kind.DRAW, state.id, round=drawn + 1, index=panel.rearms)
    elif state.view.phase == Phase.CONVENING and drawn == 0 and state.view.submissions:
        yield Duty(Kind.CONVENE, state.id, round=1)
    elif state.view.phase == Phase.JUDGING and panel.status == VerdictStatus.NONE and drawn < FREE_ROUNDS:
        last = state.rounds[-1].view
        if last.reveal_closes and now >= last.reveal_closes:
            yield Duty(Kind.CONVENE, state.id, round=drawn + 1)


def _attestation(state: TaskState, operator: str, now: int) -> Iterator[Duty]:
    """Mirror for as long as one has a seat; say once, in the first round, what is there."""
    mine = {member.stake: member for round_ in state.rounds for member in _mine(round_, operator)}
    if mine:
        yield Duty(Kind.MIRROR, state.id)
    if not state.rounds or state.panel.closed_at:
        return
    closes = state.panel.attest_closes
    if now >= closes:
        yield Duty(Kind.CLOSE_ATTESTATION, state.id)
        return
    for member in _mine(state.rounds[0], operator):
        if member.stake not in state.history.attested:
            yield Duty(Kind.ATTEST, state.id, 1, member.position, member, until=closes)


def _voting(state: TaskState, operator: str, now: int) -> Iterator[Duty]:
    """Evaluate, commit and reveal in the current round."""
    if state.view.phase != Phase.JUDGING or not state.rounds:
        return
    current = state.rounds[-1]
    commit_closes, reveal_closes = current.view.commit_closes, current.view.reveal_closes
    if not current.view.opens <= now < reveal_closes:
        return
    votes = state.history.votes
    pending = [m for m in _mine(current, operator) if (current.number, m.stake) not in state.history.revealed]
    silent = [m for m in pending if (current.number, m.stake) not in votes]
    voted = [m for m in pending if (current.number, m.stake) in votes]
    if (silent and now < commit_closes) or voted:
        yield Duty(Kind.EVALUATE, state.id, until=reveal_closes if voted else commit_closes)
    for member in silent:
        if now < commit_closes:
            yield Duty(Kind.COMMIT, state.id, current.number, member.position, member, until=commit_closes)
    for member in voted:
        if now >= commit_closes:
            yield Duty(Kind.REVEAL, state.id, current.number, member.position, member, until=reveal_closes)


def _endings(state: TaskState, now: int) -> Iterator[Duty]:
    """Settle with a final verdict or with nothing to judge; cancel what cannot go on."""
    if state.view.phase == Phase.JUDGING and (state.final or not state.scored):
        yield Duty(Kind.SETTLE, state.id)
    elif _cancellable(state, now):
        yield Duty(Kind.CANCEL, state.id)


def _cancellable(state: TaskState, now: int) -> bool:
    """Whether a ground to cancel holds that frees somebody: without a submission that is the sponsor's own affair."""
    if not state.view.submissions:
        return False
    if not state.rounds:
        return state.view.phase == Phase.CONVENING and now >= state.void_at
    if state.panel.closed_at and not state.panel.admitted & 1:
        return True
    if state.view.phase == Phase.HOLDOUT:
        return bool(state.panel.closed_at) and now >= state.panel.closed_at + state.terms.windows.holdout
    judged_until = state.rounds[-1].view.reveal_closes
    return bool(judged_until) and now >= judged_until + state.delays.terminal


def _after_the_end(state: TaskState, operator: str, now: int) -> Iterator[Duty]:
    """Release seats and credit solvers, where the operator has a seat itself."""
    if not any(_mine(round_, operator) for round_ in state.rounds):
        return
    for round_ in state.rounds:
        own_first = sorted(round_.members, key=lambda member: (member.operator != operator, member.position))
        for member in own_first:
            if (round_.number, member.stake) not in state.history.closed and now >= round_.view.reveal_closes:
                yield Duty(Kind.CLOSE_VOTE, state.id, round_.number, member.position, member)
    for submission in state.history.submissions:
        if submission.index not in state.history.claimed:
            yield Duty(Kind.CLAIM, state.id, index=submission.index)
