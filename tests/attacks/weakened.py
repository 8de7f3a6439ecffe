"""The contracts without one of their guards, to show what an attack does to a naive contract.

An attack runs on the contracts as they are, and on a copy from which one guard was removed. The tests thus show that
the attack fails, and that this guard is the reason.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.contracts.conftest import SEATS
from tests.evm import ROOT
from tests.harness import World


@dataclass(frozen=True)
class Guard:
    """A guard of one contract: a text that its file, or a module, contains exactly once, and the replacement.
    `more` has further such pairs for a guard in several places."""

    contract: str
    text: str
    instead: str = ""
    module: str = ""
    more: tuple[tuple[str, str], ...] = ()


def deploy_without(guard: Guard, folder: Path) -> World:
    """Deploy with the guard removed from its contract, and with the seats of every test."""
    copy = folder / "contracts"
    shutil.copytree(ROOT / "contracts", copy)
    contract = copy / f"{guard.contract}.vy"
    weak = copy / "modules" / f"{guard.module}.vy" if guard.module else contract
    source = weak.read_text("utf-8")
    for text, instead in [(guard.text, guard.instead), *guard.more]:
        assert source.count(text) == 1, f"{weak.name} has {source.count(text)} times: {text}"
        source = source.replace(text, instead)
    weak.write_text(source, "utf-8")
    world = World.with_seats(SEATS, sources={guard.contract: str(contract)})
    return world
