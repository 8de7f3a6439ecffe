"""An in-process chain for tests that send many transactions: a thin layer over titanoboa's compiler and EVM.

It differs from calling titanoboa's contracts directly in three ways. Every call that changes state is a transaction of
its own: accessed slots are cold again for the next one, transient storage is empty, and a storage slot's original value
is its value before this transaction, so gas figures are those of a real chain. A block's hash is the hash of a real
header, so that a test can pass the header to a draw. A state can be saved and restored at no cost.

The gas of a transaction is 21,000, plus 4 for each zero byte and 16 for each other byte of calldata, plus execution,
minus refunds (at most a fifth of the gas used), and at least the calldata floor of EIP-7623.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import boa
import pytest
import rlp
from eth.vm.message import Message
from eth_abi.abi import decode, encode
from eth_utils.address import to_canonical_address, to_checksum_address
from eth_utils.crypto import keccak
from rlp.sedes import big_endian_int
from vyper.compiler.output import build_abi_output

from verifier.protocol.constants import NATIVE

ROOT = Path(__file__).resolve().parent.parent
ZERO = bytes(32)

TRANSACTION_GAS = 21_000
ZERO_BYTE_GAS = 4
BYTE_GAS = 16
FLOOR_GAS_PER_TOKEN = 10
TOKENS_PER_BYTE = 4
REFUND_QUOTIENT = 5
BLOCK_GAS = 100_000_000
PRECOMPILES = [index.to_bytes(20, "big") for index in range(1, 18)]

GENESIS_TIME = 1_700_000_000
GENESIS_BLOCK = 1_000
HASH_REACH = 256


class Reverted(Exception):
    """A transaction or call reverted; `reason` is its revert string, or empty when it has none."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def reverts(reason: str) -> pytest.RaisesExc[Reverted]:
    """Expect a transaction or call inside the block to revert with exactly this reason."""
    return pytest.raises(Reverted, match=f"^{re.escape(reason)}$")


def account(role: str) -> str:
    """The address of a role, which is the same in every run."""
    return to_checksum_address(keccak(text=f"touchstone test account {role}")[12:])


def word(text: str) -> bytes:
    """A 32-byte word that is unique to `text`."""
    return keccak(text=text)


def _type(parameter: dict[str, Any]) -> str:
    """The canonical ABI type of a parameter; a struct is written as a tuple of its fields."""
    if not parameter["type"].startswith("tuple"):
        return str(parameter["type"])
    inner = ",".join(_type(part) for part in parameter["components"])
    return f"({inner}){parameter['type'].removeprefix('tuple')}"


def _named(parameter: dict[str, Any], value: Any) -> Any:
    """A decoded value: a struct is a dictionary by field name, a dynamic array a list, a fixed-size array a tuple."""
    if parameter["type"] == "tuple":
        return {part["name"]: _named(part, item) for part, item in zip(parameter["components"], value, strict=True)}
    if parameter["type"] == "address":
        return to_checksum_address(value)
    return list(value) if parameter["type"].endswith("[]") else value


@dataclass(frozen=True)
class Function:
    """One external function of a contract."""

    name: str
    selector: bytes
    inputs: tuple[str, ...]
    outputs: tuple[dict[str, Any], ...]
    reads: bool

    def calldata(self, arguments: Sequence[Any]) -> bytes:
        return self.selector + bytes(encode(self.inputs, arguments))

    def result(self, output: bytes) -> Any:
        """Decode an output to None, one value or a tuple. Structs become dictionaries, addresses are checksummed."""
        values = decode([_type(part) for part in self.outputs], output)
        named = tuple(_named(part, value) for part, value in zip(self.outputs, values, strict=True))
        return named if len(named) > 1 else (named[0] if named else None)


@cache
def compiled(path: str) -> tuple[bytes, dict[str, Function], dict[bytes, tuple[str, list[dict[str, Any]]]]]:
    """Creation code, functions by name and events by topic of a contract file, relative to the repository."""
    return _parts(boa.load_partial(str(ROOT / path)))


@cache
def compiled_source(source: str) -> tuple[bytes, dict[str, Function], dict[bytes, tuple[str, list[dict[str, Any]]]]]:
    """As `compiled`, for Vyper source."""
    return _parts(boa.loads_partial(source))


