"""The largest possible tasks: no transaction needs a million gas, and every wei can be withdrawn."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contracts.conftest import SEATS
from tests.evm import NATIVE, Receipt
from tests.gas.measure import MAX_GAS
from tests.harness import ETHER, OWNER, RESERVATION, SEAT, SOLVER, SPONSOR, Task, World
from verifier.protocol.constants import MAX_SUBMISSIONS, RewardPolicy

VOTERS = 31
SCORES = tuple(range(100, 100 + MAX_SUBMISSIONS))


@pytest.fixture
def largest_gas(world: World) -> Iterator[dict[str, int]]:
    """The gas of the most expensive transaction of each function during the test."""
    gas: dict[str, int] = {}

    def note(name: str, receipt: Receipt) -> None:
        gas[name] = max(gas.get(name, 0), receipt.gas)

    world.chain.on_send = note
    yield gas
    world.chain.on_send = lambda name, receipt: None


@pytest.fixture
def crowd(world: World) -> World:
    """The deployment with three seats for each seat of the largest first committee."""
    world.join_early(3 * VOTERS - SEATS)
    return world


def close_everything(world: World, task: Task) -> None:
    for index in range(MAX_SUBMISSIONS):
        world.claim(task, index, SCORES)
    world.close_all(task)
    for person in (SPONSOR, SOLVER, OWNER):
        world.bounties.withdraw(NATIVE, person, sender=person)


def test_largest_task__64_submissions_and_31_voters__stays_below_a_million_gas(
    crowd: World, largest_gas: dict[str, int]
) -> None:
    world = crowd
    bonds = sum(world.bounties.bond_of(index) for index in range(MAX_SUBMISSIONS))
    task = world.to_settled(SCORES, committee=VOTERS, policy=RewardPolicy.LADDER, baseline=90, sealed=True)
    assert world.scored(task) == 2**MAX_SUBMISSIONS - 1
    assert len(world.committee(task)) == VOTERS

    before = world.chain.balance(SOLVER)
    close_everything(world, task)

    assert world.chain.balance(SOLVER) == before + ETHER + bonds
    assert world.chain.balance(world.bounties.address) == world.bounties.burned(NATIVE) == 0
    assert {name: gas for name, gas in largest_gas.items() if gas >= MAX_GAS} == {}


def test_largest_task__three_rounds_up_to_63_seats__stays_below_a_million_gas(
    crowd: World, largest_gas: dict[str, int]
) -> None:
    """In two rounds no two seats agree, so all their seats are slashed; the third round accepts."""
    world = crowd
    task = world.to_judging(MAX_SUBMISSIONS, committee=VOTERS, policy=RewardPolicy.LADDER, reserve=ETHER)
    lies = [world.verdict(task, [lie] * MAX_SUBMISSIONS) for lie in range(2 * VOTERS)]
    for number, seats in ((1, VOTERS), (2, 2 * VOTERS)):
        assert len(world.committee(task, number)) == seats
        world.judge(task, lies[:seats], round_=number)
        world.next_round(task, number)
    assert len(world.committee(task, 3)) == 63
    world.agree(task, SCORES, round_=3)
    world.settle(task, SCORES)

    close_everything(world, task)

    assert world.chain.balance(world.bounties.address) == world.bounties.burned(NATIVE) == 0
    assert world.stakes.burned(NATIVE) == 3 * VOTERS * RESERVATION
    assert world.chain.balance(world.stakes.address) == 3 * VOTERS * SEAT
    assert {name: gas for name, gas in largest_gas.items() if gas >= MAX_GAS} == {}
