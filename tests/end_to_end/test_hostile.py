"""One service with many hostile tasks and submissions, and one honest submission that must be paid."""

from __future__ import annotations

import json

from tests.end_to_end.hostile import hostile_manifests, hostile_programs
from tests.end_to_end.hosts import FileHost
from tests.end_to_end.program import BAD, GOOD, Program
from tests.end_to_end.world import REWARD, SEAT, Sealed, World
from verifier.protocol import commitments


def hostile_uris(world: World, inside: FileHost) -> dict[str, tuple[str, str]]:
    """By kind: a URI, and a part of the reason why it is not followed. `inside` is a host that must not be reached."""
    base = f"http://{world.host.authority}"
    world.host.redirects = {"inside": f"http://{inside.authority}/secret", "loop": f"{base}/loop"}
    world.host.files["long"] = b"\0" * 100_000
    return {
        "another scheme": ("file:///etc/passwd", "the scheme file is not followed"),
        "a chain": (f"zip://x.zip::{base}/x", "chains of URIs"),
        "loopback": (
            f"http://{inside.authority}/secret",
            "http is followed only to hosts that the configuration names",
        ),
        "resolves to loopback": ("https://localhost/secret", "not on the public internet"),
        "redirects inside": (f"{base}/inside", "redirects to"),
        "redirect loop": (f"{base}/loop", "redirects more than"),
        "a long body": (f"{base}/long", "announces 100000 bytes"),
    }


def submit_with_a_uri_that_is_not_utf8(world: World) -> None:
    """Commit a URI that is not UTF-8. The contract accepts any bytes, but web3 does not, so the calldata is changed."""
    sealed, plain, key = Sealed(world.program.submission_file(BAD)).opening
    solver = world.person("solver of bytes")
    commitment = commitments.submission(
        world.w3.eth.chain_id, world.bounties.address, world.task, solver.address, sealed, plain, key
    )
    call = world.bounties.functions.commit_submission(world.task, commitment, sealed, "?" * 9)
    value = world.bounties.functions.bond_of(world.view().submissions).call()
    value += world.bounties.functions.fee(world.task).call()
    transaction = call.build_transaction({"from": solver.address, "value": value})
    transaction["data"] = transaction["data"].replace("3f" * 9, "ff" * 9)
    world.send_transaction(solver, transaction)


def test_service__many_hostile_tasks__settles_the_honest_one(world: World) -> None:
    verifier = world.add_verifier("only", seats=20)
    inside = FileHost()
    # Programs that are not exact, each with a matching manifest.
    programs = {
        kind: (world.create_task(committee=1, program=Program(data)), reason)
        for kind, (data, reason) in hostile_programs().items()
    }
    # Manifests that are not valid, and one whose digest is not the one on chain.
    honest = world.create_task(committee=1)
    manifests = {
        kind: (world.create_task(committee=1, manifest=data), reason)
        for kind, (data, reason) in hostile_manifests(world.manifests[honest]).items()
    }
    elsewhere = world.host.publish(b"something else")
    manifests["another digest"] = (world.create_task(committee=1, manifest_uri=elsewhere), "the bytes have digest")
    refused = [task for task, _ in manifests.values()]
    invalid = [task for task, _ in programs.values()]

    entries = []
    for task in (*refused, *invalid, honest):
        world.task = task
        entries.append(world.submit(GOOD))
    # Besides the honest submission: hostile URIs, and bytes that no submission can have.
    uris = hostile_uris(world, inside)
    for uri, _ in uris.values():
        world.submit_file(Sealed(world.program.submission_file(BAD)), uri=uri)
    submit_with_a_uri_that_is_not_utf8(world)
    world.submit_file(Sealed(world.program.submission_file(GOOD) + b"trailing"))

    verifier.start()
    world.to_drawn()
    # The service waits for missing files until shortly before the window ends.
    world.watched = [*invalid]
    world.everywhere(lambda: world.events(world.panel, "Attested"), "attestations of what is there")
    world.watched = [*refused, *invalid, honest]
    world.advance_all(lambda: world.panel_view().attest_closes - 60)
    world.to_attested(1)
    world.task = honest
    assert world.panel_view().admitted == 0b11  # of the submissions, only the honest one is admitted
    world.watched = [*invalid, honest]
    world.to_judging(*entries)
    world.to_committed(1)
    world.to_revealed(1)
    world.watched = [*refused, *invalid, honest]
    world.to_closed(1)

    world.task = honest
    (settled,) = world.events(world.bounties, "Settled")
    assert settled["scores"][0] == world.program.score(GOOD, seed=1)
    assert not any(settled["scores"][1:])
    assert world.credit(world.bounties, world.person("solver 0").address) >= REWARD
    for task in (*refused, *invalid):
        world.task = task
        assert len(world.events(world.bounties, "Cancelled")) == 1
    assert world.stake_of(verifier) == 20 * SEAT
    assert inside.asked == {}

    # The log has the reason for each of them.
    log = verifier.log()
    evaluated = {line["task"]: line for line in log if line.get("event") == "evaluated"}
    for kind, (task, reason) in programs.items():
        assert evaluated[task.hex()]["outcome"] == "PROGRAM_INVALID", kind
        assert reason in evaluated[task.hex()]["reason"], kind
    said = {task: json.dumps([line for line in log if line.get("task") == task.hex()]) for task in (*refused, honest)}
    for kind, (task, reason) in manifests.items():
        assert reason in said[task], kind
    for kind, (_, reason) in uris.items():
        assert reason in said[honest], kind
    assert "announces" in said[honest]  # the reason for the trailing bytes
    inside.close()
    assert verifier.stop() == 0
