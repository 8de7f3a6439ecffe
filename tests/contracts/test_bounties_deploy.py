"""Bounties: the ranges of terms that a deployment fixes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from scripts._parameters import create_address, problems
from tests.contracts import amounts
from tests.evm import Contract, compiled, reverts
from tests.harness import CHALLENGE_WINDOW, DEPLOYER, DRAW_DELAY, LIMITS, PARAMETERS, World
from verifier.protocol.constants import Windows

BOUNTIES = compiled("contracts/Bounties.vy")
MAX_WINDOW_S = 2**32 - 1


def windows(index: int, seconds: int, others: int) -> Windows:
    """Six windows of `others` seconds, except for the one at `index`."""
    return equal(others)._replace(**{Windows._fields[index]: seconds})


def equal(seconds: int) -> Windows:
    """Six windows of the same length."""
    return Windows(*[seconds] * 6)


@pytest.fixture
def awaiting(world: World) -> Contract:
    """A panel that names the escrow which the deployer deploys next."""
    escrow = create_address(DEPLOYER, world.chain.nonce(DEPLOYER) + 1)
    arguments = (world.stakes.address, escrow, DRAW_DELAY, CHALLENGE_WINDOW)
    return world.chain.deploy(compiled("contracts/Panel.vy"), *arguments, sender=DEPLOYER)


def problems_of(**changes: Any) -> list[str]:
    """What `ape run deploy` says about these limits before it sends anything."""
    limits = replace(LIMITS, **changes)
    return problems(replace(PARAMETERS, limits=limits), limits.max_windows, limits.max_committee)


def deploy(world: World, panel: Contract, **changes: Any) -> Contract:
    return world.chain.deploy(BOUNTIES, panel.address, replace(LIMITS, **changes).as_argument(), sender=DEPLOYER)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"min_committee": 0}, "bounties: bad committee range"),
        ({"min_committee": 10, "max_committee": 9}, "bounties: bad committee range"),
        ({"max_committee": 32}, "bounties: bad committee range"),
        ({"min_windows": windows(0, 0, 10)}, "bounties: bad window range"),
        ({"min_windows": windows(5, 3601, 10)}, "bounties: bad window range"),
        ({"max_windows": windows(3, 2**32, 3600)}, "bounties: bad window range"),
        ({"submission_bond": 2**80}, "bounties: bad submission bond"),
        ({"sponsor_bond_bps": 10_001}, "bounties: bad sponsor bond"),
        ({"reference_rate": 0}, "bounties: bad reference rate"),
        ({"reference_rate": 2**64}, "bounties: bad reference rate"),
        ({"min_seat_fee": 2**60}, "bounties: bad seat fee"),
        ({"void_delay": 0}, "bounties: bad void delay"),
        ({"void_delay": MAX_WINDOW_S + 1}, "bounties: bad void delay"),
        ({"terminal_delay": CHALLENGE_WINDOW}, "bounties: bad terminal delay"),
        ({"terminal_delay": MAX_WINDOW_S + 1}, "bounties: bad terminal delay"),
    ],
)
def test_deploy__limits_that_make_no_sense__reverts(
    world: World, awaiting: Contract, changes: dict[str, Any], reason: str
) -> None:
    with reverts(reason):
        deploy(world, awaiting, **changes)
    assert len(problems_of(**changes)) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"min_committee": 1, "max_committee": 1},
        {"min_windows": equal(1), "max_windows": equal(1)},
        {"max_windows": equal(MAX_WINDOW_S)},
        {"submission_bond": 2**80 - 1, "sponsor_bond_bps": 10_000, "min_seat_fee": 2**60 - 1},
        {"submission_bond": 0, "sponsor_bond_bps": 0, "min_seat_fee": 0, "seat_factor": 0},
        {"reference_rate": 2**64 - 1},
        {"reference_rate": 1, "void_delay": 1, "terminal_delay": CHALLENGE_WINDOW + 1},
        {"void_delay": MAX_WINDOW_S, "terminal_delay": MAX_WINDOW_S},
    ],
)
def test_deploy__limits_at_their_bounds__are_kept(world: World, awaiting: Contract, changes: dict[str, Any]) -> None:
    limits = replace(LIMITS, **changes)
    bounties = deploy(world, awaiting, **changes)
    assert problems_of(**changes) == []
    assert bounties.PANEL() == awaiting.address
    assert bounties.MIN_COMMITTEE() == limits.min_committee
    assert bounties.MAX_COMMITTEE_SIZE() == limits.max_committee
    assert bounties.SEAT_FACTOR() == limits.seat_factor
    assert bounties.SUBMISSION_BOND() == limits.submission_bond
    assert bounties.SPONSOR_BOND_BPS() == limits.sponsor_bond_bps
    assert bounties.REFERENCE_RATE() == limits.reference_rate
    assert bounties.MIN_SEAT_FEE() == limits.min_seat_fee
    assert bounties.VOID_DELAY() == limits.void_delay
    assert bounties.TERMINAL_DELAY() == limits.terminal_delay
    ranges = list(zip(limits.min_windows, limits.max_windows, strict=True))
    assert [bounties.window_range(i) for i in range(6)] == ranges


def test_deploy__different_range_for_each_window__keeps_the_order(world: World, awaiting: Contract) -> None:
    bounties = deploy(
        world, awaiting, min_windows=Windows(1, 2, 3, 4, 5, 6), max_windows=Windows(11, 12, 13, 14, 15, 16)
    )
    assert [bounties.window_range(i) for i in range(6)] == [(i + 1, i + 11) for i in range(6)]


def test_deploy__panel_of_another_escrow__reverts(world: World) -> None:
    with reverts("bounties: not this panel's escrow"):
        deploy(world, world.panel)


def test_bond_of__every_eighth_submission__doubles(world: World) -> None:
    bonds = [world.bounties.bond_of(index) for index in range(64)]
    assert bonds == [amounts.bond(index) for index in range(64)]
    assert (bonds[7], bonds[8], bonds[63]) == (bonds[0], 2 * bonds[0], 128 * bonds[0])
    assert sum(bonds) == 255 * 8 * bonds[0]
