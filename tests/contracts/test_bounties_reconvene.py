"""Bounties: paying for rounds after the free ones."""

from __future__ import annotations

from tests.contracts import amounts
from tests.contracts.amounts import claimed, credits, paid
from tests.evm import NATIVE, reverts
from tests.harness import DRAW_DELAY, ETHER, LIMITS, OUTSIDER, Task, World
from verifier.protocol.constants import Ground


def failed(world: World) -> Task:
    """Make a task whose three free rounds ended without a vote."""
    task = world.to_judging()
    for after in (1, 2):
        world.next_round(task, after)
    world.pass_reveals(task, 3)
    return task


def test_reconvene__free_rounds_failed__costs_the_fee_of_a_third_round(world: World) -> None:
    task = failed(world)
    due = 12 * (task.terms["seat_fee"] - task.terms["seat_fee"] // 5)
    assert world.bounties.reconvene_fee(task.id) == due
    with reverts("reconvene: too little sent"):
        world.bounties.reconvene(task.id, sender=OUTSIDER, value=due - 1)
    receipt = world.bounties.reconvene(task.id, sender=OUTSIDER, value=due + 1)
    assert receipt.events(world.bounties, "Reconvened") == [{"task": task.id, "payer": OUTSIDER, "amount": due}]
    assert receipt.events(world.panel, "Convened")[0]["target_block"] == world.chain.block + DRAW_DELAY
    assert credits(world) == {OUTSIDER: 1}


def test_reconvene__bought_round_accepts__its_seats_share_what_was_paid(world: World) -> None:
    task = failed(world)
    due = world.bounties.reconvene_fee(task.id)
    world.bounties.reconvene(task.id, sender=OUTSIDER, value=due)
    world.draw(task)
    seats = len(world.committee(task, 4))
    world.agree(task, [150], round_=4)
    world.settle(task, [150])
    share = (amounts.verdict_part(task) + due) // seats
    assert paid(world, task) == amounts.attest_part(task) + share * seats
    assert claimed(world, task, 0, [150]) == (ETHER, amounts.bond(0))
    amounts.empty(world)
    assert world.bounties.burned(NATIVE) == 0


def test_reconvene__terminal_rule_after_it__burns_what_was_paid(world: World) -> None:
    task = failed(world)
    due = world.bounties.reconvene_fee(task.id)
    world.bounties.reconvene(task.id, sender=OUTSIDER, value=due)
    world.draw(task)
    until = world.panel.round(task.id, 4)["reveal_closes"] + LIMITS.terminal_delay
    world.chain.at(until - 1)
    with reverts("cancel: no ground"):
        world.bounties.cancel(task.id, sender=OUTSIDER)
    world.chain.at(until)
    world.bounties.cancel(task.id, sender=OUTSIDER)
    assert world.bounties.task(task.id)["ground"] == Ground.TERMINAL
    paid(world, task)
    claimed(world, task, 0)
    amounts.empty(world)
    assert world.bounties.burned(NATIVE) == ETHER // 2 + due


def test_reconvene__task_has_ended__reverts(world: World) -> None:
    task = world.to_settled()
    with reverts("reconvene: already ended"):
        world.bounties.reconvene(task.id, sender=OUTSIDER, value=ETHER)
