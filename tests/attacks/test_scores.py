"""Attacks on the payout rule: copies, sybils, and scores at and beyond the bounds of their range."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.attacks.weakened import Guard
from tests.evm import account
from tests.harness import ETHER, RIVAL, SOLVER, SPONSOR, World
from verifier.protocol.constants import MISFIT_SCORE, SCORE_BOUND, RewardPolicy

MIN_SCORE = -SCORE_BOUND + 1
MAX_SCORE = SCORE_BOUND - 1
# Terms under which every score above the lowest one passes.
WHOLE_RANGE = {"threshold": MIN_SCORE + 1, "baseline": MIN_SCORE}
INT128 = 2**127

SYBILS = [account(f"sybil {number}") for number in range(4)]

# Without this guard, LADDER pays each adapter for its whole score, and every int128 is a valid score.
STEPS_AND_BOUNDS = Guard(
    "Bounties",
    "                bar = score\n",
    "                pass\n",
    "policies",
    ((" and score < SCORE_BOUND and score > -SCORE_BOUND", ""),),
)


def paid(world: World, scores: tuple[int, ...], solvers: list[str], **changes: object) -> dict[str, int]:
    """Settle a task with these scores and claim everything; returns each solver's part of the reward."""
    for sybil in SYBILS:
        world.chain.fund(sybil, ETHER)
    task = world.to_settled(scores, solvers, **changes)
    for index in range(len(scores)):
        world.claim(task, index, scores)
    bonds = dict.fromkeys(solvers, 0)
    for index, solver in enumerate(solvers):
        bonds[solver] += world.bounties.bond_of(index)
    return {solver: world.owed(solver) - bonds[solver] for solver in bonds}


@pytest.mark.parametrize("copies", [0, 1, 4, 7])
def test_ladder__copies_of_an_earlier_adapter__earn_nothing(world: World, copies: int) -> None:
    scores = (140, *[140] * copies, 150)
    earned = paid(world, scores, [SOLVER, *[RIVAL] * copies, SOLVER], policy=RewardPolicy.LADDER, baseline=90)
    assert earned.get(RIVAL, 0) == 0
    assert earned[SOLVER] == ETHER


def test_ladder__without_the_guard__copies_take_most_of_the_reward(without: Callable[[Guard], World]) -> None:
    world = without(STEPS_AND_BOUNDS)
    earned = paid(world, (140, 140, 140, 140), [SOLVER, RIVAL, RIVAL, RIVAL], policy=RewardPolicy.LADDER, baseline=90)
    assert earned == {SOLVER: ETHER // 4, RIVAL: 3 * ETHER // 4}


def test_ladder__one_adapter_under_many_accounts__earns_the_same(world: World) -> None:
    """The improvements that sybils submit in steps add up to one improvement of the same size."""
    kept = world.chain.keep()
    alone = paid(world, (120, 150), [RIVAL, SOLVER], policy=RewardPolicy.LADDER, baseline=90)
    world.chain.back_to(kept)
    names = [RIVAL, *SYBILS]
    split = paid(world, (120, 125, 130, 140, 150), names, policy=RewardPolicy.LADDER, baseline=90)

    assert alone == {RIVAL: ETHER // 2, SOLVER: ETHER // 2}
    assert split[RIVAL] == ETHER // 2
    assert sum(split[name] for name in SYBILS) == ETHER // 2


def test_best__copies_of_the_winner__pays_only_the_earliest_commit(world: World) -> None:
    earned = paid(
        world, (140, 150, 150, 150, 149), [RIVAL, SOLVER, RIVAL, SYBILS[0], SYBILS[1]], policy=RewardPolicy.BEST
    )
    assert earned == {RIVAL: 0, SOLVER: ETHER, SYBILS[0]: 0, SYBILS[1]: 0}


@pytest.mark.parametrize("policy", [RewardPolicy.BEST, RewardPolicy.LADDER])
def test_scores__whole_range__pay_the_whole_reward(world: World, policy: int) -> None:
    scores = (MIN_SCORE + 1, 0, MAX_SCORE)
    solvers = [RIVAL, SYBILS[0], SOLVER]
    earned = paid(world, scores, solvers, policy=policy, **WHOLE_RANGE)
    assert sum(earned.values()) == ETHER
    if policy == RewardPolicy.BEST:
        assert earned[SOLVER] == ETHER
    else:
        total = MAX_SCORE - MIN_SCORE
        assert earned[RIVAL] == ETHER * 1 // total == 0
        assert earned[SYBILS[0]] == ETHER * -(MIN_SCORE + 1) // total
        assert earned[SOLVER] == ETHER - earned[SYBILS[0]]  # it gets the rounding remainder


@pytest.mark.parametrize("policy", [RewardPolicy.BEST, RewardPolicy.LADDER])
def test_scores__64_steps_over_the_whole_range__pay_the_whole_reward(world: World, policy: int) -> None:
    step = (MAX_SCORE - MIN_SCORE) // 64
    scores = tuple(MAX_SCORE - step * (63 - index) for index in range(64))
    earned = paid(world, scores, [SOLVER] * 64, policy=policy, **WHOLE_RANGE)
    assert earned == {SOLVER: ETHER}


@pytest.mark.parametrize("policy", [RewardPolicy.BEST, RewardPolicy.LADDER])
@pytest.mark.parametrize("score", [INT128 - 1, SCORE_BOUND, -SCORE_BOUND, MISFIT_SCORE])
def test_scores__out_of_bounds_from_a_lying_quorum__never_pass_and_still_settle(
    world: World, policy: int, score: int
) -> None:
    earned = paid(world, (score, 150), [RIVAL, SOLVER], policy=policy, **WHOLE_RANGE)
    assert earned == {RIVAL: 0, SOLVER: ETHER}


def test_scores__nothing_but_out_of_bounds__give_the_reward_back(world: World) -> None:
    scores = (INT128 - 1, SCORE_BOUND, MISFIT_SCORE)
    earned = paid(world, scores, [RIVAL, SOLVER, RIVAL], policy=RewardPolicy.LADDER, **WHOLE_RANGE)
    assert earned == {RIVAL: 0, SOLVER: 0}
    assert world.owed(SPONSOR) >= ETHER


def test_scores__out_of_bounds_without_the_guard__win_for_a_lying_quorum(without: Callable[[Guard], World]) -> None:
    world = without(STEPS_AND_BOUNDS)
    earned = paid(world, (INT128 - 1, 150), [RIVAL, SOLVER], policy=RewardPolicy.BEST)
    assert earned == {RIVAL: ETHER, SOLVER: 0}
