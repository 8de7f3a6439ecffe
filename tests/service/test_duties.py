"""The duties that follow from a state, on both sides of every deadline."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.protocol.states import drawn_round, panel_view, some_terms, task_view
from verifier.protocol.constants import Phase, VerdictStatus
from verifier.protocol.history import Member, Opening, Submission, TaskHistory
from verifier.protocol.state import Round, TaskState
from verifier.protocol.views import Delays, PanelView
from verifier.service.duties import DutyKind, derive

ME, OTHER = "0x" + "aa" * 20, "0x" + "bb" * 20
TASK = b"\x01" * 32
MINE, THEIRS = Member(0, b"\x02" * 32, ME, ""), Member(1, b"\x03" * 32, OTHER, "")
HEAD = 1_000
NO_PANEL = panel_view()
ATTESTING_UNTIL_500 = replace(NO_PANEL, round=1, attest_closes=500)
ADMITTED = replace(ATTESTING_UNTIL_500, closed_at=500, admitted=0b11)


def a_round(number: int = 1, opens: int = 600) -> Round:
    """Commits in [opens, opens + 100), reveals in the 100 seconds after that; nothing is known before it opens."""
    commit_closes, reveal_closes = (opens + 100, opens + 200) if opens else (0, 0)
    times = {"drawn_at": 400, "opens": opens, "commit_closes": commit_closes, "reveal_closes": reveal_closes}
    return drawn_round(number, (MINE, THEIRS), **times)


def state(phase: Phase, panel: PanelView = NO_PANEL, rounds: tuple[Round, ...] = (), **changes: Any) -> TaskState:
    """A task created at second 100, with one submission. `changes` go into its history."""
    history = TaskHistory(TASK, some_terms(), "https://manifest", [Submission(0, OTHER, b"c" * 32, b"e" * 32, "u")])
    history.holdout = Opening(b"e" * 32, b"h" * 32, b"k" * 32)
    for name, value in changes.items():
        setattr(history, name, value)
    view = task_view(phase, created_at=100, submissions=len(history.submissions), revealed=1)
    return TaskState(history, view, panel, rounds, b"i" * 32, Delays(void=1_000, terminal=5_000, challenge=50))


def kinds(found: TaskState, now: int, head: int = HEAD) -> set[DutyKind]:
    return {duty.kind for duty in derive(found, ME, now, head)}


def test_derive__commits_closed__somebody_convenes() -> None:
    assert kinds(state(Phase.CONVENING), now=200) == {DutyKind.CONVENE}


def test_derive__no_submission__there_is_nothing_to_do() -> None:
    assert kinds(state(Phase.CONVENING, submissions=[]), now=10_000) == set()


@pytest.mark.parametrize(
    ("now", "expected"), [(1_199, {DutyKind.CONVENE}), (1_200, {DutyKind.CONVENE, DutyKind.CANCEL})]
)
def test_derive__nobody_convenes__can_be_cancelled_after_the_void_delay(now: int, expected: set[DutyKind]) -> None:
    assert kinds(state(Phase.CONVENING), now) == expected


@pytest.mark.parametrize(
    ("head", "rearms", "expected"),
    [
        (990, 0, set()),  # a block cannot read its own hash
        (991, 0, {DutyKind.DRAW}),
        (990 + 255, 0, {DutyKind.DRAW}),
        (990 + 256, 0, set()),  # the draw would be mined one block too late
        (990 + 257, 0, {DutyKind.CONVENE}),
        (990 + 257, 2, set()),  # re-arms are used up
    ],
)
def test_derive__convened__is_drawn_while_the_hash_is_known(head: int, rearms: int, expected: set[DutyKind]) -> None:
    panel = replace(NO_PANEL, round=1, target_block=990, rearms=rearms)
    assert kinds(state(Phase.CONVENING, panel), now=300, head=head) == expected


@pytest.mark.parametrize(
    ("now", "expected"),
    [(499, {DutyKind.MIRROR, DutyKind.ATTEST}), (500, {DutyKind.MIRROR, DutyKind.CLOSE_ATTESTATION})],
)
def test_derive__drawn__attests_once_until_the_window_ends(now: int, expected: set[DutyKind]) -> None:
    drawn = state(Phase.ATTESTING, ATTESTING_UNTIL_500, (a_round(opens=0),))
    assert kinds(drawn, now) == expected
    attested = state(Phase.ATTESTING, ATTESTING_UNTIL_500, (a_round(opens=0),), attested={MINE.stake})
    assert kinds(attested, now) == expected - {DutyKind.ATTEST}


def test_derive__seats_of_others_only__mirrors_and_votes_nothing() -> None:
    theirs = replace(a_round(), members=(THEIRS,))
    assert kinds(state(Phase.JUDGING, ADMITTED, (theirs,)), now=650) == set()


@pytest.mark.parametrize(
    ("now", "voted", "expected"),
    [
        (599, False, set()),
        (600, False, {DutyKind.EVALUATE, DutyKind.COMMIT}),
        (699, False, {DutyKind.EVALUATE, DutyKind.COMMIT}),
        (700, False, set()),  # too late to commit: silence
        (699, True, {DutyKind.EVALUATE}),
        (700, True, {DutyKind.EVALUATE, DutyKind.REVEAL}),
        (799, True, {DutyKind.EVALUATE, DutyKind.REVEAL}),
    ],
)
def test_derive__judging__commits_then_reveals_within_the_windows(
    now: int, voted: bool, expected: set[DutyKind]
) -> None:
    votes = {(1, MINE.stake): b"v" * 32} if voted else {}
    assert kinds(state(Phase.JUDGING, ADMITTED, (a_round(),), votes=votes), now) == expected | {DutyKind.MIRROR}


def test_derive__revealed__is_done() -> None:
    votes = {(1, MINE.stake): b"v" * 32}
    done = state(Phase.JUDGING, ADMITTED, (a_round(),), votes=votes, revealed={(1, MINE.stake)})
    assert kinds(done, now=750) == {DutyKind.MIRROR}


@pytest.mark.parametrize(("rounds", "again"), [(1, True), (2, True), (3, False)])
def test_derive__no_quorum__convenes_until_the_free_rounds_are_used_up(rounds: int, again: bool) -> None:
    drawn = tuple(a_round(number, opens=600 * number) for number in range(1, rounds + 1))
    ended = 600 * rounds + 200
    assert (DutyKind.CONVENE in kinds(state(Phase.JUDGING, ADMITTED, drawn), now=ended)) is again
    assert DutyKind.CONVENE not in kinds(state(Phase.JUDGING, ADMITTED, drawn), now=ended - 1)


def test_derive__verdict_final__is_settled() -> None:
    final = replace(ADMITTED, status=VerdictStatus.FINAL, verdict=b"d" * 32)
    votes = {"votes": {(1, MINE.stake): b"v" * 32}, "revealed": {(1, MINE.stake)}}
    assert kinds(state(Phase.JUDGING, final, (a_round(),), **votes), now=900) == {DutyKind.MIRROR, DutyKind.SETTLE}


def test_derive__nothing_revealed_by_solvers__is_settled_without_a_verdict() -> None:
    empty = state(Phase.JUDGING, ADMITTED, (a_round(),))
    empty = replace(empty, view=replace(empty.view, revealed=0))
    assert DutyKind.SETTLE in kinds(empty, now=600)


def test_derive__task_files_not_admitted__is_cancelled() -> None:
    without = replace(ADMITTED, admitted=0b10)
    assert kinds(state(Phase.HOLDOUT, without, (a_round(opens=0),)), now=501) == {DutyKind.MIRROR, DutyKind.CANCEL}


@pytest.mark.parametrize(("now", "expected"), [(599, set()), (600, {DutyKind.CANCEL})])
def test_derive__sponsor_keeps_the_key__is_cancelled_after_the_window(now: int, expected: set[DutyKind]) -> None:
    assert kinds(state(Phase.HOLDOUT, ADMITTED, (a_round(opens=0),)), now) == expected | {DutyKind.MIRROR}


@pytest.mark.parametrize(("now", "expected"), [(5_799, set()), (5_800, {DutyKind.CANCEL})])
def test_derive__no_verdict_at_all__is_cancelled_after_the_terminal_delay(now: int, expected: set[DutyKind]) -> None:
    found = kinds(state(Phase.JUDGING, ADMITTED, (a_round(),)), now) - {DutyKind.MIRROR, DutyKind.CONVENE}
    assert found == expected


def test_derive__solvers_turn__there_is_nothing_to_do_but_mirror() -> None:
    assert kinds(state(Phase.REVEALING, ADMITTED, (a_round(opens=0),)), now=550) == {DutyKind.MIRROR}


@pytest.mark.parametrize("phase", [Phase.SETTLED, Phase.CANCELLED])
def test_derive__ended__closes_its_own_seats_first_and_claims_for_the_solvers(phase: Phase) -> None:
    duties = derive(state(phase, ADMITTED, (a_round(),)), ME, 800, HEAD)
    assert [(duty.kind, duty.member) for duty in duties] == [
        (DutyKind.CLOSE_VOTE, MINE),
        (DutyKind.CLOSE_VOTE, THEIRS),
        (DutyKind.CLAIM, None),
    ]
    closed = {"closed": {(1, MINE.stake), (1, THEIRS.stake)}, "claimed": {0}}
    assert derive(state(phase, ADMITTED, (a_round(),), **closed), ME, 800, HEAD) == []
