"""The contracts as everybody sees them: where the task stands, and waiting for its next step."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from eth_typing import ChecksumAddress
from rich.console import Console
from web3.contract import Contract

from scripts._units import span
from scripts.demo.shell import DemoError, Shell
from verifier.chain.client import Client
from verifier.chain.contracts import Contracts

POLL_S = 0.5
PATIENCE_S = 900.0  # for a step that has no deadline of its own


@dataclass
class Market:
    """A deployment on the demo's chain, and the one task that is judged there."""

    contracts: Contracts
    shell: Shell
    task: bytes = b""

    @classmethod
    def connect(cls, rpc_url: str, bounties: str, shell: Shell) -> Market:
        return cls(Contracts.connect(Client(rpc_url), bounties), shell)

    def events(self, contract: Contract, name: str) -> list[Any]:
        """Arguments of all events of that name, oldest first."""
        return [entry["args"] for entry in contract.events[name]().get_logs(from_block=0)]

    def view(self) -> Any:
        return self.contracts.bounties.functions.task(self.task).call()

    def panel(self) -> Any:
        return self.contracts.panel.functions.panel(self.task).call()

    def round(self) -> Any:
        return self.contracts.panel.functions.round(self.task, 1).call()

    def attested(self) -> int:
        return len(self.events(self.contracts.panel, "Attested"))

    def credit(self, account: ChecksumAddress) -> int:
        """What that account can withdraw from the escrow, wei."""
        native = "0x" + "00" * 20
        return int(self.contracts.bounties.functions.credit(native, account).call())

    def now(self) -> int:
        return self.contracts.client.block().timestamp

    def wait(self, what: str, done: Callable[[], bool], until: Callable[[], int] | None = None) -> None:
        """Wait for the others, showing what for and, where it is known, how long at most. Errors: DemoError."""
        console: Console = self.shell.console
        began = time.monotonic()
        with console.status(what) as status:
            while not done():
                self.shell.check()
                if time.monotonic() - began > PATIENCE_S:
                    raise DemoError(f"gave up after {span(int(PATIENCE_S))}: {what}")
                left = until() - self.now() if until is not None else 0
                status.update(f"{what} ({span(left)} left)" if left > 0 else what)
                time.sleep(POLL_S)
        console.print(f"  {what}: done after {time.monotonic() - began:.0f} s", style="green", soft_wrap=True)
