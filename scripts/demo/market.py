"""Reads the contracts of the demo, and waits until their state changes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from web3.contract import Contract

from scripts._units import span
from scripts.demo.shell import DemoError, Shell
from verifier.chain.client import Client
from verifier.chain.contracts import Contracts
from verifier.chain.events import EventIndex
from verifier.chain.snapshot import read_task
from verifier.protocol.history import History
from verifier.protocol.state import TaskState

POLL_S = 0.5  # half of the chain's block time
MAX_WAIT_S = 900.0  # for one step, whether or not it has a deadline of its own


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

    def state(self) -> TaskState:
        """Return the task at the newest block, with its deadlines. Errors: ChainError."""
        contracts, client = self.contracts, self.contracts.client
        block = client.block()
        index = EventIndex(client, [contracts.stakes, contracts.panel, contracts.bounties])
        index.advance(block)
        return read_task(contracts, History.of(index.events), self.task, block)

    def view(self) -> Any:
        """Return the task's IBounties.TaskView."""
        return self.contracts.bounties.functions.task(self.task).call()

    def panel(self) -> Any:
        """Return the task's IPanel.PanelView."""
        return self.contracts.panel.functions.panel(self.task).call()

    def round(self) -> Any:
        """Return the IPanel.RoundView of the task's first round."""
        return self.contracts.panel.functions.round(self.task, 1).call()

    def attested(self) -> int:
        """Return how many seats have attested."""
        return len(self.events(self.contracts.panel, "Attested"))

    def now(self) -> int:
        """Return the newest block's timestamp."""
        return self.contracts.client.block().timestamp

    def wait(self, what: str, done: Callable[[], bool], until: Callable[[], int] | None = None) -> None:
        """Wait until `done` returns True, showing `what` and, where `until` gives a deadline, the time left.

        Errors: DemoError after MAX_WAIT_S, or when a background process has ended.
        """
        console: Console = self.shell.console
        began = time.monotonic()
        with console.status(what) as status:
            while not done():
                self.shell.check()
                if time.monotonic() - began > MAX_WAIT_S:
                    raise DemoError(f"this did not happen within {span(int(MAX_WAIT_S))}: {what}")
                left = until() - self.now() if until is not None else 0
                status.update(f"{what} ({span(left)} left)" if left > 0 else what)
                time.sleep(POLL_S)
        console.print(f"  {what}: done after {time.monotonic() - began:.0f} s", style="green", soft_wrap=True)
