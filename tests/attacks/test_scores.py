"""Playing the payout rule: copies and sybils, and scores at and beyond the ends of their range."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.attacks.weakened import Guard
from tests.evm import account
from tests.harness import BEST, ETHER, LADDER, RIVAL, SOLVER, SPONSOR, World
from verifier.protocol.constants import MISFIT_SCORE

BOUND = 2**96
LOWEST = -BOUND + 1
HIGHEST = BOUND - 1
INT128 = 2**127

SYBILS = [account(f"sybil {number}") for number in range(4)]

# Each adapter paid by its height, and every number taken for a score.
STEPS_AND_BOUNDS = Guard(
    "Bounties",
    "                bar = score\n",
    "                pass\n",
    "policies",
    ((" and score < SCORE_BOUND and score > -SCORE_BOUND", ""),),
)


def paid(world: World, scores: tuple[int, ...], solvers: list[str], **changes: object) -> dict[str, int]:
    """What each solver has of the reward when a task is settled with these scores and everybody claimed."""
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
    earned = paid(world, scores, [SOLVER, *[RIVAL] * copies, SOLVER], policy=LADDER, baseline=90)
    assert earned.get(RIVAL, 0) == 0
    assert earned[SOLVER] == ETHER


def test_ladder__without_the_guard__copies_take_most_of_the_reward(without: Callable[[Guard], World]) -> None:
    world = without(STEPS_AND_BOUNDS)
    earned = paid(world, (140, 140, 140, 140), [SOLVER, RIVAL, RIVAL, RIVAL], policy=LADDER, baseline=90)
    assert earned == {SOLVER: ETHER // 4, RIVAL: 3 * ETHER // 4}


def test_ladder__one_adapter_under_many_accounts__earns_the_same(world: World) -> None:
    """The steps of a sybil's ladder add up to the last one's height."""
    kept = world.chain.keep()
    alone = paid(world, (120, 150), [RIVAL, SOLVER], policy=LADDER, baseline=90)
    world.chain.back_to(kept)
    names = [RIVAL, *SYBILS]
    split = paid(world, (120, 125, 130, 140, 150), names, policy=LADDER, baseline=90)

    assert alone == {RIVAL: ETHER // 2, SOLVER: ETHER // 2}
    assert split[RIVAL] == ETHER // 2
    assert sum(split[name] for name in SYBILS) == ETHER // 2


def test_best__copies_of_the_winner__pays_only_the_earliest_commit(world: World) -> None:
    earned = paid(world, (140, 150, 150, 150, 149), [RIVAL, SOLVER, RIVAL, SYBILS[0], SYBILS[1]], policy=BEST)
    assert earned == {RIVAL: 0, SOLVER: ETHER, SYBILS[0]: 0, SYBILS[1]: 0}


@pytest.mark.parametrize("policy", [BEST, LADDER])
def test_scores__whole_range__pay_the_whole_reward(world: World, policy: int) -> None:
    scores = (LOWEST + 1, 0, HIGHEST)
    solvers = [RIVAL, SYBILS[0], SOLVER]
    earned = paid(world, scores, solvers, policy=policy, threshold=LOWEST + 1, baseline=LOWEST)
    assert sum(earned.values()) == ETHER
    if policy == BEST:
        assert earned[SOLVER] == ETHER
    else:
        total = HIGHEST - LOWEST
        assert earned[RIVAL] == ETHER * 1 // total == 0
        assert earned[SYBILS[0]] == ETHER * -(LOWEST + 1) // total
        assert earned[SOLVER] == ETHER - earned[SYBILS[0]]  # with the dust


@pytest.mark.parametrize("policy", [BEST, LADDER])
def test_scores__64_steps_over_the_whole_range__pay_the_whole_reward(world: World, policy: int) -> None:
    step = (HIGHEST - LOWEST) // 64
    scores = tuple(HIGHEST - step * (63 - index) for index in range(64))
    earned = paid(world, scores, [SOLVER] * 64, policy=policy, threshold=LOWEST + 1, baseline=LOWEST)
    assert earned == {SOLVER: ETHER}


@pytest.mark.parametrize("policy", [BEST, LADDER])
@pytest.mark.parametrize("score", [INT128 - 1, BOUND, -BOUND, MISFIT_SCORE])
def test_scores__out_of_bounds_from_a_lying_quorum__never_pass_and_still_settle(
    world: World, policy: int, score: int
) -> None:
    earned = paid(world, (score, 150), [RIVAL, SOLVER], policy=policy, threshold=LOWEST + 1, baseline=LOWEST)
    assert earned == {RIVAL: 0, SOLVER: ETHER}


def test_scores__nothing_but_out_of_bounds__give_the_reward_back(world: World) -> None:
    scores = (INT128 - 1, BOUND, MISFIT_SCORE)
    earned = paid(world, scores, [RIVAL, SOLVER, RIVAL], policy=LADDER, threshold=LOWEST + 1, baseline=LOWEST)
    assert earned == {RIVAL: 0, SOLVER: 0}
    assert world.owed(SPONSOR) >= ETHER


def test_scores__out_of_bounds_without_the_guard__win_for_a_lying_quorum(without: Callable[[Guard], World]) -> None:
    world = without(STEPS_AND_BOUNDS)
    earned = paid(world, (INT128 - 1, 150), [RIVAL, SOLVER], policy=BEST)
    assert earned == {RIVAL: ETHER, SOLVER: 0}
