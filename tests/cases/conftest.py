"""Fixtures that the cases about nodes and the service share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cases.nodes import HttpNode


@pytest.fixture
def node() -> Iterator[HttpNode]:
    scripted = HttpNode()
    yield scripted
    scripted.close()
