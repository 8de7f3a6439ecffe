"""Bounties: the terms that a sponsor can choose, and the amounts that are escrowed."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contracts.amounts import credits, slot_of, sponsor_bond, token
from tests.evm import NATIVE, ZERO, Receipt, reverts, word
from tests.harness import ETHER, LIMITS, OUTSIDER, OWNER, SEAT, SPONSOR, WINDOWS, World
from verifier.protocol import commitments
from verifier.protocol.constants import MAX_AMOUNT, SCORE_BOUND, Phase, RewardPolicy, Windows

SEATS = 12
REWARD_LIMIT = 3 * SEAT // 8
URI = "ipfs://manifest"


def windows(index: int, seconds: int) -> Windows:
    """The usual windows, except for the one at `index`."""
    return WINDOWS._replace(**{Windows._fields[index]: seconds})


def create(world: World, value: int, sender: str = SPONSOR, **changes: Any) -> Receipt:
    return world.bounties.create_task(tuple(world.terms(**changes).values()), URI, sender=sender, value=value)


# -------------------------------------------------------------------------------------------- native coin


def test_create__public_and_native__escrows_and_logs_the_terms(world: World) -> None:
    terms = world.terms(reward=2 * ETHER, reserve=ETHER // 2)
    receipt = create(world, 2 * ETHER + ETHER // 2, reward=2 * ETHER, reserve=ETHER // 2)

    files = (terms["manifest"], terms["program"], terms["practice"], ZERO)
    task = commitments.task(world.chain.chain_id, world.bounties.address, SPONSOR, 0, *files)
    assert receipt.result == task
    assert receipt.events(world.bounties, "TaskCreated") == [
        {"task": task, "sponsor": SPONSOR, "nonce": 0, "terms": terms, "manifest_uri": URI}
    ]
    assert world.bounties.task(task) == {
        "sponsor": SPONSOR,
        "created_at": world.chain.now,
        "reward": 2 * ETHER,
        "phase": Phase.COMMITTING,
        "submissions": 0,
        "revealed": 0,
        "declined": 0,
        "claimed": 0,
        "holdout_plain": ZERO,
        "holdout_revealed_at": 0,
        "outcome": 0,
        "ground": 0,
        "best": 0,
        "total_weight": 0,
    }
    assert world.bounties.brief(task) == {
        "created_at": world.chain.now,
        "commit_closes": world.chain.now + WINDOWS.commit,
        "committee": 3,
        "submissions": 0,
        "attest_window": WINDOWS.attest,
        "verdict_commit_window": WINDOWS.verdict_commit,
        "verdict_reveal_window": WINDOWS.verdict_reveal,
        "ended": False,
        "attest_share": 0,
        "verdict_share": 0,
    }
    assert world.bounties.fee(task) == 3 * terms["seat_fee"]
    assert world.bounties.root(task) == ZERO
    assert world.chain.balance(world.bounties.address) == 2 * ETHER + ETHER // 2
    assert credits(world) == {}


def test_create__sealed_and_native__takes_the_bond_too(world: World) -> None:
    task = world.create(sealed=True)
    assert world.chain.balance(world.bounties.address) == ETHER + sponsor_bond(ETHER) == ETHER * 6 // 5
    view = world.bounties.task(task.id)
    assert (view["reward"], view["holdout_plain"]) == (ETHER, ZERO)


def test_create__same_terms_again__is_another_task(world: World) -> None:
    tasks = [world.create(), world.create(), world.create(sponsor=OUTSIDER)]
    assert len({task.id for task in tasks}) == 3
    assert [world.bounties.nonce(sponsor) for sponsor in (SPONSOR, OUTSIDER)] == [2, 1]


def test_holdout_commitment__of_contract_and_package__are_equal(world: World) -> None:
    parts = (word("sealed"), word("plain"), word("key"))
    ours = commitments.holdout(world.chain.chain_id, world.bounties.address, SPONSOR, 7, *parts)
    assert world.bounties.holdout_commitment(SPONSOR, 7, *parts) == ours


@pytest.mark.parametrize("difference", [-1, 1])
@pytest.mark.parametrize("holdout", [ZERO, word("holdout")])
def test_create__native_and_another_value__reverts(world: World, holdout: bytes, difference: int) -> None:
    value = ETHER + 10**15 + (sponsor_bond(ETHER) if holdout != ZERO else 0)
    with reverts("create: wrong value"):
        create(world, value + difference, holdout=holdout, reserve=10**15)


# ------------------------------------------------------------------------------------------------- ranges


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"policy": RewardPolicy.LADDER + 1}, "create: unknown policy"),
        ({"threshold": SCORE_BOUND}, "create: bad threshold"),
        ({"threshold": -SCORE_BOUND}, "create: bad threshold"),
        ({"baseline": SCORE_BOUND}, "create: bad baseline"),
        ({"baseline": -SCORE_BOUND}, "create: bad baseline"),
        ({"policy": RewardPolicy.LADDER, "threshold": 5, "baseline": 5}, "create: baseline above threshold"),
        ({"committee": 2}, "create: bad committee"),
        ({"committee": 32}, "create: bad committee"),
        ({"committee": SEATS + 1}, "create: too few seats staked"),
        *(({"windows": windows(i, 9)}, "create: bad window") for i in range(6)),
        *(({"windows": windows(i, 3601)}, "create: bad window") for i in range(6)),
        ({"macs": 0}, "create: bad MACs"),
        ({"macs": 2**64}, "create: bad MACs"),
        ({"macs": WINDOWS.verdict_commit * LIMITS.reference_rate + 1}, "create: verdict window too short for the MACs"),
        ({"seat_fee": LIMITS.min_seat_fee - 1}, "create: bad seat fee"),
        ({"seat_fee": 2**60}, "create: bad seat fee"),
        ({"reserve": MAX_AMOUNT}, "create: bad reserve"),
        ({"reward": 0}, "reward: out of range"),
        ({"reward": MAX_AMOUNT}, "reward: out of range"),
        ({"reward": REWARD_LIMIT + 1}, "reward: above the committee's stake"),
    ],
)
def test_create__terms_out_of_range__reverts(world: World, changes: dict[str, Any], reason: str) -> None:
    with reverts(reason):
        create(world, 0, **changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"threshold": SCORE_BOUND - 1, "baseline": SCORE_BOUND - 1},
        {"threshold": 1 - SCORE_BOUND, "baseline": 1 - SCORE_BOUND},
        {"policy": RewardPolicy.LADDER, "threshold": 5, "baseline": 4},
        {"policy": RewardPolicy.BEST, "threshold": 5, "baseline": 6},
        {"committee": SEATS},
        {"windows": Windows(*[10] * 6), "macs": 10 * LIMITS.reference_rate},
        {"windows": Windows(*[3600] * 6)},
        {"seat_fee": LIMITS.min_seat_fee},
        {"seat_fee": 2**60 - 1},
        {"reward": 1, "sealed": True},
        {"reward": REWARD_LIMIT},
    ],
)
def test_create__terms_at_their_bounds__are_accepted(world: World, changes: dict[str, Any]) -> None:
    task = world.create(**changes)
    assert world.bounties.task(task.id)["reward"] == task.terms["reward"]
    assert world.bounties.fee(task.id) == task.terms["committee"] * task.terms["seat_fee"]


def test_create__reserve_just_below_its_bound__is_escrowed(world: World) -> None:
    world.chain.fund(SPONSOR, MAX_AMOUNT)
    task = world.create(reserve=MAX_AMOUNT - 1)
    world.bounties.cancel(task.id, sender=SPONSOR)
    assert credits(world) == {SPONSOR: ETHER + MAX_AMOUNT - 1}


@pytest.mark.parametrize("leavers", [0, 1])
def test_create__seats_asked_to_leave__no_longer_count(world: World, leavers: int) -> None:
    for slot in range(leavers):
        world.stakes.request_exit(world.stakes.stake_of(slot), sender=OWNER)
    assert world.create(committee=SEATS - leavers).id
    with reverts("create: too few seats staked"):
        create(world, 0, committee=SEATS - leavers + 1)


# The MACs that the slowest permitted operator can compute before verdict commits close.
WORK = WINDOWS.verdict_commit * LIMITS.reference_rate


@pytest.mark.parametrize(
    ("macs", "most"), [(1, 64), (WORK // 64, 64), (WORK // 64 + 1, 63), (WORK // 3, 3), (WORK // 3 + 1, 2), (WORK, 1)]
)
def test_max_submissions__macs__fit_the_verdict_window(world: World, macs: int, most: int) -> None:
    assert world.bounties.max_submissions(world.create(macs=macs).id) == most


def test_create__sponsors_last_number_given__reverts(world: World) -> None:
    slot = slot_of("nonce", bytes(12) + bytes.fromhex(SPONSOR[2:]))
    world.chain.write(world.bounties, slot, 2**24 - 1)
    task = world.create(sealed=True)
    assert (task.nonce, world.bounties.nonce(SPONSOR)) == (2**24 - 1, 2**24)
    with reverts("create: too many tasks"):
        world.create()
    assert world.create(sponsor=OUTSIDER).nonce == 0


# ------------------------------------------------------------------------------------------------- tokens


def test_create__token__pulls_reward_and_bond_and_takes_the_reserve_in_coin(world: World) -> None:
    plain = token(world)
    task = world.create(asset=plain.address, reward=900 * ETHER // 2, sealed=True, reserve=ETHER)
    assert plain.balanceOf(world.bounties.address) == 450 * ETHER + 90 * ETHER
    assert world.chain.balance(world.bounties.address) == ETHER
    assert world.bounties.task(task.id)["reward"] == 450 * ETHER


@pytest.mark.parametrize("difference", [-1, 1])
def test_create__token_and_another_value_than_the_reserve__reverts(world: World, difference: int) -> None:
    with reverts("create: wrong value"):
        create(world, 10 + difference, asset=token(world).address, reserve=10)


def test_create__token_that_returns_nothing__is_taken(world: World) -> None:
    silent = token(world, "SilentToken")
    world.create(asset=silent.address)
    assert silent.balanceOf(world.bounties.address) == ETHER


def test_create__token_that_answers_false__reverts(world: World) -> None:
    false = token(world, "FalseToken")
    false.set_refuses(True, sender=OUTSIDER)
    with reverts("token: transfer failed"):
        create(world, 0, asset=false.address)


def test_create__token_with_a_fee__reward_is_the_received_amount_less_the_bond(world: World) -> None:
    taxed = token(world, "FeeToken", 100)
    task = world.create(asset=taxed.address, reward=1_000, sealed=True)
    assert taxed.balanceOf(world.bounties.address) == 1_188
    assert world.bounties.task(task.id)["reward"] == 988


@pytest.mark.parametrize(("fee_bps", "reward"), [(8333, 1), (8334, None)])
def test_create__token_of_which_only_the_bond_is_received__reverts(
    world: World, fee_bps: int, reward: int | None
) -> None:
    taxed = token(world, "FeeToken", fee_bps)
    if reward is None:
        with reverts("create: too little arrived"):
            world.create(asset=taxed.address, reward=10**4, sealed=True)
    else:
        task = world.create(asset=taxed.address, reward=10, sealed=True)
        assert world.bounties.task(task.id)["reward"] == reward


@pytest.mark.parametrize(("reward", "reason"), [(0, "reward: out of range"), (MAX_AMOUNT, "reward: out of range")])
def test_create__token_amount_out_of_range__reverts(world: World, reward: int, reason: str) -> None:
    with reverts(reason):
        create(world, 0, asset=token(world).address, reward=reward)


def test_create__token_reward_above_the_committees_stake__is_accepted(world: World) -> None:
    plain = token(world)
    plain.mint(SPONSOR, MAX_AMOUNT, sender=OUTSIDER)
    task = world.create(asset=plain.address, reward=MAX_AMOUNT - 1)
    assert world.bounties.task(task.id)["reward"] == MAX_AMOUNT - 1


# ---------------------------------------------------------------------------------------- no such task


UNKNOWN = word("no such task")
OPENING = (word("sealed"), word("plain"), word("key"))


@pytest.mark.parametrize(
    ("function", "arguments", "value"),
    [
        ("top_up", (UNKNOWN, 1), 1),
        ("commit_submission", (UNKNOWN, word("c"), word("s"), ""), ETHER),
        ("reveal_holdout", (UNKNOWN, *OPENING), 0),
        ("reveal_submission", (UNKNOWN, 0, *OPENING), 0),
        ("decline", (UNKNOWN, 0), 0),
        ("settle", (UNKNOWN, 0, [], ZERO), 0),
        ("cancel", (UNKNOWN,), 0),
        ("reconvene", (UNKNOWN,), ETHER),
        ("claim_submission", (UNKNOWN, 0, []), 0),
    ],
)
def test_unknown_task__every_call__reverts(world: World, function: str, arguments: Any, value: int) -> None:
    with reverts("task: unknown"):
        getattr(world.bounties, function)(*arguments, sender=OUTSIDER, value=value)


def test_unknown_task__views__are_empty_or_revert(world: World) -> None:
    bounties = world.bounties
    for view in ("phase", "fee", "reconvene_fee", "max_submissions", "judging_from"):
        assert getattr(bounties, view)(UNKNOWN) == 0
    assert bounties.root(UNKNOWN) == ZERO
    assert set(bounties.brief(UNKNOWN).values()) == {0}
    with reverts("task: unknown"):
        bounties.task(UNKNOWN)
    with reverts("submission: unknown"):
        bounties.submission(UNKNOWN, 0)
    assert bounties.credit(NATIVE, SPONSOR) == bounties.burned(NATIVE) == 0
