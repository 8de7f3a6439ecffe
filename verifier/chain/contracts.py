"""The three contracts as typed Python: views return value objects, actions return calls ready to send.

Addresses come from one another: whoever names the Bounties contract names its Panel and that one's Stakes.
"""

from __future__ import annotations

import json
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import cached_property
from importlib import resources
from typing import Any, TypeVar

from eth_typing import ChecksumAddress
from web3 import Web3
from web3.contract import Contract

from verifier.chain.client import Client, translated
from verifier.chain.errors import WrongChain

T = TypeVar("T")

# Bounties.phase
COMMITTING, CONVENING, ATTESTING, HOLDOUT, REVEALING, JUDGING, SETTLED, CANCELLED = range(1, 9)
# Panel's verdict status
NO_VERDICT, ACCEPTED, OVERTURNED, FINAL = range(4)

FREE_ROUNDS = 3  # further ones are bought: whoever pays reconvenes
BLOCKHASH_REACH = 256  # blocks whose hash the EVM still knows
MAX_REARMS = 2


@dataclass(frozen=True)
class Terms:
    """What a sponsor fixed when creating a task; times in seconds, money in wei or token units."""

    asset: ChecksumAddress
    reward: int
    policy: int
    threshold: int
    baseline: int
    committee: int
    windows: tuple[int, ...]
    macs: int
    seat_fee: int
    reserve: int
    manifest: bytes
    program: bytes
    practice: bytes
    holdout: bytes


@dataclass(frozen=True)
class TaskView:
    """A task as Bounties reports it; bit i of `revealed` is submission i."""

    sponsor: ChecksumAddress
    created_at: int
    phase: int
    submissions: int
    revealed: int


@dataclass(frozen=True)
class PanelView:
    """A task's panel as Panel reports it; bitmaps of attestation have bit 0 for the task's own files."""

    round: int
    status: int
    verdict: bytes
    target_block: int
    frozen_at: int
    rearms: int
    attest_closes: int
    closed_at: int
    admitted: int


@dataclass(frozen=True)
class RoundView:
    """One round of voting; times are block timestamps, 0 while unknown."""

    seats: int
    drawn_at: int
    opens: int
    commit_closes: int
    reveal_closes: int
    committed: int
    revealed: int
    closed: int


@dataclass(frozen=True)
class SeatView:
    """A seat as Stakes reports it; money in wei."""

    stake: bytes
    slot: int
    owner: ChecksumAddress
    operator: ChecksumAddress
    joined_at: int
    exit_at: int
    balance: int
    reserved: int
    endpoint: str


@dataclass(frozen=True)
class Call:
    """A transaction still to be signed: where to, with what data and value, and what it is, for people."""

    to: ChecksumAddress
    data: bytes
    description: str
    value: int = 0


def as_struct(cls: type[T], answer: Any) -> T:
    """Build the dataclass from a decoded struct (an object from a view, a mapping from an event), by field name.

    A field added to the contract changes nothing here.
    """
    hints = typing.get_type_hints(cls)
    values: dict[str, Any] = {}
    for field in fields(cls):  # type: ignore[arg-type]
        value = answer[field.name] if isinstance(answer, Mapping) else getattr(answer, field.name)
        hint = hints[field.name]
        if is_dataclass(hint):
            value = as_struct(typing.cast("type[Any]", hint), value)
        elif isinstance(value, list):
            value = tuple(value)
        values[field.name] = value
    return cls(**values)


def load_abi(name: str) -> list[dict[str, Any]]:
    """The ABI of a contract, as generated from its source."""
    text = resources.files("verifier.chain").joinpath("abi", f"{name}.json").read_text("utf-8")
    abi: list[dict[str, Any]] = json.loads(text)
    return abi


