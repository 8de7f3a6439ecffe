"""Panel: the free and the paid rounds that follow a first round without acceptance."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.evm import HASH_REACH, reverts
from tests.harness import CHALLENGE_WINDOW, DRAW_DELAY, LIMITS, OUTSIDER, OWNER, PARAMETERS, RIVAL, WINDOWS, Task, World
from verifier.protocol.constants import FREE_ROUNDS, MAX_ROUNDS

SEATS = 12


def to_round(world: World, task: Task, number: int) -> None:
    """Let rounds pass without a vote until the round of that number is drawn."""
    for after in range(world.panel.panel(task.id)["round"], number):
        if after < FREE_ROUNDS:
            world.next_round(task, after)
        else:
            world.pass_reveals(task, after)
            reconvene(world, task)
            world.draw(task)


def reconvene(world: World, task: Task) -> None:
    fee = world.bounties.reconvene_fee(task.id)
    world.bounties.reconvene(task.id, sender=OUTSIDER, value=fee)


def miss(world: World, task: Task) -> None:
    """Advance until the target block's hash is no longer available."""
    world.chain.block = world.panel.panel(task.id)["target_block"] + HASH_REACH + 1


def test_convene__round_without_acceptance__waits_for_its_reveals(world: World) -> None:
    task = world.to_judging()
    closes = world.panel.round(task.id, 1)["reveal_closes"]
    world.chain.at(closes - 1)
    with reverts("convene: round is open"):
        world.convene(task)
    world.chain.at(closes)
    receipt = world.convene(task)
    assert receipt.events(world.panel, "Convened") == [
        {"task": task.id, "round": 2, "target_block": world.chain.block + DRAW_DELAY, "rearms": 0}
    ]
    assert world.panel.tally(task.id)["rounds"] == 1


def test_convene__first_round_that_has_not_opened__reverts(world: World) -> None:
    task = world.to_drawn()
    world.chain.at(world.chain.now + 10_000)
    with reverts("convene: round is open"):
        world.convene(task)


def test_convene__verdict_accepted__reverts(world: World) -> None:
    task = world.to_judging()
    world.judge(task, [world.verdict(task, [150])] * 3)
    world.chain.at(world.panel.round(task.id, 1)["reveal_closes"] + CHALLENGE_WINDOW)
    with reverts("convene: verdict accepted"):
        world.convene(task)


def test_draw__later_rounds__draw_twice_and_four_times_the_seats(world: World) -> None:
    task = world.to_judging()
    for number, seats in ((2, 6), (3, 12)):
        world.next_round(task, number - 1)
        opens = world.chain.now
        assert len(set(world.committee(task, number))) == seats
        assert world.panel.round(task.id, number) == {
            "seats": seats,
            "drawn_at": opens,
            "opens": opens,
            "commit_closes": opens + WINDOWS.verdict_commit,
            "reveal_closes": opens + WINDOWS.verdict_commit + WINDOWS.verdict_reveal,
            "committed": 0,
            "revealed": 0,
            "closed": 0,
        }
        tally = world.panel.tally(task.id)
        assert (tally["rounds"], tally["later_seats"]) == (number, {2: 6, 3: 18}[number])
        assert tally["judged_until"] == opens + WINDOWS.verdict_commit + WINDOWS.verdict_reveal
    world.pass_reveals(task, 3)
    with reverts("convene: rounds used up"):
        world.convene(task)


def test_draw__later_round_with_too_few_eligible__draws_at_least_the_first_rounds_number(
    world: World,
) -> None:
    task = world.to_judging(committee=5)
    for number, seats in ((2, 10), (3, 12)):
        world.next_round(task, number - 1)
        assert len(world.committee(task, number)) == seats


def test_draw__later_round_with_fewer_than_the_first__reverts(world: World) -> None:
    task = world.to_judging(committee=5)
    world.pass_reveals(task)
    for slot in range(8):
        world.stakes.request_exit(world.stakes.stake_of(slot), sender=OWNER)
    world.chain.at(world.chain.now + 1)
    world.convene(task)
    with reverts("draw: too few seats"):
        world.draw(task)


def test_draw__later_rounds_of_the_largest_committee__stop_at_63_seats(world: World) -> None:
    world.join_early(70 - SEATS)
    task = world.to_judging(committee=31)
    for number, seats in ((1, 31), (2, 62), (3, 63)):
        if number > 1:
            world.next_round(task, number - 1)
        committee = world.committee(task, number)
        assert len(set(committee)) == len(committee) == seats
        assert world.panel.round(task.id, number)["seats"] == seats
    assert world.panel.committee(task.id, 4) == []
    assert world.panel.round(task.id, 4)["seats"] == 0


# ------------------------------------------------------------------------------------------------- re-arms


def test_convene__new_round__has_re_arms_of_its_own(world: World) -> None:
    task = world.to_convened()
    miss(world, task)
    world.convene(task)
    world.draw(task)
    world.attest(task)
    world.reveal(task, 0)
    world.chain.at(world.bounties.judging_from(task.id))
    world.pass_reveals(task)
    world.convene(task)
    assert (world.panel.panel(task.id)["round"], world.panel.panel(task.id)["rearms"]) == (2, 0)
    for _ in range(2):
        miss(world, task)
        world.convene(task)
    miss(world, task)
    with reverts("convene: re-arms used up"):
        world.convene(task)


