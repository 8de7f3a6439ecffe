"""One node over JSON-RPC: blocks, code, balances, logs and raw calls, with the library's errors translated.

Everything that reads state takes the block it reads at, so that all answers of one tick belong to one block.
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

ERROR_STRING_SELECTOR = bytes.fromhex("08c379a0")  # Error(string), how a revert reason travels

# How nodes say that they know this very transaction, or that some version of it is mined: the receipt tells which.
ALREADY_THERE = ("already known", "already imported", "known transaction", "nonce too low")


@dataclass(frozen=True)
class Block:
    """A block as the service sees it: number, hash, time in seconds and base fee in wei per gas."""

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
    """How a transaction ended: its block, whether it succeeded, what it used."""

    block: int
    ok: bool
    gas_used: int


def revert_reason(error: ContractLogicError) -> str:
    """The contract's own words: from the revert data where the node hands it over, else from the message."""
    data = error.data.get("data") if isinstance(error.data, dict) else error.data
    if isinstance(data, str) and data.startswith("0x"):
        raw = bytes.fromhex(data[2:])
        if raw[:4] == ERROR_STRING_SELECTOR:
            try:
                return str(decode(["string"], raw[4:])[0])
            except Exception:  # a hostile token may return anything here; the message still says something
                return f"undecodable revert data {data[:74]}"
    message = error.message or "no reason given"
    return message.removeprefix("execution reverted").removeprefix(":").strip() or "no reason given"


@contextmanager
def translated() -> Iterator[None]:
    """Turn web3's and requests' exceptions into this package's."""
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
        raise Unreachable(f"the node's answer makes no sense: {type(error).__name__}: {error}") from error


def _quantity(value: Any) -> int:
    return int(value, 16) if isinstance(value, str) else int(value)


def _read_strings_leniently(w3: Web3) -> None:
    """Contracts do not check that a stranger's URI is UTF-8: one that is not must not keep anybody from reading."""
    registry = w3.codec._registry
    registry.unregister_decoder("string")
    decoder = StringDecoder(handle_string_errors="backslashreplace")  # type: ignore[no-untyped-call]
    registry.register_decoder(BaseEquals("string"), decoder, label="string")  # type: ignore[no-untyped-call]


class Client:
    """A node. Not safe for several threads: the service's loop is its only user."""

    def __init__(self, rpc_url: str, timeout_s: float = 20.0) -> None:
        # The tick is the retry: a request that fails is tried again with everything else, not in a loop down here.
        provider = HTTPProvider(rpc_url, request_kwargs={"timeout": timeout_s}, exception_retry_configuration=None)
        self.w3 = Web3(provider)
        _read_strings_leniently(self.w3)

    def request(self, method: str, parameters: Sequence[Any]) -> Any:
        """One JSON-RPC request; its result as the node gave it. Errors: Unreachable, Refused."""
        with translated():
            answer = self.w3.provider.make_request(RPCEndpoint(method), list(parameters))
            if "error" in answer:
                detail = answer["error"]
                text = detail.get("message", detail) if isinstance(detail, dict) else detail
                raise Refused(f"{method}: {text}")
            return answer.get("result")

    def chain_id(self) -> int:
        with translated():
            return _quantity(self.request("eth_chainId", []))

    def block(self, number: int | str = "latest") -> Block:
        """The block with that number (or tag). Errors: Unreachable when the node has none."""
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
        """The block that many below `head` (block 0 on a chain that is too young)."""
        return head if confirmations == 0 else self.block(max(0, head.number - confirmations))

    def code(self, address: ChecksumAddress) -> bytes:
        with translated():
            return bytes(self.w3.eth.get_code(address))

    def balance(self, address: ChecksumAddress, block: int | None = None) -> int:
        """Native balance in wei."""
        with translated():
            return int(self.w3.eth.get_balance(address, "latest" if block is None else block))

    def nonce(self, address: ChecksumAddress, block: int | None = None) -> int:
        """Transactions of `address` mined up to that block: the next free nonce there."""
        with translated():
            return int(self.w3.eth.get_transaction_count(address, "latest" if block is None else block))

    def logs(self, addresses: Sequence[ChecksumAddress], first: int, last: int) -> list[Log]:
        """All logs of those contracts in blocks first..last, both included, in chain order."""
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
        with translated():
            return int(self.w3.eth.estimate_gas(transaction))

    def priority_fee(self) -> int:
        """The tip the node suggests, in wei per gas."""
        with translated():
            return _quantity(self.request("eth_maxPriorityFeePerGas", []))

    def broadcast(self, raw: bytes) -> None:
        """Hand over a signed transaction; that the node has it already is no error. Errors: Unreachable, Refused."""
        try:
            self.request("eth_sendRawTransaction", ["0x" + raw.hex()])
        except Refused as error:
            if not any(text in str(error).lower() for text in ALREADY_THERE):
                raise

    def receipt(self, transaction_hash: bytes) -> Receipt | None:
        """How that transaction ended on the chain the node follows now; None while it has not."""
        raw = self.request("eth_getTransactionReceipt", ["0x" + transaction_hash.hex()])
        with translated():
            if raw is None or raw.get("blockNumber") is None:
                return None
            return Receipt(_quantity(raw["blockNumber"]), _quantity(raw["status"]) == 1, _quantity(raw["gasUsed"]))
