"""Bounties: adding to the reward of a task."""

from __future__ import annotations

import pytest

from tests.contracts.amounts import credits, sponsor_bond, token
from tests.evm import reverts
from tests.harness import ETHER, OUTSIDER, SEAT, SPONSOR, World
from verifier.protocol.constants import MAX_AMOUNT

REWARD_LIMIT = 3 * SEAT // 8


def test_top_up__by_anyone_until_commits_close__adds_to_the_reward(world: World) -> None:
    task = world.create(sealed=True)
    world.chain.at(task.commit_closes - 1)
    receipt = world.bounties.top_up(task.id, 7, sender=OUTSIDER, value=7)
    assert receipt.events(world.bounties, "ToppedUp") == [{"task": task.id, "payer": OUTSIDER, "amount": 7}]
    assert world.bounties.task(task.id)["reward"] == ETHER + 7
    assert world.chain.balance(world.bounties.address) == ETHER + sponsor_bond(ETHER) + 7

    world.chain.at(task.commit_closes)
    with reverts("top_up: closed"):
        world.bounties.top_up(task.id, 7, sender=OUTSIDER, value=7)


def test_top_up__cancelled_task__reverts(world: World) -> None:
    task = world.create()
    world.bounties.cancel(task.id, sender=SPONSOR)
    with reverts("top_up: closed"):
        world.bounties.top_up(task.id, 1, sender=OUTSIDER, value=1)


def test_top_up__above_half_the_reserved_stake__reverts(world: World) -> None:
    task = world.create()
    missing = REWARD_LIMIT - ETHER
    with reverts("reward: above the committee's stake"):
        world.bounties.top_up(task.id, missing + 1, sender=OUTSIDER, value=missing + 1)
    world.bounties.top_up(task.id, missing, sender=OUTSIDER, value=missing)
    assert world.bounties.task(task.id)["reward"] == REWARD_LIMIT


@pytest.mark.parametrize(
    ("amount", "value", "reason"),
    [(0, 0, "top_up: nothing sent"), (5, 4, "top_up: wrong value"), (5, 6, "top_up: wrong value")],
)
def test_top_up__nothing_or_another_value__reverts(world: World, amount: int, value: int, reason: str) -> None:
    task = world.create()
    with reverts(reason):
        world.bounties.top_up(task.id, amount, sender=OUTSIDER, value=value)


def test_top_up__token__adds_what_is_pulled(world: World) -> None:
    plain = token(world)
    task = world.create(asset=plain.address)
    receipt = world.bounties.top_up(task.id, 5 * ETHER, sender=OUTSIDER)
    assert receipt.events(world.bounties, "ToppedUp") == [{"task": task.id, "payer": OUTSIDER, "amount": 5 * ETHER}]
    assert world.bounties.task(task.id)["reward"] == plain.balanceOf(world.bounties.address) == 6 * ETHER


def test_top_up__token_with_a_fee__adds_what_arrived(world: World) -> None:
    taxed = token(world, "FeeToken", 100)
    task = world.create(asset=taxed.address, reward=1_000)
    receipt = world.bounties.top_up(task.id, 500, sender=OUTSIDER)
    assert receipt.events(world.bounties, "ToppedUp")[0]["amount"] == 495
    assert world.bounties.task(task.id)["reward"] == taxed.balanceOf(world.bounties.address) == 990 + 495


def test_top_up__token_of_which_nothing_arrives__reverts(world: World) -> None:
    task = world.create(asset=token(world).address)
    with reverts("top_up: nothing sent"):
        world.bounties.top_up(task.id, 0, sender=OUTSIDER)


def test_top_up__token_and_coin_with_it__reverts(world: World) -> None:
    task = world.create(asset=token(world).address)
    with reverts("top_up: wrong value"):
        world.bounties.top_up(task.id, 1, sender=OUTSIDER, value=1)


def test_top_up__token_that_answers_false__reverts(world: World) -> None:
    false = token(world, "FalseToken")
    task = world.create(asset=false.address)
    false.set_refuses(True, sender=OUTSIDER)
    with reverts("token: transfer failed"):
        world.bounties.top_up(task.id, 1, sender=OUTSIDER)


def test_top_up__token_above_the_largest_amount__reverts(world: World) -> None:
    plain = token(world)
    plain.mint(OUTSIDER, MAX_AMOUNT, sender=OUTSIDER)
    task = world.create(asset=plain.address, reward=1)
    with reverts("reward: out of range"):
        world.bounties.top_up(task.id, MAX_AMOUNT - 1, sender=OUTSIDER)
    world.bounties.top_up(task.id, MAX_AMOUNT - 2, sender=OUTSIDER)
    world.bounties.cancel(task.id, sender=SPONSOR)
    assert credits(world, plain.address) == {SPONSOR: MAX_AMOUNT - 1}
