"""Bounties: what solvers and seats are credited, once, after a task has ended."""

from __future__ import annotations

import pytest

from tests.contracts import amounts
from tests.contracts.amounts import claimed, finish
from tests.evm import NATIVE, reverts, word
from tests.harness import ETHER, OUTSIDER, OWNER, RIVAL, SOLVER, SPONSOR, WINDOWS, World
from verifier.protocol.constants import Outcome, RewardPolicy


def test_claim__before_the_task_has_ended__reverts(world: World) -> None:
    task = world.to_final()
    with reverts("claim: not ended"):
        world.claim(task, 0, [150])


def test_claim__no_such_submission__reverts(world: World) -> None:
    task = world.to_settled()
    with reverts("submission: unknown"):
        world.claim(task, 1, [150])


@pytest.mark.parametrize("scores", [[], [149], [150, 150]])
def test_claim__other_scores_than_the_accepted_ones__reverts(world: World, scores: list[int]) -> None:
    task = world.to_settled()
    with reverts("claim: wrong scores"):
        world.claim(task, 0, scores)
    assert claimed(world, task, 0, [150]) == (ETHER, amounts.bond(0))


def test_claim__scores_where_none_were_accepted__reverts(world: World) -> None:
    task = world.to_revealing()
    world.chain.at(world.chain.now + WINDOWS.reveal)
    world.settle(task, outcome=Outcome.NONE)
    cancelled = world.to_attested(bitmaps=[None] * 3)
    world.bounties.cancel(cancelled.id, sender=OUTSIDER)
    for ended in (task, cancelled):
        with reverts("claim: wrong scores"):
            world.claim(ended, 0, [150])
        claimed(world, ended, 0)


def test_claim__twice__reverts(world: World) -> None:
    task = world.to_settled()
    claimed(world, task, 0, [150])
    with reverts("claim: already claimed"):
        world.claim(task, 0, [150])


def test_claim__best__the_earliest_of_the_highest_has_everything(world: World) -> None:
    scores = [150, 200, 200]
    task = world.to_settled(scores, [SOLVER, RIVAL, OUTSIDER])
    assert [claimed(world, task, index, scores)[0] for index in range(3)] == [0, ETHER, 0]
    finish(world, task, done=range(3))


def test_claim__ladder__each_step_up_is_paid_and_a_copy_is_not(world: World) -> None:
    scores = [110, 110, 105, 140]
    solvers = [SOLVER, RIVAL, OUTSIDER, RIVAL]
    task = world.to_settled(scores, solvers, policy=RewardPolicy.LADDER, baseline=70, reward=1_000)
    first = 1_000 * 40 // 70
    assert [claimed(world, task, index, scores)[0] for index in range(4)] == [first, 0, 0, 1_000 - first]
    finish(world, task, done=range(4))
    assert world.bounties.burned(NATIVE) == 0


def test_pay_seat__by_anybody_but_the_panel__reverts(world: World) -> None:
    task = world.to_settled()
    for sender in (OWNER, SPONSOR, OUTSIDER):
        with reverts("pay: not the panel"):
            world.bounties.pay_seat(task.id, OWNER, 1, sender=sender)


def test_pay_seat__task_not_ended__reverts(world: World) -> None:
    for task in (world.create().id, word("no such task")):
        with reverts("pay: task not ended"):
            world.bounties.pay_seat(task, OWNER, 0, sender=world.panel.address)


def test_pay_seat__more_than_the_fees__reverts(world: World) -> None:
    task = world.to_settled()
    with reverts("pay: above the fees"):
        world.bounties.pay_seat(task.id, OWNER, amounts.fee(task) + 1, sender=world.panel.address)
    receipt = world.bounties.pay_seat(task.id, OWNER, amounts.fee(task), sender=world.panel.address)
    assert receipt.events(world.bounties, "SeatPaid") == [
        {"task": task.id, "owner": OWNER, "amount": amounts.fee(task)}
    ]
    assert world.owed(OWNER) == amounts.fee(task)
    with reverts("pay: above the fees"):
        world.bounties.pay_seat(task.id, OWNER, 1, sender=world.panel.address)
