"""What is due in a task, in words: for `ape run status`, and for commands that wait."""

from collections import Counter

from scripts._units import moment
from verifier.protocol.obligations import Action, Party, Step, obligations
from verifier.protocol.state import TaskState

Row = tuple[str, str, int | None, str]  # party, step, deadline as chain time in seconds, effect of lateness


def steps_in_time(state: TaskState, now: int, head: int) -> list[Row]:
    """Rows of party, step, deadline and effect of lateness. All claims share a row, and all votes of a round do."""
    steps = [step for step in obligations(state, now, head) if not step.late(now)]
    claims = ", ".join(str(step.index) for step in steps if step.action is Action.CLAIM)
    votes = Counter(step.round for step in steps if step.action is Action.CLOSE_VOTE)
    rows: list[Row] = []
    if claims:
        rows.append(("anyone", f"claim for submission {claims}", None, ""))
    rows.extend(("anyone", f"close {count} votes of round {number}", None, "") for number, count in votes.items())
    rows.extend(
        (_who(step, state), step.text, step.until, step.lateness.value)
        for step in steps
        if step.action not in (Action.CLAIM, Action.CLOSE_VOTE)
    )
    return rows


def next_step(state: TaskState, now: int, head: int) -> str:
    """Describe in one line which step a task needs next, from whom and until when."""
    rows = steps_in_time(state, now, head)
    if not rows:
        return "nothing is left to do"
    who, what, until, _ = rows[0]
    others = sum(row[1] == what for row in rows) - 1
    parties = f"{who} and {others} more" if others else who
    due = "" if until is None else f", until {moment(until, now)}"
    return f"{parties}: {what}{due}"


def _who(step: Step, state: TaskState) -> str:
    if step.party is Party.SPONSOR:
        return f"sponsor {state.view.sponsor}"
    if step.party is Party.SOLVER:
        return "solvers" if step.index is None else f"solver {state.history.submissions[step.index].solver}"
    if step.member is not None:
        return f"seat {step.member.position}, operator {step.member.operator}"
    return step.party.value
