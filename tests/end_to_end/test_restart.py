"""A service that is killed, loses its data or changes its key still performs each duty exactly once."""

from __future__ import annotations

import shutil

from tests.end_to_end.program import GOOD
from tests.end_to_end.world import SEAT, Committed, World

MOMENTS = ("die_after_evaluation", "die_after_journal", "die_after_commit_sent", "die_before_reveal")


def test_kill__at_each_dangerous_moment__restarts_and_commits_once(world: World) -> None:
    steady = world.add_verifier("steady", seats=2)
    victims = [world.add_verifier(moment) for moment in MOMENTS]
    world.create_task(committee=6)
    steady.start()
    for victim in victims:
        victim.start(hook=victim.name)
    entry = world.submit(GOOD)
    world.to_drawn()
    world.to_attested(6)
    world.to_judging(entry)
    # Three services die before their commitment is confirmed, and restart within the window.
    for victim in victims[:3]:
        assert victim.wait() == -9
        victim.start()
    world.to_committed(6)
    # The fourth dies before its reveal.
    assert victims[3].wait() == -9
    victims[3].start()
    world.to_revealed(6)
    world.to_closed(6)

    commitments = world.events(world.panel, "VerdictCommitted")
    assert len(commitments) == len({event["stake"] for event in commitments}) == 6
    for victim in victims:
        sent = [line for line in victim.log() if line.get("state") == "sent" and "commit:" in line["duty"]]
        assert len({line["hash"] for line in sent}) <= 1, victim.name
        assert world.stake_of(victim) == SEAT, victim.name


def test_data_folder_deleted__between_commit_and_reveal__still_reveals(committed_world: Committed) -> None:
    world, verifier, entry = committed_world
    world.to_drawn()
    world.to_attested(1)
    world.to_judging(entry)
    world.wait_for(lambda: world.round().committed, "the commitment")
    verifier.kill()
    shutil.rmtree(verifier.data)  # the seed file is in another folder
    verifier.start()
    world.node.advance_to(world.round().commit_closes)
    world.to_revealed(1)
    world.to_closed(1)

    assert len(world.events(world.panel, "VerdictCommitted")) == 1
    assert world.stake_of(verifier) == SEAT


def test_operator_key__rotated_before_the_reveal__new_key_reveals(committed_world: Committed) -> None:
    world, verifier, entry = committed_world
    world.to_drawn()
    world.to_attested(1)
    (stake,) = [event["stake"] for event in world.events(world.panel, "Attested")]
    world.to_judging(entry)
    world.wait_for(lambda: world.round().committed, "the commitment")
    new_key = world.person("rotated operator")
    world.send(verifier.owner, world.stakes.functions.set_operator(stake, new_key.address))
    # The service with the old key has no seat any more and keeps running; then the machine gets the new key.
    assert verifier.stop() == 0
    verifier.use_key(new_key)
    verifier.start()
    world.node.advance_to(world.round().commit_closes)
    world.to_revealed(1)
    world.to_closed(1)

    assert world.stakes.functions.seat(stake).call().balance == SEAT
    assert world.w3.eth.get_transaction_count(new_key.address) > 0
