"""What a contract holds and owes, to the wei, and how the model says no."""

from __future__ import annotations

from collections import Counter


class Refused(Exception):
    """The model expects the contract to revert with exactly this reason."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def require(condition: object, reason: str) -> None:
    """Errors: Refused unless the condition holds."""
    if not condition:
        raise Refused(reason)


class Ledger:
    """One contract's books: what it holds of each asset, owes to each account, and will never pay."""

    def __init__(self) -> None:
        self.held: Counter[str] = Counter()
        self.credits: Counter[tuple[str, str]] = Counter()
        self.burned: Counter[str] = Counter()
        # Credits and burned assets that changed since they were last compared with the contract.
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
        """Everything that accounts can withdraw, and what is burned."""
        return sum(amount for (of, _), amount in self.credits.items() if of == asset) + self.burned[asset]
