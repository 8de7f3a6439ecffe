"""Panel: convening a committee, drawing it with a block's prevRandao, and arming the draw again when nobody drew."""

from __future__ import annotations

from dataclasses import replace

import pytest
from eth_utils.crypto import keccak

from tests.contracts.draws import expected_draw
from tests.evm import HASH_REACH, NATIVE, Chain, compiled, reverts, word
from tests.harness import (
    DEPLOYER,
    DRAW_DELAY,
    LIMITS,
    OUTSIDER,
    OWNER,
    PARAMETERS,
    RESERVATION,
    SPONSOR,
    WINDOWS,
    Task,
    World,
)
from verifier.protocol.constants import VerdictStatus

SEATS = 12
PANEL = "contracts/Panel.vy"
UNKNOWN = word("no such task")


@pytest.fixture
def task(world: World) -> Task:
    """A task with one submission, in the second in which commits close."""
    task = world.to_committed()
    return task


def target_of(world: World, task: Task) -> int:
    return int(world.panel.panel(task.id)["target_block"])


def miss(world: World, task: Task) -> None:
    """Advance until the target block's hash is no longer available."""
    world.chain.block = target_of(world, task) + HASH_REACH + 1


# --------------------------------------------------------------------------------------------- deployment


def test_deploy__arguments_that_do_not_fit__revert() -> None:
    chain = Chain()
    stakes = chain.deploy(compiled("contracts/Stakes.vy"), 80, 1, sender=DEPLOYER).address
    with reverts("panel: no stakes"):
        chain.deploy(compiled(PANEL), OUTSIDER, OUTSIDER, 1, 0, sender=DEPLOYER)
    with reverts("panel: no bounties"):
        chain.deploy(compiled(PANEL), stakes, NATIVE, 1, 0, sender=DEPLOYER)
    for delay in (0, 129):
        with reverts("panel: bad draw delay"):
            chain.deploy(compiled(PANEL), stakes, OUTSIDER, delay, 0, sender=DEPLOYER)
    for delay in (1, 128):
        panel = chain.deploy(compiled(PANEL), stakes, OUTSIDER, delay, 0, sender=DEPLOYER)
        assert (panel.STAKES(), panel.BOUNTIES()) == (stakes, OUTSIDER)
        assert (panel.DRAW_DELAY(), panel.CHALLENGE_WINDOW()) == (delay, 0)


# ------------------------------------------------------------------------------------------------- convene


def test_convene__when_commits_close__freezes_and_fixes_a_block(world: World) -> None:
    task = world.create()
    world.submit(task)
    world.chain.at(task.commit_closes - 1)
    with reverts("convene: commits are open"):
        world.convene(task)
    world.chain.at(task.commit_closes)
    target = world.chain.block + DRAW_DELAY
    receipt = world.convene(task)
    assert receipt.events(world.panel, "Convened") == [
        {"task": task.id, "round": 1, "target_block": target, "rearms": 0}
    ]
    assert world.panel.panel(task.id) == {
        "round": 1,
        "status": VerdictStatus.NONE,
        "verdict": bytes(32),
        "target_block": target,
        "frozen_at": world.chain.now,
        "rearms": 0,
        "attest_closes": 0,
        "closed_at": 0,
        "admitted": 0,
        "attesters": 0,
    }
    assert world.panel.admission(task.id) == (0, 0, 0)
    assert world.panel.tally(task.id) == {
        "accepted_seats": 0,
        "attesters": 0,
        "later_seats": 0,
        "rounds": 0,
        "judged_until": 0,
    }


def test_convene__unknown_task__reverts(world: World) -> None:
    with reverts("panel: unknown task"):
        world.panel.convene(UNKNOWN, sender=OUTSIDER)


def test_convene__task_that_ended__reverts(world: World) -> None:
    task = world.create()
    world.bounties.cancel(task.id, sender=SPONSOR)
    world.chain.at(task.commit_closes)
    with reverts("panel: task ended"):
        world.convene(task)


