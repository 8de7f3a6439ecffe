"""Gas is kept to the unit, and within what the protocol promises."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.gas.measure import LIMITS, MAX_GAS, SNAPSHOT, differences, measure


@pytest.fixture(scope="module")
def measured() -> dict[str, Any]:
    return measure()


def test_gas__compared_with_the_snapshot__is_the_same_to_the_unit(measured: dict[str, Any]) -> None:
    changed = differences(measured, json.loads(SNAPSHOT.read_text("utf-8")))
    assert changed == [], "renew it with `python -m tests.gas.measure --write`"


@pytest.mark.parametrize(("scenario", "function"), LIMITS)
def test_gas__steady_state__is_within_its_bar(measured: dict[str, Any], scenario: str, function: str) -> None:
    assert measured["gas"][scenario][function]["median"] <= LIMITS[scenario, function]


def test_gas__any_size__stays_below_a_million(measured: dict[str, Any]) -> None:
    dearest = {
        (scenario, name): figure["most"]
        for scenario, functions in measured["gas"].items()
        for name, figure in functions.items()
        if figure["most"] >= MAX_GAS
    }
    assert dearest == {}


def test_differences__one_figure_changed_one_gone__names_both() -> None:
    kept = {"compiler": "vyper 0", "gas": {"a": {"settle": {"most": 1}, "claim": {"most": 2}}}}
    now = {"compiler": "vyper 0", "gas": {"a": {"settle": {"most": 3}}}}
    assert differences(now, kept) == [
        "gas / a / settle / most: 1 in the snapshot, 3 now",
        "gas / a / claim / most: 2 in the snapshot, None now",
    ]
