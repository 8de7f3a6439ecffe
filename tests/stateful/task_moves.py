"""The calls to the escrow, each made on the model and on the contract."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.evm import NATIVE
from tests.harness import LIMITS, SEAT, Entry
from tests.stateful import endings
from tests.stateful.case import Case, Submission
from tests.stateful.ledger import require
from tests.stateful.stage import Stage
from verifier.protocol.constants import Ground, Outcome, Phase, VerdictStatus


def bound(committee: int) -> int:
    """The largest permitted native reward, wei."""
    return committee * SEAT // 8


def create(stage: Stage, sponsor: str, sealed: bool, outcome: int, **changes: Any) -> Case | None:
    """Create a task for which an honest evaluation finds that outcome; None if it is refused."""
    terms = stage.world.terms(**changes)
    asset, reward = terms["asset"], terms["reward"]
    bond = reward * LIMITS.sponsor_bond_bps // 10_000 if sealed else 0
    arrived = stage.arrives(asset, reward + bond)

    def expect() -> None:
        enough = len(stage.registry.active()) >= LIMITS.seat_factor * terms["committee"]
        require(enough, "create: too few seats staked")
        require(asset != NATIVE or reward <= bound(terms["committee"]), "reward: above the committee's stake")

    made = []

    def send() -> Any:
        made.append(stage.world.create(sponsor, sealed, **changes))

    if stage.attempt("Bounties.create_task", expect, send) is None:
        return None
    stage.ledger.receive(asset, arrived)
    stage.ledger.receive(NATIVE, terms["reserve"])
    case = Case(made[0], arrived - bond, bond, outcome)
    stage.cases.append(case)
    stage.counts.seen[f"asset: {stage.asset_names[asset]}"] += 1
    return case


def top_up(stage: Stage, case: Case, payer: str, amount: int) -> None:
    arrived = stage.arrives(case.asset, amount)
    done = stage.attempt(
        "Bounties.top_up",
        lambda: case.top_up(arrived, stage.now, bound(case.committee)),
        lambda: stage.bounties.top_up(case.task.id, amount, sender=payer, value=amount if case.asset == NATIVE else 0),
    )
    if done:
        stage.ledger.receive(case.asset, arrived)


def submit(stage: Stage, case: Case, solver: str, name: str, score: int, above: int = 0) -> None:
    """Commit to an adapter, which its name identifies. `above` is added to the value that is due."""
    entry = stage.world.entry(case.task, solver, name)
    index = len(case.submissions)
    submission = Submission(entry, LIMITS.submission_bond << (index // 8), score)
    value = submission.bond + case.fee + above
    done = stage.attempt(
        "Bounties.commit_submission",
        lambda: case.submit(submission, value, stage.now),
        lambda: stage.bounties.commit_submission(
            case.task.id, entry.commitment, entry.sealed, entry.uri, sender=solver, value=value
        ),
    )
    if done:
        assert done[1].result == index
        case.task.entries.append(entry)
        stage.ledger.receive(NATIVE, value)
        stage.ledger.credit(NATIVE, solver, done[0])


def reveal_holdout(stage: Stage, case: Case, sender: str, opening: tuple[bytes, ...]) -> None:
    stage.attempt(
        "Bounties.reveal_holdout",
        lambda: case.reveal_holdout(opening, stage.now),
        lambda: stage.bounties.reveal_holdout(case.task.id, *opening, sender=sender),
    )


def reveal(stage: Stage, case: Case, index: int, entry: Entry, sender: str) -> None:
    """Reveal a submission with the opening of an entry; all entries of one adapter have the same opening."""
    opening = (entry.sealed, entry.plain, entry.key)

    def expect() -> None:
        own = case.submissions[index].entry
        case.answer(index, "revealed", opening == (own.sealed, own.plain, own.key), stage.now)

    stage.attempt(
        "Bounties.reveal_submission",
        expect,
        lambda: stage.bounties.reveal_submission(case.task.id, index, *opening, sender=sender),
    )


def decline(stage: Stage, case: Case, index: int, sender: str) -> None:
    stage.attempt(
        "Bounties.decline",
        lambda: case.answer(index, "declined", case.submissions[index].solver == sender, stage.now),
        lambda: stage.bounties.decline(case.task.id, index, sender=sender),
    )


def reconvene(stage: Stage, case: Case, payer: str, above: int = 0) -> None:
    value = max(case.reconvene_fee + above, 0)
    rearming = case.target != 0
    done = stage.attempt(
        "Bounties.reconvene",
        lambda: case.reconvene(value, stage.now, stage.chain.block, len(stage.registry.slots), stage.draw_delay),
        lambda: stage.bounties.reconvene(case.task.id, sender=payer, value=value),
    )
    if done:
        stage.ledger.receive(NATIVE, value)
        stage.ledger.credit(NATIVE, payer, done[0])
        if rearming:
            stage.counts.seen["reconvene: re-arm"] += 1


def settle(stage: Stage, case: Case, outcome: int, scores: Sequence[int], evidence: bytes, sender: str) -> None:
    """Settle with the content of a verdict, which succeeds if that verdict is final."""

    def expect() -> None:
        require(not case.ending, "settle: already ended")
        require(case.phase(stage.now) == Phase.JUDGING, "settle: too early")
        if not case.scored:
            require((outcome, tuple(scores), evidence) == (Outcome.NONE, (), bytes(32)), "settle: nothing was scored")
        else:
            require(case.is_final(stage.now), "settle: no final verdict")
            assert case.accepted is not None
            content = case.known[case.accepted]
            require((outcome, tuple(scores), evidence) == content, "settle: not the final verdict")
            require(1 <= outcome <= 3, "settle: unknown outcome")
            if outcome == Outcome.SCORED:
                fits = len(scores) == len(case.submissions)
            else:
                fits = not scores and evidence == bytes(32)
            require(fits, "settle: wrong scores")
        if outcome in (Outcome.NONE, Outcome.SCORED):
            endings.settle(case, outcome, scores, stage.ledger)
        else:
            ground = Ground.HOLDOUT_INVALID if outcome == Outcome.HOLDOUT_INVALID else Ground.PROGRAM_INVALID
            endings.cancel(case, outcome, ground, stage.ledger)

    done = stage.attempt(
        "Bounties.settle",
        expect,
        lambda: stage.bounties.settle(case.task.id, outcome, list(scores), evidence, sender=sender),
    )
    if done is None:
        return
    assert case.ending is not None
    if case.ending.phase == Phase.CANCELLED:
        _see_ground(stage, case)
        return
    view = stage.bounties.task(case.task.id)
    shares = endings.weights(case, scores) if outcome == Outcome.SCORED else []
    assert (view["outcome"], view["total_weight"]) == (outcome, sum(shares))
    if outcome == Outcome.NONE:
        stage.counts.seen["settle: nothing revealed"] += 1
    elif not sum(shares):
        stage.counts.seen["settle: no winner"] += 1
    else:
        stage.counts.seen[f"settle: winner by {case.terms['policy'].name}"] += 1
        status, verdict = stage.panel.final_verdict(case.task.id)
        assert (status, verdict) == (VerdictStatus.FINAL, case.accepted)


def cancel(stage: Stage, case: Case, sender: str) -> None:
    def expect() -> None:
        require(not case.ending, "cancel: already ended")
        ground = case.ground(sender, stage.now)
        require(ground, "cancel: no ground")
        endings.cancel(case, Outcome.NONE, ground, stage.ledger)

    if stage.attempt("Bounties.cancel", expect, lambda: stage.bounties.cancel(case.task.id, sender=sender)):
        _see_ground(stage, case)


def claim(stage: Stage, case: Case, index: int, scores: Sequence[int], sender: str) -> None:
    def expect() -> tuple[int, int]:
        require(case.ending, "claim: not ended")
        assert case.ending is not None
        require(index < len(case.submissions), "submission: unknown")
        require(not case.submissions[index].claimed, "claim: already claimed")
        require(tuple(scores) == case.ending.scores, "claim: wrong scores")
        entry = case.submissions[index]
        entry.claimed = True
        reward, native = case.ending.claims[index]
        stage.ledger.credit(case.asset, entry.solver, reward)
        stage.ledger.credit(NATIVE, entry.solver, native)
        return reward, native

    done = stage.attempt(
        "Bounties.claim_submission",
        expect,
        lambda: stage.bounties.claim_submission(case.task.id, index, list(scores), sender=sender),
    )
    if done:
        event = stage.fields(done[1], stage.bounties, "SubmissionClaimed")
        assert (event["reward"], event["native"]) == done[0]


def _see_ground(stage: Stage, case: Case) -> None:
    assert case.ending is not None
    view = stage.bounties.task(case.task.id)
    assert (view["phase"], view["ground"]) == (Phase.CANCELLED, case.ending.ground)
    stage.counts.seen[f"cancel: {Ground(case.ending.ground).name.lower().replace('_', ' ')}"] += 1
