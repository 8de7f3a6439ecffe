# pragma version ~=0.4.3
"""
@title   Fee token
@license Apache-2.0
@notice  A token that keeps `fee_bps` hundredths of a percent of every transfer. Only for tests.
"""

from . import ledger

initializes: ledger
exports: (ledger.balanceOf, ledger.allowance, ledger.mint, ledger.approve)

BPS: constant(uint256) = 10_000

fee_bps: public(uint256)


@deploy
def __init__(fee_bps: uint256):
    """
    @param fee_bps The fee on each transfer, hundredths of a percent.
    """
    self.fee_bps = fee_bps


@external
def transfer(to: address, amount: uint256) -> bool:
    """
    @param to The receiver.
    @param amount The amount.
    @return Whether the transfer succeeded.
    """
    ledger._move(msg.sender, to, amount, amount - amount * self.fee_bps // BPS)
    return True


@external
def transferFrom(owner: address, to: address, amount: uint256) -> bool:
    """
    @param owner The account that pays.
    @param to The receiver.
    @param amount The amount.
    @return Whether the transfer succeeded.
    """
    ledger._spend(owner, amount)
    ledger._move(owner, to, amount, amount - amount * self.fee_bps // BPS)
    return True
