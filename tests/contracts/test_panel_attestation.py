"""Panel: which files the first committee attests, and which of them more than half of it admits."""

from __future__ import annotations

from random import Random

import pytest

from tests.evm import reverts, word
from tests.harness import EXIT_DELAY, OPERATOR, OUTSIDER, OWNER, RIVAL, WINDOWS, Task, World

UNKNOWN = word("no such task")


def stake_at(world: World, task: Task, position: int) -> bytes:
    return bytes(world.stakes.stake_of(world.committee(task)[position]))


def close(world: World, task: Task) -> dict[str, int]:
    """Wait for the end of the window and close the attestation; returns the fields of the event."""
    world.chain.at(world.panel.panel(task.id)["attest_closes"])
    (event,) = world.panel.close_attestation(task.id, sender=OUTSIDER).events(world.panel, "AttestationClosed")
    return dict(event)


# -------------------------------------------------------------------------------------------------- attest


def test_attest__by_the_operator__is_written_down(world: World) -> None:
    task = world.to_drawn(2)
    assert world.panel.attestation(task.id, 1) == (False, 0)
    receipt = world.panel.attest(task.id, 1, 0b101, sender=OPERATOR)
    assert receipt.events(world.panel, "Attested") == [
        {"task": task.id, "stake": stake_at(world, task, 1), "bitmap": 0b101}
    ]
    assert world.panel.attestation(task.id, 1) == (True, 0b101)
    assert world.panel.attestation(task.id, 0) == (False, 0)


def test_attest__nothing_is_there__is_an_attestation_too(world: World) -> None:
    task = world.to_drawn()
    world.panel.attest(task.id, 0, 0, sender=OPERATOR)
    assert world.panel.attestation(task.id, 0) == (True, 0)
    with reverts("attest: already attested"):
        world.panel.attest(task.id, 0, 0b11, sender=OPERATOR)


def test_attest__no_committee__reverts(world: World) -> None:
    with reverts("attest: not drawn"):
        world.panel.attest(UNKNOWN, 0, 1, sender=OPERATOR)
    task = world.to_convened()
    with reverts("attest: not drawn"):
        world.panel.attest(task.id, 0, 1, sender=OPERATOR)


def test_attest__end_of_the_window__closes_to_the_second(world: World) -> None:
    task = world.to_drawn()
    closes = world.panel.panel(task.id)["attest_closes"]
    world.chain.at(closes - 1)
    world.panel.attest(task.id, 0, 0b11, sender=OPERATOR)
    world.chain.at(closes)
    with reverts("attest: closed"):
        world.panel.attest(task.id, 1, 0b11, sender=OPERATOR)


@pytest.mark.parametrize("submissions", [1, 64])
def test_attest__item_beyond_the_last_submission__reverts(world: World, submissions: int) -> None:
    task = world.to_drawn(submissions, macs=10**7)
    for bitmap in (2 ** (submissions + 1), 2**255, 2**256 - 1):
        with reverts("attest: no such item"):
            world.panel.attest(task.id, 0, bitmap, sender=OPERATOR)
    world.panel.attest(task.id, 0, task.everything, sender=OPERATOR)
    assert world.panel.attestation(task.id, 0) == (True, 2 ** (submissions + 1) - 1)


@pytest.mark.parametrize("position", [3, 8, 2**255])
def test_attest__position_outside_the_committee__reverts(world: World, position: int) -> None:
    task = world.to_drawn()
    with reverts("panel: not a seat"):
        world.panel.attest(task.id, position, 1, sender=OPERATOR)


def test_attest__not_by_the_operator__reverts(world: World) -> None:
    task = world.to_drawn()
    for sender in (OWNER, OUTSIDER):
        with reverts("panel: not the operator"):
            world.panel.attest(task.id, 0, 1, sender=sender)


def test_attest__key_rotated_after_the_draw__the_new_key_attests(world: World) -> None:
    task = world.to_drawn()
    world.stakes.set_operator(stake_at(world, task, 0), RIVAL, sender=OWNER)
    with reverts("panel: not the operator"):
        world.panel.attest(task.id, 0, 1, sender=OPERATOR)
    with reverts("panel: not the operator"):
        world.panel.attest(task.id, 1, 1, sender=RIVAL)
    world.panel.attest(task.id, 0, 1, sender=RIVAL)


