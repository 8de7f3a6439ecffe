"""How `ape run status` words the steps that are due."""

import pytest

from scripts.status import steps_in_time
from tests.protocol.states import DELAYS, drawn_round, panel_view, task_view, two_submissions
from verifier.protocol.constants import Phase
from verifier.protocol.history import Member
from verifier.protocol.state import TaskState
from verifier.protocol.views import PanelView, TaskView

HEAD = 78
MEMBERS = tuple(Member(position, bytes([position] * 32), "0x" + "0b" * 20, "") for position in range(3))


def task(view: TaskView, panel: PanelView | None = None, **votes: int) -> TaskState:
    return two_submissions(view, panel or panel_view(), drawn_round(1, MEMBERS, **votes))


def test_steps_in_time__of_a_seat__name_its_position_and_operator() -> None:
    state = task(task_view(Phase.ATTESTING), panel_view(attest_closes=500))
    state.history.attested.add(MEMBERS[1].stake)
    late = "the seat earns no attestation fee"
    assert steps_in_time(state, 499, HEAD) == [
        (f"seat 0, operator {MEMBERS[0].operator}", "attest which files are there", 500, late),
        (f"seat 2, operator {MEMBERS[2].operator}", "attest which files are there", 500, late),
    ]


def test_steps_in_time__of_sponsor_and_solvers__name_them() -> None:
    holdout = task(task_view(Phase.HOLDOUT), panel_view(closed_at=500, admitted=0b111))
    ((who, what, until, late),) = steps_in_time(holdout, 539, HEAD)
    assert (who, what, until) == (f"sponsor 0x{'5a' * 20}", "reveal the holdout", 540)
    assert late == "the task is cancelled and the sponsor's bond is lost"
    revealing = task(task_view(Phase.REVEALING, holdout_revealed_at=600), panel_view(closed_at=500, admitted=0b011))
    assert steps_in_time(revealing, 629, HEAD) == [
        (f"solver 0x{'01' * 20}", "reveal or decline submission 0", 630, "the solver's bond is lost")
    ]
    committing = two_submissions(task_view(Phase.COMMITTING), panel_view())
    assert steps_in_time(committing, 99, HEAD) == [("solvers", "commit a submission", 100, "")]


def test_steps_in_time__late_but_still_possible__are_left_out() -> None:
    void = 100 + DELAYS.void
    state = two_submissions(task_view(Phase.CONVENING, submissions=2), panel_view())
    assert steps_in_time(state, void, HEAD) == [("anyone", "cancel: no committee was drawn", None, "")]


@pytest.mark.parametrize("phase", [Phase.SETTLED, Phase.CANCELLED])
def test_steps_in_time__task_ended__claims_and_the_votes_of_a_round_share_a_row(phase: Phase) -> None:
    left = task(task_view(phase, claimed=0b01), closed=0b010)
    assert [what for _, what, _, _ in steps_in_time(left, 1_000, HEAD)] == [
        "claim for submission 1",
        "close 2 votes of round 1",
    ]
    assert steps_in_time(task(task_view(phase, claimed=0b11), closed=0b111), 1_000, HEAD) == []