def _parts(
    deployer: Any,
) -> tuple[bytes, dict[str, Function], dict[bytes, tuple[str, list[dict[str, Any]]]]]:
    functions = {}
    events = {}
    for entry in build_abi_output(deployer.compiler_data):
        if entry["type"] not in ("function", "constructor", "event"):
            continue
        name = entry.get("name", "__init__")
        types = tuple(_type(part) for part in entry["inputs"])
        signature = keccak(text=f"{name}({','.join(types)})")
        if entry["type"] == "event":
            events[signature] = (name, entry["inputs"])
        else:
            selector = b"" if entry["type"] == "constructor" else signature[:4]
            functions[name] = Function(
                name, selector, types, tuple(entry.get("outputs", ())), entry["stateMutability"] in ("view", "pure")
            )
    return deployer.compiler_data.bytecode, functions, events


@dataclass(frozen=True)
class Contract:
    """A deployed contract. Its functions are methods: one that changes state sends a transaction from `sender` and
    returns a Receipt, a view returns its result. Errors: Reverted."""

    chain: Chain
    address: str
    functions: dict[str, Function]
    events: dict[bytes, tuple[str, list[dict[str, Any]]]]

    def __getattr__(self, name: str) -> Any:
        if name not in self.functions:
            raise AttributeError(name)
        return partial(self.chain.call if self.functions[name].reads else self.chain.send, self, name)

    def log(self, topics: Sequence[int], data: bytes) -> tuple[str, dict[str, Any]]:
        """Decode an event that this contract logged: its name and its fields."""
        name, fields = self.events[topics[0].to_bytes(32, "big")]
        indexed = iter(topics[1:])
        plain = iter(decode([_type(field) for field in fields if not field["indexed"]], data))
        values: dict[str, Any] = {}
        for field in fields:
            if field["indexed"]:
                (value,) = decode([_type(field)], next(indexed).to_bytes(32, "big"))
                values[field["name"]] = _named(field, value)
            else:
                values[field["name"]] = _named(field, next(plain))
        return name, values


@dataclass(frozen=True)
class Receipt:
    """A transaction's result, its gas, and its logs, each (address, topics, data)."""

    result: Any
    gas: int
    logs: tuple[tuple[bytes, tuple[int, ...], bytes], ...]

    def events(self, contract: Contract, name: str) -> list[dict[str, Any]]:
        """The fields of every event of that name that the contract logged."""
        own = to_canonical_address(contract.address)
        logs = [contract.log(topics, data) for address, topics, data in self.logs if address == own]
        return [values for event, values in logs if event == name]


