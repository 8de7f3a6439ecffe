# pragma version ~=0.4.3
"""
@title   Hook token
@license Apache-2.0
@notice  A token that calls whom it was told to from within its transfers: the re-entering token. Only for tests.
"""

from . import ledger

initializes: ledger
exports: (ledger.balanceOf, ledger.allowance, ledger.mint, ledger.approve)

target: address
data: Bytes[2048]
# How many of the calls went through, and how many were refused.
succeeded: public(uint256)
refused: public(uint256)


@external
def set_hook(target: address, data: Bytes[2048]):
    self.target = target
    self.data = data


@external
def transfer(to: address, amount: uint256) -> bool:
    self._call()
    ledger._move(msg.sender, to, amount, amount)
    return True


@external
def transferFrom(owner: address, to: address, amount: uint256) -> bool:
    ledger._spend(owner, amount)
    self._call()
    ledger._move(owner, to, amount, amount)
    return True


@internal
def _call():
    if self.target != empty(address):
        if raw_call(self.target, self.data, revert_on_failure=False):
            self.succeeded += 1
        else:
            self.refused += 1
