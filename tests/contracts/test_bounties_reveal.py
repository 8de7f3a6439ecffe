"""Bounties: revealing the holdout, and revealing or declining submissions."""

from __future__ import annotations

import pytest

from tests.contracts.amounts import bond, claimed
from tests.evm import ZERO, reverts, word
from tests.harness import OUTSIDER, RIVAL, SOLVER, WINDOWS, Task, World
from verifier.protocol.constants import Ground, Outcome, Phase

OPENING = (word("sealed"), word("plain"), word("key"))


def closed_at(world: World, task: Task) -> int:
    return int(world.panel.panel(task.id)["closed_at"])


# ----------------------------------------------------------------------------------------------- holdout


def attested(world: World, bitmaps: list[int | None] | None = None) -> Task:
    """Make a sealed task whose sponsor must reveal now."""
    task = world.to_attested(sealed=True, bitmaps=bitmaps)
    return task


def test_reveal_holdout__by_anyone_in_the_last_second__opens_the_reveal_window(world: World) -> None:
    task = attested(world)
    assert task.holdout is not None
    sealed, plain, key = task.holdout
    world.chain.at(closed_at(world, task) + WINDOWS.holdout - 1)
    assert world.bounties.phase(task.id) == Phase.HOLDOUT
    receipt = world.bounties.reveal_holdout(task.id, *task.holdout, sender=OUTSIDER)
    assert receipt.events(world.bounties, "HoldoutRevealed") == [
        {"task": task.id, "sealed": sealed, "plain": plain, "key": key}
    ]
    view = world.bounties.task(task.id)
    assert (view["holdout_plain"], view["holdout_revealed_at"]) == (plain, world.chain.now)
    assert view["phase"] == Phase.REVEALING


def test_reveal_holdout__a_second_after__is_too_late(world: World) -> None:
    task = attested(world)
    world.chain.at(closed_at(world, task) + WINDOWS.holdout)
    with reverts("holdout: too late"):
        world.reveal_holdout(task)


@pytest.mark.parametrize("part", range(3))
def test_reveal_holdout__another_digest_or_key__reverts(world: World, part: int) -> None:
    task = attested(world)
    assert task.holdout is not None
    opening = [word("another") if i == part else value for i, value in enumerate(task.holdout)]
    with reverts("holdout: wrong opening"):
        world.bounties.reveal_holdout(task.id, *opening, sender=task.sponsor)


def test_reveal_holdout__before_attestation_is_closed__is_not_awaited(world: World) -> None:
    task = world.create(sealed=True)
    world.submit(task)
    with reverts("holdout: not awaited"):
        world.reveal_holdout(task)
    world.chain.at(task.commit_closes)
    world.convene(task)
    with reverts("holdout: not awaited"):
        world.reveal_holdout(task)
    world.draw(task)
    with reverts("holdout: not awaited"):
        world.reveal_holdout(task)
    world.attest(task)
    world.reveal_holdout(task)


def test_reveal_holdout__twice_or_of_a_public_task__is_not_awaited(world: World) -> None:
    task = world.to_revealing(sealed=True)
    with reverts("holdout: not awaited"):
        world.reveal_holdout(task)
    public = world.to_revealing()
    with reverts("holdout: not awaited"):
        world.bounties.reveal_holdout(public.id, *OPENING, sender=OUTSIDER)


def test_reveal_holdout__sponsors_files_not_there__is_not_awaited(world: World) -> None:
    task = attested(world, [0b10, 0b10, 0b11])
    with reverts("holdout: not awaited"):
        world.reveal_holdout(task)
    world.bounties.cancel(task.id, sender=OUTSIDER)
    assert world.bounties.task(task.id)["ground"] == Ground.UNAVAILABLE


def test_reveal_holdout__cancelled_task__is_not_awaited(world: World) -> None:
    task = attested(world)
    world.chain.at(closed_at(world, task) + WINDOWS.holdout)
    world.bounties.cancel(task.id, sender=OUTSIDER)
    with reverts("holdout: not awaited"):
        world.reveal_holdout(task)


# ------------------------------------------------------------------------------------------- submissions


def give(world: World, task: Task, index: int, answer: str) -> None:
    if answer == "reveal":
        world.reveal(task, index)
    else:
        world.bounties.decline(task.id, index, sender=task.entries[index].solver)


@pytest.mark.parametrize("sealed", [False, True])
def test_reveal_submission__by_anyone_who_knows_the_key__is_announced(world: World, sealed: bool) -> None:
    task = world.to_revealing(2, sealed=sealed)
    entry = task.entries[1]
    receipt = world.reveal(task, 1, sender=OUTSIDER)
    assert receipt.events(world.bounties, "SubmissionRevealed") == [
        {"task": task.id, "index": 1, "sealed": entry.sealed, "plain": entry.plain, "key": entry.key}
    ]
    assert world.bounties.task(task.id)["revealed"] == 0b10
    views = [world.bounties.submission(task.id, index) for index in range(2)]
    assert [(view["admitted"], view["revealed"], view["declined"]) for view in views] == [
        (True, False, False),
        (True, True, False),
    ]


def test_decline__by_the_solver__is_announced_and_gives_the_bond_back(world: World) -> None:
    task = world.to_revealing()
    receipt = world.bounties.decline(task.id, 0, sender=SOLVER)
    assert receipt.events(world.bounties, "SubmissionDeclined") == [{"task": task.id, "index": 0}]
    assert world.bounties.task(task.id)["declined"] == 1
    assert world.bounties.submission(task.id, 0)["declined"]
    world.chain.at(closed_at(world, task) + WINDOWS.reveal)
    world.settle(task, outcome=Outcome.NONE)
    assert claimed(world, task, 0) == (0, bond(0))


