"""The model's accounts of what a contract holds and owes, and the model's refusals."""

from __future__ import annotations

from collections import Counter


class Refused(Exception):
    """The model expects the contract to revert with exactly this reason."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def require(condition: object, reason: str) -> None:
    """Require a condition. Errors: Refused with the reason unless the condition holds."""
    if not condition:
        raise Refused(reason)


class Ledger:
    """The accounts of one contract: what it holds of each asset, what it owes to each account, and what is burned."""

    def __init__(self) -> None:
        self.held: Counter[str] = Counter()
        self.credits: Counter[tuple[str, str]] = Counter()
        self.burned: Counter[str] = Counter()
        # The credits that changed since they were last compared with the contract.
        self.touched: set[tuple[str, str]] = set()

    def receive(self, asset: str, amount: int) -> None:
        self.held[asset] += amount

    def credit(self, asset: str, account: str, amount: int) -> None:
        self.credits[asset, account] += amount
        self.touched.add((asset, account))

    def burn(self, asset: str, amount: int) -> None:
        self.burned[asset] += amount

    def withdraw(self, asset: str, account: str) -> int:
        amount = self.credits[asset, account]
        require(amount, "withdraw: nothing owed")
        self.credits[asset, account] = 0
        self.held[asset] -= amount
        self.touched.add((asset, account))
        return amount

    def owed(self, asset: str) -> int:
        """The sum of all credits in an asset and of its burned amount."""
        return sum(amount for (of, _), amount in self.credits.items() if of == asset) + self.burned[asset]
