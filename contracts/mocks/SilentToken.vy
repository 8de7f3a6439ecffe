# pragma version ~=0.4.3
"""
@title   Silent token
@license Apache-2.0
@notice  A token whose transfers return nothing, as some old ones do. Only for tests.
"""

from . import ledger

initializes: ledger
exports: (ledger.balanceOf, ledger.allowance, ledger.mint, ledger.approve)


@external
def transfer(to: address, amount: uint256):
    ledger._move(msg.sender, to, amount, amount)


@external
def transferFrom(owner: address, to: address, amount: uint256):
    ledger._spend(owner, amount)
    ledger._move(owner, to, amount, amount)
