"""Calls with correct arguments and sender at any time.

The histories make them on both sides of every deadline, and the model predicts on which side each one succeeds.
"""

from __future__ import annotations

from collections.abc import Callable

from tests.evm import ZERO
from tests.stateful import panel_moves, task_moves
from tests.stateful.case import Case
from tests.stateful.stage import OUTSIDER, SOLVERS, Stage
from verifier.protocol.constants import Outcome


def attest(stage: Stage, case: Case) -> None:
    if case.rounds:
        seats = case.rounds[0].seats
        position = next((p for p in range(len(seats)) if p not in case.attested), 0)
        panel_moves.attest(stage, case, position, 2 ** (len(case.submissions) + 1) - 1, seats[position].operator)


def reveal_holdout(stage: Stage, case: Case) -> None:
    if case.task.holdout:
        task_moves.reveal_holdout(stage, case, case.task.sponsor, case.task.holdout)


def reveal(stage: Stage, case: Case) -> None:
    if case.submissions:
        index = _unanswered(case)
        task_moves.reveal(stage, case, index, case.submissions[index].entry, OUTSIDER)


def decline(stage: Stage, case: Case) -> None:
    if case.submissions:
        index = _unanswered(case)
        task_moves.decline(stage, case, index, case.submissions[index].solver)


def commit(stage: Stage, case: Case) -> None:
    if round_ := case.drawn:
        position = next((p for p in range(len(round_.seats)) if p not in round_.ballots), 0)
        verdict = panel_moves.truth(stage, case)
        panel_moves.commit(stage, case, round_.number, position, verdict, round_.seats[position].operator)


def show(stage: Stage, case: Case) -> None:
    if (round_ := case.drawn) and round_.ballots:
        position = next((p for p, ballot in round_.ballots.items() if not ballot.shown), min(round_.ballots))
        ballot = round_.ballots[position]
        panel_moves.show(stage, case, round_.number, position, ballot.verdict, ballot.salt, OUTSIDER)


def settle(stage: Stage, case: Case) -> None:
    content = case.known[case.accepted] if case.accepted is not None else (Outcome.NONE, (), ZERO)
    task_moves.settle(stage, case, *content, OUTSIDER)


def submit(stage: Stage, case: Case) -> None:
    task_moves.submit(stage, case, SOLVERS[0], "in the last second", 130)


def top_up(stage: Stage, case: Case) -> None:
    task_moves.top_up(stage, case, SOLVERS[0], 1)


CALLS: dict[str, Callable[[Stage, Case], None]] = {
    "attest": attest,
    "reveal holdout": reveal_holdout,
    "reveal": reveal,
    "decline": decline,
    "commit": commit,
    "show": show,
    "settle": settle,
    "submit": submit,
    "top up": top_up,
    "convene": panel_moves.convene,
    "draw": panel_moves.draw,
    "close attestation": panel_moves.close_attestation,
    "reconvene": lambda stage, case: task_moves.reconvene(stage, case, OUTSIDER),
    "cancel": lambda stage, case: task_moves.cancel(stage, case, OUTSIDER),
}


def _unanswered(case: Case) -> int:
    """The index of a submission that can be revealed or declined; the first one, if all have been."""
    asked = (i for i, entry in enumerate(case.submissions) if case.admitted >> (i + 1) & 1 and not entry.answer)
    return next(asked, 0)
