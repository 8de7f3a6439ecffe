"""The permanent parameters of a deployment, by profile, and the deployment of the three contracts with them.

`public` is for networks where money is real, `testnet` for networks whose coins come from a faucet, `demo` for a chain
on this machine.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import rlp
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from verifier.protocol.constants import BPS, ETHER, Windows

GWEI = 10**9
MINUTE = 60
HOUR = 60 * MINUTE
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


@dataclass(frozen=True)
class Profile:
    """The parameters of a deployment, and what `task create` offers there when the sponsor does not choose."""

    parameters: Parameters
    windows: Windows
    committee: int

    def defaults(self) -> dict[str, Any]:
        """Plain values for the deployment record, which `task create` reads."""
        return {"windows": self.windows._asdict(), "committee": self.committee}


PROFILES = {
    # Money is real: operators have hours for each step, and lying costs them a quarter of a whole coin.
    "public": Profile(
        Parameters(
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
        windows=Windows(7 * DAY, 12 * HOUR, 24 * HOUR, 24 * HOUR, 6 * HOUR, 12 * HOUR),
        committee=15,
    ),
    # One person with one coin from a faucet plays every role, on blocks of 12 seconds and within an afternoon.
    "testnet": Profile(
        Parameters(
            seat=8 * ETHER // 100,
            exit_delay=DAY,
            draw_delay=4,
            challenge_window=5 * MINUTE,
            limits=Limits(
                min_committee=3,
                max_committee=5,
                seat_factor=1,
                min_windows=Windows(
                    commit=2 * MINUTE,
                    attest=MINUTE,
                    holdout=2 * MINUTE,
                    reveal=2 * MINUTE,
                    verdict_commit=2 * MINUTE,
                    verdict_reveal=MINUTE,
                ),
                max_windows=Windows(7 * DAY, *[2 * HOUR] * 5),
                submission_bond=ETHER // 1000,
                sponsor_bond_bps=2000,
                reference_rate=10**10,
                min_seat_fee=1_000 * GWEI,
                void_delay=6 * HOUR,
                terminal_delay=2 * DAY,
            ),
        ),
        windows=Windows(30 * MINUTE, 10 * MINUTE, 30 * MINUTE, 30 * MINUTE, 20 * MINUTE, 10 * MINUTE),
        committee=3,
    ),
    # A local chain with blocks of one second.
    "demo": Profile(
        Parameters(
            seat=16 * ETHER,
            exit_delay=MINUTE,
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
                void_delay=10 * MINUTE,
                terminal_delay=DAY,
            ),
        ),
        windows=Windows(2 * MINUTE, MINUTE, 2 * MINUTE, 2 * MINUTE, 2 * MINUTE, MINUTE),
        committee=3,
    ),
}


def problems(parameters: Parameters, defaults: Windows, committee: int) -> list[str]:
    """Name what the constructors of the contracts would refuse, and defaults outside the ranges.

    The constructors run one after another, so that a refusal of the last one would cost the gas of the first two.
    """
    limits = parameters.limits
    windows = zip(Windows._fields, limits.min_windows, limits.max_windows, strict=True)
    rules = [
        ("seat: not a multiple of 80 wei from 80 to 2^80", 0 < parameters.seat < 1 << 80 and not parameters.seat % 80),
        ("exit_delay: not positive", parameters.exit_delay > 0),
        ("draw_delay: not 1 to 128 blocks", 1 <= parameters.draw_delay <= 128),
        (
            "committee: not 1 <= min_committee <= max_committee <= 31",
            1 <= limits.min_committee <= limits.max_committee <= 31,
        ),
        *(
            (f"{name}: not 1 s <= min_windows <= max_windows < 2^32 s", 1 <= shortest <= longest < 1 << 32)
            for name, shortest, longest in windows
        ),
        ("submission_bond: not below 2^80 wei", limits.submission_bond < 1 << 80),
        ("sponsor_bond_bps: not at most 10000", limits.sponsor_bond_bps <= BPS),
        ("reference_rate: not 1 to 2^64", 0 < limits.reference_rate < 1 << 64),
        ("min_seat_fee: not below 2^60 wei", limits.min_seat_fee < 1 << 60),
        ("void_delay: not 1 s to 2^32 s", 0 < limits.void_delay < 1 << 32),
        (
            "terminal_delay: not longer than challenge_window and below 2^32 s",
            parameters.challenge_window < limits.terminal_delay < 1 << 32,
        ),
    ]
    found = [problem for problem, holds in rules if not holds]
    if not found:
        ranges = zip(Windows._fields, limits.min_windows, defaults, limits.max_windows, strict=True)
        found += [
            f"default_windows.{name}: outside its range"
            for name, low, chosen, high in ranges
            if not low <= chosen <= high
        ]
        if not limits.min_committee <= committee <= limits.max_committee:
            found.append("default_committee: outside its range")
    return found


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
