"""A task that everybody abandons, at any point of its life: a year later strangers end it, and all money comes out."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.attacks.weakened import Guard
from tests.contracts.conftest import SEATS
from tests.evm import NATIVE, ZERO, Reverted
from tests.harness import ETHER, EXIT_DELAY, OWNER, RIVAL, SOLVER, SPONSOR, STRANGER, Task, World
from verifier.protocol.constants import Ground, Outcome, Phase

YEAR = 365 * 24 * 3600
SCORES = (150, 90)
PEOPLE = (SPONSOR, SOLVER, RIVAL, OWNER, STRANGER)

DELAYS_END_A_TASK = Guard(
    "Bounties",
    """        if block.timestamp >= tasks._commit_closes(task, head) + limits.VOID_DELAY:
            return GROUND_NO_COMMITTEE, 0
""",
    "",
    "endings",
    (
        (
            """        if block.timestamp >= closed_at + tasks._window(task, tasks.HOLDOUT):
            return GROUND_HOLDOUT_SILENT, admitted >> 1
""",
            "",
        ),
        (
            """        if judged_until != 0 and block.timestamp >= judged_until + limits.TERMINAL_DELAY:
            return GROUND_TERMINAL, 0
""",
            "        return 0, 0\n",
        ),
    ),
)


# ------------------------------------------------------------------------------------ where it was left alone


def created(world: World) -> Task:
    return world.create(sealed=True, reserve=ETHER // 10)


def entered(world: World) -> Task:
    task = world.create(sealed=True, reserve=ETHER // 10)
    world.submit(task, SOLVER)
    world.submit(task, RIVAL)
    return task


def convened(world: World) -> Task:
    task = entered(world)
    world.chain.at(task.commit_closes)
    world.convene(task)
    return task


def never_drawn(world: World) -> Task:
    """The block's hash was forgotten three times."""
    task = convened(world)
    for _ in range(2):
        world.chain.block += 300
        world.convene(task)
    world.chain.block += 300
    return task


def drawn(world: World) -> Task:
    task = convened(world)
    world.draw(task)
    return task


def attested_by_one(world: World) -> Task:
    task = drawn(world)
    world.panel.attest(task.id, 0, task.everything, sender=world.operator_of(world.committee(task)[0]))
    return task


def nothing_found(world: World) -> Task:
    """The committee has neither the sponsor's files nor anybody else's."""
    task = drawn(world)
    world.attest(task, [0, 0, 0])
    return task


def holdout_kept(world: World) -> Task:
    task = drawn(world)
    world.attest(task)
    return task


def holdout_open(world: World) -> Task:
    """The solvers could answer, and neither does."""
    task = holdout_kept(world)
    world.reveal_holdout(task)
    return task


def one_declined(world: World) -> Task:
    task = holdout_open(world)
    world.bounties.decline(task.id, 0, sender=SOLVER)
    return task


def one_revealed(world: World) -> Task:
    """One solver answers, the other keeps silent, and nobody judges."""
    task = holdout_open(world)
    world.reveal(task, 0)
    return task


def answered(world: World) -> Task:
    task = holdout_open(world)
    world.reveal(task, 0)
    world.reveal(task, 1)
    return task


def votes_hidden(world: World) -> Task:
    task = answered(world)
    world.judge(task, [world.verdict(task, SCORES)] * 3, revealed=[False] * 3)
    return task


def no_quorum(world: World) -> Task:
    task = answered(world)
    world.judge(task, [world.verdict(task, SCORES), world.verdict(task, (1, 2)), None])
    return task


def second_round_never_drawn(world: World) -> Task:
    task = no_quorum(world)
    world.pass_reveals(task)
    world.convene(task)
    world.chain.block += 300
    return task


def three_rounds_failed(world: World) -> Task:
    task = no_quorum(world)
    for after in (1, 2):
        world.next_round(task, after)
    return task


def reconvened(world: World) -> Task:
    """Somebody pays for a fourth round, in which nobody votes."""
    task = three_rounds_failed(world)
    world.chain.at(world.chain.now + 200)
    world.bounties.reconvene(task.id, sender=RIVAL, value=world.bounties.reconvene_fee(task.id))
    world.draw(task)
    return task


def accepted(world: World) -> Task:
    task = answered(world)
    world.judge(task, [world.verdict(task, SCORES)] * 3)
    return task


def accepted_in_the_second_round(world: World) -> Task:
    """The reserve pays the second round."""
    task = no_quorum(world)
    world.next_round(task)
    world.judge(task, [world.verdict(task, SCORES)] * len(world.committee(task, 2)), round_=2)
    return task


def accepted_without_content(world: World) -> Task:
    """A lying quorum accepted a digest of nothing, so that no settlement can match it."""
    task = answered(world)
    world.judge(task, [b"\x01" * 32] * 3)
    return task


def settled(world: World) -> Task:
    task = accepted(world)
    world.pass_challenge(task)
    world.settle(task, SCORES)
    return task


