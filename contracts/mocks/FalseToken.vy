# pragma version ~=0.4.3
"""
@title   False token
@license Apache-2.0
@notice  A token that answers a failed transfer with False instead of reverting. Only for tests.
"""

from . import ledger

initializes: ledger
exports: (ledger.balanceOf, ledger.allowance, ledger.mint, ledger.approve)

# While set, every transfer fails.
refuses: public(bool)


@external
def set_refuses(refuses: bool):
    self.refuses = refuses


@external
def transfer(to: address, amount: uint256) -> bool:
    if self.refuses:
        return False
    ledger._move(msg.sender, to, amount, amount)
    return True


@external
def transferFrom(owner: address, to: address, amount: uint256) -> bool:
    if self.refuses:
        return False
    ledger._spend(owner, amount)
    ledger._move(owner, to, amount, amount)
    return True
