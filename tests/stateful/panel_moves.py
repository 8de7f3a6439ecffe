"""The calls to the panel, each made on the model and on the contract."""

from __future__ import annotations

from collections.abc import Sequence

from eth_abi.abi import encode
from eth_utils.crypto import keccak

from tests.evm import NATIVE, ZERO, word
from tests.harness import RESERVATION, SILENCE
from tests.stateful.case import Ballot, Case
from tests.stateful.seats import Seat
from tests.stateful.stage import OUTSIDER, Stage
from verifier.protocol import commitments
from verifier.protocol.constants import Outcome


def convene(stage: Stage, case: Case, sender: str = OUTSIDER) -> None:
    rearming = case.target != 0
    done = stage.attempt(
        "Panel.convene",
        lambda: case.convene(stage.now, stage.chain.block, len(stage.registry.slots), stage.draw_delay),
        lambda: stage.panel.convene(case.task.id, sender=sender),
    )
    if done:
        event = stage.fields(done[1], stage.panel, "Convened")
        assert (event["round"], event["target_block"], event["rearms"]) == (case.convened, case.target, case.rearms)
        if rearming:
            stage.counts.seen["convene: re-arm"] += 1


def draw(stage: Stage, case: Case, wrong_header: bool = False) -> None:
    """Draw with the header of the target block, or with the header of another block."""
    frozen_at, slots = case.frozen
    header = stage.chain.header(case.target + 1 if wrong_header else case.target)

    def expect() -> list[Seat]:
        case.assert_drawable(stage.chain.block, not wrong_header)
        seed = keccak(
            encode(["bytes32", "bytes32", "uint256"], [stage.chain.randao(case.target), case.task.id, case.convened])
        )
        seats = stage.registry.draw(stage.panel.address, seed, case.wanted, case.task.created_at, frozen_at, slots)
        case.drew(seats, stage.now)
        stage.registry.reserve(stage.panel.address, seats)
        return seats

    done = stage.attempt("Panel.draw", expect, lambda: stage.panel.draw(case.task.id, header, sender=OUTSIDER))
    if done:
        slots_drawn = [seat.slot for seat in done[0]]
        assert stage.fields(done[1], stage.panel, "Drawn")["slots"] == slots_drawn
        assert stage.world.committee(case.task, case.convened) == slots_drawn
        which = "first round" if case.convened == 1 else "later round"
        stage.counts.seen[f"draw: {which if case.convened <= 3 else 'round that was paid for'}"] += 1


def attest(stage: Stage, case: Case, position: int, bitmap: int, sender: str) -> None:
    stage.attempt(
        "Panel.attest",
        lambda: case.attest(position, bitmap, sender, stage.now),
        lambda: stage.panel.attest(case.task.id, position, bitmap, sender=sender),
    )


def close_attestation(stage: Stage, case: Case, sender: str = OUTSIDER) -> None:
    done = stage.attempt(
        "Panel.close_attestation",
        lambda: case.close_attestation(stage.now),
        lambda: stage.panel.close_attestation(case.task.id, sender=sender),
    )
    if done:
        assert stage.fields(done[1], stage.panel, "AttestationClosed")["admitted"] == case.admitted


def digest(stage: Stage, case: Case, outcome: int, scores: Sequence[int], evidence: bytes) -> bytes:
    """The digest of a verdict on the task in its current state; its content is added to `known`."""
    holdout = case.task.holdout
    root = commitments.root(entry.commitment for entry in case.task.entries)
    set_ = holdout[1] if holdout else case.terms["practice"]
    inputs = commitments.inputs(case.task.id, set_, root, case.scored)
    chain, panel = stage.chain.chain_id, stage.panel.address
    verdict = commitments.verdict(chain, panel, case.task.id, inputs, outcome, scores, evidence)
    case.known[verdict] = (outcome, tuple(scores), evidence)
    return verdict


