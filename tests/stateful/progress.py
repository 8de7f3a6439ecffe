"""The next due step of a task, taken by those who owe it in some mood, or by anybody when nobody does.

`step` is what makes random histories go somewhere: it acts while a window is open, and when all have acted that will,
it lets time pass to the next boundary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.evm import HASH_REACH, ZERO, word
from tests.harness import (
    ATTESTING,
    CHALLENGE_WINDOW,
    COMMITTING,
    CONVENING,
    HOLDOUT,
    JUDGING,
    LIMITS,
    NOTHING,
    REVEALING,
    SCORED,
)
from tests.stateful import panel_moves, task_moves
from tests.stateful.case import FREE_ROUNDS, MAX_REARMS, Case, Round
from tests.stateful.stage import STRANGER, Stage

# How a committee votes: together, apart, hardly, for a lie, for a verdict that nothing can be settled with, hidden; and
# hardly, while nobody draws the rounds after the first.
MOODS = ("agree",) * 6 + ("lie", "asleep") * 2 + ("apart", "absent", "nonsense", "withhold")
DRAWS = ["in time"] * 6 + ["missed"]


@dataclass
class Conduct:
    """How the parties of one step behave. `choose` picks among options; of equals the first is the ordinary one."""

    mood: str
    choose: Callable[[list[str]], str]


def step(stage: Stage, case: Case, conduct: Conduct | None) -> None:
    """Take the next step. Without a conduct nobody owes anything: only calls that anyone may make, and time."""
    phase = case.phase(stage.now)
    if phase == COMMITTING:
        stage.chain.at(case.task.commit_closes)
    elif case.ending:
        wind_up(stage, case)
    elif phase == CONVENING:
        if case.submissions:
            _seat_a_committee(stage, case, conduct, otherwise=case.task.commit_closes + LIMITS["void_delay"])
        else:
            task_moves.cancel(stage, case, STRANGER)
    elif phase == ATTESTING:
        _attest(stage, case, conduct)
    elif phase == HOLDOUT:
        _open_holdout(stage, case, conduct)
    elif phase == REVEALING:
        _answer(stage, case, conduct)
    elif phase == JUDGING:
        _judge(stage, case, conduct)


def wind_up(stage: Stage, case: Case) -> None:
    """Claim and close everything that an ended task has left."""
    assert case.ending is not None
    for index, entry in enumerate(case.submissions):
        if not entry.claimed:
            task_moves.claim(stage, case, index, case.ending.scores, STRANGER)
    for round_ in case.rounds:
        for position in range(len(round_.seats)):
            if position not in round_.closed:
                panel_moves.close(stage, case, round_.number, position)


def is_over(case: Case) -> bool:
    """Whether nothing is left to do or to pay."""
    return bool(
        case.ending
        and all(entry.claimed for entry in case.submissions)
        and all(len(round_.closed) == len(round_.seats) for round_ in case.rounds)
    )


def truth(stage: Stage, case: Case) -> bytes:
    """The verdict of an honest evaluation."""
    if case.score_outcome != SCORED:
        return panel_moves.digest(stage, case, case.score_outcome, (), ZERO)
    scores = [entry.score if entry.answer == "revealed" else 0 for entry in case.submissions]
    return panel_moves.digest(stage, case, SCORED, scores, word("evidence"))


def lie(stage: Stage, case: Case) -> bytes:
    """The verdict of those who want the last submission to win."""
    scores = [0] * (len(case.submissions) - 1) + [2**96 - 1]
    return panel_moves.digest(stage, case, SCORED, scores, word("forged"))


def nonsense(stage: Stage, case: Case) -> bytes:
    """A verdict on too many submissions: it can be accepted, never settled."""
    return panel_moves.digest(stage, case, SCORED, [0] * (len(case.submissions) + 1), word("evidence"))


def _seat_a_committee(stage: Stage, case: Case, conduct: Conduct | None, otherwise: int) -> None:
    """Convene, draw, or arm again; when that does not help any more, wait for `otherwise` and cancel."""
    if stage.now >= otherwise:
        task_moves.cancel(stage, case, STRANGER)
    elif not case.target:
        panel_moves.convene(stage, case)
    elif stage.chain.block <= case.target:
        missed = conduct and ((conduct.mood == "asleep" and case.convened > 1) or conduct.choose(DRAWS) == "missed")
        stage.mine(case.target + 1 + (HASH_REACH if missed else 0))
    elif stage.chain.block <= case.target + HASH_REACH:
        panel_moves.draw(stage, case)
        if case.target:  # too few seats, or too many of them full
            stage.mine(case.target + HASH_REACH + 1)
    elif case.rearms < MAX_REARMS:
        panel_moves.convene(stage, case)
    elif conduct and case.convened > 1 and (conduct.mood == "asleep" or conduct.choose(["pay", "wait"]) == "pay"):
        task_moves.reconvene(stage, case, case.task.sponsor)
    else:
        stage.chain.at(otherwise)


def _attest(stage: Stage, case: Case, conduct: Conduct | None) -> None:
    everything = 2 ** (len(case.submissions) + 1) - 1
    waiting = [p for p in range(len(case.rounds[0].seats)) if p not in case.attested]
    if stage.now >= case.attest_closes:
        panel_moves.close_attestation(stage, case)
    elif conduct and waiting and not case.attested:
        gaps = conduct.choose(["none"] * 6 + ["one has gaps", "all have gaps", "no holdout", "late"])
        for position in waiting:
            bitmap = everything
            if gaps == "all have gaps" or (gaps == "one has gaps" and position == 0):
                bitmap &= ~(2 << (position % (len(case.submissions) or 1)))
            elif gaps == "no holdout" and position % 3:
                bitmap &= ~1
            if gaps != "late" or position % 3:
                panel_moves.attest(stage, case, position, bitmap, case.rounds[0].seats[position].operator)
    else:
        stage.chain.at(case.attest_closes)


def _open_holdout(stage: Stage, case: Case, conduct: Conduct | None) -> None:
    if not case.admitted & 1 or stage.now >= case.holdout_closes:
        task_moves.cancel(stage, case, STRANGER)
    elif conduct and case.task.holdout and conduct.choose(["open", "open", "open", "open", "keep"]) == "open":
        task_moves.reveal_holdout(stage, case, case.task.sponsor, case.task.holdout)
    else:
        stage.chain.at(case.holdout_closes)


def _answer(stage: Stage, case: Case, conduct: Conduct | None) -> None:
    waiting = [i for i, entry in enumerate(case.submissions) if case.admitted >> (i + 1) & 1 and not entry.answer]
    if conduct and waiting and not any(entry.answer for entry in case.submissions):
        solvers = conduct.choose(["all reveal"] * 5 + ["some", "some", "none", "all decline"])
        for index in waiting:
            entry = case.submissions[index]
            answer = solvers if solvers != "some" else conduct.choose(["all reveal", "none", "all decline"])
            if answer == "all reveal":
                task_moves.reveal(stage, case, index, entry.entry, entry.solver)
            elif answer == "all decline":
                task_moves.decline(stage, case, index, entry.solver)
        if any(entry.answer for entry in case.submissions):
            return
    stage.chain.at(case.answers_close)


def _judge(stage: Stage, case: Case, conduct: Conduct | None) -> None:
    if not case.scored:
        task_moves.settle(stage, case, NOTHING, (), ZERO, STRANGER)
        return
    round_ = case.drawn
    assert round_ is not None
    terminal = case.reveals_close(round_) + LIMITS["terminal_delay"]
    if case.target:
        _seat_a_committee(stage, case, conduct, otherwise=terminal)
    elif stage.now < case.reveals_close(round_):
        _vote(stage, case, round_, conduct)
    elif case.accepted is not None:
        _settle(stage, case, terminal)
    elif stage.now >= terminal:
        task_moves.cancel(stage, case, STRANGER)
    elif case.convened < FREE_ROUNDS + case.extra_rounds:
        panel_moves.convene(stage, case)
    elif conduct and case.extra_rounds < 2 and conduct.choose(["pay", "pay", "wait"]) == "pay":
        task_moves.reconvene(stage, case, case.task.sponsor)
    else:
        stage.chain.at(terminal)


def _vote(stage: Stage, case: Case, round_: Round, conduct: Conduct | None) -> None:
    if stage.now < case.commits_close(round_):
        if conduct and not round_.ballots:
            _commit_all(stage, case, round_, conduct)
        else:
            stage.chain.at(case.commits_close(round_))
        return
    hidden = [(position, ballot) for position, ballot in round_.ballots.items() if not ballot.shown]
    if conduct and hidden and len(hidden) == len(round_.ballots):
        for position, ballot in hidden:
            if conduct.mood != "withhold" or position % 2:
                panel_moves.show(
                    stage, case, round_.number, position, ballot.verdict, ballot.salt, round_.seats[position].operator
                )
        if any(ballot.shown for _, ballot in hidden):
            return
    stage.chain.at(case.reveals_close(round_))


def _commit_all(stage: Stage, case: Case, round_: Round, conduct: Conduct) -> None:
    honest, other, useless = truth(stage, case), lie(stage, case), nonsense(stage, case)
    stray = conduct.choose(["nobody", "nobody", "one lies", "one is silent", "one votes for nothing"])
    for position, seat in enumerate(round_.seats):
        verdict = {"lie": other, "nonsense": useless}.get(conduct.mood, honest)
        if conduct.mood == "apart":
            verdict = (honest, other)[position % 2]
        if conduct.mood in ("absent", "asleep") and position:
            continue
        if position == 1 and conduct.mood not in ("apart", "absent", "asleep"):
            if stray == "one is silent":
                continue
            verdict = {"one lies": useless, "one votes for nothing": ZERO}.get(stray, verdict)
        if not case.excused(round_.number, position) or position % 2:
            panel_moves.commit(stage, case, round_.number, position, verdict, seat.operator)


def _settle(stage: Stage, case: Case, terminal: int) -> None:
    assert case.accepted is not None
    outcome, scores, evidence = case.known[case.accepted]
    final = case.reveals_close(case.drawn) + CHALLENGE_WINDOW
    if stage.now < final:
        stage.chain.at(final)
    elif outcome != SCORED or len(scores) == len(case.submissions):
        if case.accepted != truth(stage, case):
            stage.counts.seen["vote: lie accepted"] += 1
        task_moves.settle(stage, case, outcome, scores, evidence, STRANGER)
    elif stage.now < terminal:
        task_moves.settle(stage, case, outcome, scores, evidence, STRANGER)  # refused
        stage.chain.at(terminal)
    else:
        task_moves.cancel(stage, case, STRANGER)
