"""Stakes: opening a seat, enrolling it, refilling it, changing its operator, and leaving."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import boa
import pytest

from tests.contracts.draws import JURY, draw, slash
from tests.evm import NATIVE, ZERO, Chain, compiled, reverts, word
from tests.harness import DEPLOYER, EXIT_DELAY, OPERATOR, OUTSIDER, OWNER, PARAMETERS, RESERVATION, RIVAL, SEAT, World
from verifier.protocol import commitments

STAKES = "contracts/Stakes.vy"
UNKNOWN = word("no such stake")
NOBODY = NATIVE
ENDPOINT = "https://rival.example"


def leave(world: World, stake: bytes, owner: str = OWNER) -> None:
    world.stakes.request_exit(stake, sender=owner)
    world.chain.at(world.chain.now + EXIT_DELAY)
    world.stakes.exit(stake, sender=owner)


# --------------------------------------------------------------------------------------------- deployment


@pytest.mark.parametrize("seat", [0, 79, 81, 160 - 1, 2**80 + 64])
def test_deploy__seat_not_divisible_by_80_or_too_large__reverts(seat: int) -> None:
    with reverts("stakes: bad seat size"):
        Chain().deploy(compiled(STAKES), seat, 1, sender=DEPLOYER)


def test_deploy__no_exit_delay__reverts() -> None:
    with reverts("stakes: no exit delay"):
        Chain().deploy(compiled(STAKES), 80, 0, sender=DEPLOYER)


@pytest.mark.parametrize("seat", [80, (2**80 - 1) // 80 * 80])
def test_deploy__smallest_and_largest_seat__reserves_a_quarter(seat: int) -> None:
    stakes = Chain().deploy(compiled(STAKES), seat, 1, sender=DEPLOYER)
    assert (stakes.SEAT(), stakes.RESERVATION(), stakes.EXIT_DELAY()) == (seat, seat // 4, 1)
    assert (stakes.slots(), stakes.active_seats()) == (0, 0)


def test_join__largest_seat__is_held_and_given_back_to_the_wei() -> None:
    seat = (2**80 - 1) // 80 * 80
    world = World(replace(PARAMETERS, seat=seat))
    (stake,) = world.join()
    assert world.stakes.seat(stake)["balance"] == seat
    leave(world, stake)
    assert world.stakes.credit(NATIVE, OWNER) == seat


# --------------------------------------------------------------------------------------------------- join


def test_join__with_a_panel__opens_the_next_slot_and_enrols(world: World) -> None:
    stakes, slot = world.stakes, world.stakes.slots()
    receipt = stakes.join(RIVAL, ENDPOINT, world.panel.address, sender=OWNER, value=SEAT)
    stake = commitments.stake(world.chain.chain_id, stakes.address, OWNER, slot)  # this owner opened every seat so far
    assert receipt.result == stake
    assert receipt.events(stakes, "Joined") == [
        {"stake": stake, "owner": OWNER, "operator": RIVAL, "slot": slot, "endpoint": ENDPOINT}
    ]
    assert receipt.events(stakes, "Enrolled") == [{"stake": stake, "panel": world.panel.address}]
    assert stakes.seat(stake) == {
        "stake": stake,
        "slot": slot,
        "owner": OWNER,
        "operator": RIVAL,
        "joined_at": world.chain.now,
        "exit_at": 0,
        "balance": SEAT,
        "reserved": 0,
        "endpoint": ENDPOINT,
    }
    assert (stakes.slots(), stakes.active_seats(), stakes.nonce(OWNER)) == (slot + 1, slot + 1, slot + 1)
    assert (stakes.slot_of(stake), stakes.stake_of(slot), stakes.owner_of(slot)) == (slot, stake, OWNER)
    assert (stakes.voter(slot), stakes.endpoint_of(slot)) == ((stake, RIVAL), ENDPOINT)
    assert stakes.enrolled(world.panel.address, slot) == (world.chain.now, 0)
    assert world.chain.balance(stakes.address) == (slot + 1) * SEAT


def test_join__without_a_panel__enrols_nowhere(world: World) -> None:
    receipt = world.stakes.join(OPERATOR, "", NOBODY, sender=OWNER, value=SEAT)
    assert receipt.events(world.stakes, "Enrolled") == []
    assert world.stakes.enrolled(world.panel.address, world.stakes.slots() - 1) == (0, 0)


@pytest.mark.parametrize("amount", [0, SEAT - 1, SEAT + 1, 2 * SEAT])
def test_join__other_than_the_price_of_a_seat__reverts(world: World, amount: int) -> None:
    with reverts("join: wrong stake"):
        world.stakes.join(OPERATOR, "", NOBODY, sender=OWNER, value=amount)


def test_join__no_operator__reverts(world: World) -> None:
    with reverts("join: no operator"):
        world.stakes.join(NOBODY, "", NOBODY, sender=OWNER, value=SEAT)


def test_join__endpoint_of_200_bytes__is_kept_and_of_201_refused(world: World) -> None:
    world.stakes.join(OPERATOR, "x" * 200, NOBODY, sender=OWNER, value=SEAT)
    assert world.stakes.endpoint_of(world.stakes.slots() - 1) == "x" * 200
    with reverts(""):
        world.stakes.join(OPERATOR, "x" * 201, NOBODY, sender=OWNER, value=SEAT)


# ------------------------------------------------------------------------------------------------ enrolling


def test_enrol__second_panel__is_dated_now_and_keeps_the_first(world: World) -> None:
    (stake,) = world.join()
    slot, joined_at = world.stakes.slot_of(stake), world.chain.now
    world.chain.at(joined_at + 5)
    receipt = world.stakes.enrol(stake, JURY, sender=OWNER)
    assert receipt.events(world.stakes, "Enrolled") == [{"stake": stake, "panel": JURY}]
    assert world.stakes.enrolled(JURY, slot) == (joined_at + 5, 0)
    assert world.stakes.enrolled(world.panel.address, slot) == (joined_at, 0)


def test_enrol__twice_at_one_panel__reverts(world: World) -> None:
    (stake,) = world.join()
    with reverts("enrol: already enrolled"):  # in the second in which it joined
        world.stakes.enrol(stake, world.panel.address, sender=OWNER)
    world.chain.at(world.chain.now + 5)
    with reverts("enrol: already enrolled"):
        world.stakes.enrol(stake, world.panel.address, sender=OWNER)


def test_enrol__no_panel__reverts(world: World) -> None:
    with reverts("enrol: no panel"):
        world.stakes.enrol(world.stakes.stake_of(0), NOBODY, sender=OWNER)


def test_enrol__leaving_seat__reverts(world: World) -> None:
    stake = world.stakes.stake_of(0)
    world.stakes.request_exit(stake, sender=OWNER)
    with reverts("stake: leaving"):
        world.stakes.enrol(stake, JURY, sender=OWNER)


def test_enrol__all_panel_numbers_used__refuses_only_new_panels(world: World) -> None:
    layout = boa.load_partial(str(Path(__file__).parents[2] / STAKES)).compiler_data.storage_layout
    world.chain.write(world.stakes, layout["storage_layout"]["panels"]["slot"], 2**24 - 2)
    world.stakes.enrol(world.stakes.stake_of(0), JURY, sender=OWNER)
    with reverts("enrol: too many panels"):
        world.stakes.enrol(world.stakes.stake_of(0), OUTSIDER, sender=OWNER)
    world.stakes.enrol(world.stakes.stake_of(1), JURY, sender=OWNER)
    world.join_early()
    assert sorted(draw(world, 2).result) == [0, 1]
    assert world.stakes.enrolled(JURY, 1) == (world.chain.now - 1, RESERVATION)
    world.stakes.release(0, 0, sender=JURY)


# ------------------------------------------------------------------------------------- operator and endpoint


def test_set_operator__by_the_owner__hands_the_seat_to_the_new_key(world: World) -> None:
    stake = world.stakes.stake_of(0)
    receipt = world.stakes.set_operator(stake, RIVAL, sender=OWNER)
    assert receipt.events(world.stakes, "OperatorSet") == [{"stake": stake, "operator": RIVAL}]
    assert world.stakes.voter(0) == (stake, RIVAL)


def test_set_operator__to_nobody__reverts(world: World) -> None:
    with reverts("stake: no operator"):
        world.stakes.set_operator(world.stakes.stake_of(0), NOBODY, sender=OWNER)


def test_set_endpoint__by_the_owner__changes_the_url(world: World) -> None:
    stake = world.stakes.stake_of(0)
    receipt = world.stakes.set_endpoint(stake, ENDPOINT, sender=OWNER)
    assert receipt.events(world.stakes, "EndpointSet") == [{"stake": stake, "endpoint": ENDPOINT}]
    assert world.stakes.endpoint_of(0) == ENDPOINT


OWNERS_CALLS = [
    ("enrol", JURY),
    ("set_operator", RIVAL),
    ("set_endpoint", ENDPOINT),
    ("request_exit",),
    ("exit",),
]


@pytest.mark.parametrize("call", OWNERS_CALLS, ids=lambda call: call[0])
@pytest.mark.parametrize("sender", [OPERATOR, OUTSIDER])
def test_owners_call__by_anybody_else__reverts(world: World, call: tuple[str, ...], sender: str) -> None:
    name, *arguments = call
    with reverts("stake: not the owner"):
        getattr(world.stakes, name)(world.stakes.stake_of(0), *arguments, sender=sender)


@pytest.mark.parametrize("call", OWNERS_CALLS, ids=lambda call: call[0])
def test_owners_call__for_an_unknown_stake__reverts(world: World, call: tuple[str, ...]) -> None:
    name, *arguments = call
    with reverts("stake: unknown"):
        getattr(world.stakes, name)(UNKNOWN, *arguments, sender=OWNER)


def test_views__unknown_stake_and_free_slot__revert_or_return_zeros(world: World) -> None:
    for view in (world.stakes.seat, world.stakes.slot_of):
        with reverts("stake: unknown"):
            view(UNKNOWN)
    free = world.stakes.slots()
    assert world.stakes.voter(free) == (ZERO, NOBODY)
    assert (world.stakes.stake_of(free), world.stakes.owner_of(free)) == (ZERO, NOBODY)
    assert world.stakes.enrolled(world.panel.address, free) == (0, 0)


# ------------------------------------------------------------------------------------------------- top_up


def test_top_up__slashed_seat__anyone_can_refill_it(world: World) -> None:
    stake = world.stakes.stake_of(0)
    world.stakes.enrol(stake, JURY, sender=OWNER)
    world.chain.at(world.chain.now + 1)
    slash(world, stake, RESERVATION)
    assert world.stakes.seat(stake)["balance"] == SEAT - RESERVATION
    with reverts("top_up: above a seat"):
        world.stakes.top_up(stake, sender=OUTSIDER, value=RESERVATION + 1)
    receipt = world.stakes.top_up(stake, sender=OUTSIDER, value=RESERVATION - 1)
    assert receipt.events(world.stakes, "ToppedUp") == [{"stake": stake, "amount": RESERVATION - 1}]
    assert world.stakes.seat(stake)["balance"] == SEAT - 1
    world.stakes.top_up(stake, sender=OUTSIDER, value=1)
    with reverts("top_up: above a seat"):
        world.stakes.top_up(stake, sender=OUTSIDER, value=1)


def test_top_up__nothing_or_an_unknown_stake__reverts(world: World) -> None:
    with reverts("top_up: nothing sent"):
        world.stakes.top_up(world.stakes.stake_of(0), sender=OWNER)
    with reverts("stake: unknown"):
        world.stakes.top_up(UNKNOWN, sender=OWNER, value=1)


# --------------------------------------------------------------------------------------------------- exit


def test_request_exit__by_the_owner__stamps_the_seat(world: World) -> None:
    stake, seats = world.stakes.stake_of(3), world.stakes.active_seats()
    before = world.stakes.seat(stake)
    receipt = world.stakes.request_exit(stake, sender=OWNER)
    assert receipt.events(world.stakes, "ExitRequested") == [{"stake": stake, "exit_at": world.chain.now}]
    assert world.stakes.seat(stake) == before | {"exit_at": world.chain.now}
    assert (world.stakes.active_seats(), world.stakes.slots()) == (seats - 1, seats)
    with reverts("stake: leaving"):
        world.stakes.request_exit(stake, sender=OWNER)


def test_exit__not_requested__reverts(world: World) -> None:
    with reverts("exit: not requested"):
        world.stakes.exit(world.stakes.stake_of(0), sender=OWNER)


def test_exit__a_second_early_and_on_time__credits_the_owner_once(world: World) -> None:
    stakes, stake = world.stakes, world.stakes.stake_of(0)
    stakes.request_exit(stake, sender=OWNER)
    world.chain.at(world.chain.now + EXIT_DELAY - 1)
    with reverts("exit: too early"):
        stakes.exit(stake, sender=OWNER)
    world.chain.at(world.chain.now + 1)
    receipt = stakes.exit(stake, sender=OWNER)
    assert receipt.events(stakes, "Exited") == [{"stake": stake, "amount": SEAT}]
    assert stakes.credit(NATIVE, OWNER) == SEAT
    assert (stakes.voter(0), stakes.owner_of(0), stakes.endpoint_of(0)) == ((ZERO, NOBODY), NOBODY, "")
    with reverts("stake: unknown"):
        stakes.exit(stake, sender=OWNER)


def test_exit__reserved_by_a_panel__only_after_the_panel_let_go(world: World) -> None:
    stake = world.stakes.stake_of(0)
    world.stakes.enrol(stake, JURY, sender=OWNER)
    world.chain.at(world.chain.now + 1)
    draw(world, 1)
    world.stakes.request_exit(stake, sender=OWNER)
    world.chain.at(world.chain.now + EXIT_DELAY)
    with reverts("exit: reserved by a panel"):
        world.stakes.exit(stake, sender=OWNER)
    world.stakes.release(0, RESERVATION, sender=JURY)
    receipt = world.stakes.exit(stake, sender=OWNER)
    assert receipt.events(world.stakes, "Exited") == [{"stake": stake, "amount": SEAT - RESERVATION}]
    assert (world.stakes.credit(NATIVE, OWNER), world.stakes.burned(NATIVE)) == (SEAT - RESERVATION, RESERVATION)


def test_join__after_exits__reuses_the_free_slots(world: World) -> None:
    stakes, slots = world.stakes, world.stakes.slots()
    before = {slot: stakes.stake_of(slot) for slot in range(slots)}
    leave(world, before[2])
    leave(world, before[7])
    fresh = world.join(3, owner=RIVAL)
    assert [stakes.slot_of(stake) for stake in fresh] == [7, 2, slots]
    after = {slot: stakes.stake_of(slot) for slot in range(slots)}
    assert after == before | {7: fresh[0], 2: fresh[1]}
    assert not set(fresh) & set(before.values())
    assert (stakes.slots(), stakes.active_seats()) == (slots + 1, slots + 1)


def test_join__slot_of_a_former_occupant__its_enrolment_does_not_count(world: World) -> None:
    stakes, panel = world.stakes, world.panel.address
    leave(world, stakes.stake_of(0))
    assert stakes.enrolled(panel, 0) == (0, 0)
    (stake,) = world.join(panel=NOBODY)  # in the second of the exit
    assert (stakes.slot_of(stake), stakes.enrolled(panel, 0)) == (0, (0, 0))
    world.chain.at(world.chain.now + 1)
    assert 0 not in draw(world, 12, sender=panel).result
    stakes.enrol(stake, panel, sender=OWNER)
    assert stakes.enrolled(panel, 0) == (world.chain.now, 0)


# ------------------------------------------------------------------------------------------------ withdraw


def test_withdraw__after_an_exit__pays_once_to_the_named_account(world: World) -> None:
    leave(world, world.stakes.stake_of(0))
    before = world.chain.balance(RIVAL)
    receipt = world.stakes.withdraw(NATIVE, RIVAL, sender=OWNER)
    assert receipt.result == SEAT
    assert receipt.events(world.stakes, "Withdrawn") == [
        {"asset": NATIVE, "account": OWNER, "to": RIVAL, "amount": SEAT}
    ]
    assert world.chain.balance(RIVAL) == before + SEAT
    assert world.chain.balance(world.stakes.address) == 11 * SEAT
    with reverts("withdraw: nothing owed"):
        world.stakes.withdraw(NATIVE, RIVAL, sender=OWNER)


def test_withdraw__to_nobody_or_by_an_outsider__reverts(world: World) -> None:
    leave(world, world.stakes.stake_of(0))
    with reverts("withdraw: no receiver"):
        world.stakes.withdraw(NATIVE, NOBODY, sender=OWNER)
    with reverts("withdraw: nothing owed"):
        world.stakes.withdraw(NATIVE, OUTSIDER, sender=OUTSIDER)
