# pragma version ~=0.4.3
"""
@title   Policies
@license Apache-2.0
@notice  Divides a reward as a function of the accepted scores alone.
         BEST: the highest passing score earns the whole reward; of equal scores, the earliest commit wins.
         LADDER: each passing submission, in commit order, earns in proportion to its score minus the best passing score
         before it (at first minus the baseline). It pays for improvement, so a copy of an earlier adapter earns
         nothing, whoever submits it.
"""

MAX_SUBMISSIONS: constant(uint256) = 64
BEST: constant(uint256) = 0
LADDER: constant(uint256) = 1
# Scores, thresholds and baselines lie strictly between -SCORE_BOUND and SCORE_BOUND, so that the sums and products
# below cannot overflow.
SCORE_BOUND: constant(int128) = 2**96


@internal
@pure
def _passes(score: int128, threshold: int128) -> bool:
    """
    @return Whether a score reaches the threshold and lies within the bounds of valid scores.
    """
    return score >= threshold and score < SCORE_BOUND and score > -SCORE_BOUND


@internal
@pure
def _weights(
    policy: uint256,
    threshold: int128,
    baseline: int128,
    scored: uint256,
    scores: DynArray[int128, MAX_SUBMISSIONS],
) -> (uint256, uint256, DynArray[uint256, MAX_SUBMISSIONS]):
    """
    @param policy BEST or LADDER.
    @param threshold The lowest score that passes.
    @param baseline The score from which LADDER measures the first improvement.
    @param scored Bitmap of the submissions that were evaluated; the scores of the others are ignored.
    @param scores A score for each submission, in commit order.
    @return Index of the best submission (0 when none passes), the total weight (0 when there is no winner) and a weight
            for each submission.
    """
    weights: DynArray[uint256, MAX_SUBMISSIONS] = []
    best: uint256 = 0
    any_passes: bool = False
    total: uint256 = 0
    bar: int128 = baseline
    for i: uint256 in range(len(scores), bound=MAX_SUBMISSIONS):
        weight: uint256 = 0
        score: int128 = scores[i]
        if (scored >> i) & 1 == 1 and self._passes(score, threshold):
            if not any_passes or score > scores[best]:
                any_passes = True
                best = i
            if policy == LADDER and score > bar:
                weight = convert(score - bar, uint256)
                bar = score
        weights.append(weight)
        total += weight
    if policy == BEST and any_passes:
        weights[best] = 1
        total = 1
    return best, total, weights


@internal
@pure
def _share(
    amount: uint256, index: uint256, best: uint256, total: uint256, weights: DynArray[uint256, MAX_SUBMISSIONS]
) -> uint256:
    """
    @notice Computes the part of `amount` (below 2**120) that submission `index` earns. The best submission gets the
            rounding remainder.
    """
    if index != best:
        return amount * weights[index] // total
    others: uint256 = 0
    for i: uint256 in range(len(weights), bound=MAX_SUBMISSIONS):
        if i != best:
            others += amount * weights[i] // total
    return amount - others
