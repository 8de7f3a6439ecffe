"""Follows the task of the demo to its end, whatever its path: further rounds, a cancellation, a void task."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from scripts._units import span
from scripts.demo.market import Market
from scripts.demo.shell import DemoError
from verifier.protocol.constants import FREE_ROUNDS, Phase, VerdictStatus
from verifier.protocol.state import Round, TaskState

POLL_S = 1.0  # the chain's block time: the state cannot change more often
MAX_STILL_S = 1_200.0  # without any change of the state; longer than the longest window and the delay until void


@dataclass(frozen=True)
class Stage:
    """What a task waits for now."""

    name: str  # the same for as long as the task waits for the same thing
    progress: str = ""  # how far it is
    until: int = 0  # the second at which the stage ends at the latest, 0 where no deadline applies

    def text(self, now: int) -> str:
        """Describe the stage in one line."""
        left = f" ({span(self.until - now)} left)" if self.until > now else ""
        return self.name + (f": {self.progress}" if self.progress else "") + left


def stage_of(state: TaskState, now: int) -> Stage:
    """Return what the task waits for. Errors: DemoError when nothing can happen any more while the demo runs."""
    phase = state.view.phase
    if phase is Phase.JUDGING:
        return _judging(state, now)
    if phase is Phase.HOLDOUT and not state.own_files_admitted:
        return Stage("the committee could not fetch the sponsor's files, and the services cancel the task")
    if phase is Phase.CONVENING and not state.view.submissions:
        return Stage("nobody committed in time, and the sponsor cancels the task")
    seats, attested = sum(len(item.members) for item in state.rounds), len(state.history.attested)
    answered = (state.view.revealed | state.view.declined).bit_count()
    stages = {
        Phase.COMMITTING: Stage("commits close", f"{state.view.submissions} submissions", state.commit_closes),
        Phase.CONVENING: Stage("the services convene the panel and draw a committee"),
        Phase.ATTESTING: Stage(
            "the seats fetch every file and attest", f"{attested} of {seats}", state.panel.attest_closes
        ),
        Phase.HOLDOUT: Stage("the sponsor reveals the holdout", until=state.holdout_closes or 0),
        Phase.REVEALING: Stage("the solvers' reveal window ends", f"{answered} answered", state.reveal_closes or 0),
    }
    closing = Stage("the services claim and close the votes", f"{seats - len(state.history.closed)} votes are open")
    return stages.get(phase, closing)


def _judging(state: TaskState, now: int) -> Stage:
    if not state.scored:
        return Stage("no submission is revealed, and the services settle the task")
    if state.panel.status == VerdictStatus.FINAL:
        return Stage("the services settle the task")
    last = state.rounds[-1]
    number, view = last.number, last.view
    if state.panel.status == VerdictStatus.ACCEPTED:
        closes = view.reveal_closes + state.delays.challenge
        return Stage(f"the challenge window of round {number} ends", until=closes)
    if now < view.commit_closes:
        committed = f"{view.committed.bit_count()} of {view.seats} committed"
        return Stage(f"round {number}: the services evaluate and commit their verdicts", committed, view.commit_closes)
    if now < view.reveal_closes:
        revealed = f"{view.revealed.bit_count()} of {view.seats} revealed"
        return Stage(f"round {number}: the services reveal their verdicts", revealed, view.reveal_closes)
    if number >= FREE_ROUNDS:
        raise DemoError(
            f"none of {number} rounds reached a verdict: {_votes(last)}. The verifiers had "
            f"{span(state.terms.windows.verdict_commit)} for each, which follows from a measurement when the demo "
            "began. Run it again when the machine is less busy"
        )
    return Stage(f"round {number} ends without a verdict ({_votes(last)}), and round {number + 1} is drawn")


def _votes(drawn: Round) -> str:
    return f"{drawn.view.revealed.bit_count()} of {drawn.view.seats} seats revealed one"


def ending(state: TaskState) -> str:
    """Say how the task ended and, if it took more than one round, in which."""
    if state.view.phase == Phase.CANCELLED:
        return f"the task was cancelled: {state.view.ground.text}"
    rounds = "" if len(state.rounds) == 1 else f" in round {state.rounds[-1].number}"
    passing = [index for index, score in enumerate(state.history.scores) if score >= state.terms.threshold]
    if not passing:
        return f"the task was settled{rounds} without a winner"
    return f"the task was settled{rounds}: submission {state.view.best} is the best"


def follow(market: Market, act: Callable[[TaskState], None]) -> TaskState:
    """Watch the task until it has ended, every vote is closed and every claim is made; returns its last state.

    `act(state)` does what the sponsor and the solvers do in that state; it is called for every state. Prints each stage
    when it is over. Errors: DemoError when nothing changes for MAX_STILL_S, and as from `stage_of`.
    """
    report = market.shell.reporter()
    stage, began, changed = Stage(""), time.monotonic(), time.monotonic()
    try:
        while True:
            market.shell.check()
            state, now = market.look()
            found = stage_of(state, now)
            over = state.history.finished()
            if found != stage:
                changed = time.monotonic()
            if stage.name and (over or found.name != stage.name):
                report.done(f"{stage.name}: done after {time.monotonic() - began:.0f} s")
            if over:
                return state
            if found.name != stage.name:
                began = time.monotonic()
            stage = found
            report.pause()
            act(state)
            if time.monotonic() - changed > MAX_STILL_S:
                raise DemoError(f"nothing happened for {span(int(MAX_STILL_S))}: {stage.text(now)}")
            report.show(stage.text(now))
            time.sleep(POLL_S)
    finally:
        report.pause()
