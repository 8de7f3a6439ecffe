"""A whole bounty, judged by real service processes on a real chain."""

from __future__ import annotations

from tests.end_to_end.program import BAD, GOOD
from tests.end_to_end.world import REWARD, SEAT, SEAT_FEE, World


def test_bounty__three_verifiers_agree__winner_and_verifiers_are_paid(world: World) -> None:
    # Three operators each stake one seat and start their services.
    verifiers = [world.add_verifier(name) for name in ("first", "second", "third")]
    # A sponsor escrows a reward for a submission that scores 10 or more.
    world.create_task(committee=3, threshold=10)
    for verifier in verifiers:
        verifier.start()
    # Two solvers commit to sealed submissions, of which one will pass.
    winner = world.submit(GOOD)
    loser = world.submit(BAD)
    # The services convene and draw the committee, fetch all files and attest them.
    world.to_drawn()
    world.to_attested(3)
    assert world.panel_view().admitted == 0b111
    # The holdout and the submissions are revealed; the services evaluate, commit and reveal.
    world.to_judging(winner, loser)
    world.to_committed(3)
    world.to_revealed(3)
    # The services settle, credit the solvers and close all votes.
    world.to_closed(3)

    (settled,) = world.events(world.bounties, "Settled")
    assert list(settled["scores"]) == [world.program.score(GOOD, seed=1), 0]
    assert world.credit(world.bounties, winner.solver.address) >= REWARD
    assert all(world.stake_of(verifier) == SEAT for verifier in verifiers)
    fee_of_a_seat = 2 * SEAT_FEE  # two submissions, and no seat failed
    assert all(world.credit(world.bounties, verifier.owner.address) == fee_of_a_seat for verifier in verifiers)
    assert all(verifier.stop() == 0 for verifier in verifiers)
