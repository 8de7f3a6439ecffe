"""Attacks start from the deployment of the contract tests, or from one without a guard."""

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
    """The deployments without a guard, each compiled once."""
    return {}


@pytest.fixture
def without(
    weakened: dict[Guard, tuple[World, Kept]], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Guard], World]:
    """A function that returns the deployment without a guard, in its state before any test."""

    def deployment(guard: Guard) -> World:
        if guard not in weakened:
            there = deploy_without(guard, tmp_path_factory.mktemp("weakened"))
            weakened[guard] = (there, there.chain.keep())
        there, kept = weakened[guard]
        there.chain.back_to(kept)
        return there

    return deployment
