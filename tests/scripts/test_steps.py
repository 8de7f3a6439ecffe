"""Who owes what until when, on both sides of every deadline."""

from dataclasses import replace

import pytest

from scripts._steps import Step, next_steps
from tests.protocol.states import drawn_round, panel_view, some_terms, task_view
from verifier.protocol.constants import Phase, VerdictStatus, Windows
from verifier.protocol.history import Member, Submission, TaskHistory
from verifier.protocol.state import Round, TaskState
from verifier.protocol.views import Delays, PanelView, TaskView

CREATED = 1_000_000
WINDOWS = Windows(100, 50, 40, 30, 20, 10)
CHALLENGE = 7
VOID, TERMINAL = 1_000, 5_000
COMMIT_CLOSES = CREATED + 100
SPONSOR = "0x" + "5a" * 20
OPERATOR = "0x" + "0b" * 20
SEAT = "seat {}, operator 0x0b0b…0b0b"


def view(phase: Phase, **changes: int) -> TaskView:
    return task_view(phase, **{"created_at": CREATED, "submissions": 2, **changes})


def panel(**changes: int) -> PanelView:
    return panel_view(**changes)


def drawn(number: int = 1, **changes: int) -> Round:
    members = tuple(Member(position, bytes([position] * 32), OPERATOR, "") for position in range(3))
    return drawn_round(number, members, **changes)


def task(standing: TaskView, panel_: PanelView | None = None, *rounds: Round) -> TaskState:
    history = TaskHistory(bytes(32), some_terms(windows=WINDOWS), "")
    history.submissions = [
        Submission(index, "0x" + f"{index + 1:02x}" * 20, bytes([index] * 32), bytes(32), "") for index in range(2)
    ]
    return TaskState(history, standing, panel_ or panel(), rounds, bytes(32), Delays(VOID, TERMINAL, CHALLENGE))


def steps(state: TaskState, now: int = COMMIT_CLOSES) -> list[Step]:
    return next_steps(state, now, CHALLENGE)


def test_committing__solvers_have_until_the_window_ends() -> None:
    assert steps(task(view(Phase.COMMITTING)), CREATED) == [Step("solvers", "commit a submission", COMMIT_CLOSES)]


def test_convening__without_submissions__anyone_cancels() -> None:
    assert steps(task(view(Phase.CONVENING, submissions=0))) == [Step("anyone", "cancel: nobody submitted")]


def test_convening__until_the_task_is_void__somebody_convenes_then_draws() -> None:
    convene = task(view(Phase.CONVENING))
    draw = task(view(Phase.CONVENING), panel(target_block=77))
    void = COMMIT_CLOSES + VOID
    assert steps(convene, void - 1) == [Step("anyone", "convene the panel", void, "the task is void")]
    assert steps(draw, void - 1) == [Step("anyone", "draw the committee by block 77", void, "the task is void")]
    assert steps(draw, void) == [Step("anyone", "cancel: no committee was drawn")]


def test_attesting__seats_that_have_not_attested_owe_it_until_the_window_ends() -> None:
    state = task(view(Phase.ATTESTING), panel(attest_closes=2_000_000), drawn())
    state.history.attested.add(bytes([1] * 32))
    assert [step.who for step in steps(state, 1_999_999)] == [SEAT.format(0), SEAT.format(2)]
    assert steps(state, 1_999_999)[0].until == 2_000_000
    assert steps(state, 2_000_000) == [Step("anyone", "close the attestation")]
    state.history.attested.update(bytes([position] * 32) for position in range(3))
    assert steps(state, 1_999_999) == [Step("nobody", "the attestation ends", 2_000_000)]


def test_holdout__the_sponsor_owes_the_key_until_the_window_ends() -> None:
    state = task(view(Phase.HOLDOUT), panel(closed_at=2_000_000, admitted=0b111), drawn())
    (step,) = steps(state, 2_000_039)
    assert (step.who, step.what, step.until) == ("sponsor 0x5a5a…5a5a", "reveal the holdout", 2_000_040)
    assert steps(state, 2_000_040) == [Step("anyone", "cancel: the sponsor kept the holdout's key")]


