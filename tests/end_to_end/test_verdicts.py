"""Several tasks at once in one service, which votes for invalid inputs and misfits as for scores."""

from __future__ import annotations

from tests.end_to_end.program import BAD, GOOD, Program, float_program
from tests.end_to_end.world import REWARD, SEAT, Sealed, World
from verifier.protocol.constants import MISFIT_SCORE


def test_verdicts__four_tasks_at_the_same_time__each_gets_its_own(world: World) -> None:
    verifier = world.add_verifier("only", seats=4)
    plain = world.create_task(committee=1)
    not_exact = world.create_task(committee=1, program=Program(float_program()))
    other_holdout = world.create_task(committee=1, holdout=Sealed(world.program.examples_file(seed=3)))
    misfit = world.create_task(committee=1)
    tasks = {plain: "SCORED", not_exact: "PROGRAM_INVALID", other_holdout: "HOLDOUT_INVALID", misfit: "SCORED"}
    entries = []
    for task in tasks:
        world.task = task
        entries.append(world.submit(GOOD))
    good_file = world.program.submission_file(GOOD)
    entries.append(world.submit_file(Sealed(good_file.replace(b"I16", b"F16"))))
    entries.append(world.submit_file(Sealed(good_file, claimed=world.program.submission_file(BAD))))
    verifier.start()
    world.to_drawn()
    world.to_attested(1)
    world.to_judging(*entries)
    world.to_settled(votes=1, seats=1)

    score = world.program.score(GOOD, seed=1)
    found = {line["task"]: line for line in verifier.log() if line.get("event") == "evaluated"}
    for task, outcome in tasks.items():
        assert found[task.hex()]["outcome"] == outcome
    assert found[plain.hex()]["scores"] == [score]
    assert found[misfit.hex()]["scores"] == [score, MISFIT_SCORE, MISFIT_SCORE]
    assert "not exact at input 'w'" in found[not_exact.hex()]["reason"]
    assert found[other_holdout.hex()]["reason"] == "the revealed holdout is not the one of the manifest"

    world.task = plain
    assert [list(event["scores"]) for event in world.events(world.bounties, "Settled")] == [[score]]
    world.task = misfit
    (settled,) = world.events(world.bounties, "Settled")
    assert list(settled["scores"]) == [score, MISFIT_SCORE, MISFIT_SCORE]
    for task in (not_exact, other_holdout):
        world.task = task
        assert not world.events(world.bounties, "Settled")
        assert len(world.events(world.bounties, "Cancelled")) == 1
    assert world.credit(world.bounties, world.sponsor.address) >= 2 * REWARD
    assert world.stake_of(verifier) == 4 * SEAT
