"""A client of one node over JSON-RPC: blocks, code, balances, logs and transactions.

The errors of web3 and requests become this package's. Every read of state takes the block at which it is read, so that
all answers of one tick belong to one block.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import requests
from eth_abi.abi import decode
from eth_abi.decoding import StringDecoder
from eth_abi.registry import BaseEquals
from eth_typing import ChecksumAddress
from web3 import HTTPProvider, Web3
from web3.exceptions import ContractLogicError, Web3Exception, Web3RPCError
from web3.types import RPCEndpoint, TxParams

from verifier.chain.errors import ChainError, Refused, Reverted, Unreachable

# Selector of Error(string), the encoding of a revert reason.
ERROR_STRING_SELECTOR = bytes.fromhex("08c379a0")

# Parts of the messages by which nodes say that they have this transaction or that its nonce is mined.
ALREADY_KNOWN = ("already known", "already imported", "known transaction", "nonce too low")


@dataclass(frozen=True)
class Block:
    """A block: number, hash, timestamp in seconds, base fee in wei per gas, and the node's JSON answer."""

    number: int
    hash: bytes
    timestamp: int
    base_fee: int
    header: dict[str, Any] = field(repr=False, compare=False, default_factory=dict)


@dataclass(frozen=True)
class Log:
    """One raw log entry."""

    address: ChecksumAddress
    topics: tuple[bytes, ...]
    data: bytes
    block: int
    index: int


@dataclass(frozen=True)
class Receipt:
    """Result of a mined transaction: its block, whether it succeeded, the gas it used."""

    block: int
    ok: bool
    gas_used: int


def revert_reason(error: ContractLogicError) -> str:
    """The contract's revert reason: from the revert data if the node returns it, else from the error's message."""
    data = error.data.get("data") if isinstance(error.data, dict) else error.data
    if isinstance(data, str) and data.startswith("0x"):
        raw = bytes.fromhex(data[2:])
        if raw[:4] == ERROR_STRING_SELECTOR:
            try:
                return str(decode(["string"], raw[4:])[0])
            except Exception:  # a hostile token may return any bytes here; only the reason is lost
                return f"undecodable revert data {data[:74]}"
    message = error.message or "no reason given"
    return message.removeprefix("execution reverted").removeprefix(":").strip() or "no reason given"


@contextmanager
def translated() -> Iterator[None]:
    """Translate web3's and requests' exceptions into this package's."""
    try:
        yield
    except ChainError:
        raise
    except ContractLogicError as error:
        raise Reverted(revert_reason(error)) from error
    except requests.RequestException as error:
        raise Unreachable(f"the node does not answer: {type(error).__name__}") from error
    except Web3RPCError as error:
        raise Refused(str(error.message or error)) from error
    except (Web3Exception, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, OSError) as error:
        raise Unreachable(f"the node's answer is malformed: {type(error).__name__}: {error}") from error


def _quantity(value: Any) -> int:
    return int(value, 16) if isinstance(value, str) else int(value)


def _read_strings_leniently(w3: Web3) -> None:
    """Make web3 escape bytes that are not valid UTF-8 in text: contracts accept any bytes as a URI."""
    registry = w3.codec._registry
    registry.unregister_decoder("string")
    decoder = StringDecoder(handle_string_errors="backslashreplace")  # type: ignore[no-untyped-call]
    registry.register_decoder(BaseEquals("string"), decoder, label="string")  # type: ignore[no-untyped-call]


