"""Bounties: the grounds on which a task is cancelled, and how its money is then divided."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contracts import amounts
from tests.contracts.amounts import claimed, credits, finish, paid, sponsor_bond
from tests.evm import NATIVE, Receipt, reverts
from tests.harness import ETHER, LIMITS, OUTSIDER, OWNER, RIVAL, SOLVER, SPONSOR, WINDOWS, Task, World
from verifier.protocol.constants import Ground, Outcome, Phase

RESERVE = 10**15
VERDICT_WINDOWS = WINDOWS.verdict_commit + WINDOWS.verdict_reveal


def cancel(world: World, task: Task, ground: int, sender: str = OUTSIDER) -> Receipt:
    """Cancel, and check the ground and that a second call reverts."""
    receipt = world.bounties.cancel(task.id, sender=sender)
    assert receipt.events(world.bounties, "Cancelled") == [{"task": task.id, "ground": ground}]
    view = world.bounties.task(task.id)
    assert (view["phase"], view["outcome"], view["ground"]) == (Phase.CANCELLED, Outcome.NONE, ground)
    assert (view["reward"], view["best"], view["total_weight"]) == (0, 0, 0)
    assert world.bounties.brief(task.id)["ended"]
    assert world.bounties.fee(task.id) == world.bounties.reconvene_fee(task.id) == 0
    with reverts("cancel: already ended"):
        world.bounties.cancel(task.id, sender=sender)
    return receipt


def refuse(world: World, task: Task, sender: str = OUTSIDER) -> None:
    with reverts("cancel: no ground"):
        world.bounties.cancel(task.id, sender=sender)


# -------------------------------------------------------------------------------------- before a committee


@pytest.mark.parametrize("sealed", [False, True])
def test_cancel__by_the_sponsor_without_a_submission__returns_everything(world: World, sealed: bool) -> None:
    task = world.create(sealed=sealed, reserve=RESERVE)
    world.bounties.top_up(task.id, 7, sender=OUTSIDER, value=7)
    refuse(world, task, OUTSIDER)
    cancel(world, task, Ground.WITHDRAWN, SPONSOR)
    assert credits(world) == {SPONSOR: ETHER + (sponsor_bond(ETHER) if sealed else 0) + RESERVE + 7}
    finish(world, task)


def test_cancel__by_the_sponsor_after_a_submission__has_no_ground(world: World) -> None:
    task = world.create()
    world.submit(task)
    refuse(world, task, SPONSOR)


def test_cancel__nobody_submitted__anyone_can_once_commits_close(world: World) -> None:
    task = world.create(sealed=True, reserve=RESERVE)
    world.chain.at(task.commit_closes - 1)
    refuse(world, task)
    world.chain.at(task.commit_closes)
    cancel(world, task, Ground.EMPTY)
    assert credits(world) == {SPONSOR: ETHER + sponsor_bond(ETHER) + RESERVE}
    finish(world, task)


def test_cancel__no_committee_drawn__anyone_after_the_void_delay(world: World) -> None:
    task = world.to_convened([SOLVER, RIVAL], sealed=True, reserve=RESERVE)
    world.chain.at(task.commit_closes + LIMITS.void_delay - 1)
    refuse(world, task)
    world.chain.at(task.commit_closes + LIMITS.void_delay)
    cancel(world, task, Ground.NO_COMMITTEE)
    assert credits(world) == {SPONSOR: ETHER + sponsor_bond(ETHER) + RESERVE}
    for index in range(2):
        assert claimed(world, task, index) == (0, amounts.bond(0) + amounts.fee(task))
    finish(world, task, done=range(2))
    assert world.bounties.burned(NATIVE) == 0


def test_cancel__committee_drawn_after_the_void_delay__has_no_ground(world: World) -> None:
    task = world.create()
    world.submit(task)
    world.chain.at(task.commit_closes + LIMITS.void_delay)
    world.convene(task)
    world.draw(task)
    refuse(world, task)


# -------------------------------------------------------------------------------------------- files missing


@pytest.mark.parametrize("sealed", [False, True])
def test_cancel__sponsors_files_missing__pays_attesters_and_refunds_the_rest(world: World, sealed: bool) -> None:
    task = world.to_drawn([SOLVER, RIVAL], sealed=sealed, reserve=RESERVE)
    refuse(world, task)
    world.attest(task, [0b110, 0b111, None])
    cancel(world, task, Ground.UNAVAILABLE)
    assert credits(world) == {SPONSOR: ETHER + (sponsor_bond(ETHER) if sealed else 0) + RESERVE}
    for index in range(2):
        assert claimed(world, task, index) == (0, amounts.bond(0) + amounts.verdict_part(task))
    assert paid(world, task) == 2 * amounts.attest_part(task)
    amounts.empty(world)


def test_cancel__nobody_attested__refunds_the_whole_fee(world: World) -> None:
    task = world.to_attested(bitmaps=[None] * 3)
    cancel(world, task, Ground.UNAVAILABLE)
    assert claimed(world, task, 0) == (0, amounts.bond(0) + amounts.fee(task))
    assert paid(world, task) == 0
    amounts.empty(world)
    assert world.bounties.burned(NATIVE) == 0


def test_cancel__every_file_there__has_no_ground(world: World) -> None:
    task = world.to_revealing()
    refuse(world, task)
    world.reveal(task, 0)
    world.chain.at(world.bounties.judging_from(task.id))
    refuse(world, task)


# --------------------------------------------------------------------------------------------- silent sponsor


def silent(world: World, bitmaps: list[int | None] | None = None, top_up: int = 0, **changes: Any) -> Task:
    """Make a task with three submissions whose sponsor withheld the key until the holdout window ended."""
    task = world.create(sealed=True, **changes)
    for solver in (SOLVER, RIVAL, OUTSIDER):
        world.submit(task, solver)
    if top_up:
        world.bounties.top_up(task.id, top_up, sender=OUTSIDER, value=0 if "asset" in changes else top_up)
    world.seat_committee(task)
    world.attest(task, bitmaps)
    world.chain.at(world.panel.panel(task.id)["closed_at"] + WINDOWS.holdout - 1)
    refuse(world, task)
    world.chain.at(world.chain.now + 1)
    return task


def test_cancel__sponsor_withheld_the_key__splits_the_bond(world: World) -> None:
    task = silent(world, [0b1011, 0b1011, 0b1111], reserve=RESERVE)
    cancel(world, task, Ground.HOLDOUT_SILENT)
    share = sponsor_bond(ETHER) // 2 // 2
    assert credits(world) == {SPONSOR: ETHER + RESERVE}
    back = amounts.bond(0) + amounts.verdict_part(task)
    got = [claimed(world, task, index) for index in range(3)]
    assert got == [(share, back), (0, back), (share, back)]
    assert paid(world, task) == 3 * amounts.attest_part(task)
    amounts.empty(world)
    assert world.bounties.burned(NATIVE) == sponsor_bond(ETHER) - 2 * share


def test_cancel__sponsor_withheld_the_key_of_an_odd_bond__burns_the_remainder(world: World) -> None:
    task = silent(world, reward=5 * 101)
    cancel(world, task, Ground.HOLDOUT_SILENT)
    assert [claimed(world, task, index)[0] for index in range(3)] == [16, 16, 16]
    finish(world, task, done=range(3))
    assert world.bounties.burned(NATIVE) == 101 - 48


def test_cancel__sponsor_withheld_the_key_and_nothing_admitted__returns_the_bond(world: World) -> None:
    task = silent(world, [0b0001] * 3)
    cancel(world, task, Ground.HOLDOUT_SILENT)
    assert credits(world) == {SPONSOR: ETHER + sponsor_bond(ETHER)}
    finish(world, task)
    assert world.bounties.burned(NATIVE) == 0


def test_cancel__reward_from_top_ups__costs_a_silent_sponsor_as_much(world: World) -> None:
    task = silent(world, reward=5, top_up=ETHER)
    cancel(world, task, Ground.HOLDOUT_SILENT)
    bond = sponsor_bond(ETHER + 5)
    share = bond // 2 // 3
    assert credits(world) == {SPONSOR: ETHER + 5 + 1 - bond}  # the bond of 1 wei was escrowed beside the reward
    assert [claimed(world, task, index)[0] for index in range(3)] == [share] * 3
    finish(world, task, done=range(3))
    assert world.bounties.burned(NATIVE) == bond - 3 * share


@pytest.mark.parametrize(("kind", "fee_bps"), [("PlainToken", 0), ("SilentToken", 0), ("FeeToken", 100)])
def test_cancel__sponsor_withheld_the_key_of_a_token_task__splits_the_token_bond(
    world: World, kind: str, fee_bps: int
) -> None:
    token = amounts.token(world, kind, *([fee_bps] if fee_bps else []))
    task = silent(world, asset=token.address, reward=1_000, top_up=500)
    arrived = (1_200 + 500) * (10_000 - fee_bps) // 10_000
    cancel(world, task, Ground.HOLDOUT_SILENT)
    bond = max(200, (arrived - 200) // 5)  # a part of the received reward, at least the escrowed bond
    share = bond // 2 // 3
    assert credits(world, token.address) == {SPONSOR: arrived - bond}
    back = amounts.bond(0) + amounts.verdict_part(task)
    assert [claimed(world, task, index) for index in range(3)] == [(share, back)] * 3
    finish(world, task, tokens=[token], done=range(3))
    assert world.bounties.burned(token.address) == bond - 3 * share
    assert world.bounties.burned(NATIVE) == 0


# --------------------------------------------------------------------------------------------- bad inputs


@pytest.mark.parametrize(
    ("outcome", "ground"),
    [(Outcome.HOLDOUT_INVALID, Ground.HOLDOUT_INVALID), (Outcome.PROGRAM_INVALID, Ground.PROGRAM_INVALID)],
)
@pytest.mark.parametrize("sealed", [False, True])
def test_settle__bad_inputs__returns_the_reward_and_splits_the_bond(
    world: World, sealed: bool, outcome: int, ground: int
) -> None:
    task = world.to_revealing([SOLVER, RIVAL, OUTSIDER], sealed=sealed, reserve=RESERVE)
    world.reveal(task, 0)
    world.bounties.decline(task.id, 1, sender=RIVAL)
    world.judge(task, [world.verdict(task, outcome=outcome)] * 3)
    world.pass_challenge(task)
    receipt = world.settle(task, outcome=outcome)
    assert receipt.events(world.bounties, "Cancelled") == [{"task": task.id, "ground": ground}]
    assert receipt.events(world.bounties, "Settled") == []
    view = world.bounties.task(task.id)
    assert (view["phase"], view["outcome"], view["ground"]) == (Phase.CANCELLED, outcome, ground)

    bond = sponsor_bond(ETHER) if sealed else 0
    assert credits(world) == {SPONSOR: ETHER + RESERVE}
    got = [claimed(world, task, index) for index in range(3)]
    assert got == [(bond // 2, amounts.bond(0)), (0, amounts.bond(0)), (0, amounts.bond(0))]
    assert paid(world, task) == 3 * amounts.fee(task)
    amounts.empty(world)
    assert world.bounties.burned(NATIVE) == bond - bond // 2


@pytest.mark.parametrize("outcome", [Outcome.HOLDOUT_INVALID, Outcome.PROGRAM_INVALID])
def test_settle__bad_inputs_with_scores_or_evidence__reverts(world: World, outcome: int) -> None:
    for scores, evidence in (([1], bytes(32)), ([], b"e" * 32)):
        task = world.to_judging()
        world.judge(task, [world.verdict(task, scores, outcome, evidence)] * 3)
        world.pass_challenge(task)
        with reverts("settle: wrong scores"):
            world.settle(task, scores, outcome, evidence)


# ------------------------------------------------------------------------------------------------ terminal


def test_cancel__terminal_delay_over__burns_half_the_reward(world: World) -> None:
    task = world.to_revealing([SOLVER, RIVAL, OUTSIDER], sealed=True, reward=ETHER + 1, reserve=RESERVE)
    world.reveal(task, 0)
    world.bounties.decline(task.id, 1, sender=RIVAL)
    until = world.bounties.judging_from(task.id) + VERDICT_WINDOWS + LIMITS.terminal_delay
    world.chain.at(until - 1)
    refuse(world, task)
    world.chain.at(until)
    cancel(world, task, Ground.TERMINAL)
    half = (ETHER + 1) // 2
    assert credits(world) == {SPONSOR: ETHER + 1 - half + sponsor_bond(ETHER + 1) + RESERVE}
    part = amounts.verdict_part(task)
    got = [claimed(world, task, index) for index in range(3)]
    assert got == [(0, amounts.bond(0) + part), (0, amounts.bond(0) + part), (0, part)]
    assert paid(world, task) == 3 * amounts.attest_part(task)
    amounts.empty(world)
    assert world.bounties.burned(NATIVE) == half + amounts.bond(0)


def test_cancel__verdict_that_nobody_can_open__ends_by_the_terminal_rule(world: World) -> None:
    task = world.to_judging()
    world.judge(task, [b"v" * 32] * 3)
    world.pass_challenge(task)
    with reverts("settle: not the final verdict"):
        world.settle(task, [150], Outcome.SCORED)
    world.chain.at(world.panel.round(task.id, 1)["reveal_closes"] + LIMITS.terminal_delay)
    cancel(world, task, Ground.TERMINAL)
    assert paid(world, task) == amounts.attest_part(task)
    assert claimed(world, task, 0) == (0, amounts.bond(0) + amounts.verdict_part(task))
    amounts.empty(world)


def test_cancel__terminal_of_a_token_task__burns_the_token(world: World) -> None:
    token = amounts.token(world)
    task = world.to_judging(asset=token.address, reward=1_001)
    world.chain.at(world.chain.now + VERDICT_WINDOWS + LIMITS.terminal_delay)
    cancel(world, task, Ground.TERMINAL)
    assert credits(world, token.address) == {SPONSOR: 501}
    finish(world, task, tokens=[token])
    assert (world.bounties.burned(token.address), world.bounties.burned(NATIVE)) == (500, 0)
    assert world.owed(OWNER) == 0
