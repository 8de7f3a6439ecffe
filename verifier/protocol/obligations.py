"""Which party owes which step of a task, until when, and what follows if the step is late.

A pure function of one task's state, the time and the head block. The service's duties and `ape run status` are both
derived from its answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

from verifier.protocol.constants import (
    BLOCKHASH_REACH,
    FREE_ROUNDS,
    MAX_REARMS,
    MAX_ROUNDS,
    Ground,
    Phase,
    VerdictStatus,
)
from verifier.protocol.history import Member
from verifier.protocol.state import Round, TaskState


class Action(Enum):
    """The action of a step. The value is its text for people, in which `Step.text` fills in the step's fields."""

    COMMIT_SUBMISSION = "commit a submission"
    CONVENE = "convene the panel"
    DRAW = "draw the committee with the randomness of block {block}"
    ATTEST = "attest which files are there"
    CLOSE_ATTESTATION = "close the attestation"
    REVEAL_HOLDOUT = "reveal the holdout"
    ANSWER = "reveal or decline submission {index}"
    COMMIT_VERDICT = "commit a verdict in round {round}"
    REVEAL_VERDICT = "reveal its verdict in round {round}"
    RECONVENE = "reconvene for a fee"
    SETTLE = "settle"
    CANCEL = "cancel: {ground.text}"
    CLOSE_VOTE = "close the vote of seat {member.position} of round {round}"
    CLAIM = "claim for submission {index}"

    # Nobody can do anything before these happen.
    AWAIT_BLOCK = "block {block} is mined"
    AWAIT_VOID = "the task becomes void"
    AWAIT_ATTESTATION_END = "the attestation ends"
    AWAIT_REVEALS_END = "the reveals end"
    AWAIT_VOTING = "the voting begins"
    AWAIT_WINDOW_END = "the window ends"
    AWAIT_FINALITY = "the accepted verdict becomes final"
    AWAIT_TERMINAL = "the terminal rule applies"


class Party(Enum):
    """The party that makes a step; NOBODY where time or blocks must pass first."""

    SPONSOR = "sponsor"
    SOLVER = "solver"
    SEAT = "seat"
    ANYONE = "anyone"
    NOBODY = "nobody"


class Lateness(Enum):
    """What follows when a step is late; the value is the text for people."""

    NOTHING = ""
    NO_FEE = "the seat earns no attestation fee"
    HOLDOUT_SILENT = "the task is cancelled and the sponsor's bond is lost"
    BOND_LOST = "the solver's bond is lost"
    SILENT = "the seat is slashed for silence, unless it is excused"
    SLASHED = "the seat's whole reservation is slashed"
    VOID = "anyone can cancel the task as void"
    TERMINAL = "anyone can cancel the task by the terminal rule"


@dataclass(frozen=True)
class Step:
    """One step. Fields that an action does not need are zero or None.

    `until` is the chain time in seconds from which the step is late; None when it cannot be late. For a step of NOBODY
    it is when that happens, None when no time is known. A step that the contract still accepts is listed although it is
    late: see `late`.
    """

    action: Action
    party: Party
    until: int | None = None
    lateness: Lateness = Lateness.NOTHING
    round: int = 0  # of voting, from 1
    member: Member | None = None  # the seat that owes the step, or whose vote is to be closed
    index: int | None = None  # of a submission
    rearms: int = 0  # re-arms of the round that are used up once the step is made
    ground: Ground = Ground.NONE  # of a cancellation
    block: int = 0  # that draws, or that is awaited

    @property
    def text(self) -> str:
        """The action in words."""
        return self.action.value.format_map(vars(self))

    def late(self, now: int) -> bool:
        """Whether the step's deadline has passed at chain time `now`."""
        return self.until is not None and now >= self.until


def obligations(state: TaskState, now: int, head: int) -> list[Step]:
    """Every step that the contracts accept at chain time `now` (seconds), or else what the task waits for.

    `head` is the newest block's number: a transaction sent now is mined above it. A step that nobody owes any more but
    that the contracts still accept is included, with its deadline in the past. The list is empty when nothing is left.
    """
    if state.view.phase in _NEED_A_COMMITTEE and not state.rounds:
        return []  # the node switched to another branch between the events and the calls
    return list(_BY_PHASE[state.view.phase](state, now, head))


def _committing(state: TaskState, now: int, head: int) -> Iterator[Step]:
    yield Step(Action.COMMIT_SUBMISSION, Party.SOLVER, state.commit_closes)


def _convening(state: TaskState, now: int, head: int) -> Iterator[Step]:
    if not state.view.submissions:
        yield _cancel(Ground.EMPTY)
        return
    if now >= state.void_at:
        yield _cancel(Ground.NO_COMMITTEE)
    yield from _committee(state, now, head, state.void_at, Lateness.VOID)


def _attesting(state: TaskState, now: int, head: int) -> Iterator[Step]:
    closes = state.panel.attest_closes
    if now >= closes:
        yield Step(Action.CLOSE_ATTESTATION, Party.ANYONE)
        return
    silent = [member for member in state.rounds[0].members if member.stake not in state.history.attested]
    for member in silent:
        yield Step(Action.ATTEST, Party.SEAT, closes, Lateness.NO_FEE, round=1, member=member)
    if not silent:
        yield Step(Action.AWAIT_ATTESTATION_END, Party.NOBODY, closes)


