"""The enumerations and limits equal the constants of the Vyper sources, which are read as text."""

from __future__ import annotations

import re
from enum import IntEnum
from pathlib import Path

import pytest

from verifier.protocol import constants
from verifier.protocol.constants import Ground, Outcome, Phase, RewardPolicy, VerdictStatus, Windows

CONTRACTS = Path(__file__).resolve().parents[2] / "contracts"
CONSTANT = re.compile(r"^([A-Z0-9_]+): constant\(u?int\d+\) = ([0-9_*]+)", re.MULTILINE)


def constants_of(source: str) -> dict[str, int]:
    """The integer constants of a source below contracts/, by name; `2**96` is computed."""
    found = {}
    for name, text in CONSTANT.findall((CONTRACTS / source).read_text("utf-8")):
        base, _, exponent = text.partition("**")
        found[name] = int(base) ** int(exponent or 1)
    return found


@pytest.mark.parametrize(
    ("source", "prefix", "enumeration"),
    [
        ("modules/tasks.vy", "PHASE_", Phase),
        ("Panel.vy", "STATUS_", VerdictStatus),
        ("modules/endings.vy", "OUTCOME_", Outcome),
    ],
)
def test_enumeration__against_the_source__has_the_same_members(
    source: str, prefix: str, enumeration: type[IntEnum]
) -> None:
    declared = {name.removeprefix(prefix): n for name, n in constants_of(source).items() if name.startswith(prefix)}
    assert declared == {member.name: member.value for member in enumeration}


def test_ground__against_the_source__has_the_same_members_and_none_besides_zero() -> None:
    source = constants_of("modules/endings.vy")
    declared = {name.removeprefix("GROUND_"): n for name, n in source.items() if name.startswith("GROUND_")}
    assert {**declared, "NONE": 0} == {member.name: member.value for member in Ground}


def test_policies__against_the_source__are_the_same() -> None:
    source = constants_of("modules/policies.vy")
    assert {name: source[name] for name in ("BEST", "LADDER")} == {member.name: member.value for member in RewardPolicy}


def test_verdict_status__of_the_escrow__is_the_panels_final_status() -> None:
    assert constants_of("modules/endings.vy")["VERDICT_FINAL"] == VerdictStatus.FINAL


def test_windows__against_the_source__are_in_the_same_order() -> None:
    source = constants_of("modules/tasks.vy")
    order = {name: source[name.upper()] for name in Windows._fields}
    assert order == {name: position for position, name in enumerate(Windows._fields)}
    terms = (CONTRACTS / "interfaces" / "IBounties.vyi").read_text("utf-8")
    (comment,) = re.findall(r"windows: uint256\[6\]  # (.*); seconds", terms)
    assert tuple(comment.replace(" ", "_").split(",_")) == Windows._fields


@pytest.mark.parametrize(
    ("name", "source", "there"),
    [
        ("FREE_ROUNDS", "Panel.vy", "FREE_ROUNDS"),
        ("SILENCE_FRACTION", "Panel.vy", "SILENCE_FRACTION"),
        ("RESERVATIONS_PER_SEAT", "Stakes.vy", "RESERVATIONS_PER_SEAT"),
        ("MAX_ROUNDS", "Panel.vy", "MAX_ROUNDS"),
        ("MAX_REARMS", "Panel.vy", "MAX_REARMS"),
        ("BLOCKHASH_REACH", "Panel.vy", "HASH_REACH"),
        ("MAX_SUBMISSIONS", "Panel.vy", "MAX_SUBMISSIONS"),
        ("MAX_SUBMISSIONS", "modules/tasks.vy", "MAX_SUBMISSIONS"),
        ("MAX_SUBMISSIONS", "modules/policies.vy", "MAX_SUBMISSIONS"),
        ("MAX_SUBMISSIONS", "modules/commitments.vy", "MAX_SUBMISSIONS"),
        ("SCORE_BOUND", "modules/policies.vy", "SCORE_BOUND"),
        ("MAX_AMOUNT", "modules/tasks.vy", "MAX_AMOUNT"),
        ("BPS", "modules/limits.vy", "BPS"),
    ],
)
def test_limit__against_the_source__is_the_same(name: str, source: str, there: str) -> None:
    assert getattr(constants, name) == constants_of(source)[there]


@pytest.mark.parametrize(
    ("name", "source", "pattern"),
    [
        ("MAX_ENDPOINT_BYTES", "Stakes.vy", r"String\[(\d+)\]"),
        ("MAX_URI_CHARACTERS", "Bounties.vy", r"uri: String\[(\d+)\]"),
        ("REWARD_DIVISOR", "Bounties.vy", r"reward <= committee \* limits\.SEAT // (\d+)"),
    ],
)
def test_limit__written_as_a_literal__is_the_same_everywhere(name: str, source: str, pattern: str) -> None:
    found = re.findall(pattern, (CONTRACTS / source).read_text("utf-8"))
    assert set(found) == {str(getattr(constants, name))}


def test_native__against_the_source__is_the_empty_address() -> None:
    assert "NATIVE: constant(address) = empty(address)\n" in (CONTRACTS / "modules/payments.vy").read_text("utf-8")
    assert int(constants.NATIVE, 16) == 0
    assert len(constants.NATIVE) == 2 + 2 * 20


def test_misfit_score__against_the_bound__is_the_least_int128_and_never_passes() -> None:
    assert constants.MISFIT_SCORE == -(2**127) < -constants.SCORE_BOUND
