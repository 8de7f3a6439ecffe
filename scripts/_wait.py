"""Waits until a task gets as far as a command needs, and says meanwhile what it waits for."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click
from rich.console import Console
from rich.text import Text

from scripts import _state, _steps
from verifier.chain.errors import Refused, Unreachable
from verifier.cli.progress import LINE_S
from verifier.protocol.constants import Phase
from verifier.protocol.obligations import Action, obligations
from verifier.protocol.state import TaskState

# Seconds between two looks at the chain: a sixth of Ethereum's block time.
POLL_S = 2.0

# Exit status of a command that the user interrupted: 128 and the number of SIGINT.
INTERRUPTED = 130

WAIT = click.option(
    "--wait",
    is_flag=True,
    help="Wait until this step is possible, and then go on. Interrupting it sends nothing.",
)


def until(ready: Callable[[_state.Snapshot], bool], waiting: Callable[[_state.Snapshot], str]) -> _state.Snapshot:
    """Read the deployment until `ready`; shows `waiting`, the reason in one line. A node that fails is asked again.

    Errors: what `ready` raises; Exit with status 130 when the user interrupts.
    """
    reader = _state.Reader()
    seen: _state.Snapshot | None = None
    text = ""
    try:
        with _display() as show:
            while True:
                try:
                    snapshot = reader.read()
                    if snapshot is not seen:
                        if ready(snapshot):
                            return snapshot
                        seen, text = snapshot, waiting(snapshot)
                except (Unreachable, Refused) as error:
                    if seen is None:
                        raise
                    text = f"asking the node again: {error}"
                show(text)
                time.sleep(POLL_S)
    except (KeyboardInterrupt, SystemExit) as interrupted:  # ape's handlers of SIGINT and SIGTERM raise SystemExit
        click.echo("interrupted while waiting: nothing was sent; the same command waits again", err=True)
        raise click.exceptions.Exit(INTERRUPTED) from interrupted


def for_phase(task: bytes, phase: Phase, wait: bool, what: str) -> _state.Snapshot:
    """Read the deployment; with `wait`, until the task has reached `phase` or a later one.

    `what` says what becomes possible then. Errors: UsageError for an unknown task; ClickException when the task can
    only be cancelled.
    """
    if not wait:
        return _state.read()

    def reached(snapshot: _state.Snapshot) -> bool:
        state = snapshot.task(task)
        if state.view.phase < phase:
            _check_hope(state, snapshot)
        return state.view.phase >= phase

    def waiting(snapshot: _state.Snapshot) -> str:
        state = snapshot.task(task)
        step = _steps.next_step(state, snapshot.block.timestamp, snapshot.block.number)
        return f"waiting until {what}; the task is {state.view.phase.text}; next: {step}"

    return until(reached, waiting)


def _check_hope(state: TaskState, snapshot: _state.Snapshot) -> None:
    """Check that something else than a cancellation can happen next. Errors: ClickException."""
    steps = obligations(state, snapshot.block.timestamp, snapshot.block.number)
    if steps and all(step.action is Action.CANCEL for step in steps):
        raise click.ClickException(
            f"waiting is of no use: the task can only be cancelled ({steps[0].ground.text}); anyone can do it with "
            f"`ape run task cancel 0x{state.id.hex()}`"
        )


@contextmanager
def _display() -> Iterator[Callable[[str], None]]:
    """A status line on a terminal; elsewhere a line at once and then one every LINE_S seconds. Both on stderr."""
    console = Console(stderr=True, highlight=False)
    if console.is_terminal:
        with console.status("") as status:
            yield lambda text: status.update(Text(text))
        return
    due = time.monotonic()

    def show(text: str) -> None:
        nonlocal due
        if time.monotonic() >= due:
            due = time.monotonic() + LINE_S
            click.echo(text, err=True)

    yield show