def truth(stage: Stage, case: Case) -> bytes:
    """The verdict of an honest evaluation."""
    if case.score_outcome != Outcome.SCORED:
        return digest(stage, case, case.score_outcome, (), ZERO)
    scores = [entry.score if entry.answer == "revealed" else 0 for entry in case.submissions]
    return digest(stage, case, Outcome.SCORED, scores, word("evidence"))


def commit(stage: Stage, case: Case, number: int, position: int, verdict: bytes, sender: str) -> None:
    ballot = Ballot(verdict, word(f"salt {case.task.id.hex()} {number} {position}"))
    seats = case.rounds[number - 1].seats if number <= len(case.rounds) else []
    stake = seats[position].stake if position < len(seats) else ZERO
    vote = commitments.vote(
        stage.chain.chain_id, stage.panel.address, case.task.id, number, stake, verdict, ballot.salt
    )
    stage.attempt(
        "Panel.commit_verdict",
        lambda: case.commit(number, position, ballot, sender, stage.now),
        lambda: stage.panel.commit_verdict(case.task.id, number, position, vote, sender=sender),
    )


def show(stage: Stage, case: Case, number: int, position: int, verdict: bytes, salt: bytes, sender: str) -> None:
    done = stage.attempt(
        "Panel.reveal_verdict",
        lambda: case.show(number, position, verdict, salt, stage.now),
        lambda: stage.panel.reveal_verdict(case.task.id, number, position, verdict, salt, sender=sender),
    )
    if done is None:
        return
    accepted = done[1].events(stage.panel, "Accepted")
    assert [event["verdict"] for event in accepted] == ([verdict] if done[0] else [])
    if done[0]:
        stage.counts.seen["vote: accepted" if number == 1 else "vote: accepted in a later round"] += 1


def close(stage: Stage, case: Case, number: int, position: int, sender: str = OUTSIDER) -> None:
    """Close one seat's vote; what it loses and earns follows from the seat's actions in the model."""

    def expect() -> tuple[int, int]:
        case.close(number, position, stage.now)
        round_ = case.rounds[number - 1]
        slash = _slash(case, number, position, stage.now)
        earned = case.ending.pay.pop((number, position), 0) if case.ending else 0
        seat = round_.seats[position]
        stage.registry.release(stage.panel.address, seat, slash)
        stage.ledger.credit(NATIVE, seat.owner, earned)
        return slash, earned

    done = stage.attempt(
        "Panel.close_vote",
        expect,
        lambda: stage.panel.close_vote(case.task.id, number, position, sender=sender),
    )
    if done:
        event = stage.fields(done[1], stage.panel, "VoteClosed")
        assert (event["slashed"], event["earned"]) == done[0]
        _see(stage, case, number, position, *done[0])


def _slash(case: Case, number: int, position: int, now: int) -> int:
    round_ = case.rounds[number - 1]
    ballot = round_.ballots.get(position)
    if ballot is None:
        asked = 0 < case.commits_close(round_) <= now
        return SILENCE if asked and not case.excused(number, position) else 0
    if not ballot.shown:
        return RESERVATION
    return RESERVATION if case.accepted not in (None, ballot.verdict) else 0


def _see(stage: Stage, case: Case, number: int, position: int, slash: int, earned: int) -> None:
    seen = stage.counts.seen
    ballot = case.rounds[number - 1].ballots.get(position)
    if slash:
        kind = "silence" if ballot is None else "another verdict" if ballot.shown else "a withheld reveal"
        seen[f"close: slashed for {kind}"] += 1
    if earned:
        agreed = ballot is not None and ballot.shown and ballot.verdict == case.accepted
        seen[f"close: paid for {'a verdict' if agreed else 'attesting'}"] += 1
    if case.excused(number, position) and ballot is None:
        # Invariant 7: an excused seat and one that revealed the accepted digest (below) lose nothing.
        assert (slash, earned) == (0, 0)
        seen["close: excused"] += 1
    if ballot is not None and ballot.shown and ballot.verdict == case.accepted:
        assert slash == 0
