"""The next step of a task, taken by the party that owes it or by an outsider.

`step` ensures that random histories make progress: it acts while a window is open, and when every party that will act
has acted, it lets time pass to the next deadline. A `Conduct` decides how the parties behave.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from tests.evm import HASH_REACH, ZERO, word
from tests.harness import CHALLENGE_WINDOW, LIMITS
from tests.stateful import panel_moves, task_moves
from tests.stateful.boundary_calls import CALLS
from tests.stateful.case import Case, Round
from tests.stateful.stage import OUTSIDER, Stage
from verifier.protocol.constants import FREE_ROUNDS, MAX_REARMS, SCORE_BOUND, Outcome, Phase

# How a committee votes. honest: for the honest verdict; in doubt: each seat at random; lie: for a lie; asleep: hardly
# any seat votes, and later rounds are drawn too late; apart: one half honest, the other for a lie; absent: hardly any
# seat votes; nonsense: for a verdict that cannot be settled; withhold: honest, but half of the seats do not reveal.
MOODS = ["honest"] * 6 + ["in doubt", "lie", "asleep"] * 2 + ["apart", "absent", "nonsense", "withhold"]
DRAWS = ["in time"] * 6 + ["missed"]


@dataclass
class Conduct:
    """How the parties behave. `choose` picks among options. Unless `hurried`, a task waits for other tasks with earlier
    deadlines."""

    choose: Callable[[list[str]], str]
    hurried: bool = False
    moods: dict[Case, tuple[int, int, str]] = field(default_factory=dict)
    met: set[tuple[Case, str]] = field(default_factory=set)

    def mood(self, case: Case) -> str:
        """The mood of the current or awaited committee; the next round often keeps it."""
        convened, bought, mood = self.moods.get(case, (-1, 0, self.choose(MOODS)))
        if (convened, bought) != (case.convened, case.bought):
            mood = self.choose([mood, self.choose(MOODS)])
            self.moods[case] = (case.convened, case.bought, mood)
        return mood

    def once(self, case: Case, duty: str) -> bool:
        """Whether this is the first call for a duty of a task."""
        first = (case, duty) not in self.met
        self.met.add((case, duty))
        return first


def step(stage: Stage, case: Case, conduct: Conduct | None) -> None:
    """Take the next step of a task; without a conduct, only calls that anyone may make are used, and time."""
    phase = case.phase(stage.now)
    if phase == Phase.COMMITTING:
        _until(stage, case, conduct, case.task.commit_closes, "submit", "top up", "convene", "cancel")
    elif case.ending:
        wind_up(stage, case)
    elif phase == Phase.CONVENING:
        if case.submissions:
            _seat_a_committee(stage, case, conduct, otherwise=case.task.commit_closes + LIMITS.void_delay)
        else:
            task_moves.cancel(stage, case, OUTSIDER)
    elif phase == Phase.ATTESTING:
        _attest(stage, case, conduct)
    elif phase == Phase.HOLDOUT:
        _open_holdout(stage, case, conduct)
    elif phase == Phase.REVEALING:
        _answer(stage, case, conduct)
    elif phase == Phase.JUDGING:
        _judge(stage, case, conduct)


def wind_up(stage: Stage, case: Case) -> None:
    """Claim every submission and close every vote of an ended task."""
    assert case.ending is not None
    for index, entry in enumerate(case.submissions):
        if not entry.claimed:
            task_moves.claim(stage, case, index, case.ending.scores, OUTSIDER)
    for round_ in case.rounds:
        for position in range(len(round_.seats)):
            if position not in round_.closed:
                panel_moves.close(stage, case, round_.number, position)


def is_over(case: Case) -> bool:
    """Whether the task has ended and everything is claimed and closed."""
    return bool(
        case.ending
        and all(entry.claimed for entry in case.submissions)
        and all(len(round_.closed) == len(round_.seats) for round_ in case.rounds)
    )


def lie(stage: Stage, case: Case) -> bytes:
    """A verdict that lets the last submission win."""
    scores = [0] * (len(case.submissions) - 1) + [SCORE_BOUND - 1]
    return panel_moves.digest(stage, case, Outcome.SCORED, scores, word("forged"))


def nonsense(stage: Stage, case: Case) -> bytes:
    """A verdict on too many submissions, which can be accepted and never settled."""
    return panel_moves.digest(stage, case, Outcome.SCORED, [0] * (len(case.submissions) + 1), word("evidence"))


def _until(stage: Stage, case: Case, conduct: Conduct | None, time: int, *calls: str) -> None:
    """Let time pass to a deadline, most often with one call in the second before and in the second itself.

    The call is chosen from all of them, and those in `calls` are the most likely.
    """
    if conduct is None:
        stage.chain.at(time)
        return
    first = min(stage.live(), key=lambda other: other.next_deadline(stage.now))
    if first.next_deadline(stage.now) < case.next_deadline(stage.now) and not conduct.hurried:
        step(stage, first, conduct)
        return
    call = CALLS.get(conduct.choose(["none"] + list(calls) * 3 + list(CALLS)))
    for second in (time - 1, time):
        stage.chain.at(max(second, stage.now))
        if call:
            call(stage, case)


def _seat_a_committee(stage: Stage, case: Case, conduct: Conduct | None, otherwise: int) -> None:
    """Convene, draw, or arm the draw again; when that is not possible, wait for `otherwise` and cancel."""
    if stage.now >= otherwise:
        task_moves.cancel(stage, case, OUTSIDER)
    elif not case.target:
        panel_moves.convene(stage, case)
    elif stage.chain.block <= case.target:
        asleep = conduct and case.convened > 1 and conduct.mood(case) == "asleep"
        missed = asleep or (conduct and conduct.choose(DRAWS) == "missed")
        stage.mine(case.target + 1 + (HASH_REACH if missed else 0))
    elif stage.chain.block <= case.target + HASH_REACH:
        panel_moves.draw(stage, case)
        if case.target:  # too few seats were found, or too many are full
            stage.mine(case.target + HASH_REACH + 1)
    elif case.rearms < MAX_REARMS:
        panel_moves.convene(stage, case)
    elif conduct and case.convened > 1 and (conduct.mood(case) == "asleep" or conduct.choose(["pay", "wait"]) == "pay"):
        task_moves.reconvene(stage, case, case.task.sponsor)
    else:
        _until(stage, case, conduct, otherwise, "cancel", "convene", "draw", "reconvene")


def _attest(stage: Stage, case: Case, conduct: Conduct | None) -> None:
    everything = 2 ** (len(case.submissions) + 1) - 1
    if stage.now >= case.attest_closes:
        panel_moves.close_attestation(stage, case)
    elif conduct and conduct.once(case, "attest"):
        gaps = conduct.choose(["none"] * 8 + ["one has gaps", "all have gaps", "one is missing", "no holdout", "late"])
        for position in range(len(case.rounds[0].seats)):
            bitmap = everything
            if gaps == "all have gaps" or (gaps == "one has gaps" and position == 0):
                bitmap &= ~(2 << (position % (len(case.submissions) or 1)))
            elif gaps == "one is missing":
                bitmap &= ~2
            elif gaps == "no holdout" and position % 3:
                bitmap &= ~1
            if gaps != "late" or position % 3:
                panel_moves.attest(stage, case, position, bitmap, case.rounds[0].seats[position].operator)
    else:
        _until(stage, case, conduct, case.attest_closes, "attest", "close attestation")


def _open_holdout(stage: Stage, case: Case, conduct: Conduct | None) -> None:
    if not case.admitted & 1 or stage.now >= case.holdout_closes:
        task_moves.cancel(stage, case, OUTSIDER)
    elif conduct and case.task.holdout and conduct.choose(["open"] * 6 + ["keep"]) == "open":
        task_moves.reveal_holdout(stage, case, case.task.sponsor, case.task.holdout)
    else:
        _until(stage, case, conduct, case.holdout_closes, "reveal holdout", "cancel")


def _answer(stage: Stage, case: Case, conduct: Conduct | None) -> None:
    if conduct and conduct.once(case, "answer"):
        solvers = conduct.choose(["all reveal"] * 8 + ["some"] * 4 + ["none", "all decline"])
        for index, entry in enumerate(case.submissions):
            # Solvers whose submissions were not admitted try as well.
            answer = solvers if solvers != "some" else conduct.choose(["all reveal", "none", "all decline"])
            if answer == "all reveal":
                task_moves.reveal(stage, case, index, entry.entry, entry.solver)
            elif answer == "all decline":
                task_moves.decline(stage, case, index, entry.solver)
        return
    _until(stage, case, conduct, case.answers_close, "reveal", "decline", "commit", "settle")


def _judge(stage: Stage, case: Case, conduct: Conduct | None) -> None:
    if not case.scored:
        task_moves.settle(stage, case, Outcome.NONE, (), ZERO, OUTSIDER)
        return
    round_ = case.drawn
    assert round_ is not None
    terminal = case.reveals_close(round_) + LIMITS.terminal_delay
    if case.target:
        _seat_a_committee(stage, case, conduct, otherwise=terminal)
    elif stage.now < case.reveals_close(round_):
        _vote(stage, case, round_, conduct)
    elif case.accepted is not None:
        _settle(stage, case, conduct, terminal)
    elif stage.now >= terminal:
        task_moves.cancel(stage, case, OUTSIDER)
    elif case.convened < FREE_ROUNDS + case.extra_rounds:
        panel_moves.convene(stage, case)
    elif conduct and case.extra_rounds < 2 and conduct.choose(["pay", "pay", "wait"]) == "pay":
        task_moves.reconvene(stage, case, case.task.sponsor)
    else:
        _until(stage, case, conduct, terminal, "cancel", "convene", "reconvene")


def _vote(stage: Stage, case: Case, round_: Round, conduct: Conduct | None) -> None:
    if stage.now < case.commits_close(round_):
        if conduct and conduct.once(case, f"commit in round {round_.number}"):
            _commit_all(stage, case, round_, conduct)
        else:
            _until(stage, case, conduct, case.commits_close(round_), "commit", "show")
        return
    if conduct and conduct.once(case, f"reveal in round {round_.number}"):
        for position, ballot in round_.ballots.items():
            if conduct.mood(case) != "withhold" or position % 2:
                panel_moves.show(
                    stage, case, round_.number, position, ballot.verdict, ballot.salt, round_.seats[position].operator
                )
        return
    _until(stage, case, conduct, case.reveals_close(round_), "show", "convene")


def _commit_all(stage: Stage, case: Case, round_: Round, conduct: Conduct) -> None:
    verdicts = {"honest": panel_moves.truth(stage, case), "lie": lie(stage, case), "nonsense": nonsense(stage, case)}
    verdicts["nothing"] = ZERO
    mood = conduct.mood(case)
    stray = conduct.choose([""] * 5 + ["nonsense", "silent", "nothing"])
    for position, seat in enumerate(round_.seats):
        vote = mood if mood in verdicts else "honest"
        if mood == "apart":
            vote = ("honest", "lie")[position % 2]
        elif mood in ("absent", "asleep"):
            vote = conduct.choose(["silent"] * 4 + ["honest"])
        elif mood == "in doubt":
            vote = conduct.choose(["honest"] * 4 + ["lie", "silent"])
        elif position == 1 and stray:
            vote = stray
        if vote != "silent" and (not case.excused(round_.number, position) or position % 2):
            panel_moves.commit(stage, case, round_.number, position, verdicts[vote], seat.operator)


def _settle(stage: Stage, case: Case, conduct: Conduct | None, terminal: int) -> None:
    assert case.accepted is not None
    outcome, scores, evidence = case.known[case.accepted]
    final = case.reveals_close(case.drawn) + CHALLENGE_WINDOW
    if stage.now < final:
        _until(stage, case, conduct, final, "settle")
    elif outcome != Outcome.SCORED or len(scores) == len(case.submissions):
        if case.accepted != panel_moves.truth(stage, case):
            stage.counts.seen["vote: lie accepted"] += 1
        task_moves.settle(stage, case, outcome, scores, evidence, OUTSIDER)
    elif stage.now < terminal:
        task_moves.settle(stage, case, outcome, scores, evidence, OUTSIDER)  # the contract refuses it
        _until(stage, case, conduct, terminal, "settle", "cancel")
    else:
        task_moves.cancel(stage, case, OUTSIDER)
