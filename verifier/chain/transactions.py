"""Sends the transactions of one operator key: it simulates, signs, records, watches and replaces them.

A transaction and its raw bytes are recorded before it is broadcast, so that a process killed at any point finds it
again. Rebroadcasting the same bytes is harmless; sending a second transaction for the same duty would cost gas.
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

# Factor on gas estimates, because other transactions can change the state on which the estimate was made.
GAS_MARGIN = 1.25

# Increase of both fees of a replacement; nodes require at least 12.5 %, rounded up here to whole percent.
BUMP_PERCENT = 13

# Gas of a transfer without data.
TRANSFER_GAS = 21_000


class TransactionState(StrEnum):
    """Latest change of a transaction; also its label in the metrics."""

    SENT = "sent"
    REPLACED = "replaced"  # it was sent again with higher fees
    WITHDRAWN = "withdrawn"  # it is not wanted any more: an empty transfer takes its nonce
    REBROADCAST = "rebroadcast"  # it is stuck at the fee cap: the same bytes were sent again
    ORPHANED = "orphaned"  # a reorganisation removed it
    MINED = "mined"
    REVERTED = "reverted"
    REFUSED = "refused"  # the node rejected a replacement
    LOST = "lost"  # another transaction used its nonce


@dataclass(frozen=True)
class InFlight:
    """A signed transaction that is not confirmed. Fees are in wei per gas, `sent_at` is wall-clock time in seconds."""

    key: str
    nonce: int
    to: ChecksumAddress
    data: bytes
    value: int
    gas: int
    max_fee: int
    priority_fee: int
    raw: bytes
    hashes: tuple[bytes, ...]  # of every version that was sent; any one of them can be mined
    sent_at: float
    mined: int | None = None  # number of its block, once it has a receipt


@dataclass(frozen=True)
class Change:
    """A change of the transaction of a duty."""

    key: str
    state: TransactionState
    hash: bytes
    gas_used: int = 0


@dataclass(frozen=True)
class FeePolicy:
    """`max_fee` is the highest fee ever bid, in wei per gas; a transaction counts as stuck after `stuck_s` seconds."""

    max_fee: int
    stuck_s: float


class TransactionLog(Protocol):
    """Storage of transactions that survives restarts."""

    def in_flight(self) -> Iterable[InFlight]:
        """Every transaction that was remembered and not forgotten."""

    def remember(self, transaction: InFlight) -> None:
        """Store a transaction under its nonce, in place of an earlier version."""

    def forget(self, nonce: int) -> None:
        """Delete the transaction with that nonce."""


class Sender:
    """Sends an operator's transactions with consecutive nonces."""

    def __init__(self, client: Client, account: LocalAccount, chain_id: int, log: TransactionLog, fees: FeePolicy):
        self._client = client
        self._account = account
        self._chain_id = chain_id
        self._log = log
        self._fees = fees
        self._in_flight = {transaction.nonce: transaction for transaction in log.in_flight()}

    @property
    def address(self) -> ChecksumAddress:
        """The operator's address."""
        return self._account.address

    def busy(self, key: str) -> bool:
        """Whether a transaction of that duty is pending, or mined but not confirmed."""
        return any(transaction.key == key for transaction in self._in_flight.values())

    def submit(self, key: str, call: Call) -> Change:
        """Simulate and send a call. Errors: Reverted (in the simulation), Refused (by the node), Unreachable."""
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
            # Each full block raises the base fee by an eighth, so twice the base fee covers five full blocks in a row.
            max_fee=min(2 * head.base_fee + priority, self._fees.max_fee),
            priority_fee=priority,
            raw=b"",
            hashes=(),
            sent_at=time.time(),
        )
        signed = self._sign(draft)
        try:
            self._send(signed)
        except Refused:  # the node did not accept it, so the duty can be tried again
            self._forget(signed)
            raise
        return Change(key, TransactionState.SENT, signed.hashes[-1])

    def poll(self, confirmed: Block) -> list[Change]:
        """Update every transaction in flight; one mined at or below `confirmed` is done. Errors: Unreachable."""
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
            # From now on it counts as stuck, so the next poll sends it again. This poll does not: on the new branch the
            # transaction may be wrong, and the caller can withdraw it first.
            self._remember(replace(transaction, mined=None, sent_at=0.0))
            return [Change(transaction.key, TransactionState.ORPHANED, transaction.hashes[-1])]
        if time.time() - transaction.sent_at < self._fees.stuck_s:
            return []
        return [self._bump(transaction)]

    def withdraw(self, key: str) -> Change | None:
        """Withdraw the pending transaction of that duty; None when there is none. Errors: Unreachable."""
        for transaction in self._in_flight.values():
            if transaction.key == key and transaction.mined is None and transaction.data:
                return self._replace(transaction, useful=False)
        return None

    def _bump(self, stuck: InFlight) -> Change:
        try:
            self._client.simulate(self._message(stuck.to, stuck.data, stuck.value))
        except Reverted:  # somebody else made the call in the meantime
            return self._replace(stuck, useful=False)
        return self._replace(stuck, useful=True)

    def _replace(self, stuck: InFlight, useful: bool) -> Change:
        """Send it again with higher fees or, if it is not `useful` any more, an empty transfer with its nonce."""
        stuck = replace(stuck, sent_at=time.time())
        raised = [-(-fee * (100 + BUMP_PERCENT) // 100) for fee in (stuck.max_fee, stuck.priority_fee)]
        max_fee = max(raised[0], 2 * self._client.block().base_fee + raised[1])
        if max_fee > self._fees.max_fee and useful:  # at the cap: keep it known to the node
            return self._again(stuck, TransactionState.REBROADCAST)
        max_fee = min(max_fee, self._fees.max_fee)
        bumped = replace(stuck, max_fee=max_fee, priority_fee=min(max(raised[1], 1), max_fee))
        if useful:
            return self._again(self._sign(bumped), TransactionState.REPLACED)
        empty = replace(bumped, to=self.address, data=b"", value=0, gas=TRANSFER_GAS)
        return self._again(self._sign(empty), TransactionState.WITHDRAWN)

    def _again(self, transaction: InFlight, state: TransactionState) -> Change:
        """Send again; a send that the node refuses is repeated when the transaction next counts as stuck."""
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
