"""Bounties: ending a task with the final verdict, and what the sponsor is credited."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from tests.contracts import amounts
from tests.contracts.amounts import claimed, credits, finish, paid, slot_of, sponsor_bond
from tests.evm import NATIVE, ZERO, reverts, word
from tests.harness import ETHER, OUTSIDER, OWNER, RIVAL, SOLVER, SPONSOR, WINDOWS, Task, World
from verifier.protocol.constants import Outcome, Phase, RewardPolicy

RESERVE = 10**15


# ------------------------------------------------------------------------------------------------- winners


def test_settle__one_passes__is_logged_and_waits_for_claims(world: World) -> None:
    task = world.to_final([99, 150, 120], [SOLVER, RIVAL, OUTSIDER], sealed=True, reserve=RESERVE)
    receipt = world.settle(task, [99, 150, 120])
    assert receipt.events(world.bounties, "Settled") == [
        {"task": task.id, "outcome": Outcome.SCORED, "best": 1, "total_weight": 1, "scores": [99, 150, 120]}
    ]
    view = world.bounties.task(task.id)
    assert (view["phase"], view["outcome"], view["ground"]) == (Phase.SETTLED, Outcome.SCORED, 0)
    assert (view["best"], view["total_weight"], view["reward"]) == (1, 1, ETHER)
    assert credits(world) == {SPONSOR: sponsor_bond(ETHER) + RESERVE}
    brief = world.bounties.brief(task.id)
    assert brief["ended"]
    assert brief["attest_share"] == 3 * amounts.attest_part(task) // 3
    assert brief["verdict_share"] == 3 * amounts.verdict_part(task) // 3
    assert world.bounties.fee(task.id) == world.bounties.reconvene_fee(task.id) == 0


def test_settle__nobody_passes__reward_and_forfeited_bonds_go_back(world: World) -> None:
    task = world.to_revealing(2)
    world.reveal(task, 0)
    world.agree(task, [99, 0])
    receipt = world.settle(task, [99, 0])
    assert receipt.events(world.bounties, "Settled")[0]["total_weight"] == 0
    assert credits(world) == {SPONSOR: ETHER + amounts.bond(1)}
    assert world.bounties.task(task.id)["reward"] == 0
    assert [claimed(world, task, index, [99, 0]) for index in range(2)] == [(0, amounts.bond(0)), (0, 0)]
    finish(world, task, done=range(2))
    assert world.bounties.burned(NATIVE) == 0


def test_settle__twice__reverts(world: World) -> None:
    task = world.to_settled()
    with reverts("settle: already ended"):
        world.settle(task, [150])
    with reverts("cancel: already ended"):
        world.bounties.cancel(task.id, sender=SPONSOR)


# ------------------------------------------------------------------------------------------------- nothing


@pytest.mark.parametrize("answer", ["decline", "silence", "not admitted"])
@pytest.mark.parametrize("sealed", [False, True])
def test_settle__nothing_revealed__returns_the_reward_and_burns_the_verdict_fee(
    world: World, sealed: bool, answer: str
) -> None:
    bitmaps = [0b01] * 3 if answer == "not admitted" else None
    task = world.to_revealing(bitmaps=bitmaps, sealed=sealed, reserve=RESERVE)
    closes = world.chain.now + WINDOWS.reveal
    if answer == "decline":
        world.bounties.decline(task.id, 0, sender=SOLVER)
    world.chain.at(closes - 1)
    with reverts("settle: too early"):
        world.settle(task, outcome=Outcome.NONE)
    world.chain.at(closes)
    receipt = world.settle(task, outcome=Outcome.NONE)
    assert receipt.events(world.bounties, "Settled") == [
        {"task": task.id, "outcome": Outcome.NONE, "best": 0, "total_weight": 0, "scores": []}
    ]
    kept = amounts.bond(0) if answer == "silence" else 0
    assert credits(world) == {SPONSOR: ETHER + (sponsor_bond(ETHER) if sealed else 0) + RESERVE + kept}
    assert claimed(world, task, 0) == (0, amounts.bond(0) - kept)
    assert paid(world, task) == amounts.attest_part(task)
    amounts.empty(world)
    assert world.bounties.burned(NATIVE) == amounts.verdict_part(task)


@pytest.mark.parametrize(
    ("outcome", "scores", "evidence"),
    [
        (Outcome.SCORED, [], ZERO),
        (Outcome.HOLDOUT_INVALID, [], ZERO),
        (Outcome.NONE, [0], ZERO),
        (Outcome.NONE, [], word("evidence")),
    ],
)
def test_settle__nothing_revealed_but_a_verdict_given__reverts(
    world: World, outcome: int, scores: list[int], evidence: bytes
) -> None:
    task = world.to_revealing()
    world.chain.at(world.chain.now + WINDOWS.reveal)
    with reverts("settle: nothing was scored"):
        world.settle(task, scores, outcome, evidence)


def test_settle__each_seat_lacked_an_admitted_item__burns_the_attestation_fees(world: World) -> None:
    task = world.to_revealing(3, bitmaps=[0b0111, 0b1011, 0b1101])
    assert world.panel.panel(task.id)["admitted"] == 0b1111
    assert world.panel.tally(task.id)["attesters"] == 0
    for index in range(3):
        world.reveal(task, index)
    world.agree(task, [150, 0, 0])
    world.settle(task, [150, 0, 0])
    assert credits(world) == {}
    assert world.bounties.burned(NATIVE) == 3 * amounts.attest_part(task)
    assert paid(world, task) == 3 * amounts.verdict_part(task)
    assert [claimed(world, task, index, [150, 0, 0]) for index in range(3)] == [
        (ETHER, amounts.bond(0)),
        (0, amounts.bond(0)),
        (0, amounts.bond(0)),
    ]
    amounts.empty(world)


# ------------------------------------------------------------------------------------------- too early


def test_settle__before_the_challenge_window_is_over__reverts(world: World) -> None:
    task = world.to_judging()
    world.judge(task, [world.verdict(task, [150])] * 3)
    final = world.panel.round(task.id, 1)["reveal_closes"] + world.challenge_window
    world.chain.at(final - 1)
    with reverts("settle: no final verdict"):
        world.settle(task, [150])
    world.chain.at(final)
    world.settle(task, [150])


def test_settle__no_quorum__reverts(world: World) -> None:
    task = world.to_judging()
    verdict = world.verdict(task, [150])
    world.judge(task, [verdict, verdict, None])
    world.pass_challenge(task)
    with reverts("settle: no final verdict"):
        world.settle(task, [150])


@pytest.mark.parametrize("stage", ["committing", "drawn", "attested", "revealing"])
def test_settle__before_the_reveal_window_is_over__reverts(world: World, stage: str) -> None:
    if stage == "committing":
        task = world.create(sealed=True)
    elif stage == "revealing":
        task = world.to_revealing(sealed=True)
        world.chain.at(world.chain.now + WINDOWS.reveal - 1)
    else:
        task = world.to_drawn(sealed=True) if stage == "drawn" else world.to_attested(sealed=True)
    for outcome in (Outcome.NONE, Outcome.SCORED):
        with reverts("settle: too early"):
            world.settle(task, outcome=outcome)


# ----------------------------------------------------------------------------------------- another verdict


@pytest.mark.parametrize(
    ("scores", "outcome", "evidence"),
    [
        ([151], Outcome.SCORED, word("evidence")),
        ([150, 0], Outcome.SCORED, word("evidence")),
        ([], Outcome.SCORED, word("evidence")),
        ([150], Outcome.HOLDOUT_INVALID, word("evidence")),
        ([150], Outcome.NONE, word("evidence")),
        ([150], Outcome.SCORED, word("another")),
    ],
)
def test_settle__anything_but_the_final_verdict__reverts(
    world: World, scores: Sequence[int], outcome: int, evidence: bytes
) -> None:
    task = world.to_final()
    with reverts("settle: not the final verdict"):
        world.settle(task, scores, outcome, evidence)
    world.settle(task, [150])


def accepted(world: World, scores: Sequence[int], outcome: int) -> Task:
    """Make a task of one submission whose committee agreed on a verdict that cannot be settled."""
    task = world.to_judging()
    world.judge(task, [world.verdict(task, scores, outcome, ZERO)] * 3)
    world.pass_challenge(task)
    return task


@pytest.mark.parametrize("outcome", [Outcome.NONE, 4, 2**256 - 1])
def test_settle__accepted_unknown_outcome__reverts(world: World, outcome: int) -> None:
    task = accepted(world, [150], outcome)
    with reverts("settle: unknown outcome"):
        world.settle(task, [150], outcome, ZERO)


@pytest.mark.parametrize("scores", [[], [150, 150]])
def test_settle__accepted_wrong_number_of_scores__reverts(world: World, scores: list[int]) -> None:
    task = accepted(world, scores, Outcome.SCORED)
    with reverts("settle: wrong scores"):
        world.settle(task, scores, Outcome.SCORED, ZERO)


# --------------------------------------------------------------------------------------------------- fees


def split(world: World, task: Task) -> tuple[int, int]:
    brief = world.bounties.brief(task.id)
    return int(brief["attest_share"]), int(brief["verdict_share"])


def test_settle__fees_that_do_not_divide__the_dust_is_the_sponsors(world: World) -> None:
    task = world.to_judging(committee=7, seat_fee=10**9 + 3, reserve=RESERVE)
    verdict = world.verdict(task, [150])
    world.judge(task, [verdict] * 5 + [None] * 2)
    world.pass_challenge(task)
    world.settle(task, [150])
    attesting, judging = amounts.attest_part(task), amounts.verdict_part(task)
    assert split(world, task) == (attesting // 7, judging // 5)
    assert credits(world) == {SPONSOR: RESERVE + attesting % 7 + judging % 5}
    assert paid(world, task) == attesting // 7 * 7 + judging // 5 * 5
    claimed(world, task, 0, [150])
    amounts.empty(world)
    assert world.bounties.burned(NATIVE) == 0


@pytest.mark.parametrize("reserve", [0, 1, 10**15, 48 * 10**14, 48 * 10**14 + 1])
def test_settle__accepted_in_the_second_round__reserve_pays_its_seats(world: World, reserve: int) -> None:
    task = world.to_judging(reserve=reserve)
    world.next_round(task)
    world.agree(task, [150], round_=2)
    world.settle(task, [150])
    # The second round adds six seats to the three that the fees were computed for, so twice the verdict part is added,
    # as far as the reserve covers it.
    extra = min(reserve, 2 * amounts.verdict_part(task))
    pool = amounts.verdict_part(task) + extra
    assert split(world, task) == (amounts.attest_part(task) // 3, pool // 6)
    assert credits(world).get(SPONSOR, 0) == reserve - extra + pool % 6
    assert paid(world, task) == amounts.attest_part(task) + pool // 6 * 6
    claimed(world, task, 0, [150])
    amounts.empty(world)


def test_settle__extreme_sum_paid_for_rounds__caps_the_share_at_80_bits(world: World) -> None:
    """Re-arms of an undrawn round can be bought without limit."""
    task = world.to_final()
    bought = 2**84
    world.chain.write(world.bounties, slot_of("bought", task.id), bought)
    world.chain.fund(world.bounties.address, bought)
    world.settle(task, [150])
    assert split(world, task) == (amounts.attest_part(task) // 3, 2**80 - 1)
    assert paid(world, task) == amounts.attest_part(task) + 3 * (2**80 - 1)
    assert world.owed(SPONSOR) == amounts.verdict_part(task) + bought - 3 * (2**80 - 1)
    claimed(world, task, 0, [150])
    amounts.empty(world)


# ---------------------------------------------------------------------------------------------------- tokens


@pytest.mark.parametrize("kind", ["PlainToken", "SilentToken", "FalseToken", "HookToken"])
def test_settle__token__credits_reward_and_bond_in_the_token(world: World, kind: str) -> None:
    token = amounts.token(world, kind)
    changes: dict[str, Any] = {"policy": RewardPolicy.LADDER, "baseline": 90}
    task = world.to_revealing([SOLVER, RIVAL, OUTSIDER], sealed=True, asset=token.address, reward=1_000, **changes)
    world.reveal(task, 0)
    world.reveal(task, 1)
    scores = [110, 153, 0]
    world.agree(task, scores)
    world.settle(task, scores)
    assert credits(world, token.address) == {SPONSOR: 200}
    # The weights are 20 and 43 of 63, for the reward and for the forfeited bond; the best gets the rounding remainder.
    first, lost = 1_000 * 20 // 63, amounts.bond(0) * 20 // 63
    assert [claimed(world, task, index, scores) for index in range(3)] == [
        (first, amounts.bond(0) + lost),
        (1_000 - first, 2 * amounts.bond(0) - lost),
        (0, 0),
    ]
    assert paid(world, task) == 3 * amounts.fee(task)
    amounts.empty(world, token)
    assert world.bounties.burned(token.address) == world.bounties.burned(NATIVE) == 0
    assert (token.balanceOf(SOLVER), token.balanceOf(RIVAL)) == (first, 1_000 - first)
    assert world.owed(OWNER) == 0
