"""The panel judges only what it can fetch."""

from __future__ import annotations

from tests.end_to_end.program import GOOD
from tests.end_to_end.world import SEAT, World


def test_mirror__one_operator_reaches_the_host__serves_the_others(world: World) -> None:
    well_connected = world.add_verifier("connected")
    others = [world.add_verifier(name, reaches_host=False) for name in ("second", "third")]
    world.create_task(committee=3)
    for verifier in world.verifiers:
        verifier.start()
    entry = world.submit(GOOD)
    ciphertext = world.host.uri(entry.file.ciphertext).rpartition("/")[2]
    world.to_drawn()
    world.to_attested(3)
    assert world.panel_view().admitted == 0b11
    assert world.host.asked[ciphertext] == 1  # only the operator that reaches the host has fetched it there
    world.to_judging(entry)
    world.to_settled(votes=3, seats=3)

    (settled,) = world.events(world.bounties, "Settled")
    assert list(settled["scores"]) == [world.program.score(GOOD, seed=1)]
    assert all(world.stake_of(verifier) == SEAT for verifier in (well_connected, *others))


def test_attestation__unavailable_ciphertext__drops_out_and_the_rest_settles(world: World) -> None:
    verifier = world.add_verifier("only", seats=3)
    world.create_task(committee=3)
    verifier.start()
    missing = world.submit(GOOD, publish=False)
    present = world.submit(GOOD)
    world.to_drawn()
    # The service waits for missing files until shortly before the window ends.
    line = verifier.wait_for_log("submission 0 (no copy of")
    assert "answers with status 404" in line["reason"]
    world.node.advance_to(world.panel_view().attest_closes - 60)
    world.to_attested(3)
    assert world.panel_view().admitted == 0b101
    world.to_judging(present)
    world.to_settled(votes=3, seats=3)

    (settled,) = world.events(world.bounties, "Settled")
    assert list(settled["scores"]) == [0, world.program.score(GOOD, seed=1)]
    assert world.credit(world.bounties, missing.solver.address) > 0  # the bond is returned
    assert world.stake_of(verifier) == 3 * SEAT
