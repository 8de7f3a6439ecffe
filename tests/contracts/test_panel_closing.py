"""Panel: what each drawn seat earns and loses once its task has ended."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.evm import NATIVE, reverts
from tests.harness import EXIT_DELAY, OPERATOR, OUTSIDER, OWNER, RESERVATION, RIVAL, SEAT, SILENCE, Task, World
from verifier.protocol.constants import Outcome

SEATS = 12
FEE = 10**15  # wei per seat and submission
ATTEST_FEES = SEATS * FEE // 5  # for a task with one submission and a committee of all seats
VERDICT_FEES = SEATS * FEE - ATTEST_FEES
EVERYTHING = 0b11
NOTHING = 0
SILENT = None


def closed(world: World, task: Task, round_: int = 1) -> list[tuple[int, int]]:
    """Close every vote of a round, check events and balances, and return what each position lost and earned, wei."""
    money = []
    for position, slot in enumerate(world.committee(task, round_)):
        before = world.stakes.seat(world.stakes.stake_of(slot))
        credit, burned = world.owed(OWNER), world.stakes.burned(NATIVE)
        receipt = world.close(task, position, round_)
        after = world.stakes.seat(before["stake"])
        (event,) = receipt.events(world.panel, "VoteClosed")
        slashed, earned = event["slashed"], event["earned"]
        assert event == {
            "task": task.id,
            "stake": before["stake"],
            "round": round_,
            "slashed": slashed,
            "earned": earned,
        }
        assert receipt.events(world.stakes, "Released") == [
            {"slot": slot, "panel": world.panel.address, "slashed": slashed}
        ]
        paid = [{"task": task.id, "owner": OWNER, "amount": earned}] if earned else []
        assert receipt.events(world.bounties, "SeatPaid") == paid
        assert (before["balance"] - after["balance"], before["reserved"] - after["reserved"]) == (slashed, RESERVATION)
        assert (world.owed(OWNER) - credit, world.stakes.burned(NATIVE) - burned) == (earned, slashed)
        money.append((slashed, earned))
    return money


def judged(
    world: World,
    votes: Sequence[int | None],
    revealed: Sequence[bool] | None = None,
    bitmaps: Sequence[int | None] | None = None,
) -> Task:
    """Make a settled task of one submission, judged by all seats; `votes` has a score by position, None is silent."""
    task = world.to_judging(bitmaps=bitmaps, committee=SEATS)
    digests = [None if vote is None else world.verdict(task, [vote]) for vote in votes]
    world.judge(task, digests, revealed)
    world.pass_challenge(task)
    world.settle(task, [150])
    return task


# --------------------------------------------------------------------------------------------------- reasons


def test_close_vote__before_the_task_has_ended__reverts(world: World) -> None:
    task = world.to_final()
    with reverts("close: task not ended"):
        world.close(task, 0)
    world.settle(task, [150])
    world.close(task, 0)


def test_close_vote__twice__pays_and_slashes_once(world: World) -> None:
    task = world.to_settled()
    world.close(task, 0)
    assert world.panel.round(task.id, 1)["closed"] == 0b001
    with reverts("close: already closed"):
        world.close(task, 0)
    world.close(task, 2)
    assert world.panel.round(task.id, 1)["closed"] == 0b101


@pytest.mark.parametrize(("round_", "position"), [(1, 3), (1, 2**255), (2, 0), (0, 0)])
def test_close_vote__no_such_seat__reverts(world: World, round_: int, position: int) -> None:
    task = world.to_settled()
    with reverts("panel: not a seat"):
        world.panel.close_vote(task.id, round_, position, sender=OUTSIDER)


# ------------------------------------------------------------------------------------------------- one round


def test_close_vote__accepted_verdict_and_full_attestation__earns_both_shares(world: World) -> None:
    task = judged(world, [150] * SEATS)
    assert closed(world, task) == [(0, ATTEST_FEES // SEATS + VERDICT_FEES // SEATS)] * SEATS


def test_close_vote__every_way_to_fail__loses_what_the_design_says(world: World) -> None:
    """Nine of twelve agree, one lies, one does not reveal its vote, and one never votes. All attested everything."""
    task = judged(world, [150] * 9 + [151, 150, SILENT], revealed=[True] * 10 + [False] * 2)
    attested, voted = ATTEST_FEES // SEATS, VERDICT_FEES // 9
    assert closed(world, task) == [
        *[(0, attested + voted)] * 9,
        (RESERVATION, attested),
        (RESERVATION, attested),
        (SILENCE, attested),
    ]
    assert SILENCE == RESERVATION // 20


def test_close_vote__seats_that_lacked_a_file__are_excused_from_voting_only(world: World) -> None:
    """Of the three that lacked the ciphertext, one is silent, one got it later and votes, and one lies."""
    task = judged(
        world,
        [150] * 8 + [SILENT, SILENT, 150, 151],
        bitmaps=[EVERYTHING] * 8 + [SILENT, NOTHING, 0b01, 0b10],
    )
    attested, voted = ATTEST_FEES // 8, VERDICT_FEES // 9
    assert closed(world, task) == [
        *[(0, attested + voted)] * 8,
        (SILENCE, 0),  # it never attested, so it is not excused
        (0, 0),
        (0, voted),
        (RESERVATION, 0),
    ]


def test_close_vote__excused_but_committed_and_not_revealed__loses_the_reservation(world: World) -> None:
    task = judged(world, [150] * 12, revealed=[True] * 11 + [False], bitmaps=[EVERYTHING] * 11 + [NOTHING])
    assert closed(world, task)[11] == (RESERVATION, 0)


def test_close_vote__attested_more_than_was_admitted__is_not_excused(world: World) -> None:
    """Only five seats attest submission 1, so it is not admitted; all twelve attest everything that is admitted."""
    task = world.to_revealing(2, bitmaps=[0b111] * 5 + [0b011] * 7, committee=SEATS)
    world.reveal(task, 0)
    world.chain.at(world.bounties.judging_from(task.id))
    verdict = world.verdict(task, [150, 0])
    world.judge(task, [verdict] * 11 + [SILENT])
    world.pass_challenge(task)
    world.settle(task, [150, 0])
    share = 2 * ATTEST_FEES // SEATS
    assert closed(world, task) == [(0, share + 2 * VERDICT_FEES // 11)] * 11 + [(SILENCE, share)]


def test_close_vote__vote_for_nothing__is_a_vote_that_was_not_revealed(world: World) -> None:
    task = world.to_judging(committee=SEATS)
    world.judge(task, [world.verdict(task, [150])] * 11 + [bytes(32)], revealed=[True] * 11 + [False])
    world.pass_challenge(task)
    world.settle(task, [150])
    assert closed(world, task)[11] == (RESERVATION, ATTEST_FEES // SEATS)


# --------------------------------------------------------------------------------------------- several rounds


def test_close_vote__later_round_accepted__slashes_and_pays_earlier_votes(
    world: World,
) -> None:
    """Round one: one right, one wrong, one hidden vote, one silent and excused seat, one silent. Round two accepts."""
    task = world.to_judging(committee=5, bitmaps=[EVERYTHING, EVERYTHING, EVERYTHING, NOTHING, SILENT], reserve=10**18)
    right, wrong = world.verdict(task, [150]), world.verdict(task, [151])
    world.judge(task, [right, wrong, right, SILENT, SILENT], revealed=[True, True, False, False, False])
    world.next_round(task)
    world.judge(task, [right] * 7 + [wrong, right, SILENT], revealed=[True] * 8 + [False] * 2, round_=2)
    world.pass_challenge(task, round_=2)
    world.settle(task, [150])
    attested = FEE // 3  # a fifth of the fees of five seats, divided among the three that attested everything
    voted = 3 * (FEE * 5 * 4 // 5) // 8  # the reserve adds twice the verdict part; eight seats were right
    assert closed(world, task, 1) == [
        (0, attested + voted),
        (RESERVATION, attested),
        (RESERVATION, attested),
        (0, 0),
        (SILENCE, 0),
    ]
    assert closed(world, task, 2) == [
        *[(0, voted)] * 7,
        (RESERVATION, 0),
        (RESERVATION, 0),
        (SILENCE, 0),  # the first round's bitmap excuses nobody in the second round
    ]


def test_close_vote__no_round_accepted__slashes_only_hidden_and_silent_votes(world: World) -> None:
    """Nothing shows which of the revealed verdicts is the lie."""
    task = world.to_judging(committee=4)
    one, other = world.verdict(task, [150]), world.verdict(task, [151])
    world.judge(task, [one, other, one, SILENT], revealed=[True, True, False, False])
    world.chain.at(world.panel.round(task.id, 1)["reveal_closes"] + world.limits.terminal_delay)
    world.bounties.cancel(task.id, sender=OUTSIDER)
    attested = FEE // 5
    assert closed(world, task) == [(0, attested), (0, attested), (RESERVATION, attested), (SILENCE, attested)]


def test_close_vote__nobody_committed_in_a_drawn_round__slashes_all_for_silence(world: World) -> None:
    task = world.to_judging()
    world.chain.at(world.panel.round(task.id, 1)["reveal_closes"] + world.limits.terminal_delay)
    world.bounties.cancel(task.id, sender=OUTSIDER)
    assert closed(world, task) == [(SILENCE, FEE // 5)] * 3


# -------------------------------------------------------------------------------------- votes never asked for


def test_close_vote__sponsor_withheld_the_key__pays_attesters_and_slashes_nobody(world: World) -> None:
    task = world.to_attested(sealed=True, bitmaps=[EVERYTHING, EVERYTHING, SILENT])
    world.chain.at(world.panel.panel(task.id)["closed_at"] + task.terms["windows"].holdout)
    world.bounties.cancel(task.id, sender=OUTSIDER)
    assert closed(world, task) == [(0, 3 * (FEE // 5) // 2)] * 2 + [(0, 0)]


def test_close_vote__sponsors_files_missing__pays_attesters_and_slashes_nobody(world: World) -> None:
    task = world.to_attested(bitmaps=[0b10, 0b10, SILENT])
    world.bounties.cancel(task.id, sender=OUTSIDER)
    assert closed(world, task) == [(0, 3 * (FEE // 5) // 2)] * 2 + [(0, 0)]


def test_close_vote__every_solver_declined__slashes_nobody(world: World) -> None:
    task = world.to_revealing()
    world.bounties.decline(task.id, 0, sender=task.entries[0].solver)
    world.chain.at(world.chain.now + task.terms["windows"].reveal)
    world.settle(task, outcome=Outcome.NONE)
    assert closed(world, task) == [(0, FEE // 5)] * 3


# ---------------------------------------------------------------------------------------------- whose money


def test_close_vote__key_rotated_and_exit_requested__owner_is_paid_and_leaves(world: World) -> None:
    world.join_early(1, owner=RIVAL)
    task = world.to_judging(committee=SEATS + 1)
    position = world.committee(task).index(SEATS)
    stake = world.stakes.stake_of(SEATS)
    world.judge(task, [world.verdict(task, [150])] * (SEATS + 1))
    world.stakes.set_operator(stake, OPERATOR, sender=RIVAL)
    world.stakes.request_exit(stake, sender=RIVAL)
    world.pass_challenge(task)
    world.settle(task, [150])
    world.chain.at(world.chain.now + EXIT_DELAY)
    with reverts("exit: reserved by a panel"):
        world.stakes.exit(stake, sender=RIVAL)
    world.close(task, position)
    assert world.owed(RIVAL) == FEE // 5 + (FEE - FEE // 5)
    world.stakes.exit(stake, sender=RIVAL)
    assert world.stakes.credit(NATIVE, RIVAL) == SEAT


def test_close_vote__two_tasks_on_one_seat__each_ends_its_reservation(world: World) -> None:
    first = judged(world, [150] * 11 + [151])
    second = judged(world, [150] * 12)
    liar = world.committee(first)[11]
    stake = world.stakes.stake_of(liar)
    assert world.stakes.seat(stake)["reserved"] == 2 * RESERVATION
    world.close(first, 11)
    assert (world.stakes.seat(stake)["reserved"], world.stakes.seat(stake)["balance"]) == (
        RESERVATION,
        SEAT - RESERVATION,
    )
    world.close(second, world.committee(second).index(liar))
    assert (world.stakes.seat(stake)["reserved"], world.stakes.seat(stake)["balance"]) == (0, SEAT - RESERVATION)
