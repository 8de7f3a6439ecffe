"""Attacks start from the same deployment as the contracts' own tests."""

from tests.contracts.conftest import deployed, world

__all__ = ["deployed", "world"]
