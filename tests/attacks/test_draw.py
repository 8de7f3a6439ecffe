"""Attempts to choose the committee: with a forged header, with seats that join late, and with a repeated draw."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import rlp

from tests.attacks.weakened import Guard
from tests.contracts.conftest import SEATS
from tests.evm import HASH_REACH, Chain, account, reverts, word
from tests.harness import DRAW_DELAY, OPERATOR, OUTSIDER, RIVAL, Task, World

HEADER_IS_THE_BLOCKS = Guard("Panel", '    assert keccak256(header) == blockhash(target), "draw: wrong header"\n')
ENROLLED_BEFORE_THE_TASK = Guard("Stakes", "opted_at == 0 or opted_at >= created_at", "opted_at == 0")
SLOTS_ARE_FROZEN = Guard(
    "Panel",
    "        (state >> 136) & LOW_48,\n    )\n    seats",
    "        staticcall IStakes(STAKES).slots(),\n    )\n    seats",
)


def convened(world: World, committee: int = 3) -> tuple[Task, int]:
    """Make a task whose target block has just been built; returns the task and the number of that block."""
    task = world.to_convened(committee=committee)
    target = world.chain.block + DRAW_DELAY
    world.chain.block = target + 1
    world.chain.now += DRAW_DELAY + 1
    return task, target


def with_randomness(chain: Chain, number: int, randomness: bytes) -> bytes:
    """Encode the header of a block with another prevRandao."""
    fields = rlp.decode(chain.header(number))
    return bytes(rlp.encode([*fields[:13], randomness, *fields[14:]]))


def ground_until_mine(world: World) -> None:
    """Let an outsider forge headers until the committee consists of the seats in slots 0 to 2."""
    task, target = convened(world)
    before = world.chain.keep()
    for attempt in range(2_000):
        world.panel.draw(task.id, with_randomness(world.chain, target, word(f"{attempt}")), sender=OUTSIDER)
        if set(world.committee(task)) == {0, 1, 2}:
            return
        world.chain.back_to(before)
    raise AssertionError("no header found")


def test_forged_header__other_randomness__is_refused(world: World) -> None:
    with reverts("draw: wrong header"):
        ground_until_mine(world)


def test_forged_header__without_the_guard__chooses_the_committee(without: Callable[[Guard], World]) -> None:
    ground_until_mine(without(HEADER_IS_THE_BLOCKS))


@pytest.mark.parametrize("off", [-1, 1, 7], ids=["the block before", "the block after", "a later block"])
def test_header__of_another_real_block__is_refused(world: World, off: int) -> None:
    task, target = convened(world)
    world.chain.block = target + 20
    with reverts("draw: wrong header"):
        world.panel.draw(task.id, world.chain.header(target + off), sender=OUTSIDER)


@pytest.mark.parametrize("cut", [b"", b"\xc0", None], ids=["nothing", "an empty list", "one byte short"])
def test_header__malformed__is_refused(world: World, cut: bytes | None) -> None:
    task, target = convened(world)
    header = world.chain.header(target)[:-1] if cut is None else cut
    with reverts("draw: wrong header"):
        world.panel.draw(task.id, header, sender=OUTSIDER)


def test_header__hash_available__draws_until_the_last_block(world: World) -> None:
    task, target = convened(world)
    header = world.chain.header(target)
    world.chain.block = target
    with reverts("draw: too early"):
        world.panel.draw(task.id, header, sender=OUTSIDER)

    world.chain.block = target + HASH_REACH + 1
    with reverts("draw: too late"):
        world.panel.draw(task.id, header, sender=OUTSIDER)

    world.chain.block = target + HASH_REACH
    world.panel.draw(task.id, header, sender=OUTSIDER)


def test_header__of_the_missed_block__is_stale_after_re_arming(world: World) -> None:
    task, target = convened(world)
    world.chain.block = target + HASH_REACH + 1
    world.convene(task)
    again = world.panel.panel(task.id)["target_block"]
    world.chain.block = again + 1

    with reverts("draw: wrong header"):
        world.panel.draw(task.id, world.chain.header(target), sender=OUTSIDER)


def test_missed_draw__repeated__reverts_after_two_re_arms(world: World) -> None:
    task, target = convened(world)
    for _ in range(2):
        world.chain.block = target + HASH_REACH + 1
        world.convene(task)
        target = world.panel.panel(task.id)["target_block"]
    world.chain.block = target + HASH_REACH + 1
    with reverts("convene: re-arms used up"):
        world.convene(task)


def test_draw__twice__is_refused(world: World) -> None:
    task, target = convened(world)
    world.panel.draw(task.id, world.chain.header(target), sender=OUTSIDER)
    with reverts("draw: not convened"):
        world.panel.draw(task.id, world.chain.header(target), sender=OUTSIDER)


# ------------------------------------------------------------------------------------------------ late seats


def rival_seats_drawn(world: World, joins_after: str) -> int:
    """Count the seats of a rival on a committee of six; the rival has four times as many seats as all others."""
    if joins_after == "nothing":
        world.join_early(4 * SEATS, owner=RIVAL)
    task = world.create(committee=6)
    if joins_after == "creation":
        world.join(4 * SEATS, owner=RIVAL)
    world.submit(task)
    world.chain.at(task.commit_closes)
    world.convene(task)
    if joins_after == "freeze":
        world.join(4 * SEATS, owner=RIVAL)
    world.draw(task)
    return sum(world.stakes.owner_of(slot) == RIVAL for slot in world.committee(task))


def test_seats__joined_before_the_task__are_drawn_by_their_share(world: World) -> None:
    assert rival_seats_drawn(world, "nothing") > 3


@pytest.mark.parametrize("joins_after", ["creation", "freeze"])
def test_seats__joined_after_the_task_or_the_freeze__are_never_drawn(world: World, joins_after: str) -> None:
    assert rival_seats_drawn(world, joins_after) == 0


def test_seats__joined_after_the_task_without_the_guard__fill_its_committee(
    without: Callable[[Guard], World],
) -> None:
    assert rival_seats_drawn(without(ENROLLED_BEFORE_THE_TASK), "creation") > 3


def committees(world: World, moved: bool) -> tuple[list[int], list[int]]:
    """Draw a committee, with seats that join between freeze and draw if `moved`; returns slots and stake ids."""
    task = world.to_convened()
    if moved:
        world.join(5, owner=RIVAL)
    world.draw(task)
    return world.committee(task), [world.stakes.stake_of(slot) for slot in world.committee(task)]


def test_seats__joined_after_the_randomness_is_known__move_nobody(world: World) -> None:
    kept = world.chain.keep()
    still = committees(world, moved=False)
    world.chain.back_to(kept)
    assert committees(world, moved=True) == still


def test_seats__slots_not_frozen__a_join_changes_the_committee(without: Callable[[Guard], World]) -> None:
    world = without(SLOTS_ARE_FROZEN)
    kept = world.chain.keep()
    still = committees(world, moved=False)
    world.chain.back_to(kept)
    assert committees(world, moved=True) != still


def test_seats__slot_reused_by_another_owner__is_not_drawn_for_an_older_task(world: World) -> None:
    stake = world.stakes.stake_of(0)
    world.stakes.request_exit(stake, sender=world.stakes.owner_of(0))
    world.chain.at(world.chain.now + world.stakes.EXIT_DELAY())
    task = world.create(committee=SEATS - 1)
    world.submit(task)
    world.stakes.exit(stake, sender=world.stakes.owner_of(0))
    world.join(owner=RIVAL, operator=account("rival operator"))
    assert world.stakes.owner_of(0) == RIVAL
    world.seat_committee(task)

    assert sorted(world.committee(task)) == list(range(1, SEATS))


def test_operator__rotated_after_the_draw__takes_the_duty_with_it(world: World) -> None:
    task = world.to_drawn()
    slot = world.committee(task)[0]
    fresh = account("fresh operator")
    world.stakes.set_operator(world.stakes.stake_of(slot), fresh, sender=world.stakes.owner_of(slot))

    with reverts("panel: not the operator"):
        world.panel.attest(task.id, 0, task.everything, sender=OPERATOR)
    world.panel.attest(task.id, 0, task.everything, sender=fresh)
