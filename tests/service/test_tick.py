"""The service's tick, without a chain."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from verifier.chain.client import Block
from verifier.protocol.history import Event, History
from verifier.service.errors import Stop
from verifier.service.tick import Service


def test_follow__events_begin_after_the_deployment__stops_and_names_the_setting() -> None:
    drawn = Event("0x" + "11" * 20, "Drawn", {"task": b"\x01" * 32, "round": 1, "slots": [4]}, 1, 0)
    index = SimpleNamespace(advance=lambda block: False, retractions=0, events=[drawn])
    service = cast(Any, SimpleNamespace(index=index, _history=History(), _retractions=0))
    with pytest.raises(Stop, match=r"Drawn in block 1 is about something .* set chain\.from_block to the block"):
        Service._follow(service, Block(1, bytes(32), 1, 0))