def test_decline__by_another__reverts(world: World) -> None:
    task = world.to_revealing()
    for sender in (RIVAL, OUTSIDER, task.sponsor):
        with reverts("decline: not the solver"):
            world.bounties.decline(task.id, 0, sender=sender)


@pytest.mark.parametrize("answer", ["reveal", "decline"])
@pytest.mark.parametrize("sealed", [False, True])
def test_answer__last_second_and_the_next__closes(world: World, answer: str, sealed: bool) -> None:
    task = world.to_revealing(2, sealed=sealed)
    closes = world.chain.now + WINDOWS.reveal
    world.chain.at(closes - 1)
    give(world, task, 0, answer)
    world.chain.at(closes)
    with reverts("reveal: too late"):
        give(world, task, 1, answer)
    assert world.bounties.judging_from(task.id) == (closes if answer == "reveal" else 0)


@pytest.mark.parametrize("answer", ["reveal", "decline"])
@pytest.mark.parametrize("sealed", [False, True])
def test_answer__before_the_holdout_is_known__is_not_open(world: World, answer: str, sealed: bool) -> None:
    task = world.create(sealed=sealed)
    world.submit(task)
    with reverts("reveal: not open"):
        give(world, task, 0, answer)
    world.seat_committee(task)
    with reverts("reveal: not open"):
        give(world, task, 0, answer)
    world.attest(task)
    if sealed:
        with reverts("reveal: not open"):
            give(world, task, 0, answer)
        world.reveal_holdout(task)
    give(world, task, 0, answer)


@pytest.mark.parametrize("answer", ["reveal", "decline"])
def test_answer__public_task_without_the_sponsors_files__never_opens(world: World, answer: str) -> None:
    task = world.to_attested(bitmaps=[0b10] * 3)
    with reverts("reveal: not open"):
        give(world, task, 0, answer)


@pytest.mark.parametrize("first", ["reveal", "decline"])
@pytest.mark.parametrize("second", ["reveal", "decline"])
def test_answer__given_already__reverts(world: World, first: str, second: str) -> None:
    task = world.to_revealing()
    give(world, task, 0, first)
    with reverts("reveal: already answered"):
        give(world, task, 0, second)


@pytest.mark.parametrize("answer", ["reveal", "decline"])
def test_answer__ciphertext_not_admitted__reverts(world: World, answer: str) -> None:
    task = world.to_revealing(2, bitmaps=[0b101, 0b101, 0b111])
    with reverts("reveal: not admitted"):
        give(world, task, 0, answer)
    give(world, task, 1, answer)
    assert [world.bounties.submission(task.id, index)["admitted"] for index in range(2)] == [False, True]


def test_answer__no_such_submission__reverts(world: World) -> None:
    task = world.to_revealing()
    with reverts("submission: unknown"):
        world.bounties.reveal_submission(task.id, 1, *OPENING, sender=SOLVER)
    with reverts("submission: unknown"):
        world.bounties.decline(task.id, 1, sender=SOLVER)


@pytest.mark.parametrize("part", ["sealed", "plain", "key"])
def test_reveal_submission__another_digest_or_key__reverts(world: World, part: str) -> None:
    task = world.to_revealing()
    setattr(task.entries[0], part, word("another"))
    with reverts("reveal: wrong opening"):
        world.reveal(task, 0)


def test_reveal_submission__ciphertext_not_the_announced_one__reverts(world: World) -> None:
    """The commitment can be opened, but nobody has seen the ciphertext that it names."""
    task = world.create()
    entry = world.entry(task, SOLVER)
    announced = word("what verifiers mirrored")
    world.bounties.commit_submission(task.id, entry.commitment, announced, "", sender=SOLVER, value=world.due(task))
    task.entries.append(entry)
    world.seat_committee(task)
    world.attest(task)
    for sealed in (entry.sealed, announced):
        with reverts("reveal: wrong opening"):
            world.bounties.reveal_submission(task.id, 0, sealed, entry.plain, entry.key, sender=SOLVER)


# ------------------------------------------------------------------------------------------------ phases


def test_phase__step_by_step__is_what_the_clock_and_the_panel_say(world: World) -> None:
    phase = world.bounties.phase
    task = world.create(sealed=True)
    world.submit(task)
    world.chain.at(task.commit_closes - 1)
    assert phase(task.id) == Phase.COMMITTING
    world.chain.at(task.commit_closes)
    assert phase(task.id) == Phase.CONVENING
    world.convene(task)
    assert phase(task.id) == Phase.CONVENING
    world.draw(task)
    assert phase(task.id) == Phase.ATTESTING
    world.attest(task)
    assert phase(task.id) == Phase.HOLDOUT
    world.chain.at(closed_at(world, task) + WINDOWS.holdout)
    assert phase(task.id) == Phase.HOLDOUT
    world.bounties.cancel(task.id, sender=OUTSIDER)
    assert phase(task.id) == Phase.CANCELLED


def test_phase__after_the_reveal_window__is_judging_until_settled(world: World) -> None:
    task = world.to_revealing()
    closes = world.chain.now + WINDOWS.reveal
    world.chain.at(closes - 1)
    assert world.bounties.phase(task.id) == Phase.REVEALING
    world.chain.at(closes)
    assert world.bounties.phase(task.id) == Phase.JUDGING
    world.settle(task, outcome=Outcome.NONE, evidence=ZERO)
    assert world.bounties.phase(task.id) == Phase.SETTLED
