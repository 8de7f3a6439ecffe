"""What stands on the chain at one block: history from the events, and every task as its contracts report it."""

from dataclasses import dataclass, replace

import ape
import click

from scripts import _chain
from verifier.chain.client import Block, Client
from verifier.chain.contracts import Contracts, TaskView, as_struct
from verifier.chain.events import EventIndex
from verifier.service.state import History, TaskState, read_task


@dataclass(frozen=True)
class Standing(TaskView):
    """A task as Bounties reports it, in full; amounts in wei or token units, bit i of a bitmap is submission i."""

    reward: int
    declined: int
    claimed: int
    holdout_revealed_at: int
    outcome: int
    ground: int
    best: int


@dataclass(frozen=True)
class Task(TaskState):
    """A task's state whose view is complete."""

    view: Standing


@dataclass(frozen=True)
class Snapshot:
    """Everything is read at `block`."""

    block: Block
    contracts: Contracts
    history: History
    challenge_window: int  # seconds
    active_seats: int

    def task(self, task: bytes) -> Task:
        """One task. Errors: UsageError when it is not of this deployment, Unreachable."""
        if task not in self.history.tasks:
            raise click.UsageError(f"there is no task 0x{task.hex()} at block {self.block.number} here")
        state = read_task(self.contracts, self.history, task, self.block)
        answer = self.contracts.bounties.functions.task(task).call(block_identifier=self.block.number)
        return Task(**vars(replace(state, view=as_struct(Standing, answer))))


def read() -> Snapshot:
    """The newest state of the connected deployment. Errors: UsageError, Unreachable."""
    record = _chain.record()
    client = Client(ape.networks.provider.http_uri)
    contracts = Contracts.connect(client, record["contracts"]["Bounties"]["address"])
    block = client.block()
    index = EventIndex(
        client, [contracts.stakes, contracts.panel, contracts.bounties], record["contracts"]["Stakes"]["block"]
    )
    index.advance(block)
    return Snapshot(
        block,
        contracts,
        History.of(index.events),
        challenge_window=contracts.panel.functions.CHALLENGE_WINDOW().call(block_identifier=block.number),
        active_seats=contracts.stakes.functions.active_seats().call(block_identifier=block.number),
    )
