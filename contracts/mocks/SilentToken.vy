# pragma version ~=0.4.3
"""
@title   Silent token
@license Apache-2.0
@notice  A token whose transfers return nothing, as those of some old tokens do. Only for tests.
"""

from . import ledger

initializes: ledger
exports: (ledger.balanceOf, ledger.allowance, ledger.mint, ledger.approve)


@external
def transfer(to: address, amount: uint256):
    """
    @param to The receiver.
    @param amount The amount.
    """
    ledger._move(msg.sender, to, amount, amount)


@external
def transferFrom(owner: address, to: address, amount: uint256):
    """
    @param owner The account that pays.
    @param to The receiver.
    @param amount The amount.
    """
    ledger._spend(owner, amount)
    ledger._move(owner, to, amount, amount)
