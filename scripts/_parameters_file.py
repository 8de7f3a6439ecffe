"""Reads a file of parameters, which changes some values of a deployment's profile."""

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from scripts._parameters import Profile
from scripts._units import Coins, Duration
from verifier.protocol.constants import Windows

# Parameters that are amounts of coins and those that are lengths of time, by name; all others are whole numbers.
_COINS = ("seat", "submission_bond", "min_seat_fee")
_DURATIONS = ("exit_delay", "challenge_window", "void_delay", "terminal_delay", *Windows._fields)


def change(profile: Profile, file: Path) -> Profile:
    """Return the profile with the values of a TOML file.

    The file has the names of `Parameters`, with the tables `limits`, `limits.min_windows` and `limits.max_windows`,
    and `default_committee` and the table `default_windows` for `task create`. Amounts are texts in coins ("0.08"),
    times are texts such as "12h". Errors: BadParameter naming the file and the value.
    """
    try:
        values = tomllib.loads(file.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise click.BadParameter(f"{file} is not a TOML file: {error}", param_hint="--parameters") from error

    committee = values.pop("default_committee", profile.committee)
    if isinstance(committee, bool) or not isinstance(committee, int):
        raise click.BadParameter(f"{file}: default_committee: not a whole number", param_hint="--parameters")
    windows = _changed(file, "default_windows", profile.windows._asdict(), values.pop("default_windows", {}))
    parameters = profile.parameters
    limits = dict(vars(parameters.limits))
    found = _changed(file, "", {**vars(parameters), "limits": limits}, values)
    return Profile(
        replace(parameters, **{**found, "limits": replace(parameters.limits, **found["limits"])}),
        Windows(**windows),
        committee,
    )


def _changed(file: Path, table: str, known: Mapping[str, Any], values: Any) -> dict[str, Any]:
    """The known values with the changes of a table of the file."""
    if not isinstance(values, dict):
        raise click.BadParameter(f"{file}: {table}: not a table", param_hint="--parameters")
    found = dict(known)
    for name, value in values.items():
        where = f"{table}.{name}".lstrip(".")
        if name not in known:
            raise click.BadParameter(
                f"{file}: there is no parameter {where}; known: {', '.join(known)}", param_hint="--parameters"
            )
        old = known[name]
        if isinstance(old, Windows):
            found[name] = Windows(**_changed(file, where, old._asdict(), value))
        elif isinstance(old, dict):
            found[name] = _changed(file, where, old, value)
        else:
            found[name] = _read(file, where, name, value)
    return found


def _read(file: Path, where: str, name: str, value: Any) -> int:
    reader: Callable[[Any], int] | None = None
    if name in _COINS:
        reader, form = lambda text: Coins().convert(text, None, None), 'an amount of coins in quotes such as "0.08"'
    elif name in _DURATIONS:
        reader, form = lambda text: Duration().convert(text, None, None), 'a time in quotes such as "12h"'
    else:
        form = "a whole number that is not negative"
    try:
        if reader is None:
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise click.BadParameter("")
            return value
        if not isinstance(value, str):
            raise click.BadParameter("")
        return reader(value)
    except click.BadParameter as error:
        raise click.BadParameter(f"{file}: {where} = {value!r} is not {form}", param_hint="--parameters") from error