def test_holdout__whose_files_nobody_has__is_cancelled_by_anyone() -> None:
    state = task(view(Phase.HOLDOUT), panel(closed_at=2_000_000, admitted=0b110), drawn())
    assert steps(state, 2_000_000) == [Step("anyone", "cancel: the sponsor's files are not available")]


def test_revealing__admitted_solvers_that_have_not_answered_owe_an_answer() -> None:
    revealing = view(Phase.REVEALING, holdout_revealed_at=3_000_000)
    state = task(revealing, panel(closed_at=2_000_000, admitted=0b011), drawn())
    assert [state.awaits_answer(index) for index in (0, 1)] == [True, False]
    assert steps(state) == [Step("solver 0x0101…0101", "reveal or decline submission 0", 3_000_030, "bond lost")]
    answered = replace(state, view=replace(revealing, declined=0b01))
    assert steps(answered) == [Step("nobody", "the reveals end", 3_000_030)]


@pytest.mark.parametrize(
    ("now", "owed"),
    [
        (4_000_019, [(SEAT.format(1), "commit a verdict in round 1", 4_000_020)]),
        (4_000_020, [(SEAT.format(2), "reveal its verdict in round 1", 4_000_030)]),
        (4_000_029, [(SEAT.format(2), "reveal its verdict in round 1", 4_000_030)]),
        (4_000_030, [("anyone", "convene the panel", 4_000_030 + TERMINAL)]),
        (4_000_029 + TERMINAL, [("anyone", "convene the panel", 4_000_030 + TERMINAL)]),
        (4_000_030 + TERMINAL, [("anyone", "cancel: nothing was settled in time", None)]),
    ],
)
def test_judging__without_a_verdict__seats_commit_then_reveal_then_anyone_goes_on(
    now: int, owed: list[tuple[str, str, int | None]]
) -> None:
    times = {"opens": 4_000_000, "commit_closes": 4_000_020, "reveal_closes": 4_000_030}
    state = task(view(Phase.JUDGING, revealed=1), panel(), drawn(committed=0b101, revealed=0b001, **times))
    assert [(step.who, step.what, step.until) for step in steps(state, now)] == owed


def test_judging__after_three_rounds__somebody_pays_for_another() -> None:
    state = task(view(Phase.JUDGING, revealed=1), panel(), drawn(3, opens=1, commit_closes=2, reveal_closes=3))
    assert steps(state, 3) == [Step("anyone", "reconvene for a fee", 3 + TERMINAL, "cancelled by the terminal rule")]


def test_judging__accepted__waits_for_the_challenge_window_and_then_settles() -> None:
    state = task(
        view(Phase.JUDGING, revealed=1),
        panel(status=VerdictStatus.ACCEPTED),
        drawn(opens=1, commit_closes=2, reveal_closes=3),
    )
    assert steps(state, 3) == [Step("nobody", "the accepted verdict becomes final", 3 + CHALLENGE)]
    assert steps(replace(state, panel=panel(status=VerdictStatus.FINAL)), 3 + CHALLENGE) == [Step("anyone", "settle")]


def test_judging__with_nothing_revealed__is_settled_at_once() -> None:
    assert steps(task(view(Phase.JUDGING), panel(), drawn())) == [Step("anyone", "settle")]


@pytest.mark.parametrize("phase", [Phase.SETTLED, Phase.CANCELLED])
def test_ended__claims_and_votes_are_left__and_then_nothing(phase: Phase) -> None:
    left = task(view(phase, claimed=0b01), panel(), drawn(closed=0b010))
    assert [step.what for step in steps(left)] == ["claim for submission 1", "close 2 votes of round 1"]
    assert steps(task(view(phase, claimed=0b11), panel(), drawn(closed=0b111))) == []
