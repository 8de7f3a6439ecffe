"""Attacks start from the same deployment as the contracts' own tests, or from one that lacks a guard."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.attacks.weakened import Guard, deploy_without
from tests.contracts.conftest import deployed, world
from tests.harness import World

__all__ = ["deployed", "without", "world"]

Kept = tuple[bytes, int, int, bytes]


@pytest.fixture(scope="session")
def weakened() -> dict[Guard, tuple[World, Kept]]:
    """Deployments without a guard, each compiled once."""
    return {}


@pytest.fixture
def without(
    weakened: dict[Guard, tuple[World, Kept]], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Guard], World]:
    """A deployment without that guard, as it was before any test."""

    def deployment(guard: Guard) -> World:
        if guard not in weakened:
            there = deploy_without(guard, tmp_path_factory.mktemp("weakened"))
            weakened[guard] = (there, there.chain.keep())
        there, kept = weakened[guard]
        there.chain.back_to(kept)
        return there

    return deployment
