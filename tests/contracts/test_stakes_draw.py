"""Stakes: which seats can be drawn, in which order, what a draw reserves, and how a panel releases it."""

from __future__ import annotations

from itertools import permutations

import pytest
from eth_utils.crypto import keccak

from tests.contracts.draws import JURY, candidates, draw, expected_draw, slash
from tests.evm import NATIVE, account, compiled_source, reverts, word
from tests.harness import DEPLOYER, EXIT_DELAY, OPERATOR, OUTSIDER, OWNER, RESERVATION, SEAT, World

SEATS = 12
PLACES = 4
RIVAL_JURY = account("rival jury")


@pytest.fixture
def jury(world: World) -> World:
    """The deployment, with all its seats enrolled at JURY one second ago."""
    for slot in range(SEATS):
        world.stakes.enrol(world.stakes.stake_of(slot), JURY, sender=OWNER)
    world.chain.at(world.chain.now + 1)
    return world


def seat(world: World, slot: int) -> dict[str, int]:
    return dict(world.stakes.seat(world.stakes.stake_of(slot)))


def fill(world: World, slots: range) -> None:
    """Reserve the whole balance of the seats in those slots, which must be the first."""
    for i in range(PLACES):
        assert len(draw(world, len(slots), seed=word(f"fill {i}"), slots=slots.stop).result) == len(slots)


# ---------------------------------------------------------------------------------------------- who, in order


@pytest.mark.parametrize("wanted", [0, 1, 3, 12])
@pytest.mark.parametrize("name", ["one seed", "another seed", "a third"])
def test_draw__any_seed__matches_the_design_and_reserves_a_quarter(jury: World, wanted: int, name: str) -> None:
    receipt = draw(jury, wanted, seed=word(name))
    expected = expected_draw(word(name), wanted, SEATS, range(SEATS))
    assert receipt.result == expected
    assert len(expected) == wanted
    assert receipt.events(jury.stakes, "Reserved") == [{"panel": JURY, "slots": expected}]
    for slot in range(SEATS):
        held = RESERVATION if slot in expected else 0
        assert (seat(jury, slot)["reserved"], seat(jury, slot)["balance"]) == (held, SEAT)
        assert jury.stakes.enrolled(JURY, slot)[1] == held
        assert jury.stakes.enrolled(jury.panel.address, slot)[1] == 0


def test_draw__fewer_eligible_than_wanted__finds_all_of_them(jury: World) -> None:
    assert sorted(draw(jury, 63).result) == list(range(SEATS))


def test_draw__mostly_free_slots__stops_after_8_tries_for_each_seat_and_64(jury: World) -> None:
    slots, last = 800, 8 + 64 - 1

    def first_at(k: int) -> tuple[bytes, int]:
        """Find a seed of which only candidate k is not a free slot; returns the seed and the slot of candidate k."""
        for i in range(10_000):
            found = [slot for slot in candidates(word(f"sparse {i}"), slots, k + 1) if slot < SEATS]
            if len(found) == 1 and list(candidates(word(f"sparse {i}"), slots, k + 1))[k] == found[0]:
                return word(f"sparse {i}"), found[0]
        raise AssertionError(f"no seed finds a seat at try {k}")

    seed, slot = first_at(last)
    assert draw(jury, 1, seed=seed, slots=slots).result == [slot]
    seed, _ = first_at(last + 1)
    assert draw(jury, 1, seed=seed, slots=slots).result == []


def test_draw__more_than_63_seats__reverts(jury: World) -> None:
    with reverts("draw: too many seats"):
        draw(jury, 64)


def test_draw__out_of_no_slots__reverts(jury: World) -> None:
    with reverts("draw: no seats"):
        draw(jury, 1, slots=0)


def test_draw__slots_opened_after_the_freeze__are_no_candidates(jury: World) -> None:
    assert sorted(draw(jury, 63, slots=5).result) == list(range(5))


def test_draw__by_a_panel_where_nobody_enrolled__finds_nobody(jury: World) -> None:
    assert draw(jury, 12, sender=RIVAL_JURY).result == []


def test_draw__seat_of_another_panel_only__is_skipped(world: World) -> None:
    world.stakes.enrol(world.stakes.stake_of(4), JURY, sender=OWNER)
    world.chain.at(world.chain.now + 1)
    assert draw(world, 12).result == [4]


def test_draw__enrolled_in_the_second_of_the_task__skips_the_seat(world: World) -> None:
    enrolled_at = world.chain.now
    world.stakes.enrol(world.stakes.stake_of(4), JURY, sender=OWNER)
    assert draw(world, 1, created_at=enrolled_at).result == []
    assert draw(world, 1, created_at=enrolled_at + 1).result == [4]


