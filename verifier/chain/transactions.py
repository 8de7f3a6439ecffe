"""One sender for one operator key: it simulates, signs, remembers, watches and replaces.

A transaction is remembered before it is broadcast, with its raw bytes, so that a process killed at any line finds it
again: rebroadcasting the same bytes is harmless, sending the same duty twice would not be free.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Protocol

from eth_account.signers.local import LocalAccount
from eth_typing import ChecksumAddress
from hexbytes import HexBytes
from web3.types import Nonce, TxParams, Wei

from verifier.chain.client import Block, Client
from verifier.chain.contracts import Call
from verifier.chain.errors import Refused, Reverted

GAS_MARGIN = 1.25  # estimates are taken on a state that other transactions may change first
BUMP_PERCENT = 13  # nodes ask for at least 12.5 % more of both fees before they replace a transaction
TRANSFER_GAS = 21_000


class TransactionState(StrEnum):
    """What became of a transaction; also the label in the metrics."""

    SENT = "sent"
    REPLACED = "replaced"  # sent again with higher fees
    WITHDRAWN = "withdrawn"  # no longer useful or right: its nonce goes to an empty transfer
    REBROADCAST = "rebroadcast"  # stuck at the fee cap: the same bytes again, in case the node had forgotten it
    ORPHANED = "orphaned"  # a reorganisation removed it
    MINED = "mined"
    REVERTED = "reverted"
    REFUSED = "refused"  # the node did not take a replacement
    LOST = "lost"  # its nonce was used by something else


@dataclass(frozen=True)
class InFlight:
    """A signed transaction that is not confirmed yet. Fees in wei per gas, `sent_at` in seconds of wall-clock time."""

    key: str
    nonce: int
    to: ChecksumAddress
    data: bytes
    value: int
    gas: int
    max_fee: int
    priority_fee: int
    raw: bytes
    hashes: tuple[bytes, ...]  # of every version sent; any of them may be the one that is mined
    sent_at: float
    mined: int | None = None  # block number, once it has a receipt


@dataclass(frozen=True)
class Change:
    """Something that happened to the transaction of a duty."""

    key: str
    state: TransactionState
    hash: bytes
    gas_used: int = 0


@dataclass(frozen=True)
class FeePolicy:
    """`max_fee` caps what is ever bid, in wei per gas; a transaction counts as stuck after `stuck_s` seconds."""

    max_fee: int
    stuck_s: float


class TransactionLog(Protocol):
    """Where transactions are remembered across restarts."""

    def in_flight(self) -> Iterable[InFlight]: ...

    def remember(self, transaction: InFlight) -> None: ...

    def forget(self, nonce: int) -> None: ...


class Sender:
    """Sends an operator's transactions, one nonce after another."""

    def __init__(self, client: Client, account: LocalAccount, chain_id: int, log: TransactionLog, fees: FeePolicy):
        self._client = client
        self._account = account
        self._chain_id = chain_id
        self._log = log
        self._fees = fees
        self._in_flight = {transaction.nonce: transaction for transaction in log.in_flight()}

    @property
    def address(self) -> ChecksumAddress:
        return self._account.address

    def busy(self, key: str) -> bool:
        """Whether a transaction of that duty is on its way or mined but not confirmed."""
        return any(transaction.key == key for transaction in self._in_flight.values())

    def submit(self, key: str, call: Call) -> Change:
        """Simulate and send. Errors: Reverted (by the simulation), Refused (by the node), Unreachable."""
        message = self._message(call.to, call.data, call.value)
        self._client.simulate(message)
        gas = int(self._client.estimate_gas(message) * GAS_MARGIN)
        head = self._client.block()
        priority = min(self._client.priority_fee(), self._fees.max_fee)
        nonce = max([self._client.nonce(self.address), *(n + 1 for n in self._in_flight)])
        draft = InFlight(
            key=key,
            nonce=nonce,
            to=call.to,
            data=call.data,
            value=call.value,
            gas=gas,
            # Twice the base fee outlasts six full blocks in a row.
            max_fee=min(2 * head.base_fee + priority, self._fees.max_fee),
            priority_fee=priority,
            raw=b"",
            hashes=(),
            sent_at=time.time(),
        )
        signed = self._sign(draft)
        try:
            self._send(signed)
        except Refused:  # the node has never had it: the duty is free to try again
            self._forget(signed)
            raise
        return Change(key, TransactionState.SENT, signed.hashes[-1])

    def poll(self, confirmed: Block) -> list[Change]:
        """Look after everything in flight; what is mined at or below `confirmed` is done. Errors: Unreachable."""
        changes: list[Change] = []
        for nonce in sorted(self._in_flight):
            changes.extend(self._look_after(self._in_flight[nonce], confirmed))
        return changes

    def _look_after(self, transaction: InFlight, confirmed: Block) -> list[Change]:
        for transaction_hash in reversed(transaction.hashes):
            receipt = self._client.receipt(transaction_hash)
            if receipt is None:
                continue
            if receipt.block <= confirmed.number:
                self._forget(transaction)
            if transaction.mined == receipt.block:
                return []
            if receipt.block > confirmed.number:
                self._remember(replace(transaction, mined=receipt.block))
            state = TransactionState.MINED if receipt.ok else TransactionState.REVERTED
            return [Change(transaction.key, state, transaction_hash, receipt.gas_used)]
        if self._client.nonce(self.address, confirmed.number) > transaction.nonce:
            self._forget(transaction)
            return [Change(transaction.key, TransactionState.LOST, transaction.hashes[-1])]
        if transaction.mined is not None:
            # Counts as stuck from now on, so the next poll sends it again. Not this one: on the new branch it may no
            # longer be right, and whoever sent it gets the chance to withdraw it first.
            self._remember(replace(transaction, mined=None, sent_at=0.0))
            return [Change(transaction.key, TransactionState.ORPHANED, transaction.hashes[-1])]
        if time.time() - transaction.sent_at < self._fees.stuck_s:
            return []
        return [self._bump(transaction)]

    def withdraw(self, key: str) -> Change | None:
        """Take back what is on its way for that duty and not mined; None when nothing is. Errors: Unreachable."""
        for transaction in self._in_flight.values():
            if transaction.key == key and transaction.mined is None and transaction.data:
                return self._replace(transaction, useful=False)
        return None

    def _bump(self, stuck: InFlight) -> Change:
        try:
            self._client.simulate(self._message(stuck.to, stuck.data, stuck.value))
        except Reverted:  # somebody else did it meanwhile
            return self._replace(stuck, useful=False)
        return self._replace(stuck, useful=True)

    def _replace(self, stuck: InFlight, useful: bool) -> Change:
        """Send it again with higher fees, or, when it is of no use, give its nonce to an empty transfer."""
        stuck = replace(stuck, sent_at=time.time())
        raised = [-(-fee * (100 + BUMP_PERCENT) // 100) for fee in (stuck.max_fee, stuck.priority_fee)]
        max_fee = max(raised[0], 2 * self._client.block().base_fee + raised[1])
        if max_fee > self._fees.max_fee and useful:  # at the cap: the best left is to keep it known
            return self._again(stuck, TransactionState.REBROADCAST)
        max_fee = min(max_fee, self._fees.max_fee)
        bumped = replace(stuck, max_fee=max_fee, priority_fee=min(max(raised[1], 1), max_fee))
        if useful:
            return self._again(self._sign(bumped), TransactionState.REPLACED)
        empty = replace(bumped, to=self.address, data=b"", value=0, gas=TRANSFER_GAS)
        return self._again(self._sign(empty), TransactionState.WITHDRAWN)

    def _again(self, transaction: InFlight, state: TransactionState) -> Change:
        """Send another time; a node that refuses is asked again when the transaction counts as stuck the next time."""
        try:
            self._send(transaction)
        except Refused:
            state = TransactionState.REFUSED
        return Change(transaction.key, state, transaction.hashes[-1])

    def _message(self, to: ChecksumAddress, data: bytes, value: int) -> TxParams:
        return {"from": self.address, "to": to, "data": HexBytes(data), "value": Wei(value)}

    def _sign(self, draft: InFlight) -> InFlight:
        signed = self._account.sign_transaction(
            {
                "type": 2,
                "chainId": self._chain_id,
                "nonce": Nonce(draft.nonce),
                "to": draft.to,
                "data": HexBytes(draft.data),
                "value": Wei(draft.value),
                "gas": draft.gas,
                "maxFeePerGas": Wei(draft.max_fee),
                "maxPriorityFeePerGas": Wei(draft.priority_fee),
            }
        )
        return replace(draft, raw=bytes(signed.raw_transaction), hashes=(*draft.hashes, bytes(signed.hash)))

    def _send(self, transaction: InFlight) -> None:
        self._remember(transaction)
        self._client.broadcast(transaction.raw)

    def _remember(self, transaction: InFlight) -> None:
        self._log.remember(transaction)
        self._in_flight[transaction.nonce] = transaction

    def _forget(self, transaction: InFlight) -> None:
        self._log.forget(transaction.nonce)
        self._in_flight.pop(transaction.nonce, None)
