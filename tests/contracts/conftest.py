"""Every test starts from one deployment of the protocol with its seats."""

from __future__ import annotations

import pytest

from tests.harness import World

SEATS = 12


@pytest.fixture(scope="session")
def deployed() -> tuple[World, tuple[bytes, int, int, bytes]]:
    """A deployment with twelve seats of one owner and one operator, and the saved state of its chain."""
    world = World.with_seats(SEATS)
    return world, world.chain.keep()


@pytest.fixture
def world(deployed: tuple[World, tuple[bytes, int, int, bytes]]) -> World:
    """The deployment, in the state before any test."""
    there, kept = deployed
    there.chain.back_to(kept)
    return there
