"""The sender on a scripted node: no transaction is sent twice, stuck forever or lost in a reorganisation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from eth_account import Account
from eth_account.typed_transactions import DynamicFeeTransaction
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak
from hexbytes import HexBytes

from verifier.chain.client import Block, Receipt
from verifier.chain.contracts import Call
from verifier.chain.errors import Refused, Reverted, Unreachable
from verifier.chain.transactions import FeePolicy, InFlight, Sender, TransactionState

GWEI = 10**9
OPERATOR = Account.from_key(b"\x01" * 32)
TARGET = to_checksum_address("0x" + "ab" * 20)
CALL = Call(TARGET, b"\x01\x02\x03\x04", "attest")


@dataclass
class ScriptedNode:
    """The part of a Client that a sender uses: records broadcasts; a test sets receipts and nonces."""

    base_fee: int = 10 * GWEI
    mined_nonce: int = 0
    receipts: dict[bytes, Receipt] = field(default_factory=dict)
    sent: list[bytes] = field(default_factory=list)
    reverts: str | None = None
    refuses: str | None = None
    away: bool = False

    def simulate(self, transaction: Any) -> None:
        if self.reverts:
            raise Reverted(self.reverts)

    def estimate_gas(self, transaction: Any) -> int:
        return 100_000

    def block(self, number: Any = "latest") -> Block:
        return Block(100, b"\0" * 32, 1_000, self.base_fee)

    def priority_fee(self) -> int:
        return GWEI

    def nonce(self, address: str, block: int | None = None) -> int:
        return self.mined_nonce

    def broadcast(self, raw: bytes) -> None:
        if self.away:
            raise Unreachable("away")
        if self.refuses:
            raise Refused(self.refuses)
        self.sent.append(raw)

    def receipt(self, transaction_hash: bytes) -> Receipt | None:
        return self.receipts.get(transaction_hash)

    def fees_of_last(self) -> tuple[int, int, int]:
        fields = DynamicFeeTransaction.from_bytes(HexBytes(self.sent[-1])).as_dict()
        return fields["nonce"], fields["maxFeePerGas"], fields["maxPriorityFeePerGas"]

    def mine(self, raw: bytes, block: int, ok: bool = True) -> None:
        self.receipts[keccak(raw)] = Receipt(block, ok, 50_000)
        self.mined_nonce += 1


class Memory:
    """A TransactionLog in a dictionary."""

    def __init__(self) -> None:
        self.kept: dict[int, InFlight] = {}

    def in_flight(self) -> list[InFlight]:
        return list(self.kept.values())

    def remember(self, transaction: InFlight) -> None:
        self.kept[transaction.nonce] = transaction

    def forget(self, nonce: int) -> None:
        self.kept.pop(nonce, None)


@pytest.fixture
def node() -> ScriptedNode:
    return ScriptedNode()


@pytest.fixture
def log() -> Memory:
    return Memory()


def new_sender(node: ScriptedNode, log: Memory, stuck_s: float = 1_000.0, max_fee: int = 500 * GWEI) -> Sender:
    return Sender(node, OPERATOR, 31337, log, FeePolicy(max_fee, stuck_s))  # type: ignore[arg-type]


def confirmed(number: int) -> Block:
    return Block(number, b"\0" * 32, 0, 0)


def test_submit__simulation_reverts__sends_nothing(node: ScriptedNode, log: Memory) -> None:
    node.reverts = "attest: closed"
    with pytest.raises(Reverted, match="attest: closed"):
        new_sender(node, log).submit("attest:1", CALL)
    assert node.sent == []
    assert log.kept == {}


def test_submit__twice_before_mined__takes_the_next_nonce(node: ScriptedNode, log: Memory) -> None:
    sender = new_sender(node, log)
    sender.submit("attest:1", CALL)
    assert node.fees_of_last() == (0, 21 * GWEI, GWEI)
    sender.submit("attest:2", CALL)
    assert node.fees_of_last()[0] == 1


def test_submit__node_refuses__forgets_it(node: ScriptedNode, log: Memory) -> None:
    node.refuses = "insufficient funds"
    sender = new_sender(node, log)
    with pytest.raises(Refused):
        sender.submit("attest:1", CALL)
    assert not sender.busy("attest:1")


def test_submit__node_vanishes_while_sending__keeps_it_for_later(node: ScriptedNode, log: Memory) -> None:
    node.away = True
    sender = new_sender(node, log, stuck_s=0)
    with pytest.raises(Unreachable):
        sender.submit("attest:1", CALL)
    assert sender.busy("attest:1")
    node.away = False
    (change,) = sender.poll(confirmed(90))
    assert change.state == TransactionState.REPLACED
    assert node.fees_of_last()[0] == 0


def test_poll__mined_and_confirmed__is_done(node: ScriptedNode, log: Memory) -> None:
    sender = new_sender(node, log)
    sender.submit("attest:1", CALL)
    assert sender.poll(confirmed(90)) == []
    node.mine(node.sent[0], block=101)
    (change,) = sender.poll(confirmed(100))
    assert change.state == TransactionState.MINED
    assert change.gas_used == 50_000
    assert sender.busy("attest:1"), "mined, but not confirmed"
    assert sender.poll(confirmed(101)) == []
    assert not sender.busy("attest:1")


def test_poll__reverted_on_chain__says_so(node: ScriptedNode, log: Memory) -> None:
    sender = new_sender(node, log)
    sender.submit("attest:1", CALL)
    node.mine(node.sent[0], block=101, ok=False)
    assert [change.state for change in sender.poll(confirmed(101))] == [TransactionState.REVERTED]
    assert not sender.busy("attest:1")


def test_poll__stuck__raises_both_fees_by_an_eighth_at_least(node: ScriptedNode, log: Memory) -> None:
    sender = new_sender(node, log, stuck_s=0)
    sender.submit("attest:1", CALL)
    first = node.fees_of_last()
    assert [change.state for change in sender.poll(confirmed(90))] == [TransactionState.REPLACED]
    second = node.fees_of_last()
    assert second[0] == first[0]
    assert second[1] * 8 >= first[1] * 9
    assert second[2] * 8 >= first[2] * 9


def test_poll__first_version_mined_after_all__is_recognised(node: ScriptedNode, log: Memory) -> None:
    sender = new_sender(node, log, stuck_s=0)
    sender.submit("attest:1", CALL)
    sender.poll(confirmed(90))
    node.mine(node.sent[0], block=101)
    assert [change.state for change in sender.poll(confirmed(101))] == [TransactionState.MINED]
    assert not sender.busy("attest:1")


def test_poll__stuck_and_no_longer_useful__frees_the_nonce(node: ScriptedNode, log: Memory) -> None:
    sender = new_sender(node, log, stuck_s=0)
    sender.submit("convene:1", CALL)
    node.reverts = "convene: draw is open"
    assert [change.state for change in sender.poll(confirmed(90))] == [TransactionState.WITHDRAWN]
    fields = DynamicFeeTransaction.from_bytes(HexBytes(node.sent[-1])).as_dict()
    assert fields["data"] == b""
    assert HexBytes(fields["to"]) == HexBytes(OPERATOR.address)


def test_poll__stuck_at_the_cap__sends_the_same_again(node: ScriptedNode, log: Memory) -> None:
    sender = new_sender(node, log, stuck_s=0, max_fee=21 * GWEI)
    sender.submit("attest:1", CALL)
    assert [change.state for change in sender.poll(confirmed(90))] == [TransactionState.REBROADCAST]
    assert node.sent[0] == node.sent[1]


def test_poll__reorganised_out__is_sent_again_at_the_next_poll(node: ScriptedNode, log: Memory) -> None:
    sender = new_sender(node, log)
    sender.submit("commit:1", CALL)
    node.mine(node.sent[0], block=101)
    sender.poll(confirmed(100))
    node.receipts.clear()
    node.mined_nonce = 0
    assert [change.state for change in sender.poll(confirmed(100))] == [TransactionState.ORPHANED]
    assert sender.busy("commit:1")
    assert [change.state for change in sender.poll(confirmed(100))] == [TransactionState.REPLACED]
    assert DynamicFeeTransaction.from_bytes(HexBytes(node.sent[1])).as_dict()["data"] == CALL.data


def test_withdraw__reorganised_out__gives_the_nonce_to_an_empty_transfer(node: ScriptedNode, log: Memory) -> None:
    sender = new_sender(node, log)
    sender.submit("commit:1", CALL)
    node.mine(node.sent[0], block=101)
    sender.poll(confirmed(100))
    assert sender.withdraw("commit:1") is None  # mined: too late
    node.receipts.clear()
    node.mined_nonce = 0
    sender.poll(confirmed(100))
    change = sender.withdraw("commit:1")
    assert change is not None
    assert change.state == TransactionState.WITHDRAWN
    fields = DynamicFeeTransaction.from_bytes(HexBytes(node.sent[-1])).as_dict()
    assert (fields["nonce"], fields["data"]) == (0, b"")
    assert sender.withdraw("commit:1") is None
    assert sender.withdraw("commit:2") is None


def test_poll__nonce_used_by_something_else__is_lost(node: ScriptedNode, log: Memory) -> None:
    sender = new_sender(node, log)
    sender.submit("attest:1", CALL)
    node.mined_nonce = 1
    assert [change.state for change in sender.poll(confirmed(101))] == [TransactionState.LOST]
    assert not sender.busy("attest:1")


def test_sender__started_again__knows_what_is_in_flight(node: ScriptedNode, log: Memory) -> None:
    new_sender(node, log).submit("commit:1", CALL)
    again = new_sender(node, log)
    assert again.busy("commit:1")
    node.mine(node.sent[0], block=101)
    assert [change.state for change in again.poll(confirmed(101))] == [TransactionState.MINED]
