# pragma version ~=0.4.3
"""
@title   False token
@license Apache-2.0
@notice  A token that returns False from a failed transfer instead of reverting. Only for tests.
"""

from . import ledger

initializes: ledger
exports: (ledger.balanceOf, ledger.allowance, ledger.mint, ledger.approve)

# Whether every transfer fails.
refuses: public(bool)


@external
def set_refuses(refuses: bool):
    """
    @param refuses Whether every transfer fails from now on.
    """
    self.refuses = refuses


@external
def transfer(to: address, amount: uint256) -> bool:
    """
    @param to The receiver.
    @param amount The amount.
    @return Whether the transfer succeeded.
    """
    if self.refuses:
        return False
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
    if self.refuses:
        return False
    ledger._spend(owner, amount)
    ledger._move(owner, to, amount, amount)
    return True
