"""How each duty is done.

An action either reports progress, or raises Retry (not yet), Skip (not at all, and why) or a ChainError. Whatever it
sends has been simulated first; whatever it commits to is in the journal first.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from enum import StrEnum

from eth_utils.crypto import keccak

from verifier.chain.client import Block
from verifier.chain.contracts import Call, Contracts
from verifier.chain.errors import Reverted
from verifier.chain.header import encode_header
from verifier.chain.transactions import Change, Sender
from verifier.protocol import commitments
from verifier.protocol.constants import OWN_FILES, Outcome
from verifier.protocol.state import TaskState
from verifier.service import votes
from verifier.service.config import Config
from verifier.service.duties import OPEN_CALLS, Duty, Kind
from verifier.service.errors import Retry, Skip
from verifier.service.evaluations import Evaluations
from verifier.service.files import Files
from verifier.service.journal import Evaluation, Journal
from verifier.service.votes import Seat


class Progress(StrEnum):
    """What became of a duty at a tick; also the label in the metrics."""

    DONE = "done"
    SENT = "sent"
    WAITING = "waiting"
    SKIPPED = "skipped"


class Actions:
    """Does duties for one operator. Without a sender nothing is signed and every call is only named."""

    def __init__(
        self,
        contracts: Contracts,
        chain_id: int,
        operator: str,
        sender: Sender | None,
        journal: Journal,
        files: Files,
        evaluations: Evaluations,
        seed: bytes,
        config: Config,
    ) -> None:
        self._contracts = contracts
        self._chain_id = chain_id
        self._operator = operator
        self._sender = sender
        self._journal = journal
        self._files = files
        self._evaluations = evaluations
        self._seed = seed
        self._config = config
        self._first_seen: dict[str, float] = {}  # open calls, by key, in monotonic seconds
        self._by_kind: dict[Kind, Callable[[TaskState, Duty, Block], tuple[Progress, Change | None]]] = {
            Kind.MIRROR: self._mirror,
            Kind.ATTEST: self._attest,
            Kind.EVALUATE: self._evaluate,
            Kind.COMMIT: self._commit,
            Kind.REVEAL: self._reveal,
            Kind.CONVENE: lambda state, duty, _: self._send(duty, self._contracts.convene(state.id)),
            Kind.DRAW: self._draw,
            Kind.CLOSE_ATTESTATION: lambda state, duty, _: self._send(
                duty, self._contracts.close_attestation(state.id)
            ),
            Kind.SETTLE: self._settle,
            Kind.CANCEL: lambda state, duty, _: self._send(duty, self._contracts.cancel(state.id)),
            Kind.CLAIM: self._claim,
            Kind.CLOSE_VOTE: lambda state, duty, _: self._send(
                duty, self._contracts.close_vote(state.id, duty.round, duty.position)
            ),
        }

    def perform(self, state: TaskState, duty: Duty, head: Block) -> tuple[Progress, Change | None]:
        """Do it; the change is the transaction sent for it, if one was. Errors: Retry, Skip, ChainError."""
        if duty.kind in OPEN_CALLS and not self._its_turn(duty):
            return Progress.WAITING, None
        return self._by_kind[duty.kind](state, duty, head)

    def retain(self, keys: Collection[str]) -> None:
        """Forget since when open calls that are not among `keys` could have been made."""
        self._first_seen = {key: since for key, since in self._first_seen.items() if key in keys}

    def _its_turn(self, duty: Duty) -> bool:
        """Everybody could make an open call: each leaves it to others for the part of the stagger its address gives.

        Errors: Skip when the operator leaves them to others for good.
        """
        if not self._config.duties.open_calls:
            raise Skip("open calls are switched off in the configuration")
        if duty.member is not None and duty.member.operator == self._operator:
            return True  # one's own seat: nobody has a better reason
        lot = int.from_bytes(keccak(text=duty.key + self._operator)[:4], "big") / (1 << 32)
        since = self._first_seen.setdefault(duty.key, time.monotonic())
        return time.monotonic() - since >= lot * self._config.duties.stagger_s

    def _send(self, duty: Duty, call: Call) -> tuple[Progress, Change | None]:
        if self._sender is None:
            raise Skip(f"dry run: would send {call.description}")
        if self._sender.busy(duty.key):
            return Progress.WAITING, None
        try:
            return Progress.SENT, self._sender.submit(duty.key, call)
        except Reverted as error:
            raise Skip(f"the contract would refuse {call.description}: {error.reason}") from error

    # Files

    def _mirror(self, state: TaskState, duty: Duty, head: Block) -> tuple[Progress, Change | None]:
        missing = self._files.fetch_missing(state)
        if missing:
            raise Retry("not here yet: " + ", ".join(missing.values()))
        return Progress.DONE, None

    def _attest(self, state: TaskState, duty: Duty, head: Block) -> tuple[Progress, Change | None]:
        """Attest when everything is here; what is missing gets time until shortly before the window ends."""
        assert duty.until is not None
        missing = self._files.fetch_missing(state)
        window = state.terms.windows.attest
        margin = min(self._config.duties.attest_margin_s, window / 3)
        if missing and head.timestamp < duty.until - margin:
            raise Retry("waits for files: " + ", ".join(missing.values()))
        if self._sender is not None and self._sender.busy(duty.key):
            return Progress.WAITING, None
        damaged = self._files.discard_damaged(state)
        if damaged:
            raise Retry("damaged on this disk, to be fetched again: " + ", ".join(damaged))
        bits = {OWN_FILES, *(item.index + 1 for item in state.history.submissions)} - missing.keys()
        bitmap = sum(1 << bit for bit in bits)
        return self._send(duty, self._contracts.attest(state.id, duty.position, bitmap))

    # Verdicts

    def _evaluate(self, state: TaskState, duty: Duty, head: Block) -> tuple[Progress, Change | None]:
        self._found(state, duty, head)
        return Progress.DONE, None

    def _found(self, state: TaskState, duty: Duty, head: Block) -> Evaluation:
        """This service's evaluation of the task's inputs. Errors: Retry while it runs, Skip when it abstains."""
        assert duty.until is not None
        return self._evaluations.of(state, duty.until - head.timestamp)

    def _seat(self, state: TaskState, duty: Duty) -> Seat:
        assert duty.member is not None
        panel = self._contracts.panel.address
        return Seat(self._chain_id, panel, state.id, duty.round, duty.member.stake)

    def _commit(self, state: TaskState, duty: Duty, head: Block) -> tuple[Progress, Change | None]:
        """Commit the seat's one vote of this round: the journal's, else a new one that the journal gets first."""
        seat = self._seat(state, duty)
        vote = self._journal.vote(seat)
        if vote is None:
            verdict = self._found(state, duty, head).verdict
            vote = self._journal.record_vote(seat, votes.vote(self._seed, seat, verdict))
        else:
            found = self._journal.evaluation(state.inputs)
            if found is None or found.verdict != vote.verdict:
                return self._abandon(duty)
        return self._send(duty, self._contracts.commit_verdict(state.id, duty.round, duty.position, vote.digest))

    def _abandon(self, duty: Duty) -> tuple[Progress, Change | None]:
        """The seat has voted, then a reorganisation changed the inputs: about these the vote would be a lie, and a
        second one is never cast. Silence costs least."""
        change = self._sender.withdraw(duty.key) if self._sender else None
        if change is None:
            raise Skip("abstains: the seat has voted on other inputs, says the journal, and never votes twice")
        return Progress.SENT, change

    def _reveal(self, state: TaskState, duty: Duty, head: Block) -> tuple[Progress, Change | None]:
        """Open the seat's commitment: from the journal, or, if that was lost, by finding the same verdict again."""
        seat = self._seat(state, duty)
        committed = state.history.votes[seat.round, seat.stake]
        vote = self._journal.vote(seat)
        if vote is None or vote.digest != committed:
            vote = votes.vote(self._seed, seat, self._found(state, duty, head).verdict)
            if vote.digest != committed:
                raise Skip("the commitment on chain opens neither with the journal nor with this seed and evaluation")
            self._journal.record_vote(seat, vote)
        call = self._contracts.reveal_verdict(state.id, duty.round, duty.position, vote.verdict, vote.salt)
        return self._send(duty, call)

    # Open calls

    def _draw(self, state: TaskState, duty: Duty, head: Block) -> tuple[Progress, Change | None]:
        target = self._contracts.client.block(state.panel.target_block)
        return self._send(duty, self._contracts.draw(state.id, encode_header(target.header)))

    def _settle(self, state: TaskState, duty: Duty, head: Block) -> tuple[Progress, Change | None]:
        if not state.final:
            return self._send(duty, self._contracts.settle(state.id, Outcome.NONE, [], commitments.ZERO))
        opening = self._journal.opening(state.panel.verdict)
        if opening is None:
            raise Skip("the accepted verdict is not one that this service found: whoever knows its scores can settle")
        call = self._contracts.settle(state.id, opening.outcome, opening.scores, opening.evidence)
        return self._send(duty, call)

    def _claim(self, state: TaskState, duty: Duty, head: Block) -> tuple[Progress, Change | None]:
        call = self._contracts.claim_submission(state.id, duty.index, state.history.scores)
        return self._send(duty, call)
