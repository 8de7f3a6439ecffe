# pragma version ~=0.4.3
"""
@title   Limits
@license Apache-2.0
@notice  The ranges within which sponsors choose their terms, and the panel that the escrow trusts to judge. Both are
         fixed permanently at deployment.
"""

from ..interfaces import IBounties
from ..interfaces import IPanel
from ..interfaces import IStakes

# Largest number of seats in a first round: the panel counts attestations in five bits.
MAX_COMMITTEE: constant(uint256) = 31
# The bond doubles after this many submissions, so occupying all 64 places costs 255 times the first eight bonds.
BOND_STEP: constant(uint256) = 8
BPS: constant(uint256) = 10_000
# Upper bound of the seat fee, wei per seat and submission: with at most 64 submissions and 31 seats, the fees of a
# task stay below 2**71.
MAX_SEAT_FEE: constant(uint256) = 2**60

LOW_32: constant(uint256) = 2**32 - 1
LOW_64: constant(uint256) = 2**64 - 1

PANEL: public(immutable(address))
STAKES: immutable(address)
SEAT: immutable(uint256)
MIN_COMMITTEE: public(immutable(uint256))
MAX_COMMITTEE_SIZE: public(immutable(uint256))
SEAT_FACTOR: public(immutable(uint256))
# Each holds six windows of 32 bits, in the order of Terms.windows.
MIN_WINDOWS: immutable(uint256)
MAX_WINDOWS: immutable(uint256)
SUBMISSION_BOND: public(immutable(uint256))
SPONSOR_BOND_BPS: public(immutable(uint256))
REFERENCE_RATE: public(immutable(uint256))
MIN_SEAT_FEE: public(immutable(uint256))
VOID_DELAY: public(immutable(uint256))
TERMINAL_DELAY: public(immutable(uint256))


@deploy
def __init__(panel: address, limits: IBounties.Limits):
    """
    @notice Checks and stores the ranges. Reverts with `bounties: ...`, which names the value that is not allowed.
    @param panel The panel contract that judges the tasks; it must have been deployed with this contract's address.
    @param limits The ranges within which sponsors choose their terms; see IBounties.Limits.
    """
    assert staticcall IPanel(panel).BOUNTIES() == self, "bounties: not this panel's escrow"
    assert (
        limits.min_committee >= 1
        and limits.min_committee <= limits.max_committee
        and limits.max_committee <= MAX_COMMITTEE
    ), "bounties: bad committee range"
    shortest: uint256 = 0
    longest: uint256 = 0
    for i: uint256 in range(6):
        assert (
            limits.min_windows[i] >= 1
            and limits.min_windows[i] <= limits.max_windows[i]
            and limits.max_windows[i] <= LOW_32
        ), "bounties: bad window range"
        shortest |= limits.min_windows[i] << (32 * i)
        longest |= limits.max_windows[i] << (32 * i)
    assert limits.submission_bond < 2**80, "bounties: bad submission bond"
    assert limits.sponsor_bond_bps <= BPS, "bounties: bad sponsor bond"
    assert limits.reference_rate != 0 and limits.reference_rate <= LOW_64, "bounties: bad reference rate"
    assert limits.min_seat_fee < MAX_SEAT_FEE, "bounties: bad seat fee"
    assert limits.void_delay != 0 and limits.void_delay <= LOW_32, "bounties: bad void delay"
    # A verdict that the last round accepts becomes final, and can be settled, before the terminal rule applies.
    assert (
        limits.terminal_delay > staticcall IPanel(panel).CHALLENGE_WINDOW() and limits.terminal_delay <= LOW_32
    ), "bounties: bad terminal delay"
    PANEL = panel
    STAKES = staticcall IPanel(panel).STAKES()
    SEAT = staticcall IStakes(STAKES).SEAT()
    MIN_COMMITTEE = limits.min_committee
    MAX_COMMITTEE_SIZE = limits.max_committee
    SEAT_FACTOR = limits.seat_factor
    MIN_WINDOWS = shortest
    MAX_WINDOWS = longest
    SUBMISSION_BOND = limits.submission_bond
    SPONSOR_BOND_BPS = limits.sponsor_bond_bps
    REFERENCE_RATE = limits.reference_rate
    MIN_SEAT_FEE = limits.min_seat_fee
    VOID_DELAY = limits.void_delay
    TERMINAL_DELAY = limits.terminal_delay


@external
@view
def window_range(which: uint256) -> (uint256, uint256):
    """
    @param which The window's index in Terms.windows, from 0.
    @return Shortest permitted window, seconds.
    @return Longest permitted window, seconds.
    """
    return self._window_range(which)


@external
@view
def bond_of(index: uint256) -> uint256:
    """
    @param index The submission's index in commit order.
    @return Bond of the submission at `index`, wei.
    """
    return self._bond(index)


@internal
@view
def _window_range(which: uint256) -> (uint256, uint256):
    """
    @return Shortest and longest permitted window at an index of Terms.windows, seconds.
    """
    return (MIN_WINDOWS >> (32 * which)) & LOW_32, (MAX_WINDOWS >> (32 * which)) & LOW_32


@internal
@view
def _bond(index: uint256) -> uint256:
    """
    @return Bond of the submission at `index`, wei.
    """
    return SUBMISSION_BOND << (index // BOND_STEP)