class Contracts:
    """Bounties and what it names. Every view takes the number of the block it is read at."""

    def __init__(self, client: Client, stakes: str, panel: str, bounties: str) -> None:
        self.client = client
        self.stakes = self._at("Stakes", stakes)
        self.panel = self._at("Panel", panel)
        self.bounties = self._at("Bounties", bounties)

    def _at(self, name: str, address: str) -> Contract:
        return self.client.w3.eth.contract(
            address=Web3.to_checksum_address(address), abi=load_abi(name), decode_tuples=True
        )

    @classmethod
    def connect(cls, client: Client, bounties: str) -> Contracts:
        """Find the others from Bounties, and see that they name each other. Errors: WrongChain, Unreachable."""
        address = Web3.to_checksum_address(bounties)
        if not client.code(address):
            raise WrongChain(f"there is no contract at {address} on this chain")
        alone = cls(client, address, address, address)
        panel = alone._read(alone.bounties, "PANEL")
        stakes = alone._read(cls(client, address, panel, address).panel, "STAKES")
        found = cls(client, stakes, panel, address)
        if found._read(found.panel, "BOUNTIES") != address:
            raise WrongChain(f"{address} names panel {panel}, which serves another bounties contract")
        return found

    def _read(self, contract: Contract, function: str, *arguments: Any, block: int | None = None) -> Any:
        with translated():
            bound = contract.functions[function](*arguments)
            return bound.call(block_identifier="latest" if block is None else block)

    def _call(self, contract: Contract, description: str, function: str, *arguments: Any) -> Call:
        data = contract.encode_abi(function, list(arguments))
        return Call(contract.address, bytes.fromhex(data[2:]), description)

    # Views

    @cached_property
    def void_delay(self) -> int:
        """Seconds without a committee after which a task can be cancelled."""
        return int(self._read(self.bounties, "VOID_DELAY"))

    @cached_property
    def terminal_delay(self) -> int:
        """Seconds without settlement after the last votes after which the terminal rule applies."""
        return int(self._read(self.bounties, "TERMINAL_DELAY"))

    def task(self, task: bytes, block: int) -> TaskView:
        return as_struct(TaskView, self._read(self.bounties, "task", task, block=block))

    def inputs(self, task: bytes, block: int) -> bytes:
        """What a verdict is about; fixed once the solvers' reveal window is over."""
        return bytes(self._read(self.bounties, "inputs", task, block=block))

    def panel_of(self, task: bytes, block: int) -> PanelView:
        return as_struct(PanelView, self._read(self.panel, "panel", task, block=block))

    def round(self, task: bytes, round_: int, block: int) -> RoundView:
        return as_struct(RoundView, self._read(self.panel, "round", task, round_, block=block))

    def seat(self, stake: bytes, block: int) -> SeatView:
        return as_struct(SeatView, self._read(self.stakes, "seat", stake, block=block))

    def balance(self, account: str, block: int | None = None) -> int:
        """Native balance in wei."""
        return self.client.balance(Web3.to_checksum_address(account), block)

    # Actions

    def convene(self, task: bytes) -> Call:
        return self._call(self.panel, "convene", "convene", task)

    def draw(self, task: bytes, header: bytes) -> Call:
        return self._call(self.panel, "draw", "draw", task, header)

    def attest(self, task: bytes, position: int, bitmap: int) -> Call:
        return self._call(self.panel, "attest", "attest", task, position, bitmap)

    def close_attestation(self, task: bytes) -> Call:
        return self._call(self.panel, "close_attestation", "close_attestation", task)

    def commit_verdict(self, task: bytes, round_: int, position: int, vote: bytes) -> Call:
        return self._call(self.panel, "commit_verdict", "commit_verdict", task, round_, position, vote)

    def reveal_verdict(self, task: bytes, round_: int, position: int, verdict: bytes, salt: bytes) -> Call:
        return self._call(self.panel, "reveal_verdict", "reveal_verdict", task, round_, position, verdict, salt)

    def close_vote(self, task: bytes, round_: int, position: int) -> Call:
        return self._call(self.panel, "close_vote", "close_vote", task, round_, position)

    def settle(self, task: bytes, outcome: int, scores: Sequence[int], evidence: bytes) -> Call:
        return self._call(self.bounties, "settle", "settle", task, outcome, list(scores), evidence)

    def cancel(self, task: bytes) -> Call:
        return self._call(self.bounties, "cancel", "cancel", task)

    def claim_submission(self, task: bytes, index: int, scores: Sequence[int]) -> Call:
        return self._call(self.bounties, "claim_submission", "claim_submission", task, index, list(scores))
