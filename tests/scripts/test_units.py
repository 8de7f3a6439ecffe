"""Reading and formatting amounts, durations and times."""

import time

import click
import pytest

from scripts._units import Coins, Duration, coins, moment, span


@pytest.mark.parametrize(
    ("text", "wei"),
    [("1", 10**18), ("0.000000000000000001", 1), ("1.5", 15 * 10**17), ("1e-9", 10**9), ("0", 0)],
)
def test_coins__read__are_exact_wei(text: str, wei: int) -> None:
    assert Coins().convert(text, None, None) == wei


@pytest.mark.parametrize("text", ["", "one", "-1", "1.0000000000000000001", "nan", "inf", "1 ETH", "1e400000", "1_0x"])
def test_coins__not_an_amount__are_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match=r"is not an amount of coins such as 1\.5, with at most 18 decimals"):
        Coins().convert(text, None, None)


def test_coins__written__lose_no_wei() -> None:
    assert coins(10**18) == "1"
    assert coins(1) == "0.000000000000000001"
    assert coins(15 * 10**17) == "1.5"
    assert coins(0) == "0"
    assert coins(100 * 10**18) == "100"


@pytest.mark.parametrize(("text", "seconds"), [("30s", 30), ("12h", 43_200), ("7d", 604_800), ("1d12h", 129_600)])
def test_duration__read__is_seconds(text: str, seconds: int) -> None:
    assert Duration().convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["", "12", "h", "-1h", "1.5h", "12 h", "1w"])
def test_duration__without_a_unit_or_number__is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is not a duration such as 30s, 15m, 12h, 7d or 1d12h"):
        Duration().convert(text, None, None)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59, "59 s"), (60, "1 min"), (3 * 3600, "3 h"), (12_000, "3 h 20 min"), (90_061, "1 d 1 h")],
)
def test_span__of_seconds__names_the_two_largest_units(seconds: int, text: str) -> None:
    assert span(seconds) == text


def test_moment__before_and_after_now__says_how_far(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    try:
        assert moment(1_000_000_000, 1_000_000_000 - 3 * 3600) == "2001-09-09 01:46:40 UTC (in 3 h)"
        assert moment(1_000_000_000, 1_000_000_060) == "2001-09-09 01:46:40 UTC (1 min ago)"
    finally:
        monkeypatch.undo()
        time.tzset()