def test_convene__nobody_submitted__reverts(world: World) -> None:
    task = world.create()
    world.chain.at(task.commit_closes)
    with reverts("convene: no submissions"):
        world.convene(task)


def test_convene__draw_still_possible__reverts_while_the_hash_is_available(world: World, task: Task) -> None:
    world.convene(task)
    with reverts("convene: draw is open"):
        world.convene(task)
    world.chain.block = target_of(world, task) + HASH_REACH
    with reverts("convene: draw is open"):
        world.convene(task)
    world.chain.block += 1
    world.chain.now += 7
    target = world.chain.block + DRAW_DELAY
    receipt = world.convene(task)
    assert receipt.events(world.panel, "Convened") == [
        {"task": task.id, "round": 1, "target_block": target, "rearms": 1}
    ]
    panel = world.panel.panel(task.id)
    assert (panel["frozen_at"], panel["round"], panel["rearms"]) == (world.chain.now, 1, 1)


def test_convene__nobody_drew_three_times__reverts(world: World, task: Task) -> None:
    world.convene(task)
    for rearms in (1, 2):
        miss(world, task)
        world.convene(task)
        assert world.panel.panel(task.id)["rearms"] == rearms
    miss(world, task)
    with reverts("convene: re-arms used up"):
        world.convene(task)


def test_convene__last_re_arm__still_draws(world: World, task: Task) -> None:
    world.convene(task)
    for _ in range(2):
        miss(world, task)
        world.convene(task)
    world.draw(task)
    assert len(world.committee(task)) == 3


def test_convene__armed_again__freezes_anew(world: World) -> None:
    task = world.to_convened(committee=11)
    world.stakes.request_exit(world.stakes.stake_of(6), sender=OWNER)
    miss(world, task)
    world.convene(task)
    world.draw(task)
    assert sorted(world.committee(task)) == [slot for slot in range(SEATS) if slot != 6]


def test_views__unknown_task__return_zeros(world: World) -> None:
    assert set(world.panel.panel(UNKNOWN).values()) == {0, bytes(32)}
    assert set(world.panel.round(UNKNOWN, 1).values()) == {0}
    assert set(world.panel.tally(UNKNOWN).values()) == {0}
    assert world.panel.committee(UNKNOWN, 1) == []
    assert world.panel.attestation(UNKNOWN, 0) == (False, 0)
    assert world.panel.vote(UNKNOWN, 1, 0) == bytes(32)
    assert world.panel.final_verdict(UNKNOWN) == (VerdictStatus.NONE, bytes(32))


# --------------------------------------------------------------------------------------------------- draw


def test_draw__target_block_reached__draws_with_its_prev_randao(world: World, task: Task) -> None:
    world.convene(task)
    target = target_of(world, task)
    world.chain.block = target
    with reverts("draw: too early"):
        world.panel.draw(task.id, world.chain.header(target), sender=OUTSIDER)
    world.chain.block = target + 1
    world.chain.now += 9
    receipt = world.panel.draw(task.id, world.chain.header(target), sender=OUTSIDER)
    seed = keccak(world.chain.randao(target) + task.id + (1).to_bytes(32, "big"))
    slots = expected_draw(seed, 3, SEATS, range(SEATS))
    assert receipt.events(world.panel, "Drawn") == [
        {"task": task.id, "round": 1, "randomness": world.chain.randao(target), "slots": slots}
    ]
    assert receipt.events(world.stakes, "Reserved") == [{"panel": world.panel.address, "slots": slots}]
    assert world.committee(task) == slots
    for slot in slots:
        assert world.stakes.enrolled(world.panel.address, slot)[1] == RESERVATION
    panel = world.panel.panel(task.id)
    assert (panel["target_block"], panel["attest_closes"]) == (0, world.chain.now + WINDOWS.attest)
    assert world.panel.admission(task.id) == (world.chain.now, 0, 0)
    assert world.panel.round(task.id, 1) == {
        "seats": 3,
        "drawn_at": world.chain.now,
        "opens": 0,
        "commit_closes": 0,
        "reveal_closes": 0,
        "committed": 0,
        "revealed": 0,
        "closed": 0,
    }


