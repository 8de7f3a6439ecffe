"""Show where every task stands, and who owes which step until when.

ape run status --network ethereum:sepolia [--task 0x…]
"""

import sys
from collections import Counter
from collections.abc import Iterator

import click
from rich.console import Console
from rich.table import Table

from scripts import _chain, _records, _state
from scripts._units import coins, moment, short
from verifier.artifacts.policy import printable
from verifier.protocol.constants import NATIVE, Phase, VerdictStatus
from verifier.protocol.obligations import Action, Party, Step, obligations
from verifier.protocol.state import TaskState

# Width of the tables when the output is not a terminal, so that rows are not wrapped.
PIPE_COLUMNS = 140


@click.command(cls=_chain.Command)
@click.option(
    "--task", type=_records.TaskId(), help="Show only this task (an id or a record), with its submissions and seats."
)
def cli(task: bytes | None) -> None:
    """Show tasks, their submissions and panels, and who owes which step until when.

    Everything is read at one block. Times are local; the time in brackets is the distance from that block's time.
    """
    snapshot = _state.read()
    console = Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_COLUMNS)
    now, history = snapshot.block.timestamp, snapshot.history
    console.print(f"{_chain.network()}, block {snapshot.block.number} of {moment(now, now).partition(' (')[0]}")
    console.print(f"{len(history.tasks)} tasks, {snapshot.active_seats} seats that can be drawn")
    for known in history.tasks if task is None else [task]:
        state = snapshot.task(known)
        console.print()
        _show_task(console, state)
        if task is not None or not state.ended:
            _show_steps(console, steps_in_time(state, now, snapshot.block.number), now)
        if task is not None:
            console.print(_submissions(state))
            for table in _rounds(state):
                console.print(table)


def _show_task(console: Console, state: TaskState) -> None:
    terms, view = state.terms, state.view
    unit = "coins" if terms.asset == NATIVE else f"units of {terms.asset}"
    reward = coins(view.reward) if terms.asset == NATIVE else str(view.reward)
    console.print(f"[bold]task 0x{state.id.hex()}[/bold]")
    console.print(f"  {_standing(state)}; sponsor {view.sponsor}")
    policy = terms.policy.name.lower()
    console.print(f"  reward {reward} {unit} ({policy}), threshold {terms.threshold}, {view.submissions} submissions")
    # The URI is untrusted text: its control characters must not reach the terminal.
    console.print(f"  manifest {printable(state.history.manifest_uri, 256)}", markup=False, soft_wrap=True)


def _standing(state: TaskState) -> str:
    phase = state.view.phase.text
    if state.view.phase == Phase.CANCELLED:
        return f"{phase}: {state.view.ground.text}"
    if state.view.phase == Phase.SETTLED:
        won = any(_passed(state, index) for index in range(state.view.submissions))
        return f"{phase}: submission {state.view.best} is the best" if won else f"{phase} without a winner"
    if state.panel.status in (VerdictStatus.ACCEPTED, VerdictStatus.FINAL):
        return f"{phase}, verdict {'final' if state.final else 'accepted'}"
    return phase


def _passed(state: TaskState, index: int) -> bool:
    scored = bool(state.scored >> index & 1 and state.history.scores)
    return scored and state.history.scores[index] >= state.terms.threshold


def _show_steps(console: Console, rows: list[tuple[str, str, int | None, str]], now: int) -> None:
    table = Table("who", "owes", "until", "and then", title="next", title_justify="left", box=None, pad_edge=False)
    for who, what, until, late in rows:
        table.add_row(who, what, "" if until is None else moment(until, now), late)
    console.print(table if rows else "  nothing is left to do", markup=False)


def steps_in_time(state: TaskState, now: int, head: int) -> list[tuple[str, str, int | None, str]]:
    """Rows of party, step, deadline and effect of lateness. All claims share a row, and all votes of a round do."""
    steps = [step for step in obligations(state, now, head) if not step.late(now)]
    claims = ", ".join(str(step.index) for step in steps if step.action is Action.CLAIM)
    votes = Counter(step.round for step in steps if step.action is Action.CLOSE_VOTE)
    rows: list[tuple[str, str, int | None, str]] = []
    if claims:
        rows.append(("anyone", f"claim for submission {claims}", None, ""))
    rows.extend(("anyone", f"close {count} votes of round {number}", None, "") for number, count in votes.items())
    rows.extend(
        (_who(step, state), step.text, step.until, step.lateness.value)
        for step in steps
        if step.action not in (Action.CLAIM, Action.CLOSE_VOTE)
    )
    return rows


def _who(step: Step, state: TaskState) -> str:
    if step.party is Party.SPONSOR:
        return f"sponsor {short(state.view.sponsor)}"
    if step.party is Party.SOLVER:
        return "solvers" if step.index is None else f"solver {short(state.history.submissions[step.index].solver)}"
    if step.member is not None:
        return f"seat {step.member.position}, operator {short(step.member.operator)}"
    return step.party.value


def _submissions(state: TaskState) -> Table:
    table = Table("", "solver", "ciphertext", "admitted", "answer", "score", "claimed", title="submissions")
    for item in state.history.submissions:
        bit = 1 << item.index
        answer = "revealed" if state.view.revealed & bit else "declined" if state.view.declined & bit else ""
        admitted = "" if not state.panel.closed_at else "yes" if state.admitted(item.index) else "no"
        score = str(state.history.scores[item.index]) if state.history.scores and state.scored & bit else ""
        score += " passed" if _passed(state, item.index) else ""
        claimed = "yes" if state.view.claimed & bit else ""
        table.add_row(str(item.index), short(item.solver), short(item.sealed), admitted, answer, score, claimed)
    return table


def _rounds(state: TaskState) -> Iterator[Table]:
    for drawn in state.rounds:
        table = Table(
            "seat", "stake", "operator", "attested", "verdict", "closed", title=f"panel, round {drawn.number}"
        )
        for member in drawn.members:
            bit = 1 << member.position
            verdict = "revealed" if drawn.view.revealed & bit else "committed" if drawn.view.committed & bit else ""
            attested = "yes" if drawn.number == 1 and member.stake in state.history.attested else ""
            closed = "yes" if drawn.view.closed & bit else ""
            row = (str(member.position), short(member.stake), member.operator, attested, verdict, closed)
            table.add_row(*row)
        yield table
