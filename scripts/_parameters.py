"""The permanent parameters of a deployment, by profile, and the deployment of the three contracts with them.

`public` holds defaults for networks where money is real; `demo` allows windows of seconds and committees of three, so
that a whole bounty runs in minutes on a local chain.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import rlp
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from verifier.protocol.constants import ETHER, Windows

GWEI = 10**9
HOUR = 3600
DAY = 24 * HOUR


@dataclass(frozen=True)
class Limits:
    """The ranges within which sponsors choose; the fields and their order are IBounties.Limits."""

    min_committee: int
    max_committee: int
    seat_factor: int
    min_windows: Windows
    max_windows: Windows
    submission_bond: int
    sponsor_bond_bps: int
    reference_rate: int
    min_seat_fee: int
    void_delay: int
    terminal_delay: int

    def as_argument(self) -> tuple[object, ...]:
        """The struct that the constructor of Bounties takes, in the contract's field order."""
        return tuple(list(value) if isinstance(value, tuple) else value for value in vars(self).values())


@dataclass(frozen=True)
class Parameters:
    """Everything the three constructors take; money in wei, times in seconds, the draw delay in blocks."""

    seat: int
    exit_delay: int
    draw_delay: int
    challenge_window: int
    limits: Limits

    def as_dict(self) -> dict[str, Any]:
        """Plain values for the deployment record."""
        return asdict(self)


PROFILES = {
    "public": Parameters(
        seat=ETHER,
        exit_delay=30 * DAY,
        draw_delay=8,
        challenge_window=DAY,
        limits=Limits(
            min_committee=9,
            max_committee=31,
            seat_factor=3,
            min_windows=Windows(
                commit=DAY,
                attest=12 * HOUR,
                holdout=24 * HOUR,
                reveal=24 * HOUR,
                verdict_commit=6 * HOUR,
                verdict_reveal=12 * HOUR,
            ),
            max_windows=Windows(90 * DAY, *[7 * DAY] * 5),
            submission_bond=ETHER // 100,
            sponsor_bond_bps=2000,
            reference_rate=5 * 10**9,
            min_seat_fee=10_000 * GWEI,
            void_delay=14 * DAY,
            terminal_delay=90 * DAY,
        ),
    ),
    "demo": Parameters(
        seat=16 * ETHER,
        exit_delay=60,
        draw_delay=2,
        challenge_window=5,
        limits=Limits(
            min_committee=3,
            max_committee=5,
            seat_factor=1,
            min_windows=Windows(commit=10, attest=5, holdout=5, reveal=5, verdict_commit=10, verdict_reveal=5),
            max_windows=Windows(*[HOUR] * 6),
            submission_bond=ETHER // 100,
            sponsor_bond_bps=2000,
            reference_rate=10**10,
            min_seat_fee=GWEI,
            void_delay=10 * 60,
            terminal_delay=DAY,
        ),
    ),
}


def deploy(parameters: Parameters, deployer: str, nonce: int, create: Callable[..., Any]) -> tuple[Any, Any, Any]:
    """Deploy Stakes, Panel and Bounties with `parameters`; returns them in this order.

    `create(name, *arguments)` deploys the contract of that name from `deployer`, whose next transaction has `nonce`.
    Panel names Bounties but is deployed before it, so the address of Bounties is computed from the nonce that its
    deployment will have. When another transaction of the deployer takes that nonce, the constructor of Bounties
    reverts with `bounties: not this panel's escrow`, and all three must be deployed again.
    """
    stakes = create("Stakes", parameters.seat, parameters.exit_delay)
    expected = create_address(deployer, nonce + 2)
    panel = create("Panel", stakes.address, expected, parameters.draw_delay, parameters.challenge_window)
    return stakes, panel, create("Bounties", panel.address, parameters.limits.as_argument())


def create_address(deployer: str, nonce: int) -> str:
    """Address of the contract that an account creates in its transaction with that nonce."""
    return to_checksum_address(keccak(rlp.encode([bytes.fromhex(deployer[2:]), nonce]))[12:])