def test_draw__last_block_with_the_hash_available__draws(world: World, task: Task) -> None:
    world.convene(task)
    target = target_of(world, task)
    kept = world.chain.keep()
    world.chain.block = target + HASH_REACH + 1
    with reverts("draw: too late"):
        world.panel.draw(task.id, world.chain.header(target), sender=OUTSIDER)
    world.chain.back_to(kept)
    world.chain.block = target + HASH_REACH
    world.panel.draw(task.id, world.chain.header(target), sender=OUTSIDER)
    assert len(world.committee(task)) == 3


def test_draw__not_convened_or_drawn_already__reverts(world: World, task: Task) -> None:
    with reverts("draw: not convened"):
        world.panel.draw(task.id, world.chain.header(world.chain.block - 1), sender=OUTSIDER)
    world.convene(task)
    target = target_of(world, task)
    world.draw(task)
    with reverts("draw: not convened"):
        world.panel.draw(task.id, world.chain.header(target), sender=OUTSIDER)


def test_draw__header_of_another_block_or_a_byte_changed__reverts(world: World, task: Task) -> None:
    world.convene(task)
    target = target_of(world, task)
    world.chain.block = target + 2
    header = world.chain.header(target)
    for wrong in (world.chain.header(target - 1), world.chain.header(target + 1), header[:-1] + b"\0", header[:-1]):
        with reverts("draw: wrong header"):
            world.panel.draw(task.id, wrong, sender=OUTSIDER)


def test_draw__header_not_an_rlp_list__reverts(world: World, task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    world.convene(task)
    monkeypatch.setattr(world.chain, "header", lambda number: b"block " + number.to_bytes(32, "big"))
    with reverts("header: malformed"):
        world.draw(task)


def test_draw__task_that_ended_while_the_draw_was_awaited__reverts(world: World, task: Task) -> None:
    world.chain.at(task.commit_closes + world.limits.void_delay)
    world.convene(task)
    world.bounties.cancel(task.id, sender=OUTSIDER)
    with reverts("panel: task ended"):
        world.draw(task)


def test_draw__exit_requested_in_the_second_of_the_freeze__first_round_lacks_the_seat(world: World) -> None:
    task = world.to_convened(committee=SEATS)
    kept = world.chain.keep()
    world.stakes.request_exit(world.stakes.stake_of(0), sender=OWNER)
    with reverts("draw: too few seats"):
        world.draw(task)
    world.chain.back_to(kept)
    world.chain.at(world.chain.now + 1)
    world.stakes.request_exit(world.stakes.stake_of(0), sender=OWNER)
    world.draw(task)
    assert sorted(world.committee(task)) == list(range(SEATS))


def test_draw__seat_that_joined_in_the_second_of_the_task__is_not_eligible(world: World) -> None:
    world.join()
    task = world.to_convened(committee=SEATS + 1)
    with reverts("draw: too few seats"):
        world.draw(task)


def test_draw__registry_without_a_slot_at_the_freeze__reverts(world: World) -> None:
    empty = World(replace(PARAMETERS, limits=replace(LIMITS, seat_factor=0)))
    task = empty.to_convened()
    with reverts("draw: no seats"):
        empty.draw(task)


def test_draw__every_seat_on_four_panels__fifth_waits_for_closed_votes(world: World) -> None:
    busy = []
    for _ in range(5):
        busy.append(world.create(committee=SEATS))
        world.submit(busy[-1])
    world.chain.at(busy[0].commit_closes)
    for task in busy[:4]:
        world.convene(task)
        world.draw(task)
    world.convene(busy[4])
    with reverts("draw: too many seats are full"):
        world.draw(busy[4])
    world.attest(busy[0], [0] * SEATS)
    world.bounties.cancel(busy[0].id, sender=OUTSIDER)
    for position in range(SEATS):
        world.close(busy[0], position)
    world.draw(busy[4])
    assert len(world.committee(busy[4])) == SEATS
