"""Every transaction uses exactly the gas of the snapshot, and stays within the limits."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.gas.measure import LIMITS, MAX_GAS, SNAPSHOT, differences, measure


@pytest.fixture(scope="module")
def measured() -> dict[str, Any]:
    return measure()


def test_gas__against_the_snapshot__is_equal(measured: dict[str, Any]) -> None:
    changed = differences(measured, json.loads(SNAPSHOT.read_text("utf-8")))
    assert changed == [], "renew it with `python -m tests.gas.measure --write`"


@pytest.mark.parametrize(("scenario", "function"), LIMITS)
def test_gas__median__is_within_its_limit(measured: dict[str, Any], scenario: str, function: str) -> None:
    assert measured["gas"][scenario][function]["median"] <= LIMITS[scenario, function]


def test_gas__any_transaction__stays_below_a_million(measured: dict[str, Any]) -> None:
    too_large = {
        (scenario, name): figure["max"]
        for scenario, functions in measured["gas"].items()
        for name, figure in functions.items()
        if figure["max"] >= MAX_GAS
    }
    assert too_large == {}


def test_differences__one_figure_changed_one_gone__names_both() -> None:
    kept = {"compiler": "vyper 0", "gas": {"a": {"settle": {"max": 1}, "claim": {"max": 2}}}}
    now = {"compiler": "vyper 0", "gas": {"a": {"settle": {"max": 3}}}}
    assert differences(now, kept) == [
        "gas / a / settle / max: 1 in the snapshot, 3 now",
        "gas / a / claim / max: 2 in the snapshot, None now",
    ]
