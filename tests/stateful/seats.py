"""The model of the registry of seats, implemented from the design."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from eth_utils.crypto import keccak

from tests.evm import NATIVE
from tests.harness import EXIT_DELAY, RESERVATION, SEAT
from tests.stateful.ledger import Ledger, require

PLACES = 4
TRIES_PER_SEAT, EXTRA_TRIES = 8, 64


@dataclass(eq=False)
class Seat:
    """One seat; `held` counts the reservations of each panel, `enrolled` has the second of each enrolment."""

    stake: bytes
    slot: int
    owner: str
    operator: str
    joined_at: int
    balance: int = SEAT
    exit_at: int = 0
    gone: bool = False
    enrolled: dict[str, int] = field(default_factory=dict)
    held: Counter[str] = field(default_factory=Counter)

    @property
    def reserved(self) -> int:
        return self.held.total() * RESERVATION


class Registry:
    """All seats by slot, and the money of the registry."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.slots: list[Seat | None] = []
        self.free: list[int] = []
        self.touched: set[Seat] = set()

    def present(self) -> list[Seat]:
        return [seat for seat in self.slots if seat is not None]

    def active(self) -> list[Seat]:
        return [seat for seat in self.present() if not seat.exit_at]

    def staked(self) -> int:
        return sum(seat.balance for seat in self.present())

    def next_slot(self) -> int:
        return self.free[-1] if self.free else len(self.slots)

    def join(self, seat: Seat, value: int) -> None:
        require(value == SEAT, "join: wrong stake")
        if self.free:
            self.slots[self.free.pop()] = seat
        else:
            self.slots.append(seat)
        self.ledger.receive(NATIVE, value)
        self.touched.add(seat)

    def enrol(self, seat: Seat, sender: str, panel: str, now: int) -> None:
        self.assert_owned(seat, sender)
        require(not seat.exit_at, "stake: leaving")
        require(panel not in seat.enrolled, "enrol: already enrolled")
        seat.enrolled[panel] = now

    def top_up(self, seat: Seat, value: int) -> None:
        require(not seat.gone, "stake: unknown")
        require(value, "top_up: nothing sent")
        require(seat.balance + value <= SEAT, "top_up: above a seat")
        seat.balance += value
        self.ledger.receive(NATIVE, value)
        self.touched.add(seat)

    def set_operator(self, seat: Seat, sender: str, operator: str) -> None:
        self.assert_owned(seat, sender)
        seat.operator = operator
        self.touched.add(seat)

    def request_exit(self, seat: Seat, sender: str, now: int) -> None:
        self.assert_owned(seat, sender)
        require(not seat.exit_at, "stake: leaving")
        seat.exit_at = now
        self.touched.add(seat)

    def exit(self, seat: Seat, sender: str, now: int) -> None:
        self.assert_owned(seat, sender)
        require(seat.exit_at, "exit: not requested")
        require(now >= seat.exit_at + EXIT_DELAY, "exit: too early")
        require(not seat.held, "exit: reserved by a panel")
        seat.gone = True
        self.slots[seat.slot] = None
        self.free.append(seat.slot)
        self.ledger.credit(NATIVE, seat.owner, seat.balance)

    def draw(self, panel: str, seed: bytes, wanted: int, created_at: int, frozen_at: int, slots: int) -> list[Seat]:
        """The seats that a draw must return, in order; `reserve` reserves them.

        They depend only on the freeze, the seed, the enrolments and the reservations.
        """
        drawn: list[Seat] = []
        full: set[Seat] = set()
        for k in range(wanted * TRIES_PER_SEAT + EXTRA_TRIES):
            if len(drawn) == wanted:
                break
            seat = self.slots[int.from_bytes(keccak(seed + k.to_bytes(32, "big")), "big") % slots]
            if seat is None or seat in drawn:
                continue
            let_in = seat.enrolled.get(panel)
            if let_in is None or let_in >= created_at or 0 < seat.exit_at <= frozen_at:
                continue
            if seat.balance - seat.reserved >= RESERVATION:
                drawn.append(seat)
            elif seat.balance >= RESERVATION:
                full.add(seat)
        require(2 * len(full) <= len(drawn), "draw: too many seats are full")
        return drawn

    def reserve(self, panel: str, seats: list[Seat]) -> None:
        for seat in seats:
            seat.held[panel] += 1
            self.touched.add(seat)

    def release(self, panel: str, seat: Seat, slash: int) -> None:
        require(seat.held[panel] and not seat.gone, "release: nothing reserved")
        require(slash <= RESERVATION, "release: above the reservation")
        seat.held[panel] -= 1
        seat.held += Counter()  # removes the panels that hold nothing
        seat.balance -= slash
        self.ledger.burn(NATIVE, slash)
        self.touched.add(seat)

    @staticmethod
    def assert_owned(seat: Seat, sender: str) -> None:
        require(not seat.gone, "stake: unknown")
        require(seat.owner == sender, "stake: not the owner")
