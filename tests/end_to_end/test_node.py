"""A node that does not answer, and reorganisations of the chain."""

from __future__ import annotations

from tests.end_to_end.program import GOOD
from tests.end_to_end.world import SEAT, WINDOW_S, Committed


def test_node__away_for_a_while__the_service_waits_and_goes_on(committed_world: Committed) -> None:
    world, verifier, entry = committed_world
    world.to_drawn()
    world.node.pause()
    line = verifier.wait_for_log("waits for the node")
    assert "the node does not answer: ReadTimeout" in line["reason"]
    assert verifier.health()["problem"] == line["reason"]
    world.node.resume()
    verifier.wait_for_log("goes on")
    world.to_attested(1)
    world.to_judging(entry)
    world.to_settled(votes=1, seats=1)
    assert world.stake_of(verifier) == SEAT


def test_reorganisation__removes_the_commitment__commits_the_same_again(committed_world: Committed) -> None:
    world, verifier, entry = committed_world
    world.to_drawn()
    world.to_attested(1)
    world.reveal_holdout()
    world.reveal(entry)
    before = world.node.request("evm_snapshot")
    world.node.advance_to(world.view().holdout_revealed_at + WINDOW_S)
    world.wait_for(lambda: world.round().committed, "the commitment")
    (first,) = world.events(world.panel, "VerdictCommitted")
    verifier.wait_for_log('"state": "mined", "duty": "commit:')

    world.node.request("evm_revert", before)
    assert not world.events(world.panel, "VerdictCommitted")
    verifier.wait_for_log("reorganisation")
    world.node.advance_to(world.view().holdout_revealed_at + WINDOW_S)
    world.to_committed(1)
    (again,) = world.events(world.panel, "VerdictCommitted")
    assert again["vote"] == first["vote"]
    world.to_revealed(1)
    world.to_closed(1)
    assert world.stake_of(verifier) == SEAT


def test_reorganisation__changes_the_inputs__no_second_vote(committed_world: Committed) -> None:
    world, verifier, kept = committed_world
    reorganised_away = world.submit(GOOD)
    world.to_drawn()
    world.to_attested(1)
    world.reveal_holdout()
    world.reveal(kept)
    before = world.node.request("evm_snapshot")
    world.reveal(reorganised_away)
    world.node.advance_to(world.view().holdout_revealed_at + WINDOW_S)
    world.wait_for(lambda: world.round().committed, "the commitment")
    verifier.wait_for_log('"state": "mined", "duty": "commit:')

    # On the winning branch the second submission was never revealed, so the vote is wrong there.
    world.node.request("evm_revert", before)
    world.node.advance_to(world.view().holdout_revealed_at + WINDOW_S)
    verifier.wait_for_log("never votes twice")
    world.node.advance_to(world.round().commit_closes)
    assert world.round().committed == 0
    assert len(verifier.journal("SELECT vote FROM votes")) == 1