def test_attest__exit_requested__keeps_the_duty_and_the_stake(world: World) -> None:
    task = world.to_drawn(windows=WINDOWS._replace(attest=3600))
    stake = stake_at(world, task, 0)
    world.stakes.request_exit(stake, sender=OWNER)
    world.panel.attest(task.id, 0, 0b11, sender=OPERATOR)
    world.chain.at(world.chain.now + EXIT_DELAY)
    with reverts("exit: reserved by a panel"):
        world.stakes.exit(stake, sender=OWNER)


# ------------------------------------------------------------------------------------------------- closing


def test_close_attestation__end_of_the_window__admits_the_majority(world: World) -> None:
    task = world.to_drawn(2)
    for position, bitmap in enumerate((0b111, 0b011, 0b010)):
        world.panel.attest(task.id, position, bitmap, sender=OPERATOR)
    world.chain.at(world.panel.panel(task.id)["attest_closes"] - 1)
    with reverts("attest: open"):
        world.panel.close_attestation(task.id, sender=OUTSIDER)
    world.chain.at(world.chain.now + 1)
    receipt = world.panel.close_attestation(task.id, sender=OUTSIDER)
    assert receipt.events(world.panel, "AttestationClosed") == [{"task": task.id, "admitted": 0b011, "attesters": 2}]
    panel = world.panel.panel(task.id)
    assert (panel["closed_at"], panel["admitted"], panel["attesters"]) == (world.chain.now, 0b011, 2)
    drawn_at = world.panel.round(task.id, 1)["drawn_at"]
    assert world.panel.admission(task.id) == (drawn_at, world.chain.now, 0b011)
    assert world.panel.tally(task.id)["attesters"] == 2
    with reverts("attest: already closed"):
        world.panel.close_attestation(task.id, sender=OUTSIDER)


def test_close_attestation__long_after_the_window__uses_the_current_time(world: World) -> None:
    task = world.to_drawn()
    world.chain.at(world.chain.now + 100_000)
    world.panel.close_attestation(task.id, sender=OUTSIDER)
    assert world.panel.panel(task.id)["closed_at"] == world.chain.now


def test_close_attestation__no_committee__reverts(world: World) -> None:
    with reverts("attest: not drawn"):
        world.panel.close_attestation(UNKNOWN, sender=OUTSIDER)


def test_close_attestation__nobody_attested__admits_nothing(world: World) -> None:
    task = world.to_drawn()
    assert close(world, task) == {"task": task.id, "admitted": 0, "attesters": 0}


@pytest.mark.parametrize("seats", [3, 4, 5, 8, 9, 12])
def test_close_attestation__half_and_one_more__admits_only_the_majority(world: World, seats: int) -> None:
    """Half of the seats attest submission 0 and one more attests submission 1; the other seats stay silent."""
    task = world.to_drawn(2, committee=seats)
    half = seats // 2
    for position in range(half + 1):
        world.panel.attest(task.id, position, 0b111 if position < half else 0b101, sender=OPERATOR)
    assert close(world, task) == {"task": task.id, "admitted": 0b101, "attesters": half + 1}


def test_close_attestation__31_seats_and_64_submissions__counts_every_item(world: World) -> None:
    world.join_early(31 - 12)
    task = world.to_drawn(64, committee=31, macs=10**7)
    dice = Random(1)
    bitmaps = [dice.getrandbits(65) if dice.random() < 0.9 else None for _ in range(30)] + [task.everything]
    for position, bitmap in enumerate(bitmaps):
        if bitmap is not None:
            world.panel.attest(task.id, position, bitmap, sender=OPERATOR)
    attested = [bitmap for bitmap in bitmaps if bitmap is not None]
    admitted = sum(1 << item for item in range(65) if sum(bitmap >> item & 1 for bitmap in attested) > 15)
    assert 0 < admitted < task.everything
    attesters = sum(bitmap & admitted == admitted for bitmap in attested)
    assert close(world, task) == {"task": task.id, "admitted": admitted, "attesters": attesters}


def test_close_attestation__31_seats_have_everything__no_counter_overflows(world: World) -> None:
    world.join_early(31 - 12)
    task = world.to_drawn(committee=31)
    for position in range(31):
        world.panel.attest(task.id, position, 0b11, sender=OPERATOR)
    assert close(world, task) == {"task": task.id, "admitted": 0b11, "attesters": 31}
