"""The division of a task's money at its end, implemented from the design alone."""

from __future__ import annotations

from collections.abc import Sequence

from tests.evm import NATIVE
from tests.harness import LIMITS
from tests.stateful.case import Case, Ending
from tests.stateful.ledger import Ledger
from verifier.protocol.constants import SCORE_BOUND, Ground, Outcome, Phase, RewardPolicy


def passes(case: Case, index: int, score: int) -> bool:
    """Whether a submission is revealed and its score is valid and reaches the threshold."""
    return bool(
        case.submissions[index].answer == "revealed"
        and case.terms["threshold"] <= score < SCORE_BOUND
        and score > -SCORE_BOUND
    )


def weights(case: Case, scores: Sequence[int], without: Sequence[int] = ()) -> list[int]:
    """The weight of every submission; those in `without` count as not passing."""
    passing = [i for i, score in enumerate(scores) if i not in without and passes(case, i, score)]
    shares = [0] * len(scores)
    if case.terms["policy"] == RewardPolicy.BEST:
        if passing:
            shares[max(passing, key=lambda i: (scores[i], -i))] = 1
        return shares
    for i in passing:
        before = max([case.terms["baseline"], *(scores[j] for j in passing if j < i)])
        shares[i] = max(0, scores[i] - before)
    return shares


def divide(amount: int, shares: Sequence[int], scores: Sequence[int]) -> list[int]:
    """Divide an amount by weight, rounded down; the earliest of the highest weighted scores gets the remainder."""
    total = sum(shares)
    if not total:
        return [0] * len(shares)
    parts = [amount * share // total for share in shares]
    best = max((i for i, share in enumerate(shares) if share), key=lambda i: (scores[i], -i))
    parts[best] += amount - sum(parts)
    return parts


def forfeited(case: Case) -> list[int]:
    """For every submission its bond if it was admitted and neither revealed nor declined, otherwise 0."""
    return [
        entry.bond if case.admitted >> (i + 1) & 1 and not entry.answer else 0
        for i, entry in enumerate(case.submissions)
    ]


def settle(case: Case, outcome: int, scores: Sequence[int], ledger: Ledger) -> None:
    """End a task by a verdict on scores, or without a verdict when nothing was revealed."""
    lost = forfeited(case)
    shares = weights(case, scores) if outcome != Outcome.NONE else [0] * len(case.submissions)
    rewards = divide(case.reward, shares, scores)
    bonds = divide(sum(lost), shares, scores)
    if outcome == Outcome.NONE:
        ledger.burn(NATIVE, len(case.submissions) * (case.fee - case.attest_fee))
    pay, back = committee(case, outcome != Outcome.NONE, attested=True, ledger=ledger)
    won = any(shares)
    _credit(case, ledger, case.bond + (0 if won else case.reward), back + (0 if won else sum(lost)))
    claims = [
        (reward, share + entry.bond - own)
        for reward, share, entry, own in zip(rewards, bonds, case.submissions, lost, strict=True)
    ]
    case.ending = Ending(Phase.SETTLED, outcome, Ground.NONE, tuple(scores), claims, pay)


def cancel(case: Case, outcome: int, ground: int, ledger: Ledger) -> None:
    """End a task by cancelling it."""
    judged = ground in (Ground.HOLDOUT_INVALID, Ground.PROGRAM_INVALID)
    attested = judged or bool(attesters(case))
    refund = 0 if judged else case.fee - (case.attest_fee if attested else 0)
    pay, back_native = committee(case, judged, attested, ledger)
    back = case.reward + case.bond
    lost = forfeited(case) if ground == Ground.TERMINAL else [0] * len(case.submissions)
    hurt: list[int] = []
    if ground == Ground.HOLDOUT_SILENT:
        hurt = [i for i in range(len(case.submissions)) if case.admitted >> (i + 1) & 1]
    elif judged:
        hurt = [i for i, entry in enumerate(case.submissions) if entry.answer == "revealed"]
    # The bond of a sealed holdout is a part of the whole reward; its part for top-ups is taken from the reward.
    penalty = max(case.bond, case.reward * LIMITS.sponsor_bond_bps // 10_000) if hurt and case.sealed else 0
    consolation = penalty // 2 // len(hurt) if hurt else 0
    if hurt:
        ledger.burn(case.asset, penalty - consolation * len(hurt))
        back -= penalty
    if ground == Ground.TERMINAL:
        half = case.reward // 2
        ledger.burn(case.asset, half)
        ledger.burn(NATIVE, sum(lost) + case.bought)
        back -= half
    _credit(case, ledger, back, back_native)
    claims = [
        (consolation if i in hurt else 0, refund + entry.bond - lost[i]) for i, entry in enumerate(case.submissions)
    ]
    case.ending = Ending(Phase.CANCELLED, outcome, ground, (), claims, pay)


def attesters(case: Case) -> list[int]:
    """The positions of the first committee that attested every admitted item."""
    return [position for position, bitmap in case.attested.items() if case.admitted & ~bitmap == 0]


def committee(case: Case, judged: bool, attested: bool, ledger: Ledger) -> tuple[dict[tuple[int, int], int], int]:
    """Divide fees and reserve; returns what each seat (round, position) earned and what the sponsor gets, wei."""
    pay: dict[tuple[int, int], int] = {}
    pool = int(case.terms["reserve"])
    count = len(case.submissions)
    if count and attested:
        part = count * case.attest_fee
        if attesters(case):
            pool += part
        else:
            ledger.burn(NATIVE, part)
        for position in attesters(case):
            pay[1, position] = part // len(attesters(case))
    if count and judged:
        part = count * (case.fee - case.attest_fee)
        later = sum(len(round_.seats) for round_ in case.rounds[1:])
        extra = min(int(case.terms["reserve"]), part * later // case.committee)
        agreed = [(r.number, position) for r in case.rounds for position in r.shown(case.accepted)]
        pool += part + case.bought
        for seat in agreed:
            pay[seat] = pay.get(seat, 0) + (part + extra + case.bought) // len(agreed)
    return pay, pool - sum(pay.values())


def _credit(case: Case, ledger: Ledger, back: int, native: int) -> None:
    ledger.credit(case.asset, case.task.sponsor, back)
    ledger.credit(NATIVE, case.task.sponsor, native)