def test_draw__exit_requested_in_the_second_of_the_freeze__skips_the_seat(
    jury: World,
) -> None:
    jury.stakes.request_exit(jury.stakes.stake_of(4), sender=OWNER)
    left_at = jury.chain.now
    assert 4 not in draw(jury, 12, frozen_at=left_at).result
    assert 4 in draw(jury, 12, frozen_at=left_at - 1).result


def test_draw__leaving_seat_of_an_earlier_freeze__stays_slashable(jury: World) -> None:
    frozen_at = jury.chain.now
    stake = jury.stakes.stake_of(4)
    jury.chain.at(frozen_at + 1)
    jury.stakes.request_exit(stake, sender=OWNER)
    assert 4 in draw(jury, 12, frozen_at=frozen_at).result
    jury.chain.at(jury.chain.now + EXIT_DELAY)
    with reverts("exit: reserved by a panel"):
        jury.stakes.exit(stake, sender=OWNER)
    assert jury.stakes.release(4, RESERVATION, sender=JURY).result == RESERVATION
    jury.stakes.exit(stake, sender=OWNER)
    assert jury.stakes.credit(NATIVE, OWNER) == SEAT - RESERVATION


def test_draw__seat_that_left__is_skipped_and_so_is_its_successor(jury: World) -> None:
    frozen_at = jury.chain.now
    stake = jury.stakes.stake_of(4)
    jury.stakes.request_exit(stake, sender=OWNER)
    jury.chain.at(jury.chain.now + EXIT_DELAY)
    jury.stakes.exit(stake, sender=OWNER)
    assert 4 not in draw(jury, 12, frozen_at=frozen_at - 1).result
    jury.join(panel=JURY)
    assert jury.stakes.slots() == SEATS  # it has slot 4
    assert 4 not in draw(jury, 12, created_at=frozen_at, seed=word("after the successor")).result


# ------------------------------------------------------------------------------------------------- full seats


def test_draw__one_seat_for_many_panels__is_full_after_four(world: World) -> None:
    stake = world.stakes.stake_of(0)
    panels = [account(f"panel {i}") for i in range(PLACES + 1)]
    for panel in panels:
        world.stakes.enrol(stake, panel, sender=OWNER)
    world.chain.at(world.chain.now + 1)
    for i, panel in enumerate(panels[:PLACES]):
        assert draw(world, 1, sender=panel).result == [0]
        assert seat(world, 0)["reserved"] == (i + 1) * RESERVATION
        assert world.stakes.enrolled(panel, 0)[1] == RESERVATION
    with reverts("draw: too many seats are full"):
        draw(world, 1, sender=panels[PLACES])
    world.stakes.release(0, 0, sender=panels[2])
    assert draw(world, 1, sender=panels[PLACES]).result == [0]


def test_draw__one_panel_four_times__holds_the_whole_seat(jury: World) -> None:
    fill(jury, range(1))
    assert jury.stakes.enrolled(JURY, 0)[1] == SEAT
    assert seat(jury, 0)["reserved"] == SEAT


def test_draw__full_seats__are_skipped_up_to_half_of_the_drawn(jury: World) -> None:
    fill(jury, range(4))
    assert sorted(draw(jury, 12).result) == list(range(4, SEATS))  # 8 drawn, 4 full


def test_draw__one_full_seat_too_many__reverts(jury: World) -> None:
    fill(jury, range(5))
    with reverts("draw: too many seats are full"):
        draw(jury, 12)  # 7 could be drawn, 5 are full
    jury.stakes.release(0, 0, sender=JURY)
    assert sorted(draw(jury, 12).result) == [0, *range(5, SEATS)]


def test_draw__full_seats_that_the_draw_never_met__do_not_count(jury: World) -> None:
    fill(jury, range(11))
    seed = next(word(f"seed {i}") for i in range(1000) if expected_draw(word(f"seed {i}"), 1, SEATS, range(12)) == [11])
    assert draw(jury, 1, seed=seed).result == [11]


def test_draw__seat_slashed_within_its_last_quarter__counts_as_full(jury: World) -> None:
    """Three reservations fit the balance; the fourth does not, because one wei was slashed."""
    slash(jury, jury.stakes.stake_of(0), 1)
    for i in range(PLACES - 1):
        assert draw(jury, 1, slots=1, seed=word(f"fill {i}")).result == [0]
    with reverts("draw: too many seats are full"):
        draw(jury, 1, slots=1)
    jury.stakes.top_up(jury.stakes.stake_of(0), sender=OUTSIDER, value=1)
    assert draw(jury, 1, slots=1).result == [0]


def test_draw__seat_slashed_below_one_reservation__is_not_counted_as_full(jury: World) -> None:
    stake = jury.stakes.stake_of(0)
    for _ in range(3):
        slash(jury, stake, RESERVATION)
    slash(jury, stake, 1)
    assert seat(jury, 0)["balance"] == RESERVATION - 1
    assert draw(jury, 1, slots=1).result == []
    jury.stakes.top_up(stake, sender=OUTSIDER, value=1)
    assert draw(jury, 1, slots=1).result == [0]


