"""The contracts and the model together: every action is predicted by the model, sent, and compared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

from hypothesis import note

from tests.evm import NATIVE, Contract, Receipt, account, compiled, reverts
from tests.harness import DEPLOYER, PURSE, World
from tests.stateful.case import Case
from tests.stateful.counts import Counts
from tests.stateful.ledger import Ledger, Refused
from tests.stateful.seats import Registry, Seat

SPONSORS = [account(f"sponsor {i}") for i in range(3)]
OWNERS = [account(f"owner {i}") for i in range(6)]
# One owner of seats also submits, so that one account has credits of both kinds.
SOLVERS = [account(f"solver {i}") for i in range(3)] + OWNERS[:1]
OUTSIDER = account("outsider")
# A second panel, with which owners can enrol; it is a plain account, which the registry permits.
JURY = account("jury")
PEOPLE = [*SPONSORS, *SOLVERS, *OWNERS[1:], OUTSIDER]
SEATS_EACH = 3
FEE_BPS = 130

T = TypeVar("T")


def operator(owner: str, number: int = 0) -> str:
    """The address of an owner's operator key of that number."""
    return account(f"operator {owner} {number}")


@dataclass(frozen=True)
class Base:
    """A deployment with tokens and seats, and the state that every example starts from."""

    world: World
    plain: Contract
    taxed: Contract
    kept: tuple[bytes, int, int, bytes]
    seats: tuple[tuple[bytes, str], ...]
    joined_at: int


@cache
def base() -> Base:
    world = World()
    for person in PEOPLE:
        world.chain.fund(person, PURSE)
    plain = world.chain.deploy(compiled("contracts/mocks/PlainToken.vy"), sender=DEPLOYER)
    taxed = world.chain.deploy(compiled("contracts/mocks/FeeToken.vy"), FEE_BPS, sender=DEPLOYER)
    for token in (plain, taxed):
        for person in PEOPLE:
            token.mint(person, PURSE, sender=DEPLOYER)
            token.approve(world.bounties.address, 2**256 - 1, sender=person)
    joined_at = world.chain.now
    seats = tuple((world.join(1, owner, operator(owner))[0], owner) for _ in range(SEATS_EACH) for owner in OWNERS)
    world.chain.at(joined_at + 1)
    return Base(world, plain, taxed, world.chain.keep(), seats, joined_at)


class Stage:
    """One example: the contracts, restored to their first state, and the model of them."""

    def __init__(self, counts: Counts) -> None:
        start = base()
        self.world = start.world
        self.chain = start.world.chain
        self.chain.back_to(start.kept)
        self.stakes, self.panel, self.bounties = self.world.stakes, self.world.panel, self.world.bounties
        self.tokens = {start.plain.address: start.plain, start.taxed.address: start.taxed}
        self.asset_names = {
            NATIVE: "native",
            start.plain.address: "plain token",
            start.taxed.address: "token with a fee",
        }
        self.counts = counts
        self.registry = Registry()
        self.ledger = Ledger()
        self.cases: list[Case] = []
        self.jury_holds: list[Seat] = []
        self.broken = False
        for slot, (stake, owner) in enumerate(start.seats):
            seat = Seat(stake, slot, owner, operator(owner), start.joined_at)
            seat.enrolled[self.panel.address] = start.joined_at
            self.registry.join(seat, seat.balance)

    @property
    def now(self) -> int:
        return self.chain.now

    @property
    def draw_delay(self) -> int:
        return int(self.panel.DRAW_DELAY())

    def attempt(self, kind: str, expect: Callable[[], T], send: Callable[[], Receipt]) -> tuple[T, Receipt] | None:
        """Send one transaction; returns the model's result and the receipt.

        If the model refuses the action, the contract must revert with the same reason, and the result is None.
        """
        self.broken = True
        try:
            expected = expect()
        except Refused as refused:
            with reverts(refused.reason):
                send()
            self.counts.refused[f"{kind}: {refused.reason}"] += 1
            note(f"    at {self.now}, block {self.chain.block}: {kind} is refused: {refused.reason}")
            self.broken = False
            return None
        note(f"    at {self.now}, block {self.chain.block}: {kind}")
        receipt = send()
        self.counts.done[kind] += 1
        self.broken = False
        return expected, receipt

    def mine(self, block: int) -> None:
        """Advance so that the next transaction is in that block."""
        if block > self.chain.block:
            self.chain.block = block
            self.chain.now += 1

    def arrives(self, asset: str, amount: int) -> int:
        """The amount that is received when `amount` of an asset is sent."""
        return amount - amount * FEE_BPS // 10_000 if self.asset_names[asset] == "token with a fee" else amount

    def balance(self, contract: Contract, asset: str) -> int:
        if asset == NATIVE:
            return self.chain.balance(contract.address)
        return int(self.tokens[asset].balanceOf(contract.address))

    def live(self) -> list[Case]:
        return [case for case in self.cases if not case.ending]

    def fields(self, receipt: Receipt, contract: Contract, event: str) -> dict[str, Any]:
        """The fields of the only event of that name."""
        (found,) = receipt.events(contract, event)
        return found
