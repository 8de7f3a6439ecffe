# pragma version ~=0.4.3
"""
@title   Policies
@license Apache-2.0
@notice  Who earns which part of a reward, as a function of the accepted scores alone.
         BEST: everything to the highest passing score, the earliest commit breaking ties.
         LADDER: over passing submissions in commit order, score minus the best so far (at first the baseline). It pays
         improvement; a copy or a sybil of an earlier adapter improves nothing and earns nothing.
"""

MAX_SUBMISSIONS: constant(uint256) = 64
BEST: constant(uint256) = 0
LADDER: constant(uint256) = 1
# Scores, thresholds and baselines lie strictly within these bounds, so that no sum or product below overflows.
SCORE_BOUND: constant(int128) = 2**96


@internal
@pure
def _passes(score: int128, threshold: int128) -> bool:
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
    @param scored Bitmap of the submissions that were evaluated; the others' scores mean nothing.
    @return Index of the best submission (of the first, when none passes), the total weight (0: no winner) and a weight for
            each submission.
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
    @notice The part of `amount` (below 2**120) that submission `index` earns; what rounding leaves goes to the best.
    """
    if index != best:
        return amount * weights[index] // total
    others: uint256 = 0
    for i: uint256 in range(len(weights), bound=MAX_SUBMISSIONS):
        if i != best:
            others += amount * weights[i] // total
    return amount - others
