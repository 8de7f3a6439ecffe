"""The newest state of the connected deployment: the events' history, and every task as the contracts report it."""

from dataclasses import dataclass

import ape
import click

from scripts import _chain
from verifier.chain.client import Block, Client
from verifier.chain.contracts import Contracts
from verifier.chain.events import EventIndex
from verifier.chain.snapshot import read_task
from verifier.protocol.history import History
from verifier.protocol.state import TaskState


@dataclass(frozen=True)
class Snapshot:
    """A deployment at one block; everything is read at `block`."""

    block: Block
    contracts: Contracts
    history: History
    active_seats: int  # that can be drawn

    def task(self, task: bytes) -> TaskState:
        """The state of one task. Errors: UsageError when this deployment does not have it, Unreachable."""
        if task not in self.history.tasks:
            raise click.UsageError(
                f"there is no task 0x{task.hex()} on {_chain.network()} at block {self.block.number}: "
                "check the id and --network"
            )
        return read_task(self.contracts, self.history, task, self.block)


def read() -> Snapshot:
    """Read the connected deployment at its newest block. Errors: UsageError, Unreachable."""
    contracts_record = _chain.record()["contracts"]
    client = Client(ape.networks.provider.http_uri)
    contracts = Contracts.connect(client, contracts_record["Bounties"]["address"])
    block = client.block()
    index = EventIndex(
        client, [contracts.stakes, contracts.panel, contracts.bounties], contracts_record["Stakes"]["block"]
    )
    index.advance(block)
    return Snapshot(block, contracts, History.of(index.events), contracts.active_seats(block.number))
