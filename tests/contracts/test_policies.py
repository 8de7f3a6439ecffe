"""Policies: the division of rewards in real settlements, compared with a second implementation of the rule."""

from __future__ import annotations

from itertools import product

import pytest

from tests.contracts.amounts import claimed, finish
from tests.harness import ETHER, SOLVER, World
from verifier.protocol.constants import RewardPolicy

MISFIT = -(2**127)
SCORE_BOUND = 2**96
THRESHOLD, BASELINE = 100, 70


def weights(policy: int, scores: list[int]) -> list[int]:
    """The weight of each submission, all of which were revealed."""
    passing = [i for i, score in enumerate(scores) if THRESHOLD <= score < SCORE_BOUND]
    if policy == RewardPolicy.BEST:
        best = max(passing, key=lambda i: (scores[i], -i), default=None)
        return [int(i == best) for i in range(len(scores))]
    before = [max([BASELINE, *(scores[j] for j in passing if j < i)]) for i in range(len(scores))]
    return [max(0, score - before[i]) if i in passing else 0 for i, score in enumerate(scores)]


@pytest.mark.parametrize(
    ("policy", "scores"),
    product(
        (RewardPolicy.BEST, RewardPolicy.LADDER),
        [
            [99, 100, 101],
            [101, 101, 101],
            [100, 150, 200],
            [200, 150, 100],
            [MISFIT, 100, 99],
            [MISFIT, MISFIT, MISFIT],
            [SCORE_BOUND - 1, SCORE_BOUND, 2**127 - 1],
            [100, SCORE_BOUND - 1, SCORE_BOUND - 1],
        ],
    ),
)
def test_claims__scores_and_policy__divide_the_whole_reward(world: World, policy: int, scores: list[int]) -> None:
    task = world.to_settled(scores, [SOLVER] * 3, policy=policy, threshold=THRESHOLD, baseline=BASELINE)
    parts = weights(policy, scores)
    rewards = [claimed(world, task, index, scores)[0] for index in range(3)]
    if total := sum(parts):
        assert world.bounties.task(task.id)["total_weight"] == total
        expected = [ETHER * part // total for part in parts]
        best = max((i for i, part in enumerate(parts) if part), key=lambda i: scores[i])
        expected[best] += ETHER - sum(expected)
        assert rewards == expected
    else:
        assert rewards == [0, 0, 0]
    assert sum(rewards) == (ETHER if total else 0)
    finish(world, task, done=range(3))
