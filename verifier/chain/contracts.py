"""The three contracts as typed Python: views return value objects, actions return calls that are ready to send.

The address of Bounties leads to the others: Bounties names its Panel, and the Panel names its Stakes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from typing import Any, TypeVar

from eth_typing import ChecksumAddress
from web3 import Web3
from web3.contract import Contract

from verifier.chain.client import Client, translated
from verifier.chain.errors import WrongChain
from verifier.protocol.views import Delays, PanelView, RoundView, SeatView, TaskView, from_abi

T = TypeVar("T")


@dataclass(frozen=True)
class Call:
    """A transaction that is not signed yet: receiver, data, value in wei, and a description for people."""

    to: ChecksumAddress
    data: bytes
    description: str
    value: int = 0


def load_abi(name: str) -> list[dict[str, Any]]:
    """The ABI of the contract `name`, as generated from its source."""
    text = resources.files("verifier.chain").joinpath("abi", f"{name}.json").read_text("utf-8")
    abi: list[dict[str, Any]] = json.loads(text)
    return abi


def contract_at(client: Client, name: str, address: str) -> Contract:
    """The contract `name` at that address; sends no request to the node."""
    return client.w3.eth.contract(address=Web3.to_checksum_address(address), abi=load_abi(name), decode_tuples=True)


def read(contract: Contract, function: str, *arguments: Any, block: int | None = None) -> Any:
    """Call a view at a block, by default the newest, and return its result. Errors: Unreachable, Reverted."""
    with translated():
        bound = contract.functions[function](*arguments)
        return bound.call(block_identifier="latest" if block is None else block)


class Contracts:
    """The Bounties contract, its Panel and the Panel's Stakes. Every view takes the block number to read it at."""

    def __init__(self, client: Client, stakes: Contract, panel: Contract, bounties: Contract) -> None:
        self.client = client
        self.stakes = stakes
        self.panel = panel
        self.bounties = bounties

    @classmethod
    def connect(cls, client: Client, address: str) -> Contracts:
        """Find Panel and Stakes from the address of Bounties, and check that Panel and Bounties name each other.

        Errors: WrongChain, Unreachable.
        """
        bounties = contract_at(client, "Bounties", address)
        if not client.code(bounties.address):
            raise WrongChain(f"there is no contract at {bounties.address} on this chain")
        panel = contract_at(client, "Panel", read(bounties, "PANEL"))
        stakes = contract_at(client, "Stakes", read(panel, "STAKES"))
        if read(panel, "BOUNTIES") != bounties.address:
            raise WrongChain(f"{bounties.address} names panel {panel.address}, which serves another bounties contract")
        return cls(client, stakes, panel, bounties)

    # Views

    @cached_property
    def delays(self) -> Delays:
        """The delays that the deployment fixes."""
        return Delays(
            void=int(read(self.bounties, "VOID_DELAY")),
            terminal=int(read(self.bounties, "TERMINAL_DELAY")),
            challenge=int(read(self.panel, "CHALLENGE_WINDOW")),
        )

    def task(self, task: bytes, block: int) -> TaskView:
        """The state of a task. Errors: Reverted when it does not exist."""
        return _view(TaskView, self.bounties, "task", task, block=block)

    def inputs(self, task: bytes, block: int) -> bytes:
        """The digest of what a verdict depends on; fixed once the solvers' reveal window is over."""
        return bytes(read(self.bounties, "inputs", task, block=block))

    def panel_of(self, task: bytes, block: int) -> PanelView:
        """The state of a task's panel; zeros before the panel is convened."""
        return _view(PanelView, self.panel, "panel", task, block=block)

    def round(self, task: bytes, round_: int, block: int) -> RoundView:
        """One round of voting, numbered from 1; zeros when its committee was not drawn."""
        return _view(RoundView, self.panel, "round", task, round_, block=block)

    def seat(self, stake: bytes, block: int) -> SeatView:
        """One seat. Errors: Reverted when it does not exist."""
        return _view(SeatView, self.stakes, "seat", stake, block=block)

    def active_seats(self, block: int) -> int:
        """How many seats can be drawn."""
        return int(read(self.stakes, "active_seats", block=block))

    def balance(self, account: str, block: int | None = None) -> int:
        """Native balance of an account, in wei."""
        return self.client.balance(Web3.to_checksum_address(account), block)

    # Actions

    def convene(self, task: bytes) -> Call:
        """Convene the next round, or the same one again when nobody drew it in time."""
        return _call(self.panel, "convene", task)

    def draw(self, task: bytes, header: bytes) -> Call:
        """Draw the convened round's committee; `header` is the target block's RLP-encoded header."""
        return _call(self.panel, "draw", task, header)

    def attest(self, task: bytes, position: int, bitmap: int) -> Call:
        """Attest which files the seat at `position` of the first committee has."""
        return _call(self.panel, "attest", task, position, bitmap)

    def close_attestation(self, task: bytes) -> Call:
        """Admit the files that more than half of the first committee attested."""
        return _call(self.panel, "close_attestation", task)

    def commit_verdict(self, task: bytes, round_: int, position: int, vote: bytes) -> Call:
        """Commit a seat's hidden vote."""
        return _call(self.panel, "commit_verdict", task, round_, position, vote)

    def reveal_verdict(self, task: bytes, round_: int, position: int, verdict: bytes, salt: bytes) -> Call:
        """Reveal a seat's hidden vote."""
        return _call(self.panel, "reveal_verdict", task, round_, position, verdict, salt)

    def close_vote(self, task: bytes, round_: int, position: int) -> Call:
        """Release a drawn seat after the end of its task."""
        return _call(self.panel, "close_vote", task, round_, position)

    def settle(self, task: bytes, outcome: int, scores: Sequence[int], evidence: bytes) -> Call:
        """End a task with the final verdict, whose content is given by the arguments."""
        return _call(self.bounties, "settle", task, outcome, list(scores), evidence)

    def cancel(self, task: bytes) -> Call:
        """Cancel a task for which a ground applies (see `constants.Ground`)."""
        return _call(self.bounties, "cancel", task)

    def claim_submission(self, task: bytes, index: int, scores: Sequence[int]) -> Call:
        """Credit a solver after the end of the task; `scores` as settled."""
        return _call(self.bounties, "claim_submission", task, index, list(scores))


def _view(cls: type[T], contract: Contract, function: str, *arguments: Any, block: int) -> T:
    """Call a view and return its struct. Errors: Unreachable, also when the struct does not fit `cls`; Reverted."""
    answer = read(contract, function, *arguments, block=block)
    with translated():
        return from_abi(cls, answer)


def _call(contract: Contract, function: str, *arguments: Any) -> Call:
    data = contract.encode_abi(function, list(arguments))
    return Call(contract.address, bytes.fromhex(data[2:]), description=function)