class Chain:
    """One chain. Time and block number change only when a test changes them. `on_send` is called with the name of the
    function and the receipt of every successful transaction."""

    def __init__(self) -> None:
        self.on_send: Callable[[str, Receipt], None] = lambda name, receipt: None
        self._env = boa.Env()
        self.entropy = word("chain entropy")
        self.block = GENESIS_BLOCK
        self.now = GENESIS_TIME
        self._env.evm.patch.prev_hashes = _Ancestors(self)

    # ---------------------------------------------------------------------------------------- blocks and time

    @property
    def now(self) -> int:
        """The timestamp of the block that the next transaction is in, seconds."""
        return int(self._env.evm.patch.timestamp)

    @now.setter
    def now(self, seconds: int) -> None:
        self._env.evm.patch.timestamp = seconds

    @property
    def block(self) -> int:
        """The number of the block that the next transaction is in."""
        return int(self._env.evm.patch.block_number)

    @block.setter
    def block(self, number: int) -> None:
        self._env.evm.patch.block_number = number

    @property
    def chain_id(self) -> int:
        return int(self._env.evm.patch.chain_id)

    @chain_id.setter
    def chain_id(self, number: int) -> None:
        self._env.evm.patch.chain_id = number

    def at(self, timestamp: int) -> None:
        """Advance to that second, in a new block; fails the test if the second has passed."""
        assert timestamp >= self.now, f"{timestamp} has passed"
        if timestamp > self.now:
            self.now = timestamp
            self.block += 1

    def header(self, number: int) -> bytes:
        """The RLP encoding of a block's header, with as many fields as a real header."""
        randao = keccak(self.entropy + number.to_bytes(32, "big"))
        fields: list[bytes | int] = [word("parent"), word("ommers"), bytes(20), word("state"), word("transactions")]
        fields += [word("receipts"), bytes(256), 0, number, 36_000_000, 21_000, GENESIS_TIME + number, b"builder"]
        fields += [randao, bytes(8), 10**9, word("withdrawals"), 0, 0, word("beacon"), word("requests")]
        return bytes(rlp.encode([big_endian_int.serialize(x) if isinstance(x, int) else x for x in fields]))

    def randao(self, number: int) -> bytes:
        return bytes(rlp.decode(self.header(number))[13])

    # ------------------------------------------------------------------------------------------------- states

    def keep(self) -> tuple[bytes, int, int, bytes]:
        """Save the state, so that `back_to` can restore it any number of times."""
        self._state.persist()
        return self._state.state_root, self.now, self.block, self.entropy

    def back_to(self, kept: tuple[bytes, int, int, bytes]) -> None:
        root, self.now, self.block, self.entropy = kept
        vm = self._env.evm.vm
        computation_class = vm.state.computation_class
        vm._state = type(vm.state)(vm.state._db, vm.state.execution_context, root)
        vm._state.computation_class = computation_class

    @property
    def _state(self) -> Any:
        return self._env.evm.vm.state

    # ------------------------------------------------------------------------------------------ money and code

    def balance(self, address: str) -> int:
        return int(self._state.get_balance(to_canonical_address(address)))

    def fund(self, address: str, amount: int) -> None:
        """Increase an account's native balance by `amount` wei."""
        self._state.set_balance(to_canonical_address(address), self.balance(address) + amount)

    def write(self, contract: Contract, slot: int, number: int) -> None:
        """Set a storage slot, for states that only millions of transactions could reach."""
        self._state.set_storage(to_canonical_address(contract.address), slot, number)
        self._state.lock_changes()

    def nonce(self, address: str) -> int:
        """The nonce of the account's next transaction that creates a contract; other transactions do not raise it."""
        return int(self._state.get_nonce(to_canonical_address(address)))

    def deploy(self, parts: tuple[bytes, Any, Any], *arguments: Any, sender: str) -> Contract:
        """Deploy a contract that `compiled` returned. Errors: Reverted."""
        code, functions, events = parts
        if arguments:
            code += functions["__init__"].calldata(arguments)
        self._begin()
        address, computation = self._env.deploy(sender=sender, bytecode=code)
        if computation.is_error:
            raise Reverted(_reason(computation))
        self._state.lock_changes()
        return Contract(self, to_checksum_address(str(address)), functions, events)

    # -------------------------------------------------------------------------------------------- transactions

    def send(self, contract: Contract, name: str, *arguments: Any, sender: str, value: int = 0) -> Receipt:
        """Send one transaction. Errors: Reverted, with the whole revert reason."""
        function = contract.functions[name]
        calldata = function.calldata(arguments)
        zeros = calldata.count(0)
        intrinsic = TRANSACTION_GAS + ZERO_BYTE_GAS * zeros + BYTE_GAS * (len(calldata) - zeros)
        computation = self._run(contract.address, calldata, sender, value, is_static=False)
        if computation.is_error:
            raise Reverted(_reason(computation))
        self._state.lock_changes()
        used = intrinsic + computation.get_gas_used()
        used -= min(computation.get_gas_refund(), used // REFUND_QUOTIENT)
        floor = TRANSACTION_GAS + FLOOR_GAS_PER_TOKEN * (zeros + TOKENS_PER_BYTE * (len(calldata) - zeros))
        logs = tuple((address, tuple(topics), data) for address, topics, data in computation.get_log_entries())
        receipt = Receipt(function.result(computation.output), max(used, floor), logs)
        self.on_send(name, receipt)
        return receipt

    def call(self, contract: Contract, name: str, *arguments: Any, sender: str = NATIVE) -> Any:
        """Call a view. Errors: Reverted."""
        function = contract.functions[name]
        computation = self._run(contract.address, function.calldata(arguments), sender, 0, is_static=True)
        if computation.is_error:
            raise Reverted(_reason(computation))
        return function.result(computation.output)

    def _begin(self) -> None:
        self._state.clear_transient_storage()
        self._env.evm.reset_access_counters()
        for address in PRECOMPILES:
            self._state.mark_address_warm(address)

    def _run(self, to: str, calldata: bytes, sender: str, value: int, is_static: bool) -> Any:
        self._begin()
        sender_, to_ = to_canonical_address(sender), to_canonical_address(to)
        for address in (sender_, to_, self._state.coinbase):
            self._state.mark_address_warm(address)
        message = Message(
            gas=BLOCK_GAS,
            to=to_,
            sender=sender_,
            value=value,
            data=calldata,
            code=self._state.get_code(to_),
            is_static=is_static,
        )
        context = self._state.transaction_context_class(gas_price=0, origin=sender_)
        return self._state.computation_class.apply_message(self._state, message, context)


class _Ancestors:
    """The hashes of the blocks before the current one, the newest first, as BLOCKHASH reads them."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain

    def __iter__(self) -> Iterator[bytes]:
        newest = self._chain.block - 1
        return (keccak(self._chain.header(number)) for number in range(newest, newest - HASH_REACH, -1))


def _reason(computation: Any) -> str:
    output = bytes(computation.output)
    if output[:4] != keccak(text="Error(string)")[:4]:
        return ""
    (reason,) = decode(["string"], output[4:])
    return str(reason)