def _holdout(state: TaskState, now: int, head: int) -> Iterator[Step]:
    closes = state.holdout_closes
    if not state.own_files_admitted:
        yield _cancel(Ground.UNAVAILABLE)
    elif closes is not None and now >= closes:
        yield _cancel(Ground.HOLDOUT_SILENT)
    else:
        yield Step(Action.REVEAL_HOLDOUT, Party.SPONSOR, closes, Lateness.HOLDOUT_SILENT)


def _revealing(state: TaskState, now: int, head: int) -> Iterator[Step]:
    closes = state.reveal_closes
    silent = [item for item in state.history.submissions if state.awaits_answer(item.index)]
    for item in silent:
        yield Step(Action.ANSWER, Party.SOLVER, closes, Lateness.BOND_LOST, index=item.index)
    if not silent:
        yield Step(Action.AWAIT_REVEALS_END, Party.NOBODY, closes)


def _judging(state: TaskState, now: int, head: int) -> Iterator[Step]:
    if state.final or not state.scored:
        yield Step(Action.SETTLE, Party.ANYONE)
        return
    current = state.rounds[-1]
    if not current.view.opens or now < current.view.opens:
        yield Step(Action.AWAIT_VOTING, Party.NOBODY, current.view.opens or None)
    elif now < current.view.reveal_closes:
        yield from _voting(state, current, now)
    elif state.panel.status == VerdictStatus.ACCEPTED:
        yield Step(Action.AWAIT_FINALITY, Party.NOBODY, current.view.reveal_closes + state.delays.challenge)
    else:
        yield from _without_verdict(state, current, now, head)


def _voting(state: TaskState, current: Round, now: int) -> Iterator[Step]:
    """The votes that the seats of a round owe: first the commitment, then its reveal."""
    voted = {member.stake for member in current.members if (current.number, member.stake) in state.history.votes}
    if now < current.view.commit_closes:
        until, action, lateness = current.view.commit_closes, Action.COMMIT_VERDICT, Lateness.SILENT
        owing = [member for member in current.members if member.stake not in voted]
    else:
        until, action, lateness = current.view.reveal_closes, Action.REVEAL_VERDICT, Lateness.SLASHED
        revealed = state.history.revealed
        owing = [m for m in current.members if m.stake in voted and (current.number, m.stake) not in revealed]
    for member in owing:
        yield Step(action, Party.SEAT, until, lateness, round=current.number, member=member)
    if not owing:
        yield Step(Action.AWAIT_WINDOW_END, Party.NOBODY, until)


def _without_verdict(state: TaskState, current: Round, now: int, head: int) -> Iterator[Step]:
    """The steps after a round without a verdict: another round, or the end by the terminal rule."""
    terminal_at = current.view.reveal_closes + state.delays.terminal
    if now >= terminal_at:
        yield _cancel(Ground.TERMINAL)
    if state.panel.target_block or current.number < FREE_ROUNDS:
        yield from _committee(state, now, head, terminal_at, Lateness.TERMINAL)
    elif current.number < MAX_ROUNDS:
        yield Step(Action.RECONVENE, Party.ANYONE, terminal_at, Lateness.TERMINAL, round=current.number + 1)
    elif now < terminal_at:
        yield Step(Action.AWAIT_TERMINAL, Party.NOBODY, terminal_at)


def _committee(state: TaskState, now: int, head: int, until: int, lateness: Lateness) -> Iterator[Step]:
    """The step towards the next committee: convene it, draw it, or convene again when the block's hash is gone."""
    panel = state.panel
    number = state.rounds[-1].number + 1 if state.rounds else 1
    target, last = panel.target_block, panel.target_block + BLOCKHASH_REACH
    if not target:
        yield Step(Action.CONVENE, Party.ANYONE, until, lateness, round=number)
    elif target < head < last:  # mined in a block from head + 1 to `last`
        yield Step(Action.DRAW, Party.ANYONE, until, lateness, number, rearms=panel.rearms, block=target)
    elif head > last and panel.rearms < MAX_REARMS:
        yield Step(Action.CONVENE, Party.ANYONE, until, lateness, round=number, rearms=panel.rearms + 1)
    elif head > last and number > 1:
        yield Step(Action.RECONVENE, Party.ANYONE, until, lateness, round=number)
    elif now < until:
        if head > last:
            yield Step(Action.AWAIT_VOID, Party.NOBODY, until)
        else:
            yield Step(Action.AWAIT_BLOCK, Party.NOBODY, block=target if head <= target else last + 1)


def _ended(state: TaskState, now: int, head: int) -> Iterator[Step]:
    """The calls that release seats and credit solvers, one for each."""
    for round_ in state.rounds:
        for member in round_.members:
            if (round_.number, member.stake) not in state.history.closed:
                yield Step(Action.CLOSE_VOTE, Party.ANYONE, round=round_.number, member=member)
    for submission in state.history.submissions:
        if submission.index not in state.history.claimed:
            yield Step(Action.CLAIM, Party.ANYONE, index=submission.index)


def _cancel(ground: Ground) -> Step:
    return Step(Action.CANCEL, Party.ANYONE, ground=ground)


_NEED_A_COMMITTEE = frozenset({Phase.ATTESTING, Phase.JUDGING})
_BY_PHASE: Mapping[Phase, Callable[[TaskState, int, int], Iterator[Step]]] = {
    Phase.COMMITTING: _committing,
    Phase.CONVENING: _convening,
    Phase.ATTESTING: _attesting,
    Phase.HOLDOUT: _holdout,
    Phase.REVEALING: _revealing,
    Phase.JUDGING: _judging,
    Phase.SETTLED: _ended,
    Phase.CANCELLED: _ended,
}
