"""The parameters of a deployment: the profiles, a file that changes them, and what they imply in money and time."""

from dataclasses import replace
from pathlib import Path

import click
import pytest

from scripts._implications import implications
from scripts._parameters import DAY, HOUR, MINUTE, PROFILES, problems
from scripts._parameters_file import change
from scripts.deploy import GAS
from tests.harness import World
from tests.layout.source import ROOT
from verifier.protocol.constants import ETHER, REWARD_DIVISOR, Windows

# A testnet's faucets give about this much.
FAUCET = ETHER
# A high price of gas on a testnet, wei.
GAS_PRICE = 10 * 10**9


@pytest.mark.parametrize("name", PROFILES)
def test_profile__deployed__is_what_the_contracts_take(name: str) -> None:
    profile = PROFILES[name]
    assert problems(profile.parameters, profile.windows, profile.committee) == []
    world = World(profile.parameters)
    assert world.stakes.SEAT() == profile.parameters.seat
    assert world.bounties.MAX_COMMITTEE_SIZE() == profile.parameters.limits.max_committee


def test_testnet__one_person_with_one_coin__plays_every_role() -> None:
    profile = PROFILES["testnet"]
    parameters, limits = profile.parameters, profile.parameters.limits
    reward = profile.committee * parameters.seat // REWARD_DIVISOR
    seats = limits.seat_factor * limits.max_committee * parameters.seat
    task = reward + reward * limits.sponsor_bond_bps // 10_000
    submission = limits.submission_bond + limits.max_committee * limits.min_seat_fee
    spare = FAUCET - GAS * GAS_PRICE - seats - task - submission
    assert spare > FAUCET // 3  # for the gas of operators, sponsor and solver
    assert (limits.min_committee, limits.max_committee) == (3, 5)
    assert all(MINUTE <= seconds <= 2 * MINUTE for seconds in limits.min_windows)
    assert max(limits.max_windows[1:]) <= 2 * HOUR


def test_implications__of_testnet__are_in_coins_and_times() -> None:
    assert implications(PROFILES["testnet"]) == [
        ("a seat costs", "0.08 coins; leaving takes 1 d"),
        ("each panel reserves", "0.02 coins of a seat, and a seat sits on at most 4"),
        ("a seat is slashed by", "0.02 coins for a wrong or unrevealed verdict, 0.001 for silence"),
        ("a committee has", "3 to 5 seats, 3 if the sponsor does not choose"),
        ("the first task needs", "3 staked seats, 0.24 coins together"),
        ("a reward is at most", "0.03 coins with 3 seats, 0.05 with 5"),
        ("the sponsor's bond is", "20 % of the reward, for a sealed holdout"),
        ("a submission costs", "a bond of 0.001 coins, and a fee of at least 0.000003 (0.000001 for each seat)"),
        (
            "a task takes",
            "at least 15 min; 2 h 15 min with the default windows; at most 7 d 18 h with 3 rounds; and draws of 4 "
            "blocks",
        ),
        (
            "a stuck task ends",
            "6 h after commits close if no committee is drawn, 2 d after its last round without a verdict",
        ),
    ]


def changed(folder: Path, text: str) -> object:
    file = folder / "parameters.toml"
    file.write_text(text)
    return change(PROFILES["testnet"], file)


def test_file__of_parameters__changes_what_it_names_and_nothing_else(tmp_path: Path) -> None:
    profile = PROFILES["testnet"]
    found = changed(
        tmp_path,
        'seat = "0.8"\nexit_delay = "2d"\ndefault_committee = 4\n'
        '[limits]\nmax_committee = 7\n[limits.min_windows]\ncommit = "5m"\n[default_windows]\ncommit = "1h30m"\n',
    )
    limits = replace(
        profile.parameters.limits,
        max_committee=7,
        min_windows=profile.parameters.limits.min_windows._replace(commit=5 * MINUTE),
    )
    assert found == replace(
        profile,
        parameters=replace(profile.parameters, seat=8 * ETHER // 10, exit_delay=2 * DAY, limits=limits),
        windows=profile.windows._replace(commit=90 * MINUTE),
        committee=4,
    )
    assert changed(tmp_path, "") == profile


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("seat = 1", 'seat = 1 is not an amount of coins in quotes such as "0.08"'),
        ('seat = "-1"', "seat = '-1' is not an amount of coins in quotes such as \"0.08\""),
        ('exit_delay = "soon"', "exit_delay = 'soon' is not a time in quotes such as \"12h\""),
        ("draw_delay = true", "draw_delay = True is not a whole number that is not negative"),
        ("[limits]\nmax_committee = -1", "limits.max_committee = -1 is not a whole number that is not negative"),
        ('[limits.min_windows]\ncomit = "1h"', "there is no parameter limits.min_windows.comit; known: commit, attest"),
        ("limits = 3", "limits: not a table"),
        ("default_windows = 3", "default_windows: not a table"),
        ("default_committee = 'x'", "default_committee: not a whole number"),
        ("seat = ", "is not a TOML file: "),
    ],
)
def test_file__with_a_wrong_value__names_it(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(click.BadParameter) as refused:
        changed(tmp_path, text)
    assert reason in refused.value.message
    assert "parameters.toml" in refused.value.message


def test_problems__defaults_outside_the_ranges__are_named() -> None:
    profile = PROFILES["testnet"]
    assert problems(profile.parameters, Windows(*[1] * 6), 6) == [
        *(f"default_windows.{name}: outside its range" for name in Windows._fields),
        "default_committee: outside its range",
    ]


def test_problems__seat_exit_and_draw_delay__are_those_of_the_contracts() -> None:
    profile = PROFILES["testnet"]
    wrong = replace(profile.parameters, seat=81, exit_delay=0, draw_delay=129)
    assert problems(wrong, profile.windows, profile.committee) == [
        "seat: not a multiple of 80 wei from 80 to 2^80",
        "exit_delay: not positive",
        "draw_delay: not 1 to 128 blocks",
    ]


def test_documented_file__on_testnet__changes_nothing(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "deploying.md").read_text("utf-8")
    assert changed(tmp_path, text.split("```toml\n")[1].split("```")[0]) == PROFILES["testnet"]
