"""How each duty is done.

An action either reports progress, or raises Retry (not yet), Skip (not at all, and why) or a ChainError. Every
transaction is simulated before it is sent, and every vote is in the journal before it is committed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import StrEnum

from eth_utils.crypto import keccak

from verifier.chain.client import Block
from verifier.chain.contracts import Call, Contracts
from verifier.chain.errors import Reverted
from verifier.chain.header import encode_header
from verifier.chain.transactions import Change, Sender
from verifier.protocol import commitments
from verifier.protocol.constants import OWN_FILES, Outcome, attestation_bit
from verifier.protocol.state import TaskState
from verifier.service import votes
from verifier.service.config import DutiesConfig
from verifier.service.duties import OPEN_CALLS, Duty, DutyKind
from verifier.service.errors import Retry, Skip
from verifier.service.evaluations import Evaluations, Failed, Pending, Ready
from verifier.service.files import Files
from verifier.service.journal import Evaluation, Journal
from verifier.service.votes import PanelIdentity, Seat


class Progress(StrEnum):
    """What became of a duty at a tick; also its label in the metrics."""

    DONE = "done"
    SENT = "sent"
    WAITING = "waiting"
    SKIPPED = "skipped"


Result = tuple[Progress, Change | None]  # the change is the transaction that was sent for the duty, if one was


@dataclass(frozen=True)
class ActingOperator:
    """The operator whose duties are done. Without a sender nothing is signed: a dry run."""

    address: str
    seed: bytes  # the salts of its votes are derived from it
    sender: Sender | None


class Actions:
    """Does duties for one operator."""

    def __init__(
        self,
        *,
        contracts: Contracts,
        panel: PanelIdentity,
        operator: ActingOperator,
        journal: Journal,
        files: Files,
        evaluations: Evaluations,
        timing: DutiesConfig,
    ) -> None:
        self._contracts = contracts
        self._panel = panel
        self._operator = operator
        self._sender = operator.sender
        self._journal = journal
        self._files = files
        self._evaluations = evaluations
        self._timing = timing
        self._first_seen: dict[str, float] = {}  # open calls by key, in monotonic seconds
        self._by_kind: dict[DutyKind, Callable[[TaskState, Duty, Block], Result]] = {
            DutyKind.MIRROR: self._mirror,
            DutyKind.ATTEST: self._attest,
            DutyKind.EVALUATE: self._evaluate,
            DutyKind.COMMIT: self._commit,
            DutyKind.REVEAL: self._reveal,
            DutyKind.CONVENE: self._convene,
            DutyKind.DRAW: self._draw,
            DutyKind.CLOSE_ATTESTATION: self._close_attestation,
            DutyKind.SETTLE: self._settle,
            DutyKind.CANCEL: self._cancel,
            DutyKind.CLAIM: self._claim,
            DutyKind.CLOSE_VOTE: self._close_vote,
        }

    def perform(self, state: TaskState, duty: Duty, head: Block) -> Result:
        """Do a duty, or the part of it that can be done now. Errors: Retry, Skip, ChainError."""
        if duty.kind in OPEN_CALLS and not self._is_our_turn(duty):
            return Progress.WAITING, None
        return self._by_kind[duty.kind](state, duty, head)

    def retain(self, keys: Collection[str]) -> None:
        """Forget since when open calls that are not among `keys` could have been made."""
        self._first_seen = {key: since for key, since in self._first_seen.items() if key in keys}

    def _is_our_turn(self, duty: Duty) -> bool:
        """Whether this operator makes a call now that anyone can make.

        Each operator leaves such a call to the others for a part of `duties.stagger_s` that depends on its address, so
        that not all of them pay for it. Errors: Skip when the configuration leaves these calls to others.
        """
        if not self._timing.open_calls:
            raise Skip("left to others: duties.open_calls is off in the configuration")
        if duty.member is not None and duty.member.operator == self._operator.address:
            return True  # the call releases the operator's own seat: nobody has a better reason to make it
        part = int.from_bytes(keccak(text=duty.key + self._operator.address)[:4], "big") / (1 << 32)
        since = self._first_seen.setdefault(duty.key, time.monotonic())
        return time.monotonic() - since >= part * self._timing.stagger_s

    def _send(self, duty: Duty, call: Call) -> Result:
        """Simulate and send a transaction, unless one of this duty is under way. Errors: Skip, ChainError."""
        if self._sender is None:
            raise Skip(f"dry run: would send {call.description}")
        if self._sender.busy(duty.key):
            return Progress.WAITING, None
        try:
            return Progress.SENT, self._sender.submit(duty.key, call)
        except Reverted as error:
            raise Skip(f"the contract would refuse {call.description}: {error.reason}") from error

    # Files

    def _mirror(self, state: TaskState, duty: Duty, head: Block) -> Result:
        missing = self._files.fetch_missing(state)
        if missing:
            raise Retry(f"files are missing: {', '.join(missing.values())}")
        return Progress.DONE, None

    def _attest(self, state: TaskState, duty: Duty, head: Block) -> Result:
        """Attest when everything is here; files that are missing get time until shortly before the window ends.

        Files that are still being checked get time until the last third of that margin. A dry run checks nothing
        because it signs nothing.
        """
        assert duty.until is not None
        unchecked = self._files.check(state) if self._sender is not None else {}
        missing = self._files.fetch_missing(state)
        margin = min(self._timing.attest_margin_s, state.terms.windows.attest / 3)
        if missing and head.timestamp < duty.until - margin:
            raise Retry(f"files are missing: {', '.join(missing.values())}")
        if self._sender is not None and self._sender.busy(duty.key):
            return Progress.WAITING, None
        if unchecked and head.timestamp < duty.until - margin / 3:
            raise Retry(f"files are being compared with their digests: {', '.join(unchecked.values())}")
        bits = (
            {OWN_FILES, *(attestation_bit(item.index) for item in state.history.submissions)}
            - missing.keys()
            - unchecked.keys()
        )
        bitmap = sum(1 << bit for bit in bits)
        return self._send(duty, self._contracts.attest(state.id, duty.position, bitmap))

    # Verdicts

    def _evaluate(self, state: TaskState, duty: Duty, head: Block) -> Result:
        self._require_evaluation(state, duty, head)
        return Progress.DONE, None

    def _require_evaluation(self, state: TaskState, duty: Duty, head: Block) -> Evaluation:
        """Return this service's evaluation of the task. Errors: Retry while it is to come, Skip when it abstains."""
        assert duty.until is not None
        match self._evaluations.advance(state, seconds=duty.until - head.timestamp):
            case Ready(evaluation):
                return evaluation
            case Pending(reason):
                raise Retry(reason)
            case Failed(reason):
                raise Skip(reason)

    def _commit(self, state: TaskState, duty: Duty, head: Block) -> Result:
        """Commit the seat's one vote of this round: the journal's, or else a new one, which the journal gets first."""
        seat = self._seat(state, duty)
        vote = self._journal.vote(seat)
        if vote is None:
            evaluation = self._require_evaluation(state, duty, head)
            vote = self._journal.record_vote(seat, votes.vote(self._operator.seed, seat, evaluation.verdict))
        else:
            found = self._journal.evaluation(state.inputs)
            if found is None or found.verdict != vote.verdict:
                return self._withdraw(duty)
        return self._send(duty, self._contracts.commit_verdict(state.id, duty.round, duty.position, vote.digest))

    def _withdraw(self, duty: Duty) -> Result:
        """Take back a commitment that was sent before a reorganisation changed the inputs.

        The vote would be wrong about the new inputs, and a seat never gets a second vote. Silence costs least.
        """
        change = self._sender.withdraw(duty.key) if self._sender else None
        if change is None:
            raise Skip("abstains: the journal has a vote of this seat on other inputs, and a seat never votes twice")
        return Progress.SENT, change

    def _reveal(self, state: TaskState, duty: Duty, head: Block) -> Result:
        """Open the seat's commitment: with the journal's vote, or, if that was lost, by evaluating again."""
        seat = self._seat(state, duty)
        committed = state.history.votes[seat.round, seat.stake]
        vote = self._journal.vote(seat)
        if vote is None or vote.digest != committed:
            evaluation = self._require_evaluation(state, duty, head)
            vote = votes.vote(self._operator.seed, seat, evaluation.verdict)
            if vote.digest != committed:
                raise Skip("cannot open the commitment on chain: neither the journal's vote nor this seed's matches it")
            self._journal.record_vote(seat, vote)
        call = self._contracts.reveal_verdict(state.id, duty.round, duty.position, vote.verdict, vote.salt)
        return self._send(duty, call)

    def _seat(self, state: TaskState, duty: Duty) -> Seat:
        assert duty.member is not None
        return Seat(self._panel.chain_id, self._panel.address, state.id, duty.round, duty.member.stake)

    # Calls that anyone can make

    def _convene(self, state: TaskState, duty: Duty, head: Block) -> Result:
        return self._send(duty, self._contracts.convene(state.id))

    def _draw(self, state: TaskState, duty: Duty, head: Block) -> Result:
        target = self._contracts.client.block(state.panel.target_block)
        return self._send(duty, self._contracts.draw(state.id, encode_header(target.header)))

    def _close_attestation(self, state: TaskState, duty: Duty, head: Block) -> Result:
        return self._send(duty, self._contracts.close_attestation(state.id))

    def _settle(self, state: TaskState, duty: Duty, head: Block) -> Result:
        """Settle with the final verdict's scores, or without any where nothing was to be judged."""
        if not state.final:
            return self._send(duty, self._contracts.settle(state.id, Outcome.NONE, [], commitments.ZERO))
        opening = self._journal.opening(state.panel.verdict)
        if opening is None:
            raise Skip("left to others: this service did not find the accepted verdict and cannot know its scores")
        call = self._contracts.settle(state.id, opening.outcome, opening.scores, opening.evidence)
        return self._send(duty, call)

    def _cancel(self, state: TaskState, duty: Duty, head: Block) -> Result:
        return self._send(duty, self._contracts.cancel(state.id))

    def _claim(self, state: TaskState, duty: Duty, head: Block) -> Result:
        return self._send(duty, self._contracts.claim_submission(state.id, duty.index, state.history.scores))

    def _close_vote(self, state: TaskState, duty: Duty, head: Block) -> Result:
        return self._send(duty, self._contracts.close_vote(state.id, duty.round, duty.position))
