"""The draw as the design specifies it, and a panel that is a plain account, which Stakes permits."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from eth_utils.crypto import keccak

from tests.evm import Receipt, account, word
from tests.harness import World

JURY = account("jury")
TRIES_PER_SEAT, EXTRA_TRIES = 8, 64


def candidates(seed: bytes, slots: int, tries: int) -> Iterator[int]:
    """Yield the candidates of a draw: candidate k is keccak256(seed, k) mod `slots`."""
    return (int.from_bytes(keccak(seed + k.to_bytes(32, "big")), "big") % slots for k in range(tries))


def expected_draw(seed: bytes, wanted: int, slots: int, eligible: Collection[int]) -> list[int]:
    """The slots that a draw must return, in order."""
    tried = candidates(seed, slots, wanted * TRIES_PER_SEAT + EXTRA_TRIES)
    return list(dict.fromkeys(slot for slot in tried if slot in eligible))[:wanted]


def draw(world: World, wanted: int, sender: str = JURY, seed: bytes = word("seed"), **changes: Any) -> Receipt:
    """Draw for a panel, by default for a task created and frozen in this second and from all slots."""
    now = world.chain.now
    arguments = {"created_at": now, "frozen_at": now, "slots": world.stakes.slots()} | changes
    return world.stakes.draw(seed, wanted, *arguments.values(), sender=sender)


def slash(world: World, stake: bytes, amount: int) -> None:
    """Slash a seat that the jury can draw by `amount` wei."""
    slot = world.stakes.slot_of(stake)
    drawn = draw(world, 1, seed=_finds(world, slot)).result
    assert drawn == [slot]
    world.stakes.release(slot, amount, sender=JURY)


def _finds(world: World, slot: int) -> bytes:
    """Find a seed whose first candidate is that slot."""
    seeds = (word(f"seed {i}") for i in range(10_000))
    return next(seed for seed in seeds if expected_draw(seed, 1, world.stakes.slots(), range(2**32)) == [slot])
