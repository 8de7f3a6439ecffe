"""Who owes a task its next step, and until when: derived from one task's state, as `ape run status` shows it."""

from collections.abc import Iterator
from dataclasses import dataclass

from scripts._units import short
from verifier.protocol.constants import FREE_ROUNDS, OWN_FILES, Phase, VerdictStatus
from verifier.protocol.history import Member
from verifier.protocol.state import Round
from verifier.protocol.state import TaskState as Task


@dataclass(frozen=True)
class Step:
    """One step. `until` is the second from which it is too late (None: no deadline); `late` says what follows then."""

    who: str
    what: str
    until: int | None = None
    late: str = ""


def next_steps(task: Task, now: int, challenge_window: int) -> list[Step]:
    """The steps that can be made at chain time `now`, in seconds; empty when the task is over for everybody."""
    return list(_steps(task, now, challenge_window))


def reveal_closes(task: Task) -> int | None:
    """End of the solvers' reveal window; None while it has not begun."""
    opens = task.view.holdout_revealed_at if task.sealed else task.panel.closed_at
    return opens + task.terms.windows.reveal if opens else None


def holdout_closes(task: Task) -> int | None:
    """End of the sponsor's window to reveal the holdout; None while it has not begun."""
    return task.panel.closed_at + task.terms.windows.holdout if task.panel.closed_at else None


def _steps(task: Task, now: int, challenge_window: int) -> Iterator[Step]:
    phase = task.view.phase
    if phase == Phase.COMMITTING:
        yield Step("solvers", "commit a submission", _commit_closes(task))
    elif phase == Phase.CONVENING:
        yield _convening(task, now)
    elif phase == Phase.ATTESTING:
        yield from _attesting(task, now)
    elif phase == Phase.HOLDOUT:
        yield _holdout(task, now)
    elif phase == Phase.REVEALING:
        yield from _revealing(task)
    elif phase == Phase.JUDGING:
        yield from _judging(task, now, challenge_window)
    else:
        yield from _ended(task)


def _commit_closes(task: Task) -> int:
    return task.view.created_at + task.terms.windows.commit


def _convening(task: Task, now: int) -> Step:
    if not task.view.submissions:
        return Step("anyone", "cancel: nobody submitted")
    void = _commit_closes(task) + task.delays.void
    if now >= void:
        return Step("anyone", "cancel: no committee was drawn")
    return _draw(task, void, "the task is void")


def _draw(task: Task, until: int | None, late: str) -> Step:
    if task.panel.target_block:
        return Step("anyone", f"draw the committee by block {task.panel.target_block}", until, late)
    return Step("anyone", "convene the panel", until, late)


def _attesting(task: Task, now: int) -> Iterator[Step]:
    closes = task.panel.attest_closes
    if now >= closes:
        yield Step("anyone", "close the attestation")
        return
    silent = [member for member in task.rounds[0].members if member.stake not in task.history.attested]
    for member in silent:
        yield Step(_seat(member), "attest which files are there", closes, "no fee")
    if not silent:
        yield Step("nobody", "the attestation ends", closes)


def _holdout(task: Task, now: int) -> Step:
    if not task.panel.admitted >> OWN_FILES & 1:
        return Step("anyone", "cancel: the sponsor's files are not available")
    closes = holdout_closes(task)
    if closes is not None and now >= closes:
        return Step("anyone", "cancel: the sponsor kept the holdout's key")
    return Step(f"sponsor {short(task.view.sponsor)}", "reveal the holdout", closes, "cancelled, and the bond is lost")


def _revealing(task: Task) -> Iterator[Step]:
    closes = reveal_closes(task)
    silent = [item for item in task.history.submissions if task.awaits_answer(item.index)]
    for item in silent:
        yield Step(f"solver {short(item.solver)}", f"reveal or decline submission {item.index}", closes, "bond lost")
    if not silent:
        yield Step("nobody", "the reveals end", closes)


def _judging(task: Task, now: int, challenge_window: int) -> Iterator[Step]:
    if task.final or not task.scored:
        yield Step("anyone", "settle")
        return
    current = task.rounds[-1]
    view = current.view
    if now < view.commit_closes:
        late = "slashed, unless excused"
        yield from _voters(task, current, view.committed, "commit a verdict", view.commit_closes, late)
        return
    if now < view.reveal_closes:
        silent = view.revealed | ~view.committed
        yield from _voters(task, current, silent, "reveal its verdict", view.reveal_closes, "slashed")
        return
    if task.panel.status == VerdictStatus.ACCEPTED:
        yield Step("nobody", "the accepted verdict becomes final", view.reveal_closes + challenge_window)
        return
    terminal = view.reveal_closes + task.delays.terminal
    if now >= terminal:
        yield Step("anyone", "cancel: nothing was settled in time")
    elif task.panel.target_block or current.number < FREE_ROUNDS:
        yield _draw(task, terminal, "cancelled by the terminal rule")
    else:
        yield Step("anyone", "reconvene for a fee", terminal, "cancelled by the terminal rule")


def _voters(task: Task, current: Round, done: int, what: str, until: int, late: str) -> Iterator[Step]:
    """One step for each seat whose bit in `done` is not set."""
    owing = [member for member in current.members if not done >> member.position & 1]
    for member in owing:
        yield Step(_seat(member), f"{what} in round {current.number}", until, late)
    if not owing:
        yield Step("nobody", "the window ends", until)


def _ended(task: Task) -> Iterator[Step]:
    unclaimed = [item.index for item in task.history.submissions if not task.view.claimed >> item.index & 1]
    if unclaimed:
        yield Step("anyone", f"claim for submission {', '.join(map(str, unclaimed))}")
    for drawn in task.rounds:
        still = drawn.view.seats - drawn.view.closed.bit_count()
        if still:
            yield Step("anyone", f"close {still} votes of round {drawn.number}")


def _seat(member: Member) -> str:
    return f"seat {member.position}, operator {short(member.operator)}"
