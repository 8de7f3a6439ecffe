"""Seats that lie and try to avoid the slash, and parties that try to settle or claim with other scores."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.attacks.weakened import Guard
from tests.contracts.conftest import SEATS
from tests.evm import NATIVE, reverts, word
from tests.harness import (
    ETHER,
    EXIT_DELAY,
    OPERATOR,
    OUTSIDER,
    OWNER,
    RESERVATION,
    RIVAL,
    SEAT,
    SILENCE,
    SOLVER,
    Task,
    World,
)

UNREVEALED_IS_SLASHED = Guard("Panel", "    elif vote != empty(bytes32):\n        slash = RESERVATION\n")
SCORES_ARE_THE_ACCEPTED = Guard(
    "Bounties",
    """    assert verdict == commitments._verdict(
        limits.PANEL, task, tasks._inputs(task, revealed), outcome, scores, evidence
    ), "settle: not the final verdict"
""",
    "",
    "endings",
    (
        (
            '            assert tasks.roots[task] == keccak256(abi_encode(scores)), "claim: wrong scores"\n',
            "            pass\n",
        ),
    ),
)
RESERVED_STAYS = Guard("Stakes", '    assert account >> 160 == 0, "exit: reserved by a panel"\n')
FULL_SEATS_ARE_SKIPPED = Guard(
    "Stakes",
    """        if balance < (reserved + 1) * RESERVATION:
            # A seat that was slashed to less than one reservation is spent, not full.
            if balance >= RESERVATION:
                full += 1
            continue