SPOILER = """
# pragma version ~=0.4.3
@external
def both(target: address, first: Bytes[1024], other: address, second: Bytes[2048]):
    raw_call(target, first)
    raw_call(other, second)
"""


def test_draw__seed_used_by_another_caller_in_the_transaction__changes_nothing(world: World) -> None:
    task = world.to_convened()
    target = world.panel.panel(task.id)["target_block"]
    world.chain.block = target + 1
    chain, now, slots = world.chain, world.chain.now, world.stakes.slots()
    seed = keccak(chain.randao(target) + task.id + (1).to_bytes(32, "big"))
    spoiler = chain.deploy(compiled_source(SPOILER), sender=DEPLOYER)
    spoil = world.stakes.functions["draw"].calldata([seed, 63, now, now, slots])
    drawing = world.panel.functions["draw"].calldata([task.id, chain.header(target)])
    spoiler.both(world.stakes.address, spoil, world.panel.address, drawing, sender=OUTSIDER)
    assert world.committee(task) == expected_draw(seed, 3, slots, range(slots))


# -------------------------------------------------------------------------------------------------- release


def test_release__with_a_slash__burns_it_and_frees_the_rest(jury: World) -> None:
    (slot,) = draw(jury, 1).result
    receipt = jury.stakes.release(slot, RESERVATION // 20, sender=JURY)
    assert receipt.result == RESERVATION // 20
    assert receipt.events(jury.stakes, "Released") == [{"slot": slot, "panel": JURY, "slashed": RESERVATION // 20}]
    assert (seat(jury, slot)["balance"], seat(jury, slot)["reserved"]) == (SEAT - RESERVATION // 20, 0)
    assert jury.stakes.burned(NATIVE) == RESERVATION // 20
    assert jury.chain.balance(jury.stakes.address) == SEATS * SEAT  # burned money stays permanently


def test_release__a_wei_more_than_the_reservation__reverts(jury: World) -> None:
    (slot,) = draw(jury, 1).result
    with reverts("release: above the reservation"):
        jury.stakes.release(slot, RESERVATION + 1, sender=JURY)
    assert jury.stakes.release(slot, RESERVATION, sender=JURY).result == RESERVATION
    assert seat(jury, slot)["balance"] == SEAT - RESERVATION


def test_release__nothing_held__reverts(jury: World) -> None:
    (slot,) = draw(jury, 1).result
    for other in (OUTSIDER, jury.panel.address, OPERATOR):  # a panel without a number, a panel with another number
        with reverts("release: nothing reserved"):
            jury.stakes.release(slot, 0, sender=other)
    with reverts("release: nothing reserved"):
        jury.stakes.release((slot + 1) % SEATS, 0, sender=JURY)
    with reverts("release: nothing reserved"):
        jury.stakes.release(SEATS, 0, sender=JURY)
    jury.stakes.release(slot, 0, sender=JURY)
    with reverts("release: nothing reserved"):
        jury.stakes.release(slot, 0, sender=JURY)


@pytest.mark.parametrize("order", permutations(range(PLACES)), ids=str)
def test_release__in_any_order__every_panel_keeps_what_is_its_own(world: World, order: tuple[int, ...]) -> None:
    panels = [account(f"panel {i}") for i in range(PLACES)]
    for panel in panels:
        world.stakes.enrol(world.stakes.stake_of(0), panel, sender=OWNER)
    world.chain.at(world.chain.now + 1)
    for panel in panels:
        draw(world, 1, sender=panel)
    held = set(panels)
    for i in order:
        world.stakes.release(0, RESERVATION // 20, sender=panels[i])
        held.remove(panels[i])
        assert {panel for panel in panels if world.stakes.enrolled(panel, 0)[1] == RESERVATION} == held
        assert seat(world, 0)["reserved"] == len(held) * RESERVATION
    assert seat(world, 0)["balance"] == SEAT - PLACES * (RESERVATION // 20)


def test_release__four_full_slashes__take_exactly_the_seat(jury: World) -> None:
    fill(jury, range(1))
    for _ in range(PLACES):
        jury.stakes.release(0, RESERVATION, sender=JURY)
    assert (seat(jury, 0)["balance"], seat(jury, 0)["reserved"]) == (0, 0)
    with reverts("release: nothing reserved"):
        jury.stakes.release(0, 1, sender=JURY)
    stake = jury.stakes.stake_of(0)
    jury.stakes.request_exit(stake, sender=OWNER)
    jury.chain.at(jury.chain.now + EXIT_DELAY)
    assert jury.stakes.exit(stake, sender=OWNER).events(jury.stakes, "Exited") == [{"stake": stake, "amount": 0}]
    assert (jury.stakes.credit(NATIVE, OWNER), jury.stakes.burned(NATIVE)) == (0, SEAT)
