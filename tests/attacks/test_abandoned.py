"""Tasks that everybody abandons at some stage: a year later outsiders can end them and all money can be withdrawn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.attacks.weakened import Guard
from tests.contracts.conftest import SEATS
from tests.evm import NATIVE, ZERO, Reverted
from tests.harness import ETHER, EXIT_DELAY, OUTSIDER, OWNER, RIVAL, SOLVER, SPONSOR, Task, World
from verifier.protocol.constants import Ground, Outcome, Phase

YEAR = 365 * 24 * 3600
SCORES = (150, 90)
SOLVERS = (SOLVER, RIVAL)
OFFER: dict[str, Any] = {"sealed": True, "reserve": ETHER // 10}
PEOPLE = (SPONSOR, SOLVER, RIVAL, OWNER, OUTSIDER)

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
    return world.create(**OFFER)


def entered(world: World) -> Task:
    return world.to_committed(SOLVERS, **OFFER)


def convened(world: World) -> Task:
    return world.to_convened(SOLVERS, **OFFER)


def never_drawn(world: World) -> Task:
    """The target block's hash became unavailable three times."""
    task = convened(world)
    for _ in range(2):
        world.chain.block += 300
        world.convene(task)
    world.chain.block += 300
    return task


def drawn(world: World) -> Task:
    return world.to_drawn(SOLVERS, **OFFER)


def attested_by_one(world: World) -> Task:
    task = drawn(world)
    world.panel.attest(task.id, 0, task.everything, sender=world.operator_of(world.committee(task)[0]))
    return task


def nothing_found(world: World) -> Task:
    """The committee has none of the files."""
    return world.to_attested(SOLVERS, [0, 0, 0], **OFFER)


def holdout_kept(world: World) -> Task:
    return world.to_attested(SOLVERS, **OFFER)


def holdout_open(world: World) -> Task:
    """The solvers can reveal or decline, and neither does."""
    return world.to_revealing(SOLVERS, **OFFER)


def one_declined(world: World) -> Task:
    task = holdout_open(world)
    world.bounties.decline(task.id, 0, sender=SOLVER)
    return task


def one_revealed(world: World) -> Task:
    """One solver reveals, the other stays silent, and nobody votes."""
    task = holdout_open(world)
    world.reveal(task, 0)
    return task


def answered(world: World) -> Task:
    return world.to_judging(SOLVERS, **OFFER)


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
    """A solver pays for a fourth round, in which nobody votes."""
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
    """A lying quorum accepted a digest without content, so that no settlement can match it."""
    task = answered(world)
    world.judge(task, [b"\x01" * 32] * 3)
    return task


def settled(world: World) -> Task:
    return world.to_settled(SCORES, SOLVERS, **OFFER)


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
    """Let an outsider who knows the published data make calls that are open to anyone, until one ends the task."""
    calls: list[Callable[[], object]] = [
        lambda: world.settle(task, SCORES),
        lambda: world.settle(task, (), Outcome.NONE, ZERO),
        lambda: world.bounties.cancel(task.id, sender=OUTSIDER),
        lambda: world.panel.close_attestation(task.id, sender=OUTSIDER),
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
    """Claim every submission, close every vote, close the seats, and withdraw every credit."""
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
def test_abandoned_task__after_a_year__outsiders_end_it_and_release_all_money(
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
    # half the reward, the bond, and the reserve, because no accepted round used it
    assert world.owed(SPONSOR) - before == ETHER // 2 + bond + ETHER // 10
    assert world.bounties.burned(NATIVE) == ETHER // 2
