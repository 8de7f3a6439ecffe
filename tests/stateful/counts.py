"""Counts of a run: successful actions by function, refusals by reason, and the events that occurred."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from tests.evm import compiled

# Functions that only another contract of the protocol may call; other actions call them.
INTERNAL = {"Bounties.pay_seat", "Panel.reopen"}

# Events that must occur at least once in a run, besides a successful call of every function.
EVENTS = (
    "asset: native",
    "asset: plain token",
    "asset: token with a fee",
    "draw: first round",
    "draw: later round",
    "draw: round that was paid for",
    "convene: re-arm",
    "reconvene: re-arm",
    "vote: accepted",
    "vote: accepted in a later round",
    "vote: lie accepted",
    "settle: winner by BEST",
    "settle: winner by LADDER",
    "settle: no winner",
    "settle: nothing revealed",
    "settle: copies",
    "cancel: withdrawn",
    "cancel: empty",
    "cancel: no committee",
    "cancel: unavailable",
    "cancel: holdout silent",
    "cancel: holdout invalid",
    "cancel: program invalid",
    "cancel: terminal",
    "close: paid for attesting",
    "close: paid for a verdict",
    "close: excused",
    "close: slashed for another verdict",
    "close: slashed for a withheld reveal",
    "close: slashed for silence",
)


def functions() -> set[str]:
    """Every function of the three contracts that an external account may call in a transaction."""
    return {
        f"{name}.{function.name}"
        for name in ("Stakes", "Panel", "Bounties")
        for function in compiled(f"contracts/{name}.vy")[1].values()
        if not function.reads and function.name != "__init__"
    } - INTERNAL


@dataclass
class Counts:
    """The counts of one run, over all its examples."""

    done: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    seen: Counter[str] = field(default_factory=Counter)

    def table(self) -> str:
        rows = [f"{self.done.total():>7}  successful actions"]
        rows += [f"{self.done[name]:>7}  {name}" for name in sorted(functions() | set(self.done))]
        rows += [f"{self.seen[name]:>7}  {name}" for name in sorted(set(EVENTS) | set(self.seen))]
        rows += [f"{self.refused.total():>7}  refusals, each with the reason expected"]
        rows += [f"{count:>7}  {reason}" for reason, count in sorted(self.refused.items())]
        return "\n".join(rows)

    def missing(self) -> list[str]:
        """The functions that never succeeded and the events that never occurred."""
        return sorted(functions() - set(self.done)) + [event for event in EVENTS if not self.seen[event]]
