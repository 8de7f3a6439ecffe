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


class Reader:
    """Reads the connected deployment again and again; events that are known are not read twice."""

    def __init__(self) -> None:
        """Errors: UsageError, Unreachable."""
        contracts_record = _chain.record()["contracts"]
        self._client = Client(ape.networks.provider.http_uri)
        self._contracts = Contracts.connect(self._client, contracts_record["Bounties"]["address"])
        contracts = [self._contracts.stakes, self._contracts.panel, self._contracts.bounties]
        self._index = EventIndex(self._client, contracts, contracts_record["Stakes"]["block"])
        self._newest: Snapshot | None = None

    def read(self) -> Snapshot:
        """The deployment at its newest block. Errors: Unreachable, Refused."""
        block = self._client.block()
        if self._newest is None or self._newest.block.hash != block.hash:
            self._index.advance(block)
            seats = self._contracts.active_seats(block.number)
            self._newest = Snapshot(block, self._contracts, History.of(self._index.events), seats)
        return self._newest


def read() -> Snapshot:
    """Read the connected deployment at its newest block. Errors: UsageError, Unreachable."""
    return Reader().read()