class Client:
    """A connection to one node. Not thread-safe: the service uses it in its loop only."""

    def __init__(self, rpc_url: str, timeout_s: float = 20.0) -> None:
        # The service retries a whole tick, so a failed request is not repeated here.
        provider = HTTPProvider(rpc_url, request_kwargs={"timeout": timeout_s}, exception_retry_configuration=None)
        self.w3 = Web3(provider)
        _read_strings_leniently(self.w3)

    def request(self, method: str, parameters: Sequence[Any]) -> Any:
        """Send one JSON-RPC request and return its result unchanged. Errors: Unreachable, Refused."""
        with translated():
            answer = self.w3.provider.make_request(RPCEndpoint(method), list(parameters))
            if "error" in answer:
                detail = answer["error"]
                text = detail.get("message", detail) if isinstance(detail, dict) else detail
                raise Refused(f"{method}: {text}")
            return answer.get("result")

    def chain_id(self) -> int:
        """The chain id that the node reports."""
        with translated():
            return _quantity(self.request("eth_chainId", []))

    def block(self, number: int | str = "latest") -> Block:
        """The block with that number or tag. Errors: Unreachable, also when the node does not have it."""
        tag = number if isinstance(number, str) else hex(number)
        raw = self.request("eth_getBlockByNumber", [tag, False])
        if raw is None:
            raise Unreachable(f"the node has no block {number}")
        with translated():
            return Block(
                number=_quantity(raw["number"]),
                hash=bytes.fromhex(raw["hash"][2:]),
                timestamp=_quantity(raw["timestamp"]),
                base_fee=_quantity(raw.get("baseFeePerGas") or 0),
                header=dict(raw),
            )

    def confirmed(self, head: Block, confirmations: int) -> Block:
        """The block `confirmations` below `head`; block 0 if the chain is shorter."""
        return head if confirmations == 0 else self.block(max(0, head.number - confirmations))

    def code(self, address: ChecksumAddress) -> bytes:
        """The runtime code at an address; empty when no contract is there."""
        with translated():
            return bytes(self.w3.eth.get_code(address))

    def balance(self, address: ChecksumAddress, block: int | None = None) -> int:
        """Native balance in wei."""
        with translated():
            return int(self.w3.eth.get_balance(address, "latest" if block is None else block))

    def nonce(self, address: ChecksumAddress, block: int | None = None) -> int:
        """Number of transactions of `address` mined up to that block, which is its next free nonce."""
        with translated():
            return int(self.w3.eth.get_transaction_count(address, "latest" if block is None else block))

    def logs(self, addresses: Sequence[ChecksumAddress], first: int, last: int) -> list[Log]:
        """All logs of those contracts in the blocks `first` to `last` inclusive, in chain order."""
        query = {"address": list(addresses), "fromBlock": hex(first), "toBlock": hex(last)}
        raw = self.request("eth_getLogs", [query])
        with translated():
            found = [
                Log(
                    address=Web3.to_checksum_address(entry["address"]),
                    topics=tuple(bytes.fromhex(topic[2:]) for topic in entry["topics"]),
                    data=bytes.fromhex(entry["data"][2:]),
                    block=_quantity(entry["blockNumber"]),
                    index=_quantity(entry["logIndex"]),
                )
                for entry in raw
            ]
        return sorted(found, key=lambda log: (log.block, log.index))

    def simulate(self, transaction: TxParams) -> None:
        """Run a transaction at the head without sending it. Errors: Reverted with the contract's reason."""
        with translated():
            self.w3.eth.call(transaction)

    def estimate_gas(self, transaction: TxParams) -> int:
        """The gas that the transaction would use. Errors: Reverted, Unreachable."""
        with translated():
            return int(self.w3.eth.estimate_gas(transaction))

    def priority_fee(self) -> int:
        """The priority fee that the node suggests, in wei per gas."""
        with translated():
            return _quantity(self.request("eth_maxPriorityFeePerGas", []))

    def broadcast(self, raw: bytes) -> None:
        """Send a signed transaction; one that the node already has is accepted. Errors: Unreachable, Refused."""
        try:
            self.request("eth_sendRawTransaction", ["0x" + raw.hex()])
        except Refused as error:
            if not any(text in str(error).lower() for text in ALREADY_KNOWN):
                raise

    def receipt(self, transaction_hash: bytes) -> Receipt | None:
        """Result of a transaction on the branch that the node follows; None while it is not mined there."""
        raw = self.request("eth_getTransactionReceipt", ["0x" + transaction_hash.hex()])
        with translated():
            if raw is None or raw.get("blockNumber") is None:
                return None
            return Receipt(_quantity(raw["blockNumber"]), _quantity(raw["status"]) == 1, _quantity(raw["gasUsed"]))