""",
)


def one_liar(world: World, reveals: bool) -> Task:
    """Make a settled task of four seats: three voted honestly, the last committed a lie and reveals it or not."""
    task = world.to_judging(committee=4)
    truth, lie = world.verdict(task, [150]), world.verdict(task, [99])
    world.judge(task, [truth] * 3 + [lie], revealed=[True] * 3 + [reveals])
    world.pass_challenge(task)
    world.settle(task, [150])
    return task


@pytest.mark.parametrize("reveals", [True, False], ids=["revealed", "withheld"])
def test_lie__revealed_or_withheld__costs_the_same(world: World, reveals: bool) -> None:
    task = one_liar(world, reveals)
    slot = world.committee(task)[3]

    (closed,) = world.close(task, 3).events(world.panel, "VoteClosed")

    assert closed["slashed"] == RESERVATION
    assert closed["earned"] == world.bounties.brief(task.id)["attest_share"]
    assert world.stakes.seat(world.stakes.stake_of(slot))["balance"] == SEAT - RESERVATION


def test_lie__withheld_without_the_guard__costs_only_silence(without: Callable[[Guard], World]) -> None:
    world = without(UNREVEALED_IS_SLASHED)
    task = one_liar(world, reveals=False)

    (closed,) = world.close(task, 3).events(world.panel, "VoteClosed")

    # A seat that never voted loses less than a reservation.
    assert closed["slashed"] == SILENCE < RESERVATION


def test_lie__no_quorum_and_no_later_verdict__slashes_the_withheld_vote(world: World) -> None:
    task = world.to_judging()
    world.judge(task, [world.verdict(task, [99]), None, None], revealed=[False] * 3)
    world.chain.at(world.chain.now + 10 * world.limits.terminal_delay)
    world.bounties.cancel(task.id, sender=OUTSIDER)

    slashed = [world.close(task, p).events(world.panel, "VoteClosed")[0]["slashed"] for p in range(3)]

    assert slashed == [RESERVATION, SILENCE, SILENCE]


# ------------------------------------------------------------------------------------------- other scores


@pytest.mark.parametrize(
    ("scores", "evidence"),
    [((150, 90), "evidence"), ((90, 151), "evidence"), ((90,), "evidence"), ((), "evidence"), ((90, 150), "other")],
)
def test_settle__other_content_than_the_accepted__is_refused(
    world: World, scores: tuple[int, ...], evidence: str
) -> None:
    task = world.to_final((90, 150), [RIVAL, SOLVER])
    with reverts("settle: not the final verdict"):
        world.settle(task, scores, evidence=word(evidence))


def settled_by_the_loser(world: World) -> Task:
    task = world.to_final((90, 150), [RIVAL, SOLVER])
    world.settle(task, (150, 90))
    world.claim(task, 0, (150, 90))
    return task


def test_settle__loser_names_the_scores__is_refused(world: World) -> None:
    with reverts("settle: not the final verdict"):
        settled_by_the_loser(world)


def test_settle__without_the_guard__pays_the_loser(without: Callable[[Guard], World]) -> None:
    world = without(SCORES_ARE_THE_ACCEPTED)
    settled_by_the_loser(world)
    assert world.owed(RIVAL) == ETHER + world.bounties.bond_of(0)


def claimed_with_other_scores(world: World) -> Task:
    task = world.to_settled((90, 150), [RIVAL, SOLVER])
    world.claim(task, 0, (150, 90))
    return task


def test_claim__loser_names_the_scores__is_refused(world: World) -> None:
    with reverts("claim: wrong scores"):
        claimed_with_other_scores(world)


def test_claim__without_the_guard__pays_the_loser(without: Callable[[Guard], World]) -> None:
    world = without(SCORES_ARE_THE_ACCEPTED)
    claimed_with_other_scores(world)
    assert world.owed(RIVAL) == ETHER + world.bounties.bond_of(0)


def test_claim__twice__is_paid_once(world: World) -> None:
    task = world.to_settled()
    world.claim(task, 0, (150,))
    owed = world.owed(SOLVER)

    with reverts("claim: already claimed"):
        world.claim(task, 0, (150,))

    assert world.owed(SOLVER) == owed == ETHER + world.bounties.bond_of(0)


# ----------------------------------------------------------------------------------- leaving, and many panels


def leave_with_the_stake(world: World) -> Task:
    """Let the lying seat request its exit after the lie and leave before anyone closes its vote."""
    task = one_liar(world, reveals=True)
    stake = world.stakes.stake_of(world.committee(task)[3])
    world.stakes.request_exit(stake, sender=OWNER)
    world.chain.at(world.chain.now + EXIT_DELAY)
    world.stakes.exit(stake, sender=OWNER)
    return task


def test_exit__before_the_slash__waits_for_it(world: World) -> None:
    with reverts("exit: reserved by a panel"):
        leave_with_the_stake(world)


def test_exit__without_the_guard__withdraws_the_whole_stake(without: Callable[[Guard], World]) -> None:
    world = without(RESERVED_STAYS)
    leave_with_the_stake(world)
    assert world.owed(OWNER, contract=world.stakes) == SEAT


def test_exit__after_the_slash__takes_what_is_left(world: World) -> None:
    task = one_liar(world, reveals=True)
    stake = world.stakes.stake_of(world.committee(task)[3])
    world.stakes.request_exit(stake, sender=OWNER)
    world.close(task, 3)
    world.chain.at(world.chain.now + EXIT_DELAY - 1)
    with reverts("exit: too early"):
        world.stakes.exit(stake, sender=OWNER)

    world.chain.at(world.chain.now + 1)
    world.stakes.exit(stake, sender=OWNER)

    assert world.owed(OWNER, contract=world.stakes) == SEAT - RESERVATION


def test_exit__asked_for_after_the_freeze__is_drawn_all_the_same(world: World) -> None:
    task = world.to_convened(committee=SEATS)
    leaving = world.stakes.stake_of(0)
    world.chain.at(world.chain.now + 1)
    world.stakes.request_exit(leaving, sender=OWNER)

    world.draw(task)

    assert 0 in world.committee(task)
    assert world.stakes.seat(leaving)["reserved"] == RESERVATION


def on_panels(world: World, panels: int) -> list[Task]:
    """Draw every seat for that many tasks at once."""
    tasks = [world.create(committee=SEATS) for _ in range(panels)]
    for task in tasks:
        world.submit(task)
    world.chain.at(tasks[0].commit_closes)
    for task in tasks:
        world.convene(task)
    for task in tasks:
        world.draw(task)
    return tasks


def test_many_panels__four_at_once__each_can_take_its_quarter(world: World) -> None:
    tasks = on_panels(world, 4)
    stake = world.stakes.stake_of(0)
    assert world.stakes.seat(stake)["reserved"] == SEAT
    for task in tasks:
        for position in range(SEATS):
            world.panel.attest(task.id, position, task.everything, sender=OPERATOR)
    world.chain.at(world.panel.panel(tasks[-1].id)["attest_closes"])
    for task in tasks:
        world.panel.close_attestation(task.id, sender=OUTSIDER)
        world.reveal(task, 0)
    world.chain.at(world.bounties.judging_from(tasks[-1].id))
    for task in tasks:
        for position in range(SEATS):
            world.commit(task, position, world.verdict(task, [position]))
    world.chain.at(world.chain.now + 10 * world.limits.terminal_delay)
    for task in tasks:
        world.bounties.cancel(task.id, sender=OUTSIDER)
        for position in range(SEATS):
            world.close(task, position)

    assert world.stakes.seat(stake)["balance"] == 0
    assert world.stakes.burned(NATIVE) == SEATS * SEAT


def test_many_panels__a_fifth_one__draws_no_full_seats(world: World) -> None:
    with reverts("draw: too many seats are full"):
        on_panels(world, 5)


def test_many_panels__without_the_guard__fifth_draws_seats_with_no_stake_left(
    without: Callable[[Guard], World],
) -> None:
    world = without(FULL_SEATS_ARE_SKIPPED)
    fifth = on_panels(world, 5)[-1]
    assert len(world.committee(fifth)) == SEATS
    assert world.stakes.seat(world.stakes.stake_of(0))["reserved"] == SEAT
