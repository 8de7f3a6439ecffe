# pragma version ~=0.4.3
"""
@title   Plain token
@license Apache-2.0
@notice  An ERC-20 token that follows the standard. Only for tests.
"""

from . import ledger

initializes: ledger
exports: (ledger.balanceOf, ledger.allowance, ledger.mint, ledger.approve)


@external
def transfer(to: address, amount: uint256) -> bool:
    """
    @param to The receiver.
    @param amount The amount.
    @return Whether the transfer succeeded.
    """
    ledger._move(msg.sender, to, amount, amount)
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
    ledger._move(owner, to, amount, amount)
    return True
