"""Reads and formats amounts, durations and points in time."""

import re
from datetime import datetime
from decimal import Decimal, InvalidOperation

import click

from verifier.artifacts.digests import to_hex
from verifier.protocol.constants import MAX_AMOUNT

DECIMALS = 18

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"(\d{1,9}[smhd])+")
_STEPS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


class Coins(click.ParamType):
    """An amount of the native coin such as 1.5, as wei."""

    name = "COINS"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            wei = Decimal(str(value)).scaleb(DECIMALS)
            if not 0 <= wei < MAX_AMOUNT or wei != int(wei):
                raise ValueError
        except (InvalidOperation, ValueError, OverflowError):
            self.fail(f"{value!r} is not an amount of coins such as 1.5, with at most {DECIMALS} decimals", param, ctx)
        return int(wei)


class Duration(click.ParamType):
    """A length of time such as 30s, 12h or 1d12h, as seconds."""

    name = "DURATION"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        text = str(value)
        if not _DURATION.fullmatch(text):
            self.fail(f"{text!r} is not a duration such as 30s, 15m, 12h, 7d or 1d12h", param, ctx)
        return sum(int(part[:-1]) * _SECONDS[part[-1]] for part in re.findall(r"\d+[smhd]", text))


def coins(wei: int) -> str:
    """Format wei as coins, exactly and without an exponent: 1.5, 0.000000001."""
    text = f"{Decimal(wei).scaleb(-DECIMALS):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def span(seconds: int) -> str:
    """Format seconds by their two largest units: 3 h 20 min."""
    parts = []
    rest = max(0, seconds)
    for size, name in _STEPS:
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count} {name}")
    return " ".join(parts[:2]) or "0 s"


def moment(timestamp: int, now: int) -> str:
    """Format a point in time as local time and its distance from `now`: 2026-05-01 18:30:00 CEST (in 3 h)."""
    local = datetime.fromtimestamp(timestamp).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")
    return f"{local} (in {span(timestamp - now)})" if timestamp > now else f"{local} ({span(now - timestamp)} ago)"


def short(value: str | bytes) -> str:
    """Shorten an address or digest to its first and last digits, which are enough to tell two apart."""
    text = value if isinstance(value, str) else to_hex(value)
    return f"{text[:6]}…{text[-4:]}"
