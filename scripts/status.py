"""Show where every task stands, and who owes which step until when.

ape run status --network ethereum:sepolia [--task 0x…]
"""

import click
from rich.console import Console

from scripts import _chain, _records, _state
from scripts._steps import Row, steps_in_time
from scripts._units import coins, moment
from verifier.artifacts.digests import to_hex
from verifier.artifacts.policy import printable
from verifier.protocol.constants import NATIVE, Phase, VerdictStatus
from verifier.protocol.state import TaskState


@click.command(cls=_chain.Command)
@click.option(
    "--task", type=_records.TaskId(), help="Show only this task (an id or a record), with its submissions and seats."
)
def cli(task: bytes | None) -> None:
    """Show tasks, their submissions and panels, and who owes which step until when.

    Everything is read at one block. Times are local; the time in brackets is the distance from that block's time.
    """
    snapshot = _state.read()
    console = Console(highlight=False)
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
            _show_submissions(console, state)
            _show_rounds(console, state)


def _show_task(console: Console, state: TaskState) -> None:
    terms, view = state.terms, state.view
    unit = "coins" if terms.asset == NATIVE else f"units of {terms.asset}"
    reward = coins(view.reward) if terms.asset == NATIVE else str(view.reward)
    console.print(f"[bold]task 0x{state.id.hex()}[/bold]", soft_wrap=True)
    _print(console, f"  {_standing(state)}; sponsor {view.sponsor}")
    policy = terms.policy.name.lower()
    _print(
        console,
        f"  reward {reward} {unit} ({policy}), threshold {terms.threshold}, {view.submissions} submissions",
    )
    # The URI is untrusted text: its control characters must not reach the terminal.
    _print(console, f"  manifest {printable(state.history.manifest_uri, 256)}")
    if view.phase == Phase.COMMITTING:
        get = f"ape run task get {_chain.network_option()} 0x{state.id.hex()} --out task/"
        _print(console, f"  to solve it: {get}")


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


def _show_steps(console: Console, rows: list[Row], now: int) -> None:
    console.print("next" if rows else "  nothing is left to do")
    for who, what, until, late in rows:
        due = "" if until is None else f"  until {moment(until, now)}"
        then = f"; then {late}" if late else ""
        _print(console, f"  {who}  {what}{due}{then}")


def _show_submissions(console: Console, state: TaskState) -> None:
    console.print("submissions" if state.history.submissions else "no submissions")
    for item in state.history.submissions:
        bit = 1 << item.index
        words = []
        if state.panel.closed_at:
            words.append("admitted" if state.admitted(item.index) else "not admitted")
        words += ["revealed"] if state.view.revealed & bit else ["declined"] if state.view.declined & bit else []
        if state.history.scores and state.scored & bit:
            words.append(f"score {state.history.scores[item.index]}{' passed' if _passed(state, item.index) else ''}")
        words += ["claimed"] if state.view.claimed & bit else []
        _print(console, f"  {item.index}  {item.solver}  {', '.join(words) or 'committed'}")
        _print(console, f"     ciphertext {to_hex(item.sealed)} at {printable(item.uri, 256)}")


def _show_rounds(console: Console, state: TaskState) -> None:
    for drawn in state.rounds:
        console.print(f"panel, round {drawn.number}")
        for member in drawn.members:
            bit = 1 << member.position
            words = ["attested"] if drawn.number == 1 and member.stake in state.history.attested else []
            words += ["revealed"] if drawn.view.revealed & bit else ["committed"] if drawn.view.committed & bit else []
            words += ["closed"] if drawn.view.closed & bit else []
            _print(console, f"  {member.position}  operator {member.operator}  {', '.join(words) or 'drawn'}")
            _print(console, f"     stake {to_hex(member.stake)}")


def _print(console: Console, line: str) -> None:
    """Print a line that a terminal wraps by itself, so that an id in it can be copied as one word."""
    console.print(line, markup=False, soft_wrap=True)
