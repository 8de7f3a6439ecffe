"""Operators that lie, stay silent or cannot evaluate, and what they lose."""

from __future__ import annotations

from tests.end_to_end.program import GOOD
from tests.end_to_end.world import RESERVATION, SEAT, SEAT_FEE, World


def test_panel__one_lies_and_one_is_silent__slashes_both_and_settles(world: World) -> None:
    honest = world.add_verifier("honest", seats=5)
    liar = world.add_verifier("liar")
    silent = world.add_verifier("silent")  # it has a stake, and its service never starts
    world.create_task(committee=7)
    honest.start()
    liar.start(hook="lie")
    entry = world.submit(GOOD)
    world.to_drawn()
    world.to_attested(6)
    world.to_judging(entry)
    world.to_settled(votes=6, seats=7)

    (settled,) = world.events(world.bounties, "Settled")
    assert list(settled["scores"]) == [world.program.score(GOOD, seed=1)]
    assert world.stake_of(honest) == 5 * SEAT
    assert world.stake_of(liar) == SEAT - RESERVATION
    assert world.stake_of(silent) == SEAT - RESERVATION // 20
    assert world.credit(world.bounties, silent.owner.address) == 0
    # An honest seat earns its own fees and at most the fees that the other two seats did not earn.
    assert 5 * SEAT_FEE <= world.credit(world.bounties, honest.owner.address) <= 7 * SEAT_FEE


def test_evaluation__child_always_crashes__abstains(world: World) -> None:
    honest = world.add_verifier("honest", seats=3)
    crashing = world.add_verifier("crashing")
    world.create_task(committee=4)
    honest.start()
    crashing.start(hook="crash_in_the_child")
    entry = world.submit(GOOD)
    world.to_drawn()
    world.to_attested(4)
    world.to_judging(entry)
    line = crashing.wait_for_log("abstains")
    assert line["reason"] == (
        "abstains until the service is restarted: the evaluation failed 2 times: "
        "the evaluation ended with signal 9: no message"
    )
    world.to_settled(votes=3, seats=4)

    assert world.stake_of(honest) == 3 * SEAT
    assert world.stake_of(crashing) == SEAT - RESERVATION // 20  # it loses a twentieth for silence, not the reservation
    assert crashing.stop() == 0