# -------------------------------------------------------------------------------------------------- reopen


def test_reopen__by_anybody_but_the_escrow__reverts(world: World) -> None:
    task = world.to_judging()
    for sender in (OUTSIDER, OWNER, RIVAL):
        with reverts("reopen: not the escrow"):
            world.panel.reopen(task.id, sender=sender)


def test_reopen__free_rounds_left__reverts(world: World) -> None:
    task = world.to_judging()
    with reverts("reopen: not failed"):
        reconvene(world, task)
    to_round(world, task, 2)
    world.pass_reveals(task, 2)
    with reverts("reopen: not failed"):
        reconvene(world, task)


def test_reopen__before_any_round__reverts(world: World) -> None:
    task = world.create()
    world.submit(task)
    with reverts("reopen: not failed"):
        reconvene(world, task)


def test_reopen__third_round_failed__buys_exactly_one_more(world: World) -> None:
    task = world.to_judging()
    to_round(world, task, FREE_ROUNDS)
    closes = world.panel.round(task.id, FREE_ROUNDS)["reveal_closes"]
    world.chain.at(closes - 1)
    with reverts("convene: round is open"):
        reconvene(world, task)
    world.chain.at(closes)
    fee = world.bounties.reconvene_fee(task.id)
    receipt = world.bounties.reconvene(task.id, sender=OUTSIDER, value=fee)
    assert receipt.events(world.panel, "Convened") == [
        {"task": task.id, "round": 4, "target_block": world.chain.block + DRAW_DELAY, "rearms": 0}
    ]
    with reverts("reopen: not failed"):  # its draw is awaited
        reconvene(world, task)
    world.draw(task)
    assert len(world.committee(task, 4)) == 12
    world.pass_reveals(task, 4)
    with reverts("convene: rounds used up"):
        world.convene(task)


def test_reopen__verdict_accepted_in_the_last_free_round__reverts(world: World) -> None:
    task = world.to_judging()
    to_round(world, task, FREE_ROUNDS)
    world.judge(task, [world.verdict(task, [150])] * SEATS, round_=FREE_ROUNDS)
    world.pass_reveals(task, FREE_ROUNDS)
    with reverts("convene: verdict accepted"):
        reconvene(world, task)


def test_reopen__later_round_never_drawn__renews_its_re_arms(world: World) -> None:
    task = world.to_judging()
    world.pass_reveals(task)
    world.convene(task)
    for _ in range(2):
        miss(world, task)
        with reverts("reopen: not failed"):  # it can be armed again at no cost
            reconvene(world, task)
        world.convene(task)
    world.chain.block = world.panel.panel(task.id)["target_block"] + HASH_REACH
    with reverts("reopen: not failed"):  # it can still be drawn
        reconvene(world, task)
    world.chain.block += 1
    reconvene(world, task)
    panel = world.panel.panel(task.id)
    assert (panel["round"], panel["rearms"], panel["target_block"]) == (2, 0, world.chain.block + DRAW_DELAY)
    world.draw(task)
    world.pass_reveals(task, 2)
    world.convene(task)  # the third is still free
    assert world.panel.panel(task.id)["round"] == 3


def test_reopen__first_round_never_drawn__reverts(world: World) -> None:
    task = world.to_convened()
    for _ in range(2):
        miss(world, task)
        world.convene(task)
    miss(world, task)
    with reverts("reopen: not failed"):
        reconvene(world, task)


@pytest.fixture(scope="module")
def failed_for_good() -> tuple[World, Task, tuple[bytes, int, int, bytes]]:
    """A deployment with enough seats for a committee of one to fail 32 times, and a task in its last round."""
    limits = replace(LIMITS, min_committee=1)
    world = World.with_seats(80, parameters=replace(PARAMETERS, limits=limits))
    task = world.to_judging(committee=1)
    to_round(world, task, MAX_ROUNDS)
    return world, task, world.chain.keep()


@pytest.fixture
def patient(failed_for_good: tuple[World, Task, tuple[bytes, int, int, bytes]]) -> tuple[World, Task]:
    world, task, kept = failed_for_good
    world.chain.back_to(kept)
    return world, task


def test_reopen__32_rounds__are_the_most(patient: tuple[World, Task]) -> None:
    world, task = patient
    world.pass_reveals(task, MAX_ROUNDS)
    assert world.panel.tally(task.id)["rounds"] == MAX_ROUNDS
    assert world.panel.tally(task.id)["later_seats"] == 2 + 30 * 4
    with reverts("reopen: no more rounds"):
        reconvene(world, task)


def test_reveal_verdict__in_the_32nd_round__is_counted_and_accepted(patient: tuple[World, Task]) -> None:
    world, task = patient
    verdict = world.verdict(task, [150])
    world.judge(task, [verdict] * 4, round_=MAX_ROUNDS)
    assert world.panel.votes_for(task.id, verdict, MAX_ROUNDS) == 4
    assert world.panel.tally(task.id)["accepted_seats"] == 4
    world.pass_challenge(task, MAX_ROUNDS)
    world.settle(task, [150])
    world.close_all(task)
    assert sum(world.stakes.seat(world.stakes.stake_of(slot))["reserved"] for slot in range(80)) == 0
