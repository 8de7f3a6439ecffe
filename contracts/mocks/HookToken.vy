# pragma version ~=0.4.3
"""
@title   Hook token
@license Apache-2.0
@notice  A token that makes a call that was set within each of its transfers: a re-entering token. Only for tests.
"""

from . import ledger

initializes: ledger
exports: (ledger.balanceOf, ledger.allowance, ledger.mint, ledger.approve)

target: address
data: Bytes[2048]
# How many of the calls succeeded, and how many reverted.
succeeded: public(uint256)
refused: public(uint256)


@external
def set_hook(target: address, data: Bytes[2048]):
    """
    @param target The contract to call.
    @param data The calldata.
    """
    self.target = target
    self.data = data


@external
def transfer(to: address, amount: uint256) -> bool:
    """
    @param to The receiver.
    @param amount The amount.
    @return Whether the transfer succeeded.
    """
    self._call()
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
    self._call()
    ledger._move(owner, to, amount, amount)
    return True


@internal
def _call():
    """
    @notice Makes the call that was set.
    """
    if self.target != empty(address):
        if raw_call(self.target, self.data, revert_on_failure=False):
            self.succeeded += 1
        else:
            self.refused += 1
