"""Fixtures: a fresh chain and deployment for every test, and contracts that are compiled once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.node import Anvil, find_anvil
from tests.end_to_end.program import GOOD
from tests.end_to_end.world import Committed, World, compile_contracts


@pytest.fixture(scope="session")
def compiled() -> dict[str, Any]:
    return compile_contracts()


@pytest.fixture
def node() -> Iterator[Anvil]:
    if find_anvil() is None:
        missing = "anvil is not here (`npm install @foundry-rs/anvil`): whole bounties were NOT tested"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    chain = Anvil()
    chain.start()
    yield chain
    chain.stop()


@pytest.fixture
def world(node: Anvil, compiled: dict[str, Any], tmp_path: Path) -> Iterator[World]:
    there = World(node, compiled, tmp_path)
    yield there
    there.close()


@pytest.fixture
def committed_world(world: World) -> Committed:
    """A world with one seat, whose service runs, and with one committed submission to a task for a committee of one."""
    verifier = world.add_verifier("only")
    world.create_task(committee=1)
    verifier.start()
    return Committed(world, verifier, world.submit(GOOD))