# By state in which the task was abandoned: its final phase, ground and outcome.
LEFT = {
    created: (Phase.CANCELLED, Ground.EMPTY, Outcome.NONE),
    entered: (Phase.CANCELLED, Ground.NO_COMMITTEE, Outcome.NONE),
    convened: (Phase.CANCELLED, Ground.NO_COMMITTEE, Outcome.NONE),
    never_drawn: (Phase.CANCELLED, Ground.NO_COMMITTEE, Outcome.NONE),
    drawn: (Phase.CANCELLED, Ground.UNAVAILABLE, Outcome.NONE),
    attested_by_one: (Phase.CANCELLED, Ground.UNAVAILABLE, Outcome.NONE),
    nothing_found: (Phase.CANCELLED, Ground.UNAVAILABLE, Outcome.NONE),
    holdout_kept: (Phase.CANCELLED, Ground.HOLDOUT_SILENT, Outcome.NONE),
    holdout_open: (Phase.SETTLED, Ground.NONE, Outcome.NONE),
    one_declined: (Phase.SETTLED, Ground.NONE, Outcome.NONE),
    one_revealed: (Phase.CANCELLED, Ground.TERMINAL, Outcome.NONE),
    answered: (Phase.CANCELLED, Ground.TERMINAL, Outcome.NONE),
    votes_hidden: (Phase.CANCELLED, Ground.TERMINAL, Outcome.NONE),
    no_quorum: (Phase.CANCELLED, Ground.TERMINAL, Outcome.NONE),
    second_round_never_drawn: (Phase.CANCELLED, Ground.TERMINAL, Outcome.NONE),
    three_rounds_failed: (Phase.CANCELLED, Ground.TERMINAL, Outcome.NONE),
    reconvened: (Phase.CANCELLED, Ground.TERMINAL, Outcome.NONE),
    accepted: (Phase.SETTLED, Ground.NONE, Outcome.SCORED),
    accepted_in_the_second_round: (Phase.SETTLED, Ground.NONE, Outcome.SCORED),
    accepted_without_content: (Phase.CANCELLED, Ground.TERMINAL, Outcome.NONE),
    settled: (Phase.SETTLED, Ground.NONE, Outcome.SCORED),
}


# ------------------------------------------------------------------------------------------ how it is ended


def end(world: World, task: Task) -> None:
    """Calls that anybody may make, by a stranger who knows what was published, until one of them ends the task."""
    calls: list[Callable[[], object]] = [
        lambda: world.settle(task, SCORES),
        lambda: world.settle(task, (), Outcome.NONE, ZERO),
        lambda: world.bounties.cancel(task.id, sender=STRANGER),
        lambda: world.panel.close_attestation(task.id, sender=STRANGER),
    ]
    for _ in range(3):
        for call in calls:
            if world.bounties.phase(task.id) in (Phase.SETTLED, Phase.CANCELLED):
                return
            try:
                call()
            except Reverted:
                continue
    raise AssertionError("nothing ends the task")


def take_everything_out(world: World, task: Task) -> None:
    """Everybody's claims, votes and credits, then the seats themselves."""
    scores = SCORES if world.bounties.task(task.id)["outcome"] == Outcome.SCORED else ()
    for index in range(len(task.entries)):
        world.claim(task, index, scores)
    world.close_all(task)
    stakes = [world.stakes.stake_of(slot) for slot in range(SEATS)]
    for stake in stakes:
        world.stakes.request_exit(stake, sender=OWNER)
    world.chain.at(world.chain.now + EXIT_DELAY)
    for stake in stakes:
        world.stakes.exit(stake, sender=OWNER)
    for contract in (world.bounties, world.stakes):
        for person in PEOPLE:
            if world.owed(person, contract=contract):
                contract.withdraw(NATIVE, person, sender=person)


@pytest.mark.parametrize("left", LEFT)
def test_abandoned_task__after_a_year__strangers_end_it_and_release_all_money(
    world: World, left: Callable[[World], Task]
) -> None:
    task = left(world)
    world.chain.at(world.chain.now + YEAR)
    world.chain.block += YEAR // 12

    end(world, task)
    ended = world.bounties.task(task.id)
    take_everything_out(world, task)

    assert (ended["phase"], ended["ground"], ended["outcome"]) == LEFT[left]
    assert world.chain.balance(world.bounties.address) == world.bounties.burned(NATIVE)
    assert world.chain.balance(world.stakes.address) == world.stakes.burned(NATIVE)


@pytest.mark.parametrize(
    "left",
    [left for left, how in LEFT.items() if how[1] in (Ground.NO_COMMITTEE, Ground.HOLDOUT_SILENT, Ground.TERMINAL)],
)
def test_abandoned_task__without_the_guard__the_money_is_stuck(
    without: Callable[[Guard], World], left: Callable[[World], Task]
) -> None:
    world = without(DELAYS_END_A_TASK)
    task = left(world)
    world.chain.at(world.chain.now + YEAR)
    world.chain.block += YEAR // 12

    with pytest.raises(AssertionError, match="^nothing ends the task$"):
        end(world, task)


def test_abandoned_task__terminal_rule__returns_half_the_reward_and_burns_half(world: World) -> None:
    task = no_quorum(world)
    world.chain.at(world.chain.now + YEAR)
    before = world.owed(SPONSOR)

    end(world, task)

    bond = world.sponsor_bond(task.terms)
    # half the reward, the bond, the reserve that paid no accepted round
    assert world.owed(SPONSOR) - before == ETHER // 2 + bond + ETHER // 10
    assert world.bounties.burned(NATIVE) == ETHER // 2
