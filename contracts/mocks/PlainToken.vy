# pragma version ~=0.4.3
"""
@title   Plain token
@license Apache-2.0
@notice  An ERC-20 as one expects it. Only for tests.
"""

from . import ledger

initializes: ledger
exports: (ledger.balanceOf, ledger.allowance, ledger.mint, ledger.approve)


@external
def transfer(to: address, amount: uint256) -> bool:
    ledger._move(msg.sender, to, amount, amount)
    return True


@external
def transferFrom(owner: address, to: address, amount: uint256) -> bool:
    ledger._spend(owner, amount)
    ledger._move(owner, to, amount, amount)
    return True
