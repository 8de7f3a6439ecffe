"""Who owes what until when, on both sides of every deadline."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.protocol.states import DELAYS, drawn_round, panel_view, task_view, two_submissions
from verifier.protocol.constants import MAX_ROUNDS, Ground, Phase, VerdictStatus
from verifier.protocol.history import Member
from verifier.protocol.obligations import Action, Lateness, Party, Step, obligations
from verifier.protocol.state import Round, TaskState
from verifier.protocol.views import TaskView
from verifier.service.duties import OPEN_CALLS, DutyKind, derive

CREATED = 1_000_000
COMMIT_CLOSES = CREATED + 100
HEAD = 78
ME, OTHER = "0x" + "0b" * 20, "0x" + "cc" * 20
MEMBERS = tuple(Member(position, bytes([position] * 32), ME, "") for position in range(3))
VOTING = {"opens": 4_000_000, "commit_closes": 4_000_020, "reveal_closes": 4_000_030}


def view(phase: Phase, **changes: int) -> TaskView:
    return task_view(phase, **{"created_at": CREATED, "submissions": 2, **changes})


def drawn(number: int = 1, **changes: int) -> Round:
    return drawn_round(number, MEMBERS, **changes)


def in_time(state: TaskState, now: int = COMMIT_CLOSES, head: int = HEAD) -> list[Step]:
    """The steps that are not late."""
    return [step for step in obligations(state, now, head) if not step.late(now)]


def cancel(ground: Ground) -> Step:
    return Step(Action.CANCEL, Party.ANYONE, ground=ground)


def test_committing__any_time__solvers_have_until_the_window_ends() -> None:
    state = two_submissions(view(Phase.COMMITTING), panel_view())
    assert obligations(state, CREATED, HEAD) == [Step(Action.COMMIT_SUBMISSION, Party.SOLVER, COMMIT_CLOSES)]
    assert in_time(state, COMMIT_CLOSES - 1)[0].text == "commit a submission"


def test_convening__without_submissions__anyone_cancels() -> None:
    (step,) = in_time(two_submissions(view(Phase.CONVENING, submissions=0), panel_view()))
    assert step == cancel(Ground.EMPTY)
    assert (step.party, step.text) == (Party.ANYONE, "cancel: nobody submitted")


def test_convening__until_the_task_is_void__somebody_convenes_then_draws() -> None:
    convene = two_submissions(view(Phase.CONVENING), panel_view())
    draw = two_submissions(view(Phase.CONVENING), panel_view(target_block=77))
    void = COMMIT_CLOSES + DELAYS.void
    to_convene = Step(Action.CONVENE, Party.ANYONE, void, Lateness.VOID, round=1)
    to_draw = Step(Action.DRAW, Party.ANYONE, void, Lateness.VOID, round=1, block=77)
    assert in_time(convene, void - 1) == [to_convene]
    assert in_time(draw, void - 1) == [to_draw]
    assert to_convene.text == "convene the panel"
    assert to_draw.text == "draw the committee with the randomness of block 77"
    assert in_time(draw, void) == [cancel(Ground.NO_COMMITTEE)]
    assert in_time(draw, void)[0].text == "cancel: no committee was drawn"
    # The contracts accept a late committee for as long as nobody cancels.
    assert obligations(draw, void, HEAD) == [cancel(Ground.NO_COMMITTEE), to_draw]
    assert obligations(convene, void, HEAD) == [cancel(Ground.NO_COMMITTEE), to_convene]


@pytest.mark.parametrize(
    ("head", "rearms", "action", "block"),
    [
        (76, 0, Action.AWAIT_BLOCK, 77),
        (77, 0, Action.AWAIT_BLOCK, 77),  # the earliest draw is mined in the next block
        (78, 0, Action.DRAW, 77),
        (77 + 255, 2, Action.DRAW, 77),
        (77 + 256, 0, Action.AWAIT_BLOCK, 77 + 257),  # too late to draw, too early to convene again
        (77 + 257, 0, Action.CONVENE, 0),
        (77 + 257, 1, Action.CONVENE, 0),
        (77 + 257, 2, Action.AWAIT_VOID, 0),
    ],
)
def test_convening__target_block_fixed__the_head_decides_between_draw_and_rearm(
    head: int, rearms: int, action: Action, block: int
) -> None:
    state = two_submissions(view(Phase.CONVENING), panel_view(target_block=77, rearms=rearms))
    (step,) = obligations(state, COMMIT_CLOSES, head)
    assert (step.action, step.block) == (action, block)
    assert step.rearms == {Action.CONVENE: rearms + 1, Action.DRAW: rearms}.get(action, 0)
    assert (step.party is Party.NOBODY) == action.name.startswith("AWAIT")


def test_judging__rearms_of_a_later_round_used_up__are_renewed_for_a_fee() -> None:
    panel = panel_view(target_block=77, rearms=2)
    state = two_submissions(view(Phase.JUDGING, revealed=1), panel, drawn(1, opens=1, commit_closes=2, reveal_closes=3))
    (step,) = obligations(state, 3, 77 + 257)
    assert (step.action, step.party, step.round, step.text) == (
        Action.RECONVENE,
        Party.ANYONE,
        2,
        "reconvene for a fee",
    )


def test_attesting__some_seats_silent__they_owe_it_until_the_window_ends() -> None:
    state = two_submissions(view(Phase.ATTESTING), panel_view(attest_closes=2_000_000), drawn())
    state.history.attested.add(bytes([1] * 32))
    owed = in_time(state, 1_999_999)
    assert [(step.party, step.member) for step in owed] == [(Party.SEAT, MEMBERS[0]), (Party.SEAT, MEMBERS[2])]
    assert owed[0].text == "attest which files are there"
    assert (owed[0].until, owed[0].lateness) == (2_000_000, Lateness.NO_FEE)
    assert in_time(state, 2_000_000) == [Step(Action.CLOSE_ATTESTATION, Party.ANYONE)]
    assert in_time(state, 2_000_000)[0].text == "close the attestation"
    state.history.attested.update(bytes([position] * 32) for position in range(3))
    assert in_time(state, 1_999_999) == [Step(Action.AWAIT_ATTESTATION_END, Party.NOBODY, 2_000_000)]
    assert in_time(state, 1_999_999)[0].text == "the attestation ends"


def test_holdout__files_admitted__the_sponsor_owes_the_key_until_the_window_ends() -> None:
    state = two_submissions(view(Phase.HOLDOUT), panel_view(closed_at=2_000_000, admitted=0b111), drawn())
    (step,) = in_time(state, 2_000_039)
    assert (step.party, step.text, step.until) == (Party.SPONSOR, "reveal the holdout", 2_000_040)
    assert step.lateness is Lateness.HOLDOUT_SILENT
    assert in_time(state, 2_000_040) == [cancel(Ground.HOLDOUT_SILENT)]
    assert in_time(state, 2_000_040)[0].text == "cancel: the sponsor kept the holdout's key"


def test_holdout__files_not_admitted__anyone_cancels() -> None:
    state = two_submissions(view(Phase.HOLDOUT), panel_view(closed_at=2_000_000, admitted=0b110), drawn())
    assert in_time(state, 2_000_000) == [cancel(Ground.UNAVAILABLE)]
    assert in_time(state, 2_000_000)[0].text == "cancel: the sponsor's files were not available"


def test_revealing__admitted_and_unanswered__the_solver_owes_an_answer() -> None:
    revealing = view(Phase.REVEALING, holdout_revealed_at=3_000_000)
    state = two_submissions(revealing, panel_view(closed_at=2_000_000, admitted=0b011), drawn())
    assert [state.awaits_answer(index) for index in (0, 1)] == [True, False]
    (step,) = in_time(state)
    assert step == Step(Action.ANSWER, Party.SOLVER, 3_000_030, Lateness.BOND_LOST, index=0)
    assert step.text == "reveal or decline submission 0"
    answered = replace(state, view=replace(revealing, declined=0b01))
    assert in_time(answered) == [Step(Action.AWAIT_REVEALS_END, Party.NOBODY, 3_000_030)]
    assert in_time(answered)[0].text == "the reveals end"


@pytest.mark.parametrize(
    ("now", "owed"),
    [
        (4_000_019, [(Party.SEAT, 1, "commit a verdict in round 1", 4_000_020)]),
        (4_000_020, [(Party.SEAT, 2, "reveal its verdict in round 1", 4_000_030)]),
        (4_000_029, [(Party.SEAT, 2, "reveal its verdict in round 1", 4_000_030)]),
        (4_000_030, [(Party.ANYONE, None, "convene the panel", 4_000_030 + DELAYS.terminal)]),
        (4_000_029 + DELAYS.terminal, [(Party.ANYONE, None, "convene the panel", 4_000_030 + DELAYS.terminal)]),
        (4_000_030 + DELAYS.terminal, [(Party.ANYONE, None, "cancel: nothing was settled in time", None)]),
    ],
)
def test_judging__without_a_verdict__seats_commit_then_reveal_then_anyone_goes_on(
    now: int, owed: list[tuple[Party, int | None, str, int | None]]
) -> None:
    votes = {"committed": 0b101, "revealed": 0b001}
    state = two_submissions(view(Phase.JUDGING, revealed=1), panel_view(), drawn(**votes, **VOTING))
    found = in_time(state, now)
    assert [(step.party, step.member and step.member.position, step.text, step.until) for step in found] == owed


@pytest.mark.parametrize(
    ("now", "text", "until"),
    [
        (3_999_999, "the voting begins", 4_000_000),
        (4_000_000, "the window ends", 4_000_020),
        (4_000_020, "the window ends", 4_000_030),
    ],
)
def test_judging__nobody_owes_a_vote__waits_for_the_window(now: int, text: str, until: int) -> None:
    votes = {"committed": 0b111, "revealed": 0b111}
    state = two_submissions(view(Phase.JUDGING, revealed=1), panel_view(), drawn(**votes, **VOTING))
    (step,) = obligations(state, now, HEAD)
    assert (step.party, step.text, step.until) == (Party.NOBODY, text, until)


def test_judging__after_three_rounds__somebody_pays_for_another() -> None:
    ended = drawn(3, opens=1, commit_closes=2, reveal_closes=3)
    state = two_submissions(view(Phase.JUDGING, revealed=1), panel_view(), ended)
    terminal = 3 + DELAYS.terminal
    step = Step(Action.RECONVENE, Party.ANYONE, terminal, Lateness.TERMINAL, round=4)
    assert in_time(state, 3) == [step]
    assert step.text == "reconvene for a fee"
    assert in_time(state, terminal) == [cancel(Ground.TERMINAL)]


def test_judging__after_the_last_round__only_the_terminal_rule_is_left() -> None:
    ended = drawn(MAX_ROUNDS, opens=1, commit_closes=2, reveal_closes=3)
    state = two_submissions(view(Phase.JUDGING, revealed=1), panel_view(), ended)
    terminal = 3 + DELAYS.terminal
    assert obligations(state, 3, HEAD) == [Step(Action.AWAIT_TERMINAL, Party.NOBODY, terminal)]
    assert obligations(state, terminal, HEAD) == [cancel(Ground.TERMINAL)]


def test_judging__accepted__waits_for_the_challenge_window_and_then_settles() -> None:
    accepted = panel_view(status=VerdictStatus.ACCEPTED)
    ended = drawn(opens=1, commit_closes=2, reveal_closes=3)
    state = two_submissions(view(Phase.JUDGING, revealed=1), accepted, ended)
    (step,) = in_time(state, 3)
    assert step == Step(Action.AWAIT_FINALITY, Party.NOBODY, 3 + DELAYS.challenge)
    assert step.text == "the accepted verdict becomes final"
    final = replace(state, panel=panel_view(status=VerdictStatus.FINAL))
    assert in_time(final, 3 + DELAYS.challenge) == [Step(Action.SETTLE, Party.ANYONE)]


def test_judging__nothing_revealed__anyone_settles_at_once() -> None:
    (step,) = in_time(two_submissions(view(Phase.JUDGING), panel_view(), drawn()))
    assert step == Step(Action.SETTLE, Party.ANYONE)
    assert step.text == "settle"


@pytest.mark.parametrize("phase", [Phase.SETTLED, Phase.CANCELLED])
def test_ended__claims_and_votes_are_left__and_then_nothing(phase: Phase) -> None:
    left = in_time(two_submissions(view(phase, claimed=0b01), panel_view(), drawn(closed=0b010)))
    assert {step.party for step in left} == {Party.ANYONE}
    assert [step.text for step in left] == [
        "close the vote of seat 0 of round 1",
        "close the vote of seat 2 of round 1",
        "claim for submission 1",
    ]
    assert in_time(two_submissions(view(phase, claimed=0b11), panel_view(), drawn(closed=0b111))) == []


@pytest.mark.parametrize("phase", [Phase.ATTESTING, Phase.JUDGING])
def test_obligations__events_of_another_branch_lack_the_draw__are_none(phase: Phase) -> None:
    assert obligations(two_submissions(view(phase, revealed=1), panel_view()), COMMIT_CLOSES, HEAD) == []


# The service's duties are those steps, and no others.

DUTY_OF = {
    Action.ATTEST: DutyKind.ATTEST,
    Action.COMMIT_VERDICT: DutyKind.COMMIT,
    Action.REVEAL_VERDICT: DutyKind.REVEAL,
    Action.CONVENE: DutyKind.CONVENE,
    Action.DRAW: DutyKind.DRAW,
    Action.CLOSE_ATTESTATION: DutyKind.CLOSE_ATTESTATION,
    Action.SETTLE: DutyKind.SETTLE,
    Action.CANCEL: DutyKind.CANCEL,
    Action.CLAIM: DutyKind.CLAIM,
    Action.CLOSE_VOTE: DutyKind.CLOSE_VOTE,
}
BITS = st.integers(0, 0b111)


@st.composite
def states(draw: st.DrawFn) -> TaskState:
    """Any state of a task with two submissions that the contracts can be in, and some that they cannot."""
    phase = draw(st.sampled_from([phase for phase in Phase if phase is not Phase.NONE]))
    operators = draw(st.lists(st.sampled_from([ME, OTHER]), min_size=3, max_size=3))
    members = tuple(replace(member, operator=operator) for member, operator in zip(MEMBERS, operators, strict=True))
    count = draw(st.integers(0, 4)) if phase in (Phase.COMMITTING, Phase.CONVENING) else draw(st.integers(1, 4))
    rounds = tuple(a_round(draw, number, members) for number in range(1, count + 1))
    panel = panel_view(
        status=draw(st.sampled_from(VerdictStatus)),
        target_block=draw(st.sampled_from([0, 77])),
        rearms=draw(st.integers(0, 2)),
        attest_closes=150,
        closed_at=0 if phase <= Phase.ATTESTING else draw(st.integers(150, 160)),
        admitted=draw(BITS),
    )
    revealed = draw(st.integers(0, 0b11))
    answers = {"revealed": revealed, "declined": draw(st.integers(0, 0b11)) & ~revealed, "claimed": draw(BITS) & 0b11}
    submissions = draw(st.sampled_from([0, 2])) if phase is Phase.CONVENING else 2
    standing = task_view(phase, submissions=submissions, holdout_revealed_at=160, **answers)
    state = two_submissions(standing, panel, *(rounds if phase > Phase.CONVENING else ()))
    state.history.attested.update(member.stake for member in members if draw(st.booleans()))
    return state


def a_round(draw: st.DrawFn, number: int, members: tuple[Member, ...]) -> Round:
    opens = 200 * number
    times = {"opens": opens, "commit_closes": opens + 20, "reveal_closes": opens + 30}
    committed = draw(BITS)
    votes = {"committed": committed, "revealed": draw(BITS) & committed, "closed": draw(BITS)}
    return drawn_round(number, members, **times, **votes)


def moments() -> st.SearchStrategy[int]:
    """Seconds on both sides of the deadlines of those states."""
    return st.integers(0, 7_000) | st.sampled_from(
        [s + d for s in (100, 150, 200, 220, 230, 1_100, 5_230) for d in (-1, 0, 1)]
    )


def own(state: TaskState, steps: list[Step]) -> Iterator[Step]:
    """The steps that concern the operator ME and cost it nothing but gas."""
    mine = any(member.operator == ME for round_ in state.rounds for member in round_.members)
    for step in steps:
        if step.action is Action.RECONVENE or step.ground is Ground.EMPTY or (state.ended and not mine):
            continue
        if step.party is Party.ANYONE or (step.member is not None and step.member.operator == ME):
            yield step


@given(state=states(), now=moments(), head=st.sampled_from([76, 77, 78, 200, 332, 333, 334, 400]))
def test_derive__any_state__has_exactly_the_steps_that_concern_the_operator(
    state: TaskState, now: int, head: int
) -> None:
    steps = obligations(state, now, head)
    duties = [duty for duty in derive(state, ME, now, head) if duty.kind not in (DutyKind.MIRROR, DutyKind.EVALUATE)]
    expected = {
        (DUTY_OF[step.action], step.round, step.member, step.index or step.rearms) for step in own(state, steps)
    }
    assert {(duty.kind, duty.round, duty.member, duty.index) for duty in duties} == expected
    assert len(duties) == len(expected)
    for duty in duties:
        assert (duty.until is None) == (duty.kind in OPEN_CALLS)
        assert duty.until is None or now < duty.until
    # Something is always due or awaited until a task has ended.
    assert steps or state.ended
