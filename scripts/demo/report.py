"""Summarises the demo from the chain's events and the verifiers' journals, as JSON and as tables."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from scripts._units import coins, short
from scripts.demo.shell import DemoError
from verifier.artifacts.digests import to_hex

Event = Mapping[str, Any]


@dataclass(frozen=True)
class Facts:
    """The events of one settled task (arguments by name, oldest first), and the verdict in each verifier's journal."""

    created: Event
    committed: Sequence[Event]
    revealed: Sequence[Event]
    settled: Event
    claimed: Sequence[Event]
    joined: Sequence[Event]
    verdicts: Sequence[Event]
    accepted: Event
    closed: Sequence[Event]
    seat_paid: Sequence[Event]
    withdrawn: Sequence[Event]  # from the escrow
    journals: Mapping[str, bytes | None]  # operator -> the verdict that it recorded before it voted
    kind: str  # of the task


def journal_verdict(journal: Path, task: bytes) -> bytes | None:
    """Return the verdict that a stopped service voted for in that task, in one round or several; None if it did not.

    Errors: DemoError when its journal has more than one.
    """
    with closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True)) as database:
        rows = database.execute("SELECT DISTINCT verdict FROM votes WHERE task = ?", (task,)).fetchall()
    if len(rows) > 1:
        raise DemoError(f"{journal} has {len(rows)} verdicts for the task instead of one")
    return bytes(rows[0][0]) if rows else None


def summarise(facts: Facts, names: Mapping[str, str], chain: str, seconds: float) -> dict[str, Any]:
    """Return the facts as JSON values: amounts in wei, addresses checksummed, digests as 0x and 64 digits.

    `names` gives a name for each address. Errors: DemoError when two sources contradict each other.
    """
    threshold = int(facts.created["terms"].threshold)
    withdrawn = _totals(facts.withdrawn, "account", "amount")
    return {
        "kind": facts.kind,
        "chain": chain,
        "seconds": round(seconds, 1),
        "task": to_hex(facts.created["task"]),
        "sponsor": facts.created["sponsor"],
        "reward": int(facts.created["terms"].reward),
        "threshold": threshold,
        "verdict_digest": to_hex(facts.accepted["verdict"]),
        "submissions": [_submission(facts, item, threshold, withdrawn, names) for item in facts.committed],
        "verifiers": [_verifier(facts, seat, withdrawn, names) for seat in facts.joined],
        "withdrawn": {names.get(account, account): amount for account, amount in withdrawn.items()},
    }


def _submission(
    facts: Facts, committed: Event, threshold: int, withdrawn: Mapping[str, int], names: Mapping[str, str]
) -> dict[str, Any]:
    index, solver = committed["index"], committed["solver"]
    plain = [to_hex(item["plain"]) for item in facts.revealed if item["index"] == index]
    (claimed,) = [item for item in facts.claimed if item["index"] == index]
    own = [item for item in facts.claimed if item["solver"] == solver]
    _agree(
        f"the amounts credited to {solver} and withdrawn by it",
        sum(item["reward"] + item["native"] for item in own),
        withdrawn.get(solver, 0),
    )
    score = int(facts.settled["scores"][index]) if plain else None
    return {
        "name": names.get(solver, solver),
        "solver": solver,
        "digest": plain[0] if plain else None,
        "score": score,
        "passed": score is not None and score >= threshold,
        "paid": int(claimed["reward"]),
        "bond_returned": int(claimed["native"]),
    }


def _verifier(facts: Facts, seat: Event, withdrawn: Mapping[str, int], names: Mapping[str, str]) -> dict[str, Any]:
    """One seat over all rounds of the task; it reveals the same verdict in each, or none."""
    operator, owner = seat["operator"], seat["owner"]
    revealed = [item["verdict"] for item in facts.verdicts if item["stake"] == seat["stake"]]
    closed = [item for item in facts.closed if item["stake"] == seat["stake"]]
    verdict = revealed[-1] if revealed else None
    if verdict is not None:  # a seat may have recorded a verdict that it could not reveal in time
        _agree(f"the verdicts in the journal of {operator} and on chain", facts.journals.get(operator), verdict)
    fee = _totals(facts.seat_paid, "owner", "amount").get(owner, 0)
    _agree(f"the amounts earned by {owner} and credited to it", sum(int(item["earned"]) for item in closed), fee)
    _agree(f"the amounts credited to {owner} and withdrawn by it", fee, withdrawn.get(owner, 0))
    return {
        "name": names.get(operator, operator),
        "address": operator,
        "verdict_digest": None if verdict is None else to_hex(verdict),
        "fee": fee,
        "slashed": sum(int(item["slashed"]) for item in closed),
    }


def show(console: Console, summary: Mapping[str, Any]) -> None:
    """Print the summary as tables."""
    submissions = Table("who", "submitted", "exact score", "threshold", "", "reward", "bond back", title="submissions")
    for item in summary["submissions"]:
        submissions.add_row(
            item["name"],
            short(item["digest"]) if item["digest"] else "not revealed",
            "" if item["score"] is None else f"{item['score']:,}",
            f"{summary['threshold']:,}",
            "[green]passed[/green]" if item["passed"] else "[red]failed[/red]",
            coins(item["paid"]),
            coins(item["bond_returned"]),
        )
    verifiers = Table("who", "operator", "verdict", "", "fee", "slashed", title="verifiers")
    for item in summary["verifiers"]:
        digest = item["verdict_digest"]
        verdict = (
            "accepted" if digest == summary["verdict_digest"] else "another verdict" if digest else "none revealed"
        )
        row = (item["name"], item["address"], short(digest) if digest else "", verdict)
        verifiers.add_row(*row, coins(item["fee"]), coins(item["slashed"]))
    paid = Table("who", "coins", title="withdrawn from the escrow")
    for name, amount in summary["withdrawn"].items():
        paid.add_row(name, coins(amount))
    for table in (submissions, verifiers, paid):
        console.print()
        console.print(table)
        if table is submissions:
            for item in summary["submissions"]:
                if item.get("reads"):
                    console.print(f"{item['name']}: {item['reads']}")


def _totals(events: Sequence[Event], by: str, amount: str) -> dict[str, int]:
    """Add up the amounts of the events that have the same value of `by`."""
    totals: dict[str, int] = {}
    for event in events:
        totals[event[by]] = totals.get(event[by], 0) + int(event[amount])
    return totals


def _agree(what: str, first: object, second: object) -> None:
    """Check that two sources say the same. Errors: DemoError."""
    if first != second:
        raise DemoError(f"{what} differ: {first!r} and {second!r}")
