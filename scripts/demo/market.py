"""Reads the contracts of the demo."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from web3.contract import Contract

from scripts.demo.shell import Shell
from verifier.chain.client import Client
from verifier.chain.contracts import Contracts
from verifier.chain.events import EventIndex
from verifier.chain.snapshot import read_task
from verifier.protocol.history import History
from verifier.protocol.state import TaskState


@dataclass
class Market:
    """The contracts on the demo's chain, and the one task that is judged there."""

    contracts: Contracts
    shell: Shell
    task: bytes = b""

    @classmethod
    def connect(cls, rpc_url: str, bounties: str, shell: Shell) -> Market:
        """Connect to the deployment whose Bounties contract is at that address. Errors: ChainError."""
        return cls(Contracts.connect(Client(rpc_url), bounties), shell)

    def events(self, contract: Contract, name: str) -> list[Any]:
        """Return the arguments of all events of that name, oldest first."""
        return [entry["args"] for entry in contract.events[name]().get_logs(from_block=0)]

    def look(self) -> tuple[TaskState, int]:
        """Return the task at the newest block, and the block's timestamp. Errors: ChainError."""
        contracts, client = self.contracts, self.contracts.client
        block = client.block()
        index = EventIndex(client, [contracts.stakes, contracts.panel, contracts.bounties])
        index.advance(block)
        return read_task(contracts, History.of(index.events), self.task, block), block.timestamp
